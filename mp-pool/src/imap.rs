//! Values as they come.

use std::collections::BTreeMap;
use std::fmt;

use ipc_core::Message;

use crate::error::TaskError;
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

impl<I, R> ImapUnordered<'_, I, R> {
    /// How many items travel together: one unless set. More cost less each, and
    /// come back together.
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
    /// How many items travel together: one unless set. More cost less each, and
    /// come back together.
    #[doc(alias = "chunksize")]
    #[must_use]
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.unordered = self.unordered.chunk_size(items);
        self
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> ImapUnordered<'_, I, R> {
    /// The next value with the place of its item. The end of the pool is one error.
    fn next_placed(&mut self) -> Option<(usize, Result<R, TaskError>)> {
        if let Some((index, outcome)) = self.outcomes.pop_front() {
            return Some((index, outcome.map_err(|error| error.at(index))));
        }
        let State::Going(work) = &mut self.state else {
            return match std::mem::replace(&mut self.state, State::Over) {
                State::Refused(error) => Some((usize::MAX, Err(error))),
                _ => None,
            };
        };
        match work.fetch(&mut self.outcomes, None) {
            Ok(true) => self.next_placed(),
            Ok(false) => {
                self.state = State::Over;
                None
            }
            Err(error) => {
                self.state = State::Over;
                Some((usize::MAX, Err(error.into())))
            }
        }
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Iterator for ImapUnordered<'_, I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_placed().map(|(_, outcome)| outcome)
    }
}

impl<A: Message, R: Message, I: Iterator<Item = A>> Iterator for Imap<'_, I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(outcome) = self.early.remove(&self.next) {
                self.next += 1;
                return Some(outcome);
            }
            if let State::Going(work) = &mut self.unordered.state {
                work.limit_to(self.next);
            }
            match self.unordered.next_placed() {
                Some((index, outcome)) => self.early.insert(index, outcome),
                // What is left has a gap before it, which only the pool's end can leave.
                None => return self.early.pop_first().map(|(_, outcome)| outcome),
            };
        }
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
