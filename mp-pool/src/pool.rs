//! The pool and its verbs.

use std::fmt;
use std::sync::Arc;

use ipc_core::{Message, Packet};

use crate::builder::Builder;
use crate::chunks::Chunks;
use crate::core::{JobId, Reply, What};
use crate::driver::Driver;
use crate::error::{PoolError, TaskError, TaskKind};
use crate::imap::{Imap, ImapUnordered};
use crate::wire::Outcome;
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
        match work.next_outcome::<R>()? {
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
        let chunks = Chunks::for_map(items.into_iter(), self.driver.workers());
        let mut work = Work::begin(&self.driver, function, chunks)?;
        let mut values: Vec<Option<R>> = Vec::new();
        let mut first_error: Option<TaskError> = None;
        while let Some((index, outcome)) = work.next_outcome::<R>()? {
            match outcome {
                Ok(value) => place(&mut values, index, value),
                Err(error) if first_error.as_ref().is_none_or(|first| Some(index) < first.index()) => {
                    first_error = Some(error.at(index));
                }
                Err(_) => {}
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(values.into_iter().flatten().collect()),
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

/// Puts a value where it belongs, also when those before it have not come.
fn place<R>(values: &mut Vec<Option<R>>, index: usize, value: R) {
    if values.len() <= index {
        values.resize_with(index + 1, || None);
    }
    values[index] = Some(value);
}

/// Values that come out of turn wait for theirs: so many for each task under way.
const AHEAD: usize = 16;

/// Items on their way through a pool, and their outcomes on the way back.
#[derive(Debug)]
pub(crate) struct Work<'pool, I> {
    driver: &'pool Driver,
    job: JobId,
    code: Arc<[u8]>,
    chunks: Chunks<I>,
    exhausted: bool,
    /// Items to be taken from the input for now.
    limit: usize,
    replies: std::collections::VecDeque<Reply>,
}

impl<'pool, A: Message, I: Iterator<Item = A>> Work<'pool, I> {
    fn begin<R: Message>(
        driver: &'pool Driver,
        function: fn(A) -> R,
        chunks: Chunks<I>,
    ) -> Result<Self, TaskError> {
        let code = worker::job(function).map_err(TaskKind::Argument)?.into();
        let job = driver.open()?;
        Ok(Self {
            driver,
            job,
            code,
            chunks,
            exhausted: false,
            limit: usize::MAX,
            replies: std::collections::VecDeque::new(),
        })
    }

    /// The next outcome, of whichever item; `None` after the last.
    pub(crate) fn next_outcome<R: Message>(
        &mut self,
    ) -> Result<Option<(usize, Result<R, TaskError>)>, PoolError> {
        loop {
            if let Some(reply) = self.replies.front_mut() {
                let outcome = reply.next::<R>();
                if reply.items == 0 {
                    self.replies.pop_front();
                }
                return Ok(Some(outcome));
            }
            self.feed();
            match self.driver.replies(self.job)? {
                Some(replies) => self.replies = replies,
                None if self.exhausted => return Ok(None),
                None => self.driver.check_alive()?,
            }
        }
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
    /// Takes the next item's outcome out of the reply.
    fn next<R: Message>(&mut self) -> (usize, Result<R, TaskError>) {
        let index = self.index;
        self.index += 1;
        self.items -= 1;
        let outcome = match &mut self.what {
            What::Outcomes(packet) => outcome(packet),
            What::Failed(kind) => Err(kind.clone().into()),
        };
        (index, outcome)
    }
}

fn outcome<R: Message>(packet: &mut Packet) -> Result<R, TaskError> {
    let kind = match packet.read::<Outcome>().map_err(TaskKind::Undecodable)? {
        Outcome::Value => {
            return packet.read_item::<R>().map_err(|error| TaskKind::Undecodable(error).into());
        }
        Outcome::Panicked(panic) => TaskKind::Panicked(panic),
        Outcome::BadArgument(reason) => TaskKind::BadArgument(reason),
        Outcome::BadResult(reason) => TaskKind::BadResult(reason),
    };
    Err(kind.into())
}
