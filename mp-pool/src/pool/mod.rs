//! The pool; its verbs are in the files beside.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use ipc_core::{EncodeError, Message};

use crate::builder::{Builder, ONE_END};
use crate::driver::Driver;
use crate::error::{PoolError, TaskError};
use crate::scope::Scope;
use crate::shared::Shared;
use crate::stats::PoolStats;
use crate::task_pool::TaskPool;
use crate::worker;

mod maps;
mod one;
mod streams;

/// Worker processes that run functions of this program.
///
/// Threads may share it. Dropping it ends the workers within about a second,
/// whatever they do; to let them finish, [`join`](Self::join) it. `S` is the state
/// that each worker keeps between tasks, if the pool was built with one
/// ([`Builder::state`]).
///
/// It stays with its process: in a fork of that, all that is asked of it is an error for
/// which [`is_forked`](PoolError::is_forked) holds, and dropping it there ends nothing.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.apply(|(a, b): (i32, i32)| a * b, (3, 4))?, 12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<S = ()> {
    driver: Arc<Driver>,
    priority: i32,
    /// The workers end when this is dropped.
    is_owner: bool,
    state: PhantomData<fn() -> S>,
}

impl Pool {
    /// A pool of `processes` workers.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn new(processes: usize) -> Result<Self, PoolError> {
        Self::builder().processes(processes).build()
    }

    /// Sets more about a pool before it is made.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<S: 'static> Pool<S> {
    pub(crate) fn new_over(driver: Arc<Driver>) -> Self {
        Self { driver, priority: 0, is_owner: true, state: PhantomData }
    }

    /// The same pool, which this one does not end.
    pub(crate) fn again(&self) -> Self {
        self.view(self.priority)
    }

    /// See [`Driver::tidy`].
    pub(crate) fn tidy(&self) {
        self.driver.tidy();
    }

    /// Keeps a value in the workers for tasks that look at it: [`Shared`] has the verbs
    /// for them.
    ///
    /// It is encoded once, here, and sent at most once to each worker, with the first task
    /// that needs it there; a worker that takes a dead one's place gets it as well. Large
    /// ones lie in memory that all workers read when they decode it. Workers drop it when
    /// the last clone of the handle is dropped and the tasks that look at it are done.
    ///
    /// # Errors
    /// [`TaskError`] if the value does not encode, or holds a channel end, which moves
    /// only once; or if the pool has ended.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let primes = pool.share(&vec![2, 3, 5, 7, 11])?;
    /// let is_prime = primes.map(|primes: &Vec<u32>, x: u32| primes.contains(&x), 1..=4)?;
    /// assert_eq!(is_prime, [false, true, true, false]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "broadcast")]
    pub fn share<T: Message>(&self, value: &T) -> Result<Shared<T>, TaskError> {
        let lease = self.driver.share(|id, by_memory| match worker::keep_order(id, value, by_memory)? {
            order if order.moves_ends() => Err(EncodeError::new::<T>(ONE_END)),
            order => Ok(order),
        })?;
        Ok(Shared::new(self.view(self.priority), lease))
    }

    /// The same pool, under a priority, which does not end it.
    pub(crate) fn view<T>(&self, priority: i32) -> Pool<T> {
        Pool { driver: Arc::clone(&self.driver), priority, is_owner: false, state: PhantomData }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.driver.workers()
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

    /// The ids of the worker processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.driver.pids()
    }

    /// What the workers have done so far, and what their time went into; see
    /// [`PoolStats`]. Takes in what has come, and does not wait.
    ///
    /// It costs a quick task some nanoseconds, which are spent whether or not anybody asks.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.driver.stats()
    }

    /// Sets how many workers there are, while they work.
    ///
    /// New ones are started before this returns. Where there are too many, those with
    /// the least to do get no more tasks, do what they have, and leave: no task is lost.
    ///
    /// # Errors
    /// [`PoolError`] if none are asked for, if the pool has ended, or if a worker could
    /// not be started; then there are as many as could, and the pool tries again when
    /// one ends.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(1)?;
    /// pool.resize(3)?;
    /// assert_eq!(pool.pids().len(), 3);
    /// pool.resize(1)?;
    /// assert_eq!((pool.workers(), pool.apply(|x: u32| x + 1, 1)?), (1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resize(&self, processes: usize) -> Result<(), PoolError> {
        self.driver.resize(processes)
    }

    /// The same pool, whose verbs submit tasks of this priority: they are given out
    /// before all queued ones of a lower priority. That of the pool itself is zero.
    ///
    /// Tasks that a worker holds already are not overtaken; those are few, and none
    /// are given ahead that take longer than some milliseconds.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(1)?;
    /// let usual = pool.map_async(|x: u64| x * x, 0..10);
    /// let urgent = pool.priority(5).apply_async(|()| "first".to_owned(), ());
    /// assert_eq!((urgent.get()?.as_str(), usual.get()?[3]), ("first", 9));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn priority(&self, priority: i32) -> Prioritized<'_, S> {
        Prioritized { view: self.view(priority), pool: PhantomData }
    }

    /// Takes no more tasks; those under way go on.
    pub fn close(&self) {
        self.driver.close();
    }

    /// Ends the workers, whatever they do: asks them to, and kills those that have
    /// not ended within a second; two seconds at most in all. Callers that wait for a task get an error.
    pub fn terminate(&self) {
        self.driver.terminate();
    }

    /// Waits until the workers have done what they were given, and ended.
    ///
    /// Results that nobody waits for any more are dropped.
    pub fn join(self) {
        self.driver.end_gently();
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        if self.is_owner {
            self.driver.terminate();
        }
    }
}

/// A pool under another priority; made by [`Pool::priority`].
#[derive(Debug)]
pub struct Prioritized<'pool, S> {
    view: Pool<S>,
    pool: PhantomData<&'pool Pool<S>>,
}

impl<S> Deref for Prioritized<'_, S> {
    type Target = Pool<S>;

    fn deref(&self) -> &Pool<S> {
        &self.view
    }
}

impl<S> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("pids", &self.driver.pids()).finish_non_exhaustive()
    }
}
