//! A pool in a manager.
//!
//! It stands here because managers and pools do not know each other: to a manager it is an object
//! of a user's type, which callers' functions begin tasks in and leave at once. A task holds no
//! thread of the manager; its result is answered when the pool has it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use ipc_core::Message;
use mp_manager::{AsyncReply, Later, ManagerError};
use mp_pool::{AsyncResult, Pool, PoolError, TaskError};
use mp_process::{Function, Function2, Panic};
use serde::{Deserialize, Serialize};

use crate::Result;

/// What a [`PoolProxy`] stands for.
pub struct ManagedPool {
    /// Gone once it is being joined.
    pool: RwLock<Option<Pool>>,
    end: Arc<Mutex<End>>,
}

#[derive(Default)]
struct End {
    has_come: bool,
    waiting: Vec<Later<()>>,
}

#[mp_manager::object(proxy = PoolProxy)]
impl ManagedPool {
    /// Starts a pool of so many workers in the manager. They are children of its server, and end
    /// with the last proxy.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> multiprocess::Result<()> {
    /// use multiprocess::{Manager, PoolProxy};
    ///
    /// fn square(x: u64) -> u64 { x * x }
    ///
    /// multiprocess::init();
    /// let manager = Manager::start()?;
    /// let pool = PoolProxy::create(&manager, 2)?;
    /// assert_eq!(pool.apply(square, 7)?, 49);
    /// assert_eq!(pool.map(square, 0..4)?, [0, 1, 4, 9]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(processes: usize) -> std::result::Result<Self, PoolError> {
        let pool = Pool::new(processes)?;
        Ok(Self { pool: RwLock::new(Some(pool)), end: Arc::default() })
    }

    /// Takes no more tasks. Those that were begun before are taken, as this waits for its turn.
    pub fn close(&mut self) {
        self.with(|pool| pool.map_or((), Pool::close));
    }

    /// Kills the workers; tasks that are not done fail.
    pub fn terminate(&self) {
        self.with(|pool| pool.map_or((), Pool::terminate));
    }

    /// The ids of its workers.
    pub fn pids(&self) -> Vec<u32> {
        self.with(|pool| pool.map(Pool::pids).unwrap_or_default())
    }
}

impl ManagedPool {
    fn with<R>(&self, run: impl FnOnce(Option<&Pool>) -> R) -> R {
        run(self.pool.read().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    /// Begins tasks, and answers with their result when it is here.
    fn begin<T: Message + Send>(
        &self,
        later: Later<std::result::Result<T, FailedTask>>,
        begin: impl FnOnce(&Pool) -> AsyncResult<T>,
    ) {
        match self.with(|pool| pool.map(begin)) {
            Some(result) => {
                // A panic in this is the encoding's, and the caller's who gets no answer.
                let _ = result.on_done(|result| later.answer(&result.map_err(FailedTask::from)));
            }
            None => later.answer(&Err(FailedTask::joined())),
        }
    }

    /// The first that comes has a thread wait for the end, which answers all.
    fn join_later(&self, later: Later<()>) {
        let pool = self.pool.write().unwrap_or_else(PoisonError::into_inner).take();
        let mut end = lock(&self.end);
        if end.has_come {
            drop(end);
            return later.answer(&());
        }
        end.waiting.push(later);
        drop(end);
        let Some(pool) = pool else { return };
        let end = Arc::clone(&self.end);
        let join = move || {
            pool.join();
            let mut end = lock(&end);
            end.has_come = true;
            let waiting = std::mem::take(&mut end.waiting);
            drop(end);
            waiting.into_iter().for_each(|later| later.answer(&()));
        };
        if thread::Builder::new().name("join a pool".into()).spawn(join).is_err() {
            // The pool has ended with the closure; those that wait hear that they were dropped.
            lock(&self.end).waiting.clear();
        }
    }
}

fn lock(end: &Mutex<End>) -> MutexGuard<'_, End> {
    end.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outcome of tasks that were begun in a manager's pool.
pub type ManagedResult<T> = AsyncReply<std::result::Result<T, FailedTask>>;

type Outcome<T> = Later<std::result::Result<T, FailedTask>>;

/// Functions are plain ones, as everywhere, and calls wait as long as the pool works on them.
#[allow(clippy::missing_errors_doc)]
impl PoolProxy {
    /// Runs a task, and waits for its value.
    pub fn apply<A: Message, R: Message + Send>(&self, function: fn(A) -> R, arg: A) -> Result<R> {
        Ok(self.apply_async(function, arg)?.get()??)
    }

    /// Begins a task.
    pub fn apply_async<A: Message, R: Message + Send>(
        &self,
        function: fn(A) -> R,
        arg: A,
    ) -> std::result::Result<ManagedResult<R>, ManagerError> {
        let begin = |pool: &ManagedPool, ((function, arg), later): (Work<A, R>, Outcome<R>)| {
            pool.begin(later, |pool| pool.apply_async(*function, arg));
        };
        self.later(begin, (Function::new(function), arg))
    }

    /// Runs a task for each item, and waits for the values, in the order of the items.
    pub fn map<A: Message, R: Message + Send>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>> {
        Ok(self.map_async(function, items)?.get()??)
    }

    /// Begins a task for each item.
    pub fn map_async<A: Message, R: Message + Send>(
        &self,
        function: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> std::result::Result<ManagedResult<Vec<R>>, ManagerError> {
        let begin = |pool: &ManagedPool, ((function, items), later): (Works<A, R>, Outcome<Vec<R>>)| {
            pool.begin(later, |pool| pool.map_async(*function, items));
        };
        self.later(begin, (Function::new(function), items.into_iter().collect()))
    }

    /// As [`map`](Self::map), for a function of two parameters.
    pub fn starmap<A: Message, B: Message, R: Message + Send>(
        &self,
        function: fn(A, B) -> R,
        items: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Vec<R>> {
        Ok(self.starmap_async(function, items)?.get()??)
    }

    /// As [`map_async`](Self::map_async), for a function of two parameters.
    pub fn starmap_async<A: Message, B: Message, R: Message + Send>(
        &self,
        function: fn(A, B) -> R,
        items: impl IntoIterator<Item = (A, B)>,
    ) -> std::result::Result<ManagedResult<Vec<R>>, ManagerError> {
        let begin = |pool: &ManagedPool, ((function, items), later): (Pairs<A, B, R>, Outcome<Vec<R>>)| {
            pool.begin(later, |pool| pool.starmap_async(*function, items));
        };
        self.later(begin, (Function2::new(function), items.into_iter().collect()))
    }

    /// Runs a task for each item, and brings the values one by one, in the order of the items,
    /// which are taken as values are: a few are always on their way.
    pub fn imap<A: Message, R: Message + Send, I: IntoIterator<Item = A>>(
        &self,
        function: fn(A) -> R,
        items: I,
    ) -> ManagedImap<'_, I::IntoIter, A, R> {
        ManagedImap { pool: self, function, items: items.into_iter(), begun: VecDeque::new(), in_order: true }
    }

    /// As [`imap`](Self::imap), and brings the values as they come.
    pub fn imap_unordered<A: Message, R: Message + Send, I: IntoIterator<Item = A>>(
        &self,
        function: fn(A) -> R,
        items: I,
    ) -> ManagedImap<'_, I::IntoIter, A, R> {
        ManagedImap { in_order: false, ..self.imap(function, items) }
    }

    /// Takes no more tasks, and waits until those that were begun are done and the workers have
    /// ended.
    pub fn join(&self) -> Result<()> {
        // Tasks begin side by side, so that a join alone might come before them.
        self.close()?;
        let join = |pool: &ManagedPool, ((), later): ((), Later<()>)| pool.join_later(later);
        Ok(self.later(join, ())?.get()?)
    }
}

type Work<A, R> = (Function<A, R>, A);
type Works<A, R> = (Function<A, R>, Vec<A>);
type Pairs<A, B, R> = (Function2<A, B, R>, Vec<(A, B)>);

/// So many tasks of an `imap` are on their way at once.
const WINDOW: usize = 64;

/// The values of an [`imap`](PoolProxy::imap) in a manager's pool.
pub struct ManagedImap<'a, I, A, R> {
    pool: &'a PoolProxy,
    function: fn(A) -> R,
    items: I,
    begun: VecDeque<ManagedResult<R>>,
    in_order: bool,
}

impl<I: Iterator<Item = A>, A: Message, R: Message + Send> Iterator for ManagedImap<'_, I, A, R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.begun.len() < WINDOW {
            let Some(item) = self.items.next() else { break };
            match self.pool.apply_async(self.function, item) {
                Ok(begun) => self.begun.push_back(begun),
                Err(error) => return Some(Err(error.into())),
            }
        }
        let place = if self.in_order { 0 } else { AsyncReply::wait_any(&self.begun).unwrap_or(0) };
        let reply = self.begun.remove(place)?;
        Some(match reply.get() {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(error) => Err(error.into()),
        })
    }
}

impl<I, A, R> fmt::Debug for ManagedImap<'_, I, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedImap").field("begun", &self.begun.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ManagedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|pool| f.debug_struct("ManagedPool").field("pool", &pool).finish())
    }
}

/// A task of a manager's pool has no value: what is known of its [`TaskError`] here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct FailedTask {
    text: String,
    index: Option<usize>,
    panic: Option<Panic>,
    kind: FailedKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum FailedKind {
    Panicked,
    WorkerDied,
    Codec,
    Pool,
    Other,
}

impl FailedTask {
    fn joined() -> Self {
        let text = "the pool was joined and takes no more tasks".to_owned();
        Self { text, index: None, panic: None, kind: FailedKind::Pool }
    }

    /// Which item of a map the error is of, counted from 0.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.index
    }

    /// The panic of the task.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        self.panic.as_ref()
    }

    /// The task's worker died while it ran.
    #[must_use]
    pub fn is_worker_died(&self) -> bool {
        self.kind == FailedKind::WorkerDied
    }

    /// The argument or the value could not be encoded or decoded.
    #[must_use]
    pub fn is_codec(&self) -> bool {
        self.kind == FailedKind::Codec
    }

    /// The pool was closed, or has given up.
    #[must_use]
    pub fn is_of_pool(&self) -> bool {
        self.kind == FailedKind::Pool
    }
}

impl From<TaskError> for FailedTask {
    fn from(error: TaskError) -> Self {
        let kind = if error.is_panic() {
            FailedKind::Panicked
        } else if error.is_worker_died() {
            FailedKind::WorkerDied
        } else if error.is_codec() {
            FailedKind::Codec
        } else if error.pool_error().is_some() {
            FailedKind::Pool
        } else {
            FailedKind::Other
        };
        Self { text: error.to_string(), index: error.index(), panic: error.panic().cloned(), kind }
    }
}
