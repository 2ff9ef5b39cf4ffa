//! The pool and its verbs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use ipc_core::{Message, Reader, item_width};

use crate::builder::Builder;
use crate::chunks::Chunks;
use crate::core::{Code, JobId, Reply, What};
use crate::driver::Driver;
use crate::error::{PoolError, TaskError, TaskKind};
use crate::imap::{Imap, ImapUnordered};
use crate::values::Values;
use crate::wire::{Failure, VALUE};
use crate::worker;

/// Worker processes that run functions of this program.
///
/// Threads may share it. Dropping it ends the workers within about a second,
/// whatever they do; to let them finish, [`join`](Self::join) it.
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
pub struct Pool {
    driver: Driver,
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

    pub(crate) fn over(driver: Driver) -> Self {
        Self { driver }
    }

    /// Runs `function` with `argument` in a worker and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`]: the task panicked, its worker died, or the argument or the
    /// value could not travel.
    pub fn apply<A: Message, R: Message>(&self, function: fn(A) -> R, argument: A) -> Result<R, TaskError> {
        let mut work = self.begin(function, std::iter::once(argument), 1)?;
        let mut outcomes = Outcomes::new();
        work.fetch(&mut outcomes)?;
        match outcomes.pop_front() {
            Some((_, outcome)) => outcome,
            None => Err(TaskKind::BadResult("the task was answered without a value".to_owned()).into()),
        }
    }

    /// Runs `function` with each of `items` and waits for all values, in order.
    ///
    /// Items travel several at a time; how many follows from their number. They
    /// are taken from the iterator as workers are ready for them.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item, in order, that failed, after all others
    /// are done.
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
        let items = items.into_iter();
        let known = items.size_hint().0;
        let chunks = Chunks::for_map(items, self.driver.workers());
        let mut work = Work::begin(&self.driver, function, chunks)?;
        let mut values = Values::new(known);
        let mut first_error: Option<TaskError> = None;
        while let Some(replies) = work.next_replies()? {
            for reply in replies {
                let run = values.begin(reply.index, reply.items as usize);
                reply.for_each(|index, outcome| match outcome {
                    Ok(value) => run.push(value),
                    Err(error) if first_error.as_ref().is_none_or(|first| Some(index) < first.index()) => {
                        first_error = Some(error.at(index));
                    }
                    Err(_) => {}
                });
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(values.into_vec()),
        }
    }

    /// Runs `function` with each of `items`, and yields the values in order, each
    /// as soon as it and all before it are there.
    ///
    /// Items are taken from the iterator as values are taken from the result, so
    /// that memory in flight is bounded whatever their number; it may be endless.
    /// An item that failed yields its error, and the next go on; a pool that is
    /// closed or has given up yields that as one error and then ends.
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
        Imap::new(self.begin(function, items.into_iter(), 1))
    }

    /// As [`imap`](Self::imap), but yields each value as soon as it is there.
    pub fn imap_unordered<A, R, I>(&self, function: fn(A) -> R, items: I) -> ImapUnordered<'_, I::IntoIter, R>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(self.begin(function, items.into_iter(), 1))
    }

    fn begin<A, R, I>(
        &self,
        function: fn(A) -> R,
        items: I,
        chunk_size: usize,
    ) -> Result<Work<'_, I>, TaskError>
    where
        A: Message,
        R: Message,
        I: Iterator<Item = A>,
    {
        Work::begin(&self.driver, function, Chunks::new(items, chunk_size))
    }

    /// The ids of the worker processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.driver.pids()
    }

    /// Takes no more tasks; those under way go on.
    pub fn close(&self) {
        self.driver.close();
    }

    /// Ends the workers, whatever they do: asks them to, and kills those that have
    /// not ended within a second. Callers that wait for a task get an error.
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

impl Drop for Pool {
    fn drop(&mut self) {
        self.driver.terminate();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("pids", &self.pids()).finish_non_exhaustive()
    }
}

/// Values that come out of turn wait for theirs: so many for each task under way.
const AHEAD: usize = 16;

/// Outcomes and the places of their items.
pub(crate) type Outcomes<R> = VecDeque<(usize, Result<R, TaskError>)>;

/// Items on their way through a pool, and their outcomes on the way back.
#[derive(Debug)]
pub(crate) struct Work<'pool, I> {
    driver: &'pool Driver,
    job: JobId,
    code: Arc<Code>,
    chunks: Chunks<I>,
    exhausted: bool,
    /// Items to be taken from the input for now.
    limit: usize,
}

impl<'pool, A: Message, I: Iterator<Item = A>> Work<'pool, I> {
    fn begin<R: Message>(
        driver: &'pool Driver,
        function: fn(A) -> R,
        chunks: Chunks<I>,
    ) -> Result<Self, TaskError> {
        let bytes = worker::job(function).map_err(TaskKind::Argument)?;
        let code = Arc::new(Code { bytes, item_width: item_width::<A>() });
        let job = driver.open()?;
        Ok(Self { driver, job, code, chunks, exhausted: false, limit: usize::MAX })
    }

    /// News of some items; `None` after the last.
    fn next_replies(&mut self) -> Result<Option<VecDeque<Reply>>, PoolError> {
        loop {
            self.feed();
            match self.driver.replies(self.job)? {
                Some(replies) => return Ok(Some(replies)),
                None if self.exhausted => return Ok(None),
                None => self.driver.check_alive()?,
            }
        }
    }

    /// The outcomes that have come, each with the place of its item, are put at the
    /// end of `outcomes`; whether there are any.
    pub(crate) fn fetch<R: Message>(&mut self, outcomes: &mut Outcomes<R>) -> Result<bool, PoolError> {
        let replies = self.next_replies()?;
        let any = replies.is_some();
        for reply in replies.into_iter().flatten() {
            reply.for_each(|index, outcome| outcomes.push_back((index, outcome)));
        }
        Ok(any)
    }

    /// Gives the pool as many items as it has use for.
    fn feed(&mut self) {
        while !self.exhausted && self.chunks.taken() < self.limit && self.driver.wants_more(self.job) {
            match self.chunks.next() {
                Some(chunk) => self.driver.submit(self.job, &self.code, chunk),
                None => self.exhausted = true,
            }
        }
    }
}

impl<I> Work<'_, I> {
    /// Lets the input run ahead of `place` by a bounded number of items.
    pub(crate) fn limit_to(&mut self, place: usize) {
        self.limit = place + AHEAD * self.driver.appetite();
    }
}

impl<I> Drop for Work<'_, I> {
    fn drop(&mut self) {
        self.driver.close_job(self.job);
    }
}

impl Reply {
    /// Decodes each item's outcome and hands it on with its place.
    fn for_each<R: Message>(self, mut each: impl FnMut(usize, Result<R, TaskError>)) {
        let places = self.index..self.index + self.items as usize;
        match self.what {
            What::Failed(kind) => places.for_each(|index| each(index, Err(kind.clone().into()))),
            What::Outcomes(mut packet) => {
                packet.reading(|reader| places.for_each(|index| each(index, outcome(reader))));
            }
        }
    }
}

fn outcome<R: Message>(reader: &mut Reader<'_>) -> Result<R, TaskError> {
    if reader.byte() == Some(VALUE) {
        return reader.item::<R>().map_err(|error| TaskKind::Undecodable(error).into());
    }
    Err(match reader.value::<Failure>().map_err(TaskKind::Undecodable)? {
        Failure::Panicked(panic) => TaskKind::Panicked(panic),
        Failure::BadArgument(reason) => TaskKind::BadArgument(reason),
        Failure::BadResult(reason) => TaskKind::BadResult(reason),
    }
    .into())
}
