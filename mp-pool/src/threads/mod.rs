//! The pool's verbs over threads of this process.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::async_result::AsyncResult;
use crate::error::{PoolError, PoolKind, TaskError, TaskKind};
use crate::scope::Scope;
use crate::stats::PoolStats;
use crate::task_pool::TaskPool;

mod crew;
mod record;
mod slot;
mod stream;

pub(crate) use slot::Slot;
pub use stream::{ThreadImap, ThreadImapUnordered};

use crew::{Crew, Task};
use record::Record;
use slot::{Many, Promise};
use stream::Stream;

/// Threads that run functions: the verbs of a [`Pool`](crate::Pool) without its
/// processes.
///
/// Arguments and values are moved and not encoded, functions may be closures that
/// capture, and starting one costs next to nothing. What threads cannot give: a task
/// that runs can be neither stopped nor limited, and one that crashes takes the
/// program with it. A panic is the task's error here too; the program's panic hook
/// has its say first.
///
/// A task that waits for tasks of its own pool holds a thread while it does; when
/// all threads wait so, none of them goes on.
///
/// Dropping it drops the tasks that no thread has begun and lets the threads end
/// when they are done; to wait for all, [`join`](Self::join) it. Code that should
/// work with either kind of pool is written for a [`TaskPool`](crate::TaskPool).
///
/// # Examples
/// ```
/// use mp_pool::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// let factor = 3;
/// assert_eq!(pool.map(move |x: u64| x * factor, 0..4)?, [0, 3, 6, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPool {
    crew: Arc<Crew>,
    threads: Vec<JoinHandle<()>>,
    records: Vec<Arc<Record>>,
}

impl ThreadPool {
    /// A pool of `threads` threads.
    ///
    /// # Errors
    /// [`PoolError`] if no threads were asked for, or if the system refuses one.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        Self::with_initializer(threads, |()| (), ())
    }

    /// As [`new`](Self::new); each thread calls `function` with a clone of `argument`
    /// before its first task. If it panics, the pool's tasks fail with that panic.
    ///
    /// # Errors
    /// As `new`.
    #[doc(alias = "initializer")]
    pub fn with_initializer<A: Clone + Send + 'static>(
        threads: usize,
        function: fn(A),
        argument: A,
    ) -> Result<Self, PoolError> {
        if threads == 0 {
            return Err(PoolKind::NoWorkers.into());
        }
        let mut pool =
            Self { crew: Arc::default(), threads: Vec::with_capacity(threads), records: Vec::new() };
        for number in 1..=threads {
            let (crew, argument) = (Arc::clone(&pool.crew), argument.clone());
            let name = format!("ThreadPool-{number}");
            let record = Arc::new(Record::new(name.clone()));
            pool.records.push(Arc::clone(&record));
            let work = move || crew.work(&record, move || function(argument));
            pool.threads.push(thread::Builder::new().name(name).spawn(work)?);
        }
        Ok(pool)
    }

    /// What the threads have done so far, and what their time went into; of the slowest
    /// inputs those of a map are known several at a time, as threads take them. What a
    /// thread has just done may count a moment after its result has come.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        record::stats(&self.records)
    }

    /// How many threads there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// Runs `function` with `argument` in a thread and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`]: the task panicked, or the pool takes no tasks.
    pub fn apply<A, R, F>(&self, function: F, argument: A) -> Result<R, TaskError>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: FnOnce(A) -> R + Send + 'static,
    {
        self.apply_async(function, argument).get()
    }

    /// Has `function` run with `argument` in a thread, and returns at once.
    ///
    /// # Examples
    /// ```
    /// let pool = mp_pool::ThreadPool::new(2)?;
    /// let later = pool.apply_async(|x: u64| x * x, 7);
    /// assert_eq!(later.get()?, 49);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "submit")]
    pub fn apply_async<A, R, F>(&self, function: F, argument: A) -> AsyncResult<R>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: FnOnce(A) -> R + Send + 'static,
    {
        let (slot, promise) = Promise::new();
        let run = Box::new(move || {
            if promise.begin() {
                promise.keep(run(|| function(argument)));
            }
        });
        let task = Task { index: 0, items: 1, run };
        if let Err((error, task)) = self.take(task) {
            slot.set(Err(error.into()));
            drop(task);
        }
        AsyncResult::of_slot(slot)
    }

    fn take(&self, task: Task) -> Result<(), (PoolError, Task)> {
        match self.crew.check() {
            Ok(()) => self.crew.submit(task),
            Err(error) => Err((error, task)),
        }
    }

    /// Runs `function` with each of `items` and waits for all values, in order.
    ///
    /// Items are taken from the iterator, several at a time, as threads are ready.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item, in order, that failed, after all others
    /// are done.
    pub fn map<A, R, I, F>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        Stream::of_map(&self.crew, self.workers(), function, items.into_iter()).gather()
    }

    /// As [`map`](Self::map), until one item fails: with the first `Err` of the
    /// function that comes, no more items are given out, and it is the inner error.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item that could not be run.
    pub fn try_map<A, T, E, I, F>(&self, function: F, items: I) -> Result<Result<Vec<T>, E>, TaskError>
    where
        A: Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> Result<T, E> + Send + Sync + 'static,
    {
        Stream::of_map(&self.crew, self.workers(), function, items.into_iter()).gather_while()
    }

    /// As [`map`](Self::map), for a function of two parameters.
    ///
    /// # Errors
    /// As `map`.
    pub fn starmap<A, B, R, I, F>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Send + 'static,
        B: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = (A, B)>,
        F: Fn(A, B) -> R + Send + Sync + 'static,
    {
        self.map(move |(a, b)| function(a, b), items)
    }

    /// As [`map`](Self::map), and returns at once. The items are taken before it
    /// returns.
    pub fn map_async<A, R, I, F>(&self, function: F, items: I) -> AsyncResult<Vec<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        let items: Vec<A> = items.into_iter().collect();
        let size = stream::chunk_size(items.len(), self.workers());
        let many = Many::new(items.len());
        if let Err(error) = self.crew.check() {
            many.slot().set(Err(error.into()));
            return AsyncResult::of_slot(Arc::clone(many.slot()));
        }
        let function = Arc::new(function);
        let mut rest = items.into_iter();
        let mut index = 0;
        while rest.len() > 0 {
            let chunk: Vec<A> = rest.by_ref().take(size).collect();
            let (share, function) = (many.share(index, chunk.len()), Arc::clone(&function));
            let items = chunk.len();
            let run = Box::new(move || share.run(chunk, |item| run(|| function(item))));
            let task = Task { index, items, run };
            index += items;
            if let Err((error, task)) = self.crew.submit(task) {
                many.slot().set(Err(error.into()));
                drop(task);
                break;
            }
        }
        AsyncResult::of_slot(Arc::clone(many.slot()))
    }

    /// As [`starmap`](Self::starmap), and returns at once.
    pub fn starmap_async<A, B, R, I, F>(&self, function: F, items: I) -> AsyncResult<Vec<R>>
    where
        A: Send + 'static,
        B: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = (A, B)>,
        F: Fn(A, B) -> R + Send + Sync + 'static,
    {
        self.map_async(move |(a, b)| function(a, b), items)
    }

    /// Runs `function` with each of `items`, and yields the values in order, each as
    /// soon as it and all before it are there. Items are taken as values are, so the
    /// input may be endless.
    pub fn imap<A, R, I, F>(&self, function: F, items: I) -> ThreadImap<'_, I::IntoIter, R>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        ThreadImap::new(self.imap_unordered(function, items))
    }

    /// As [`imap`](Self::imap), but yields each value as soon as it is there.
    pub fn imap_unordered<A, R, I, F>(&self, function: F, items: I) -> ThreadImapUnordered<'_, I::IntoIter, R>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        ThreadImapUnordered::new(Stream::of_imap(&self.crew, self.workers(), function, items.into_iter()))
    }

    /// Runs `block`, in which tasks can be submitted, and waits until all of them are
    /// done; see [`TaskPool::scope`].
    ///
    /// # Errors
    /// The first error of a task whose result was dropped unread.
    pub fn scope<'pool, T>(
        &'pool self,
        block: impl FnOnce(&Scope<'pool, Self>) -> T,
    ) -> Result<T, TaskError> {
        TaskPool::scope(self, block)
    }

    /// Takes no more tasks; those under way go on.
    pub fn close(&self) {
        self.crew.close();
    }

    /// Drops the tasks that no thread has begun, whose results are then an error, and
    /// takes no more. Threads end when they have done what they do; this does not
    /// wait for them.
    pub fn terminate(&self) {
        self.crew.end(PoolKind::Terminated.into());
    }

    /// Waits until the threads have done all tasks, and ended.
    pub fn join(mut self) {
        self.crew.finish();
        let own = thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != own) {
            // A thread catches what its tasks throw.
            let _ = thread.join();
        }
    }
}

/// Runs a task; its panic is its error.
fn run<R>(task: impl FnOnce() -> R) -> Result<R, TaskError> {
    mp_process::catch_panic(task).map_err(|panic| TaskKind::Panicked(panic).into())
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.terminate();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}
