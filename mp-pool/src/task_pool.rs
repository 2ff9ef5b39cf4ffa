//! What pools of processes and pools of threads have in common.

use std::ops::Deref;
use std::time::Duration;

use ipc_core::Message;

use crate::async_result::AsyncResult;
use crate::error::{PoolError, TaskError, TimeoutError};
use crate::imap::{Imap, ImapUnordered};
use crate::pool::Pool;
use crate::progress::Progress;
use crate::scope::{self, Scope};
use crate::shared::Shared;
use crate::stats::PoolStats;
use crate::stop_rule::{StopRule, Stopped};
use crate::threads::{ThreadImap, ThreadImapUnordered, ThreadPool, ThreadShared};

/// A pool, of processes or of threads.
///
/// Code that is written for any `P: TaskPool` runs its tasks wherever the caller
/// wants them: a [`Pool`] where they need processes, a [`ThreadPool`] where starting
/// those is not worth it, or in a test.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_pool::{Pool, TaskError, TaskPool, ThreadPool};
///
/// fn squares(pool: &impl TaskPool) -> Result<Vec<u64>, TaskError> {
///     pool.map(|x: u64| x * x, 0..4)
/// }
///
/// assert_eq!(squares(&Pool::new(2)?)?, [0, 1, 4, 9]);
/// assert_eq!(squares(&ThreadPool::new(2)?)?, [0, 1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TaskPool: Sized {
    /// What [`share`](Self::share) gives.
    type Shared<T: Message + Clone + Send + Sync>: SharedValue<T>;

    /// How many workers there are.
    fn workers(&self) -> usize;

    /// Runs `function` with `argument` in a worker and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`]: why there is no value.
    fn apply<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<R, TaskError>
    where
        A: Message + Send,
        R: Message + Send;

    /// Has `function` run with `argument` in a worker, and returns at once.
    fn apply_async<A, R>(&self, function: fn(A) -> R, argument: A) -> AsyncResult<R>
    where
        A: Message + Send,
        R: Message + Send;

    /// Runs `function` with each of `items` and waits for all values, in order.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item, in order, that failed, after all others
    /// are done.
    fn map<A, R, I>(&self, function: fn(A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;

    /// As [`map`](Self::map), until an item fails: with the first `Err` of the
    /// function that comes no more items are given out, and it is the inner error.
    ///
    /// # Errors
    /// The [`TaskError`] of an item that could not be run.
    fn try_map<A, T, E, I>(
        &self,
        function: fn(A) -> Result<T, E>,
        items: I,
    ) -> Result<Result<Vec<T>, E>, TaskError>
    where
        A: Message + Send,
        T: Message + Send,
        E: Message + Send,
        I: IntoIterator<Item = A>;

    /// Runs `function` with each of `items`, for as long as no more fail than `rule`
    /// allows, and gives the outcome of each, in order.
    ///
    /// # Errors
    /// [`Stopped`], with what had come by then: the rule said so, or the pool ended.
    fn map_while<A, R, I>(
        &self,
        rule: StopRule,
        function: fn(A) -> R,
        items: I,
    ) -> Result<Vec<Result<R, TaskError>>, Stopped<R>>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;

    /// As [`map`](Self::map), for a function of two parameters.
    ///
    /// # Errors
    /// As `map`.
    fn starmap<A, B, R, I>(&self, function: fn(A, B) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message + Send,
        B: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = (A, B)>;

    /// As [`starmap`](Self::starmap), for three parameters.
    ///
    /// # Errors
    /// As `map`.
    fn starmap3<A, B, C, R, I>(&self, function: fn(A, B, C) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message + Send,
        B: Message + Send,
        C: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = (A, B, C)>;

    /// As [`starmap`](Self::starmap), for four parameters.
    ///
    /// # Errors
    /// As `map`.
    fn starmap4<A, B, C, D, R, I>(
        &self,
        function: fn(A, B, C, D) -> R,
        items: I,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Message + Send,
        B: Message + Send,
        C: Message + Send,
        D: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = (A, B, C, D)>;

    /// As [`map`](Self::map), and returns at once.
    fn map_async<A, R, I>(&self, function: fn(A) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;

    /// As [`starmap`](Self::starmap), and returns at once.
    fn starmap_async<A, B, R, I>(&self, function: fn(A, B) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Message + Send,
        B: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = (A, B)>;

    /// Runs `function` with each of `items`, which are taken as values are, and yields
    /// the values in order.
    fn imap<A, R, I>(&self, function: fn(A) -> R, items: I) -> impl Results<R>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;

    /// As [`imap`](Self::imap), but yields each value as soon as it is there.
    fn imap_unordered<A, R, I>(&self, function: fn(A) -> R, items: I) -> impl Results<R>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;

    /// Runs `block`, in which tasks can be submitted, and waits until all of them are
    /// done: also if the block panics, and also for those whose results it dropped. A
    /// callback of one that was submitted within has run by then.
    ///
    /// Results that the block holds or returns are read as any others. To leave
    /// without waiting, drop the pool, or [`cancel`](AsyncResult::cancel) the results.
    ///
    /// # Errors
    /// The first error, in the order in which they were submitted, of a task whose
    /// result was dropped unread; a pool that is terminated meanwhile is one.
    ///
    /// # Panics
    /// With the block's panic, after the tasks are done.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_pool::{Pool, TaskPool};
    ///
    /// let pool = Pool::new(2)?;
    /// let sum = pool.scope(|scope| {
    ///     let ten = scope.apply_async(|x: u64| x + 1, 9);
    ///     scope.map_async(|name: String| println!("hello {name}"), ["you".to_owned()]);
    ///     ten.get()
    /// })?;
    /// assert_eq!(sum?, 10); // and "hello you" has been said
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn scope<'pool, T>(&'pool self, block: impl FnOnce(&Scope<'pool, Self>) -> T) -> Result<T, TaskError> {
        scope::scope(self, block)
    }

    /// Keeps a value for tasks that look at it, where there is one copy for each worker process,
    /// and one for all threads.
    ///
    /// # Errors
    /// [`TaskError`] if it cannot be sent to workers, or if a pool of those has ended.
    fn share<T>(&self, value: &T) -> Result<Self::Shared<T>, TaskError>
    where
        T: Message + Clone + Send + Sync;

    /// The same pool, whose verbs submit tasks of this priority: they are given out before all
    /// queued ones of a lower one. That of the pool itself is zero.
    fn priority(&self, priority: i32) -> impl Deref<Target = Self>;

    /// Sets how many workers there are, while they work: no task is lost.
    ///
    /// # Errors
    /// [`PoolError`] if none are asked for, if the pool has ended, or if a worker could not be
    /// started.
    fn resize(&self, workers: usize) -> Result<(), PoolError>;

    /// What the workers have done so far, and what their time went into.
    fn stats(&self) -> PoolStats;

    /// Takes no more tasks; those under way go on.
    fn close(&self);

    /// Drops what has not been begun. Processes are ended, whatever they do; threads
    /// end when they have done what they do.
    fn terminate(&self);

    /// Waits until the workers have done what they were given, and ended.
    fn join(self);
}

/// Values as they come, from [`TaskPool::imap`] and [`TaskPool::imap_unordered`].
pub trait Results<R>: Iterator<Item = Result<R, TaskError>> {
    /// How many items travel together: one, or several quick ones, unless set. 0 is taken as 1.
    #[must_use]
    fn chunk_size(self, items: usize) -> Self;

    /// Calls `report` with how many values have come, after each, and how many there are in
    /// all, if the input knows that.
    fn progress<F: FnMut(usize, Option<usize>)>(self, report: F) -> Progress<Self, F>
    where
        Self: Sized;

    /// As [`next`](Iterator::next), and waits up to `timeout`.
    ///
    /// # Errors
    /// [`TimeoutError`] if there was no value by then; it can be asked for again.
    fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, TimeoutError>;
}

/// A value that all tasks look at, from [`TaskPool::share`]; its verbs are those of the pool, for
/// functions that get it.
pub trait SharedValue<T: Message>: Clone {
    /// As [`TaskPool::apply`].
    ///
    /// # Errors
    /// As there, and if the value could not be decoded in the worker.
    fn apply<A, R>(&self, function: fn(&T, A) -> R, argument: A) -> Result<R, TaskError>
    where
        A: Message + Send,
        R: Message + Send;

    /// As [`TaskPool::apply_async`].
    fn apply_async<A, R>(&self, function: fn(&T, A) -> R, argument: A) -> AsyncResult<R>
    where
        A: Message + Send,
        R: Message + Send;

    /// As [`TaskPool::map`].
    ///
    /// # Errors
    /// As there, and if the value could not be decoded in a worker.
    fn map<A, R, I>(&self, function: fn(&T, A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;

    /// As [`TaskPool::map_async`].
    fn map_async<A, R, I>(&self, function: fn(&T, A) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;

    /// As [`TaskPool::imap`].
    fn imap<A, R, I>(&self, function: fn(&T, A) -> R, items: I) -> impl Results<R>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;

    /// As [`TaskPool::imap_unordered`].
    fn imap_unordered<A, R, I>(&self, function: fn(&T, A) -> R, items: I) -> impl Results<R>
    where
        A: Message + Send,
        R: Message + Send,
        I: IntoIterator<Item = A>;
}

macro_rules! results {
    ($($name:ident)+) => {$(
        impl<A, R, I> Results<R> for $name<'_, I, R>
        where
            A: Message + Send,
            R: Message + Send,
            I: Iterator<Item = A>,
        {
            fn chunk_size(self, items: usize) -> Self {
                Self::chunk_size(self, items)
            }

            fn progress<F: FnMut(usize, Option<usize>)>(self, report: F) -> Progress<Self, F> {
                Self::progress(self, report)
            }

            fn next_timeout(
                &mut self,
                timeout: Duration,
            ) -> Result<Option<Result<R, TaskError>>, TimeoutError> {
                Self::next_timeout(self, timeout)
            }
        }
    )+};
}

results! { Imap ImapUnordered ThreadImap ThreadImapUnordered }

macro_rules! forward {
    ($($verb:ident<$($name:ident),+>($($argument:ident: $type:ty),+) -> $result:ty $([$by:ident])?;)+) => {$(
        fn $verb<$($name),+, I>(&self, $($argument: $type),+, items: I) -> $result
        where
            $($name: Message + Send,)+
            I: IntoIterator<Item = forward!(@items $($by)? $($name),+)>,
        {
            Self::$verb(self, $($argument),+, items)
        }
    )+};
    (@items pairs $a:ident, $b:ident, $r:ident) => { ($a, $b) };
    (@items triples $a:ident, $b:ident, $c:ident, $r:ident) => { ($a, $b, $c) };
    (@items fours $a:ident, $b:ident, $c:ident, $d:ident, $r:ident) => { ($a, $b, $c, $d) };
    (@items $a:ident, $($rest:ident),+) => { $a };
}

macro_rules! task_pool {
    () => {
        fn workers(&self) -> usize {
            Self::workers(self)
        }

        fn apply<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<R, TaskError>
        where
            A: Message + Send,
            R: Message + Send,
        {
            Self::apply(self, function, argument)
        }

        fn apply_async<A, R>(&self, function: fn(A) -> R, argument: A) -> AsyncResult<R>
        where
            A: Message + Send,
            R: Message + Send,
        {
            Self::apply_async(self, function, argument)
        }

        forward! {
            map<A, R>(function: fn(A) -> R) -> Result<Vec<R>, TaskError>;
            try_map<A, T, E>(function: fn(A) -> Result<T, E>) -> Result<Result<Vec<T>, E>, TaskError>;
            map_while<A, R>(rule: StopRule, function: fn(A) -> R)
                -> Result<Vec<Result<R, TaskError>>, Stopped<R>>;
            starmap<A, B, R>(function: fn(A, B) -> R) -> Result<Vec<R>, TaskError> [pairs];
            starmap3<A, B, C, R>(function: fn(A, B, C) -> R) -> Result<Vec<R>, TaskError> [triples];
            starmap4<A, B, C, D, R>(function: fn(A, B, C, D) -> R) -> Result<Vec<R>, TaskError> [fours];
            map_async<A, R>(function: fn(A) -> R) -> AsyncResult<Vec<R>>;
            starmap_async<A, B, R>(function: fn(A, B) -> R) -> AsyncResult<Vec<R>> [pairs];
            imap<A, R>(function: fn(A) -> R) -> impl Results<R>;
            imap_unordered<A, R>(function: fn(A) -> R) -> impl Results<R>;
        }

        fn priority(&self, priority: i32) -> impl Deref<Target = Self> {
            Self::priority(self, priority)
        }

        fn resize(&self, workers: usize) -> Result<(), PoolError> {
            Self::resize(self, workers)
        }

        fn stats(&self) -> PoolStats {
            Self::stats(self)
        }

        fn close(&self) {
            Self::close(self);
        }

        fn terminate(&self) {
            Self::terminate(self);
        }

        fn join(self) {
            Self::join(self);
        }
    };
}

impl<S: 'static> TaskPool for Pool<S> {
    type Shared<T: Message + Clone + Send + Sync> = Shared<T>;

    task_pool!();

    fn share<T>(&self, value: &T) -> Result<Self::Shared<T>, TaskError>
    where
        T: Message + Clone + Send + Sync,
    {
        Self::share(self, value)
    }
}

impl<S: 'static> TaskPool for ThreadPool<S> {
    type Shared<T: Message + Clone + Send + Sync> = ThreadShared<T>;

    task_pool!();

    fn share<T>(&self, value: &T) -> Result<Self::Shared<T>, TaskError>
    where
        T: Message + Clone + Send + Sync,
    {
        Ok(Self::share(self, value.clone()))
    }
}

macro_rules! shared_value {
    () => {
        fn apply<A, R>(&self, function: fn(&T, A) -> R, argument: A) -> Result<R, TaskError>
        where
            A: Message + Send,
            R: Message + Send,
        {
            Self::apply(self, function, argument)
        }

        fn apply_async<A, R>(&self, function: fn(&T, A) -> R, argument: A) -> AsyncResult<R>
        where
            A: Message + Send,
            R: Message + Send,
        {
            Self::apply_async(self, function, argument)
        }

        forward! {
            map<A, R>(function: fn(&T, A) -> R) -> Result<Vec<R>, TaskError>;
            map_async<A, R>(function: fn(&T, A) -> R) -> AsyncResult<Vec<R>>;
            imap<A, R>(function: fn(&T, A) -> R) -> impl Results<R>;
            imap_unordered<A, R>(function: fn(&T, A) -> R) -> impl Results<R>;
        }
    };
}

impl<T: Message> SharedValue<T> for Shared<T> {
    shared_value!();
}

impl<T: Message + Send + Sync> SharedValue<T> for ThreadShared<T> {
    shared_value!();
}
