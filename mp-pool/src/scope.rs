//! Tasks that are done when a block of the program is left.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use ipc_core::Message;

use crate::async_result::AsyncResult;
use crate::driver::runs_callbacks;
use crate::error::TaskError;
use crate::task_pool::TaskPool;

/// Where tasks are submitted that are done when the block is left; made by
/// [`TaskPool::scope`].
pub struct Scope<'pool, P> {
    pool: &'pool P,
    notes: Mutex<Notes>,
}

/// What a scope knows of its tasks, in the order in which they were submitted.
#[derive(Default)]
struct Notes {
    tasks: Vec<Arc<Note>>,
    /// The first error that nobody read.
    first_error: Option<TaskError>,
    /// How many tasks there are when those are looked for that need no note any more.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 64;

impl<P: TaskPool> Scope<'_, P> {
    /// The pool, for the verbs that wait by themselves.
    #[must_use]
    pub fn pool(&self) -> &P {
        self.pool
    }

    /// As [`Pool::apply_async`](crate::Pool::apply_async); the task is done when the
    /// scope is left, even if its result is dropped.
    pub fn apply_async<A, R>(&self, function: fn(A) -> R, argument: A) -> AsyncResult<R>
    where
        A: Message + Send,
        R: Message + Send,
    {
        self.keep(self.pool.apply_async(function, argument))
    }

    /// As [`Pool::map_async`](crate::Pool::map_async), likewise.
    pub fn map_async<A, R, I>(&self, function: fn(A) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>,
    {
        self.keep(self.pool.map_async(function, items))
    }

    /// As [`Pool::starmap_async`](crate::Pool::starmap_async), likewise.
    pub fn starmap_async<A, B, R, I>(&self, function: fn(A, B) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Message + Send,
        B: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = (A, B)>,
    {
        self.keep(self.pool.starmap_async(function, items))
    }

    fn keep<T: Send + 'static>(&self, result: AsyncResult<T>) -> AsyncResult<T> {
        let (result, note) = result.noted();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.tasks.extend(note);
        notes.sweep();
        result
    }
}

pub(crate) fn scope<'pool, P, T>(
    pool: &'pool P,
    block: impl FnOnce(&Scope<'pool, P>) -> T,
) -> Result<T, TaskError> {
    let scope = Scope { pool, notes: Mutex::default() };
    let value = catch_unwind(AssertUnwindSafe(|| block(&scope)));
    let error = scope.notes.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    match value {
        Err(panic) => resume_unwind(panic),
        Ok(value) => error.map_or(Ok(value), Err),
    }
}

impl Notes {
    /// Lets go of tasks that are done and whose results were read or dropped, so that
    /// a scope remembers what is under way, and not all that ever was.
    fn sweep(&mut self) {
        if self.tasks.len() < self.sweep_at.max(FIRST_SWEEP) {
            return;
        }
        let Self { tasks, first_error, .. } = self;
        tasks.retain(|note| {
            let is_unread = note.state.load(Ordering::Acquire) == UNREAD;
            if is_unread && note.end.is_over() {
                let error = note.end.take_error();
                *first_error = first_error.take().or(error);
                return false;
            }
            // Whoever had the result has taken it.
            is_unread || Arc::strong_count(note) > 1 || note.has_callback()
        });
        self.sweep_at = 2 * tasks.len();
    }

    /// Waits for all tasks; the first error that nobody can read any more.
    fn finish(self) -> Option<TaskError> {
        self.tasks.iter().for_each(|note| note.wait());
        let errors = self.tasks.iter().map(|note| note.close());
        // All are closed, whichever the first error is.
        errors.fold(self.first_error, Option::or)
    }
}

/// The end of a task, whatever runs it.
pub(crate) trait End: Send + Sync {
    /// Waits for it.
    fn wait(&self);
    /// Whether it has come.
    fn is_over(&self) -> bool;
    /// The error of a task that is over, if it has one; its result goes.
    fn take_error(&self) -> Option<TaskError>;
}

/// What a scope and a result know of each other.
pub(crate) struct Note {
    state: AtomicU8,
    end: Box<dyn End>,
    /// Hung up on when the callback has run, if there is one.
    callback: Mutex<Option<Receiver<()>>>,
}

/// Held by a callback until it has run.
pub(crate) struct Pending(#[allow(dead_code)] Sender<()>);

/// Somebody may read the result.
const HELD: u8 = 0;
/// The result was dropped unread, and its task is the scope's.
const UNREAD: u8 = 1;
/// The scope has been left.
const LEFT: u8 = 2;

impl Note {
    pub(crate) fn new(end: Box<dyn End>) -> Self {
        Self { state: AtomicU8::new(HELD), end, callback: Mutex::default() }
    }

    /// The scope's end waits until what is returned is dropped.
    pub(crate) fn await_callback(&self) -> Pending {
        let (sender, receiver) = channel();
        *self.callback.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
        Pending(sender)
    }

    fn has_callback(&self) -> bool {
        use std::sync::mpsc::TryRecvError::Disconnected;
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner);
        callback.as_ref().is_some_and(|callback| callback.try_recv() != Err(Disconnected))
    }

    /// Waits until the task is over, and its callback.
    fn wait(&self) {
        self.end.wait();
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread of callbacks would wait for itself.
        if let Some(callback) = callback.filter(|_| !runs_callbacks()) {
            let _ = callback.recv();
        }
    }

    /// The result is dropped unread; whether the scope takes care of the task.
    pub(crate) fn leave(&self) -> bool {
        // ORDERING: what the result's owner did before is seen by the scope's end.
        self.state.compare_exchange(HELD, UNREAD, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The scope is left, and its task is over; its error, if nobody will read it.
    fn close(&self) -> Option<TaskError> {
        let before = self.state.swap(LEFT, Ordering::AcqRel);
        (before == UNREAD).then(|| self.end.take_error()).flatten()
    }
}

impl<P> fmt::Debug for Scope<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
