//! Verbs for many items that are waited for together.

use std::sync::Arc;

use ipc_core::Message;

use super::Pool;
use crate::async_result::{self, AsyncResult};
use crate::chunks::Chunks;
use crate::core::{Code, JobId};
use crate::driver::Driver;
use crate::error::TaskError;
use crate::stop_rule::{self, StopRule, Stopped};
use crate::work::{self, Work};

impl<S: 'static> Pool<S> {
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
        stop_rule::gather(rule, self.imap_unordered(function, items).placed())
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
