//! Items that threads take as their values are taken.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::crew::{Crew, Task};
use super::run;
use super::slot::dropped;
use crate::error::{PoolError, TaskError, TimeoutError};
use crate::progress::length;
use crate::values::Values;

/// How many items a task has at the most.
const LARGEST: usize = 1024;
/// How many tasks of a call are under way at the most, for each thread.
const TASKS_EACH: usize = 3;
/// Values that come out of turn wait for theirs: so many for each task under way.
const AHEAD: usize = 16;

/// How many items of a map of `items` make a task.
pub(super) fn chunk_size(items: usize, threads: usize) -> usize {
    items.div_ceil(threads.saturating_mul(4)).clamp(1, LARGEST)
}

/// What is run with each item, and the state of the thread that runs it.
type Function<A, R> = Arc<dyn Fn(&mut dyn Any, A) -> R + Send + Sync>;

/// Whose threads run the items, and before which others.
#[derive(Clone, Copy)]
pub(super) struct Where<'pool> {
    pub(super) crew: &'pool Crew,
    pub(super) priority: i32,
}

/// A map whose caller feeds it and waits for it.
pub(super) struct Stream<'pool, I: Iterator, R> {
    place: Where<'pool>,
    function: Function<I::Item, R>,
    items: I,
    exhausted: bool,
    /// What the input panicked with, behind the items that it gave before.
    panic: Option<Mutex<Box<dyn Any + Send>>>,
    /// The pool takes no jobs: one error, and nothing after it.
    refused: Option<PoolError>,
    size: usize,
    grow_to: usize,
    taken: usize,
    /// Items to be taken from the input for now.
    limit: usize,
    under_way: usize,
    /// How many tasks are under way at the most.
    appetite: usize,
    tell: Sender<Run<R>>,
    told: Receiver<Run<R>>,
    /// Tasks that are begun after this is set do nothing.
    forsaken: Arc<AtomicBool>,
}

/// The outcomes of some items, from `index` on; none if they were not run.
struct Run<R> {
    index: usize,
    outcomes: Option<Vec<Result<R, TaskError>>>,
}

impl<'pool, I, R> Stream<'pool, I, R>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    pub(super) fn of_map(
        place: Where<'pool>,
        function: impl Fn(&mut dyn Any, I::Item) -> R + Send + Sync + 'static,
        items: I,
    ) -> Self {
        let expected = items.size_hint().0;
        let threads = place.crew.wanted();
        let (size, grow_to) = if expected == 0 { (1, LARGEST) } else { (chunk_size(expected, threads), 0) };
        let mut stream = Self::of_imap(place, function, items);
        (stream.size, stream.grow_to) = (size, grow_to);
        stream
    }

    pub(super) fn of_imap(
        place: Where<'pool>,
        function: impl Fn(&mut dyn Any, I::Item) -> R + Send + Sync + 'static,
        items: I,
    ) -> Self {
        let (tell, told) = channel();
        Self {
            place,
            function: Arc::new(function),
            items,
            exhausted: false,
            panic: None,
            refused: place.crew.check().err(),
            size: 1,
            grow_to: 0,
            taken: 0,
            limit: usize::MAX,
            under_way: 0,
            appetite: TASKS_EACH.saturating_mul(place.crew.wanted()),
            tell,
            told,
            forsaken: Arc::default(),
        }
    }

    /// The next outcomes, in the order in which they come; `None` after the last.
    fn next_run(&mut self, deadline: Option<Instant>) -> Result<Option<Run<R>>, TimeoutError> {
        if let Some(error) = self.refused.take() {
            self.exhausted = true;
            return Ok(Some(Run { index: 0, outcomes: Some(vec![Err(error.into())]) }));
        }
        self.feed();
        if self.under_way == 0 {
            return Ok(None);
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let run = match left.map_or_else(
            || self.told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            |left| self.told.recv_timeout(left),
        ) {
            Ok(run) => run,
            Err(_) => return Err(TimeoutError),
        };
        self.under_way -= 1;
        Ok(Some(run))
    }

    /// Gives the threads as many items as they have use for.
    fn feed(&mut self) {
        // Threads may have been added.
        self.appetite = TASKS_EACH.saturating_mul(self.place.crew.wanted());
        while !self.exhausted && self.under_way < self.appetite && self.taken < self.limit {
            self.pass_panic_on();
            let mut chunk: Vec<I::Item> = Vec::new();
            let items = self.items.by_ref().take(self.size);
            // Those that came before a panic are on their way first.
            let caught = catch_unwind(AssertUnwindSafe(|| items.for_each(|item| chunk.push(item))));
            self.panic = caught.err().map(Mutex::new);
            self.size = (2 * self.size).min(self.grow_to).max(self.size);
            if chunk.is_empty() {
                self.pass_panic_on();
                self.exhausted = true;
                return;
            }
            let delivery = Delivery { tell: self.tell.clone(), index: self.taken, done: false };
            let (function, forsaken) = (Arc::clone(&self.function), Arc::clone(&self.forsaken));
            self.taken += chunk.len();
            self.under_way += 1;
            let (index, items) = (delivery.index, chunk.len());
            let run = Box::new(move |state: &mut dyn Any| {
                if !forsaken.load(Ordering::Relaxed) {
                    delivery.deliver(chunk.into_iter().map(|item| run(|| function(state, item))).collect());
                }
            });
            // One that is refused says so itself.
            let _ = self.place.crew.submit(self.place.priority, Task { index, items, run });
        }
    }

    /// Panics as the input did, once.
    fn pass_panic_on(&mut self) {
        if let Some(panic) = self.panic.take() {
            resume_unwind(panic.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// All values in order, or the error of the first item, in order, that failed.
    pub(super) fn gather(mut self) -> Result<Vec<R>, TaskError> {
        let mut values = Values::new(self.items.size_hint().0);
        let mut first_error: Option<TaskError> = None;
        while let Ok(Some(Run { index, outcomes })) = self.next_run(None) {
            let outcomes = outcomes.ok_or_else(dropped)?;
            let run = values.begin(index, outcomes.len());
            for (outcome, index) in outcomes.into_iter().zip(index..) {
                match outcome {
                    Ok(value) => run.push(value),
                    Err(error) if first_error.as_ref().is_none_or(|first| Some(index) < first.index()) => {
                        first_error = Some(error.at(index));
                    }
                    Err(_) => {}
                }
            }
        }
        first_error.map_or_else(|| Ok(values.into_vec()), Err)
    }
}

impl<I, T, E> Stream<'_, I, Result<T, E>>
where
    I: Iterator<Item: Send + 'static>,
    T: Send + 'static,
    E: Send + 'static,
{
    /// As [`gather`](Self::gather), but ends with the first error that comes.
    pub(super) fn gather_while(mut self) -> Result<Result<Vec<T>, E>, TaskError> {
        let mut values = Values::new(self.items.size_hint().0);
        while let Ok(Some(Run { index, outcomes })) = self.next_run(None) {
            let outcomes = outcomes.ok_or_else(dropped)?;
            let run = values.begin(index, outcomes.len());
            for (outcome, index) in outcomes.into_iter().zip(index..) {
                match outcome {
                    Ok(Ok(value)) => run.push(value),
                    Ok(Err(error)) => return Ok(Err(error)),
                    Err(error) => return Err(error.at(index)),
                }
            }
        }
        Ok(Ok(values.into_vec()))
    }
}

impl<I: Iterator, R> Drop for Stream<'_, I, R> {
    fn drop(&mut self) {
        self.forsaken.store(true, Ordering::Relaxed);
    }
}

/// Tells the caller what became of a task, also if it is never run.
struct Delivery<R> {
    tell: Sender<Run<R>>,
    index: usize,
    done: bool,
}

impl<R> Delivery<R> {
    fn deliver(mut self, outcomes: Vec<Result<R, TaskError>>) {
        self.done = true;
        let _ = self.tell.send(Run { index: self.index, outcomes: Some(outcomes) });
    }
}

impl<R> Drop for Delivery<R> {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.tell.send(Run { index: self.index, outcomes: None });
        }
    }
}

/// An outcome with the place of its item.
type Placed<R> = (usize, Result<R, TaskError>);

/// Values in completion order; made by
/// [`ThreadPool::imap_unordered`](crate::ThreadPool::imap_unordered).
pub struct ThreadImapUnordered<'pool, I: Iterator, R> {
    stream: Stream<'pool, I, R>,
    outcomes: VecDeque<Placed<R>>,
}

/// Values in the order of the items; made by [`ThreadPool::imap`](crate::ThreadPool::imap).
pub struct ThreadImap<'pool, I: Iterator, R> {
    unordered: ThreadImapUnordered<'pool, I, R>,
    /// Values whose turn has not come, each by its place.
    early: BTreeMap<usize, Result<R, TaskError>>,
    next: usize,
}

impl<'pool, I, R> ThreadImapUnordered<'pool, I, R>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    pub(super) fn new(stream: Stream<'pool, I, R>) -> Self {
        Self { stream, outcomes: VecDeque::new() }
    }

    /// How many items travel together: one unless set. 0 is taken as 1.
    #[doc(alias = "chunksize")]
    #[must_use]
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.stream.size = items.max(1);
        self
    }

    /// As [`next`](Iterator::next), and waits up to `timeout`.
    ///
    /// # Errors
    /// [`TimeoutError`] if no value has come by then; it can be asked for again.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, TimeoutError> {
        let placed = self.next_placed(Instant::now().checked_add(timeout))?;
        Ok(placed.map(|(_, outcome)| outcome))
    }

    /// Each value with the place of its item; the end of the pool has none.
    pub(super) fn placed(mut self) -> impl Iterator<Item = (Option<usize>, Result<R, TaskError>)> {
        std::iter::from_fn(move || self.next_placed(None).ok().flatten()).map(|(place, outcome)| {
            let is_end = outcome.as_ref().is_err_and(|error| error.pool_error().is_some());
            (Some(place).filter(|_| !is_end), outcome)
        })
    }

    fn next_placed(&mut self, deadline: Option<Instant>) -> Result<Option<Placed<R>>, TimeoutError> {
        loop {
            if let Some((index, outcome)) = self.outcomes.pop_front() {
                return Ok(Some((index, outcome.map_err(|error| error.at(index)))));
            }
            match self.stream.next_run(deadline)? {
                None => return Ok(None),
                Some(Run { index, outcomes: Some(outcomes) }) => {
                    self.outcomes.extend((index..).zip(outcomes));
                }
                Some(Run { index, outcomes: None }) => {
                    // The pool's end is one error, and nothing comes after it.
                    (self.stream.exhausted, self.stream.under_way) = (true, 0);
                    return Ok(Some((index, Err(dropped()))));
                }
            }
        }
    }
}

impl<'pool, I, R> ThreadImap<'pool, I, R>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    pub(super) fn new(unordered: ThreadImapUnordered<'pool, I, R>) -> Self {
        Self { unordered, early: BTreeMap::new(), next: 0 }
    }

    /// What there is once no more comes. After the pool's end that is its error alone:
    /// values that wait for their turn would stand in a wrong place.
    fn last(&mut self) -> Option<Result<R, TaskError>> {
        let is_end = |outcome: &Result<R, TaskError>| {
            outcome.as_ref().err().is_some_and(|error| error.pool_error().is_some())
        };
        if let Some(place) = self.early.iter().find(|(_, outcome)| is_end(outcome)).map(|(place, _)| *place) {
            let end = self.early.remove(&place);
            self.early.clear();
            return end;
        }
        self.early.pop_first().map(|(_, outcome)| outcome)
    }

    /// How many items travel together: one unless set. 0 is taken as 1.
    #[doc(alias = "chunksize")]
    #[must_use]
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.unordered = self.unordered.chunk_size(items);
        self
    }

    /// As [`next`](Iterator::next), and waits up to `timeout`.
    ///
    /// # Errors
    /// [`TimeoutError`] if the next value, in order, has not come by then; it can be
    /// asked for again.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, TimeoutError> {
        self.next_deadline(Instant::now().checked_add(timeout))
    }

    fn next_deadline(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Result<R, TaskError>>, TimeoutError> {
        loop {
            if let Some(outcome) = self.early.remove(&self.next) {
                self.next += 1;
                return Ok(Some(outcome));
            }
            let stream = &mut self.unordered.stream;
            stream.limit =
                self.next.saturating_add(AHEAD.saturating_mul(stream.appetite).saturating_mul(stream.size));
            match self.unordered.next_placed(deadline)? {
                Some((index, outcome)) => self.early.insert(index, outcome),
                None => return Ok(self.last()),
            };
        }
    }
}

impl<I: Iterator, R> ThreadImapUnordered<'_, I, R> {
    /// How many values there are to come, if that is known; before the first.
    pub(crate) fn total(&self) -> Option<usize> {
        if self.stream.refused.is_some() { None } else { length(&self.stream.items) }
    }
}

impl<I: Iterator, R> ThreadImap<'_, I, R> {
    pub(crate) fn total(&self) -> Option<usize> {
        self.unordered.total()
    }
}

impl<I, R> Iterator for ThreadImapUnordered<'_, I, R>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Without a deadline there is no other error.
        self.next_placed(None).ok().flatten().map(|(_, outcome)| outcome)
    }
}

impl<I, R> Iterator for ThreadImap<'_, I, R>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_deadline(None).ok().flatten()
    }
}

impl<I: Iterator, R> fmt::Debug for ThreadImapUnordered<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadImapUnordered").field("taken", &self.stream.taken).finish_non_exhaustive()
    }
}

impl<I: Iterator, R> fmt::Debug for ThreadImap<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadImap").field("next", &self.next).finish_non_exhaustive()
    }
}
