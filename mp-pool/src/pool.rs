//! The pool and its verbs.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use ipc_core::{EncodeError, Message};

use crate::async_result::{self, AsyncResult};
use crate::builder::{Builder, ONE_END};
use crate::chunks::{Chunk, Chunks};
use crate::core::{Code, JobId};
use crate::driver::Driver;
use crate::error::{PoolError, TaskError, TaskKind};
use crate::imap::{Imap, ImapUnordered};
use crate::scope::Scope;
use crate::shared::Shared;
use crate::stats::PoolStats;
use crate::stop_rule::{StopRule, Stopped};
use crate::task_pool::TaskPool;
use crate::work::{self, Outcomes, Work};
use crate::worker;

/// Worker processes that run functions of this program.
///
/// Threads may share it. Dropping it ends the workers within about a second,
/// whatever they do; to let them finish, [`join`](Self::join) it. `S` is the state
/// that each worker keeps between tasks, if the pool was built with one
/// ([`Builder::state`]).
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

    /// Runs `function` with `argument` in a worker and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`]: the task panicked, its worker died, or the argument or the
    /// value could not travel.
    pub fn apply<A: Message, R: Message>(&self, function: fn(A) -> R, argument: A) -> Result<R, TaskError> {
        self.run_one(work::plain(function)?, argument)
    }

    /// As [`apply`](Self::apply), with the state of the worker that runs it.
    ///
    /// # Errors
    /// As `apply`.
    pub fn apply_state<A: Message, R: Message>(
        &self,
        function: fn(&mut S, A) -> R,
        argument: A,
    ) -> Result<R, TaskError> {
        self.run_one(work::with_state(function)?, argument)
    }

    pub(crate) fn run_one<A: Message, R: Message>(
        &self,
        code: Arc<Code>,
        argument: A,
    ) -> Result<R, TaskError> {
        let mut work =
            Work::begin(&self.driver, self.priority, code, Chunks::new(std::iter::once(argument), 1))?;
        let mut outcomes = Outcomes::new();
        work.fetch(&mut outcomes, None)?;
        match outcomes.pop_front() {
            Some((_, outcome)) => outcome,
            None => Err(TaskKind::BadResult("the task was answered without a value".to_owned()).into()),
        }
    }

    /// Has `function` run with `argument` in a worker, and returns at once.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let later = pool.apply_async(|x: u64| x * x, 7);
    /// assert_eq!(later.get()?, 49);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "submit")]
    pub fn apply_async<A: Message, R: Message>(&self, function: fn(A) -> R, argument: A) -> AsyncResult<R> {
        self.one_later(work::whole(function), argument)
    }

    pub(crate) fn one_later<A: Message, R: Message>(
        &self,
        code: Result<Arc<Code>, TaskError>,
        argument: A,
    ) -> AsyncResult<R> {
        let job = self.start_one(code, argument);
        AsyncResult::of_job(&self.driver, job, async_result::one)
    }

    /// Has `function` run with each of `items`, and returns at once. The items are
    /// taken and encoded before it returns.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let later = pool.map_async(|x: u64| x * x, 0..4);
    /// assert_eq!(later.get()?, [0, 1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_async<A, R, I>(&self, function: fn(A) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        self.many_later(work::plain(function), items.into_iter())
    }

    pub(crate) fn many_later<A: Message, R: Message>(
        &self,
        code: Result<Arc<Code>, TaskError>,
        items: impl Iterator<Item = A>,
    ) -> AsyncResult<Vec<R>> {
        let job = self.start(code, items, |count| self.driver.chunk_size(count));
        AsyncResult::of_job(&self.driver, job, async_result::many)
    }

    fn start_one<A: Message>(
        &self,
        code: Result<Arc<Code>, TaskError>,
        argument: A,
    ) -> Result<JobId, TaskError> {
        let mut code = code?;
        if !code.whole {
            Arc::make_mut(&mut code).whole = true;
        }
        Ok(self.driver.hand_in(code, Chunk::one(argument), self.priority)?)
    }

    fn start<A: Message>(
        &self,
        code: Result<Arc<Code>, TaskError>,
        items: impl Iterator<Item = A>,
        size: impl FnOnce(usize) -> usize,
    ) -> Result<JobId, TaskError> {
        let job = OpenJob { driver: &self.driver, id: self.driver.open(self.priority)? };
        let mut code = code?;
        Arc::make_mut(&mut code).whole = true;
        // The input is anybody's code, and may panic.
        self.driver.submit_async(job.id, &code, work::all_chunks(items, size));
        Ok(job.keep())
    }

    /// Runs `function` with each of `items` and waits for all values, in order.
    ///
    /// Items travel several at a time; how many follows from the time that the first ones
    /// take: about a millisecond of work goes together, and less towards the end. They are
    /// taken from the iterator as workers are ready for them. What waits behind a slow item
    /// goes to workers that are idle.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item, in order, that failed, after all others
    /// are done. A worker that dies takes along what it had just done and not sent: then the
    /// error names the item that it was at, and not those before it.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let lengths = pool.map(|word: String| word.len(), ["one", "three"].map(String::from))?;
    /// assert_eq!(lengths, [3, 5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map<A, R, I>(&self, function: fn(A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        let (work, expected) = self.map_work(work::plain(function)?, items.into_iter())?;
        work.gather(expected)
    }

    /// As [`map`](Self::map), for a function of two parameters and items that are pairs.
    ///
    /// There are [`starmap3`](Self::starmap3) and [`starmap4`](Self::starmap4) for more.
    ///
    /// # Errors
    /// As `map`.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// fn area(width: u32, height: u32) -> u32 { width * height }
    ///
    /// let pool = mp_pool::Pool::new(2)?;
    /// assert_eq!(pool.starmap(area, [(1, 2), (4, 5)])?, [2, 20]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn starmap<A, B, R, I>(&self, function: fn(A, B) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message,
        B: Message,
        R: Message,
        I: IntoIterator<Item = (A, B)>,
    {
        let (work, expected) = self.map_work(work::star2(function)?, items.into_iter())?;
        work.gather(expected)
    }

    /// As [`starmap`](Self::starmap), for three parameters.
    ///
    /// # Errors
    /// As `map`.
    pub fn starmap3<A, B, C, R, I>(&self, function: fn(A, B, C) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message,
        B: Message,
        C: Message,
        R: Message,
        I: IntoIterator<Item = (A, B, C)>,
    {
        let (work, expected) = self.map_work(work::star3(function)?, items.into_iter())?;
        work.gather(expected)
    }

    /// As [`starmap`](Self::starmap), for four parameters.
    ///
    /// # Errors
    /// As `map`.
    pub fn starmap4<A, B, C, D, R, I>(
        &self,
        function: fn(A, B, C, D) -> R,
        items: I,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Message,
        B: Message,
        C: Message,
        D: Message,
        R: Message,
        I: IntoIterator<Item = (A, B, C, D)>,
    {
        let (work, expected) = self.map_work(work::star4(function)?, items.into_iter())?;
        work.gather(expected)
    }

    /// As [`starmap`](Self::starmap), and returns at once.
    pub fn starmap_async<A, B, R, I>(&self, function: fn(A, B) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Message,
        B: Message,
        R: Message,
        I: IntoIterator<Item = (A, B)>,
    {
        self.many_later(work::star2(function), items.into_iter())
    }

    /// As [`map`](Self::map), each item with the state of the worker that runs it.
    ///
    /// # Errors
    /// As `map`.
    pub fn map_state<A, R, I>(&self, function: fn(&mut S, A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        let (work, expected) = self.map_work(work::with_state(function)?, items.into_iter())?;
        work.gather(expected)
    }

    /// Runs `function` with each of `items` until one of them fails.
    ///
    /// With the first `Err` of the function that comes, no more items are given
    /// out, and it is returned as the value it is; items that workers have begun
    /// run on for nothing.
    ///
    /// # Errors
    /// The [`TaskError`] of an item that could not be run: outer error. What the
    /// function itself says is the inner one.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let halves = pool.try_map(|x: u32| if x % 2 == 0 { Ok(x / 2) } else { Err(x) }, [2, 4, 7])?;
    /// assert_eq!(halves, Err(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_map<A, T, E, I>(
        &self,
        function: fn(A) -> Result<T, E>,
        items: I,
    ) -> Result<Result<Vec<T>, E>, TaskError>
    where
        A: Message,
        T: Message,
        E: Message,
        I: IntoIterator<Item = A>,
    {
        let (work, expected) = self.map_work(work::plain(function)?, items.into_iter())?;
        work.gather_while(expected)
    }

    /// Runs `function` with each of `items`, for as long as no more fail than `rule`
    /// allows, and gives the outcome of each, in order.
    ///
    /// When it stops, no more items are given out; those that workers have begun run on
    /// for nothing.
    ///
    /// # Errors
    /// [`Stopped`], with what had come by then: the rule said so, or the pool ended, which
    /// is the last error in it.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_pool::StopRule;
    ///
    /// let pool = mp_pool::Pool::new(2)?;
    /// let picky = |x: u32| assert!(x % 10 != 0, "{x} is round");
    /// let outcomes = pool.map_while(StopRule::Failures(5), picky, 1..50).unwrap();
    /// assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 4);
    ///
    /// let stopped = pool.map_while(StopRule::Failures(5), picky, 1..).unwrap_err();
    /// assert_eq!(stopped.failed(), 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_while<A, R, I>(
        &self,
        rule: StopRule,
        function: fn(A) -> R,
        items: I,
    ) -> Result<Vec<Result<R, TaskError>>, Stopped<R>>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        let mut outcomes: Vec<Option<Result<R, TaskError>>> = Vec::new();
        let (mut failed, mut done) = (0, 0);
        for (place, outcome) in self.imap_unordered(function, items).placed() {
            // The end of the pool has no place of its own.
            let place = place.unwrap_or(outcomes.len());
            outcomes.resize_with(outcomes.len().max(place + 1), || None);
            done += 1;
            failed += usize::from(outcome.is_err());
            let is_end = outcome.as_ref().is_err_and(|error| error.pool_error().is_some());
            outcomes[place] = Some(outcome);
            if is_end || rule.stops(failed, done) {
                return Err(Stopped::new(outcomes, failed, done));
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    pub(crate) fn map_work<A, I>(&self, code: Arc<Code>, items: I) -> Result<(Work<'_, I>, usize), TaskError>
    where
        A: Message,
        I: Iterator<Item = A>,
    {
        let expected = items.size_hint().0;
        let chunks = Chunks::measured(items);
        Ok((Work::begin(&self.driver, self.priority, code, chunks)?, expected))
    }

    /// Runs `function` with each of `items`, and yields the values in order, each
    /// as soon as it and all before it are there.
    ///
    /// Items are taken from the iterator as values are taken from the result, so
    /// that memory in flight is bounded whatever their number; it may be endless.
    /// An item that failed yields its error, and the next go on; a pool that is
    /// closed or has given up yields that as one error and then ends.
    ///
    /// Quick items may travel several together, if the iterator says by its
    /// [`size_hint`](Iterator::size_hint) that there are more. One that does not, such as a
    /// channel's, may wait for what the items before it do.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let firsts: Result<Vec<u64>, _> = pool.imap(|x: u64| x * x, 0..).take(3).collect();
    /// assert_eq!(firsts?, [0, 1, 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<'_, I::IntoIter, R>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self.stream(work::plain(function), items.into_iter()))
    }

    /// As [`imap`](Self::imap), but yields each value as soon as it is there.
    pub fn imap_unordered<A, R, I>(&self, function: fn(A) -> R, items: I) -> ImapUnordered<'_, I::IntoIter, R>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(self.stream(work::plain(function), items.into_iter()))
    }

    pub(crate) fn stream<A, I>(
        &self,
        code: Result<Arc<Code>, TaskError>,
        items: I,
    ) -> Result<Work<'_, I>, TaskError>
    where
        A: Message,
        I: Iterator<Item = A>,
    {
        Work::begin(&self.driver, self.priority, code?, Chunks::bundles(items))
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

/// A job that is given its tasks; closed unless it is kept.
struct OpenJob<'a> {
    driver: &'a Driver,
    id: JobId,
}

impl OpenJob<'_> {
    fn keep(self) -> JobId {
        std::mem::ManuallyDrop::new(self).id
    }
}

impl Drop for OpenJob<'_> {
    fn drop(&mut self) {
        self.driver.close_job(self.id);
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
