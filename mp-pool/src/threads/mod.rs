//! The pool's verbs over threads of this process.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{PoolError, PoolKind, TaskError, TaskKind};
use crate::scope::Scope;
use crate::stats::PoolStats;
use crate::task_pool::TaskPool;

mod crew;
mod hall;
mod maps;
mod one;
mod record;
mod shared;
mod slot;
mod stream;
mod streams;

pub use shared::ThreadShared;
pub(crate) use slot::Slot;
pub use stream::{ThreadImap, ThreadImapUnordered};

use hall::{Begin, Hall};

/// Threads that run functions: the verbs of a [`Pool`](crate::Pool) without its
/// processes.
///
/// Arguments and values are moved and not encoded, functions may be closures that
/// capture, and starting one costs next to nothing. A panic is the task's error here too;
/// the program's panic hook has its say first. `S` is the state that each thread keeps
/// between tasks, if the pool was made [with one](Self::with_state).
///
/// It has all verbs of a `Pool`. What it has not is what threads cannot have, or what is at hand
/// without it:
///
/// | of a `Pool` | here |
/// |---|---|
/// | `retries`, the death of a worker | a thread does not die alone: a crash takes the program with it |
/// | `task_timeout`, [`cancel`](crate::AsyncResult::cancel) of what runs | a thread cannot be stopped: what runs, runs on; what is queued is cancelled |
/// | `soft_timeout`, [`task_deadline`](crate::task_deadline) | the function captures its deadline |
/// | `memory_limit`, `task_memory_limit` | memory is the program's, and so are its limits |
/// | `max_tasks_per_child`, `max_memory_per_child` | what a task leaks stays when its thread ends |
/// | `idle_timeout`, `min_processes` | an idle thread costs a stack that nobody touches; [`resize`](Self::resize) ends it |
/// | `at_exit` | the state is dropped on its thread, when that leaves |
/// | `window_bytes` | values are moved and not copied: the number of those under way is bounded |
/// | `start_method`, `transport`, `budget`, `pids` | there are no processes |
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
pub struct ThreadPool<S = ()> {
    hall: Arc<Hall>,
    priority: i32,
    /// The threads end when this is dropped.
    is_owner: bool,
    state: PhantomData<fn() -> S>,
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
    ///
    /// # Panics
    /// If `argument` panics when it is cloned.
    #[doc(alias = "initializer")]
    pub fn with_initializer<A: Clone + Send + 'static>(
        threads: usize,
        function: fn(A),
        argument: A,
    ) -> Result<Self, PoolError> {
        ThreadPool::with_state(threads, function, argument)
    }
}

impl<S: 'static> ThreadPool<S> {
    /// As [`ThreadPool::new`]; each thread makes a state of its own with `function` and a clone of
    /// `argument` before its first task. Tasks get it by [`apply_state`](Self::apply_state) and
    /// [`map_state`](Self::map_state), and it is dropped on its thread when that leaves. If
    /// `function` panics, the pool's tasks fail with that panic.
    ///
    /// # Errors
    /// As `new`.
    ///
    /// # Panics
    /// If `argument` panics when it is cloned.
    ///
    /// # Examples
    /// ```
    /// use mp_pool::ThreadPool;
    ///
    /// let pool = ThreadPool::with_state(2, |base: u64| vec![base], 40)?;
    /// let sums = pool.map_state(|seen, x: u64| seen[0] + x, [1, 2])?;
    /// assert_eq!(sums, [41, 42]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_state<A: Clone + Send + 'static>(
        threads: usize,
        function: fn(A) -> S,
        argument: A,
    ) -> Result<Self, PoolError> {
        if threads == 0 {
            return Err(PoolKind::NoWorkers.into());
        }
        let argument = Mutex::new(argument);
        let begin = move || -> Begin {
            let argument = argument.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Box::new(move || -> Box<dyn Any> { Box::new(function(argument)) })
        };
        let pool = Self { hall: Arc::new(Hall::new(begin)), priority: 0, is_owner: true, state: PhantomData };
        pool.resize(threads)?;
        Ok(pool)
    }

    /// Sets how many threads there are, while they work. New ones are started before this
    /// returns; where there are too many, some leave when they have done what they do.
    ///
    /// # Errors
    /// [`PoolError`] if none are asked for, if the pool has ended, or if the system refuses a
    /// thread; then there are as many as could be started.
    ///
    /// # Panics
    /// If what each thread begins with panics when it is cloned; then there are as many, too.
    ///
    /// # Examples
    /// ```
    /// let pool = mp_pool::ThreadPool::new(1)?;
    /// pool.resize(3)?;
    /// assert_eq!((pool.workers(), pool.apply(|x: u32| x + 1, 1)?), (3, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resize(&self, threads: usize) -> Result<(), PoolError> {
        if threads == 0 {
            return Err(PoolKind::NoWorkers.into());
        }
        self.hall.resize(threads)
    }

    /// The same pool, whose verbs submit tasks of this priority: they are begun before all
    /// queued ones of a lower priority. That of the pool itself is zero.
    ///
    /// # Examples
    /// ```
    /// let pool = mp_pool::ThreadPool::new(1)?;
    /// let usual = pool.map_async(|x: u64| x * x, 0..10);
    /// let urgent = pool.priority(5).apply_async(|()| "first".to_owned(), ());
    /// assert_eq!((urgent.get()?.as_str(), usual.get()?[3]), ("first", 9));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn priority(&self, priority: i32) -> ThreadPrioritized<'_, S> {
        ThreadPrioritized { view: self.view(priority), pool: PhantomData }
    }

    /// The same pool, under a priority, which does not end it.
    fn view<T>(&self, priority: i32) -> ThreadPool<T> {
        ThreadPool { hall: Arc::clone(&self.hall), priority, is_owner: false, state: PhantomData }
    }

    /// Keeps a value for tasks that look at it: [`ThreadShared`] has the verbs for them. It is
    /// moved there, and neither encoded nor copied; a closure that captures an
    /// [`Arc`] does as well.
    ///
    /// # Examples
    /// ```
    /// let pool = mp_pool::ThreadPool::new(2)?;
    /// let primes = pool.share(vec![2, 3, 5, 7, 11]);
    /// let is_prime = primes.map(|primes, x: u32| primes.contains(&x), 1..=4)?;
    /// assert_eq!(is_prime, [false, true, true, false]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "broadcast")]
    #[must_use]
    pub fn share<T: Send + Sync + 'static>(&self, value: T) -> ThreadShared<T> {
        ThreadShared::new(self.view(self.priority), Arc::new(value))
    }

    /// What the threads have done so far, and what their time went into; of the slowest
    /// inputs those of a map are known several at a time, as threads take them. What a
    /// thread has just done may count a moment after its result has come.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.hall.stats()
    }

    /// How many threads there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.hall.crew.wanted()
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
        self.hall.crew.close();
    }

    /// Drops the tasks that no thread has begun, whose results are then an error, and
    /// takes no more. Threads end when they have done what they do; this does not
    /// wait for them.
    pub fn terminate(&self) {
        self.hall.crew.end(PoolKind::Terminated.into());
    }

    /// Waits until the threads have done all tasks, and ended.
    pub fn join(self) {
        self.hall.finish();
    }
}

/// A pool of threads under another priority; made by [`ThreadPool::priority`].
#[derive(Debug)]
pub struct ThreadPrioritized<'pool, S = ()> {
    view: ThreadPool<S>,
    pool: PhantomData<&'pool ThreadPool<S>>,
}

impl<S> Deref for ThreadPrioritized<'_, S> {
    type Target = ThreadPool<S>;

    fn deref(&self) -> &ThreadPool<S> {
        &self.view
    }
}

impl<S> Drop for ThreadPool<S> {
    fn drop(&mut self) {
        if self.is_owner {
            self.hall.crew.end(PoolKind::Terminated.into());
        }
    }
}

impl<S> fmt::Debug for ThreadPool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.hall.crew.wanted()).finish_non_exhaustive()
    }
}

/// Runs a task; its panic is its error.
fn run<R>(task: impl FnOnce() -> R) -> Result<R, TaskError> {
    mp_process::catch_panic(task).map_err(|panic| TaskKind::Panicked(panic).into())
}

/// The state of a thread, whose type its pool knows.
fn own<S: 'static>(state: &mut dyn Any) -> &mut S {
    state.downcast_mut().expect("a pool's threads have its state")
}
