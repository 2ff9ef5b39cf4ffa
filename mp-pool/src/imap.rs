//! Values as they come.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use ipc_core::Message;

use crate::error::{TaskError, TimeoutError};
use crate::work::{Outcomes, Work};

/// Values in completion order; made by [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// Dropping it lets go of the items that no worker has begun.
pub struct ImapUnordered<'pool, I, R> {
    state: State<'pool, I>,
    /// Outcomes that have come and were not taken.
    outcomes: Outcomes<R>,
}

/// Values in the order of the items; made by [`Pool::imap`](crate::Pool::imap).
///
/// Dropping it lets go of the items that no worker has begun.
pub struct Imap<'pool, I, R> {
    unordered: ImapUnordered<'pool, I, R>,
    /// Values whose turn has not come, each by its place.
    early: BTreeMap<usize, Result<R, TaskError>>,
    next: usize,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each call, nearly always the large one")]
enum State<'pool, I> {
    Going(Work<'pool, I>),
    /// The pool takes no more work: one error, and nothing after it.
    Refused(TaskError),
    Over,
}

impl<'pool, I, R> ImapUnordered<'pool, I, R> {
    pub(crate) fn new(work: Result<Work<'pool, I>, TaskError>) -> Self {
        let state = work.map_or_else(State::Refused, State::Going);
        Self { state, outcomes: Outcomes::new() }
    }
}

impl<'pool, I, R> Imap<'pool, I, R> {
    pub(crate) fn new(work: Result<Work<'pool, I>, TaskError>) -> Self {
        Self { unordered: ImapUnordered::new(work), early: BTreeMap::new(), next: 0 }
    }
}

impl<I: Iterator, R> ImapUnordered<'_, I, R> {
    /// How many values there are to come, if that is known; before the first.
    pub(crate) fn total(&self) -> Option<usize> {
        if let State::Going(work) = &self.state { work.total() } else { None }
    }
}

impl<I: Iterator, R> Imap<'_, I, R> {
    pub(crate) fn total(&self) -> Option<usize> {
        self.unordered.total()
    }
}

impl<I, R> ImapUnordered<'_, I, R> {
    /// How many items travel together. Unless set it is one, or several where they are
    /// quick. More cost less each, and come back together. 0 is taken as 1.
    #[doc(alias = "chunksize")]
    #[must_use]
    pub fn chunk_size(mut self, items: usize) -> Self {
        if let State::Going(work) = &mut self.state {
            work.set_chunk_size(items);
        }
        self
    }
}

impl<I, R> Imap<'_, I, R> {
    /// How many items travel together. Unless set it is one, or several where they are
    /// quick. More cost less each, and come back together. 0 is taken as 1.
    #[doc(alias = "chunksize")]
    #[must_use]
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.unordered = self.unordered.chunk_size(items);
        self
    }
}

impl<I, R> ImapUnordered<'_, I, R> {
    /// A value leaves for the caller, and no longer counts as being under way.
    fn taken(&mut self) {
        if let State::Going(work) = &mut self.state {
            work.taken();
        }
    }
}

/// The place of the error that ends all.
const THE_END: usize = usize::MAX;

/// An outcome with the place of its item.
type Placed<R> = (usize, Result<R, TaskError>);

impl<A: Message, R: Message, I: Iterator<Item = A>> ImapUnordered<'_, I, R> {
    /// As [`next`](Iterator::next), and waits up to `timeout`; after an error the
    /// iterator can be asked again, and has lost nothing. The time that the input
    /// takes for its items is not limited.
    ///
    /// # Errors
    /// [`TimeoutError`] if no value has come by then.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, TimeoutError> {
        let placed = self.next_placed(Instant::now().checked_add(timeout))?;
        self.taken();
        Ok(placed.map(|(_, outcome)| outcome))
    }

    /// Each value with the place of its item; the end of the pool has none.
    pub(crate) fn placed(mut self) -> impl Iterator<Item = (Option<usize>, Result<R, TaskError>)> {
        std::iter::from_fn(move || self.next_taken())
            .map(|(place, outcome)| (Some(place).filter(|place| *place != usize::MAX), outcome))
    }

    /// The next value, which the caller keeps.
    fn next_taken(&mut self) -> Option<Placed<R>> {
        // Without a deadline there is no other error.
        let placed = self.next_placed(None).ok().flatten();
        self.taken();
        placed
    }

    /// The next value. The end of the pool is one error.
    fn next_placed(&mut self, deadline: Option<Instant>) -> Result<Option<Placed<R>>, TimeoutError> {
        loop {
            if let Some((index, outcome)) = self.outcomes.pop_front() {
                return Ok(Some((index, outcome.map_err(|error| error.at(index)))));
            }
            let State::Going(work) = &mut self.state else {
                return Ok(match std::mem::replace(&mut self.state, State::Over) {
                    State::Refused(error) => Some((THE_END, Err(error))),
                    _ => None,
                });
            };
            match work.fetch(&mut self.outcomes, deadline) {
                Ok(true) if self.outcomes.is_empty() => return Err(TimeoutError),
                Ok(true) => {}
                Ok(false) => self.state = State::Over,
                Err(error) => self.state = State::Refused(error.into()),
            }
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Imap<'_, I, R> {
    /// As [`next`](Iterator::next), and waits up to `timeout`; after an error the
    /// iterator can be asked again, and has lost nothing. The time that the input
    /// takes for its items is not limited.
    ///
    /// # Errors
    /// [`TimeoutError`] if the next value, in order, has not come by then.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    ///
    /// let pool = mp_pool::Pool::new(1)?;
    /// let nap = |millis| std::thread::sleep(Duration::from_millis(millis));
    /// let mut naps = pool.imap(nap, [200]);
    /// assert!(naps.next_timeout(Duration::from_millis(1)).is_err());
    /// assert!(naps.next_timeout(Duration::from_secs(60))?.is_some_and(|nap| nap.is_ok()));
    /// assert!(naps.next_timeout(Duration::ZERO)?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
                self.unordered.taken();
                return Ok(Some(outcome));
            }
            if let State::Going(work) = &mut self.unordered.state {
                work.limit_to(self.next);
            }
            match self.unordered.next_placed(deadline)? {
                // The pool's end: values that wait for their turn would stand in a wrong place.
                Some((THE_END, outcome)) => {
                    self.early.clear();
                    return Ok(Some(outcome));
                }
                Some((index, outcome)) => self.early.insert(index, outcome),
                None => return Ok(self.early.pop_first().map(|(_, outcome)| outcome)),
            };
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Iterator for ImapUnordered<'_, I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_taken().map(|(_, outcome)| outcome)
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Iterator for Imap<'_, I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_deadline(None).ok().flatten()
    }
}

impl<I, R> fmt::Debug for ImapUnordered<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = matches!(self.state, State::Over);
        f.debug_struct("ImapUnordered").field("over", &over).finish_non_exhaustive()
    }
}

impl<I, R> fmt::Debug for Imap<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("next", &self.next).finish_non_exhaustive()
    }
}
