//! `JoinableQueue`: knows when all its items are done with.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::time::Duration;

use ipc_core::{Arm, Message, Waitable};
use serde::{Deserialize, Serialize};

use super::store::Refusal;
use super::{DoneError, Queue};
use crate::error::TimeoutError;
use crate::timeout;

/// A [`Queue`] that one can wait on until every item has been marked as done.
///
/// # If a process dies, or is stopped
/// As with a [`Queue`]. The items it had got and not marked as done stay undone: give
/// [`join_timeout`](Self::join_timeout) a bound, or mark them for it.
///
/// # Examples
/// ```
/// use mp_sync::JoinableQueue;
///
/// let queue = JoinableQueue::new()?;
/// queue.put(1)?;
/// let item = queue.get()?;
/// assert_eq!((item, queue.unfinished()), (1, 1));
/// queue.task_done()?;
/// queue.join();
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "", transparent)]
pub struct JoinableQueue<T>(pub(super) Queue<T>);

impl<T: Message> JoinableQueue<T> {
    /// A queue of as many items as there is memory for.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn new() -> io::Result<Self> {
        Queue::new().map(Self)
    }

    /// A queue of at most so many items.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn bounded(items: u32) -> io::Result<Self> {
        Queue::bounded(items).map(Self)
    }
}

impl<T> JoinableQueue<T> {
    /// Marks one item as done.
    ///
    /// # Errors
    /// [`DoneError::TooMany`] if all that were put are.
    pub fn task_done(&self) -> Result<(), DoneError> {
        match self.0.store.finish() {
            Ok(true) => Ok(()),
            Ok(false) => Err(DoneError::TooMany),
            Err(Refusal::Io(error)) => Err(DoneError::Io(error)),
            Err(_) => Err(DoneError::Io(io::ErrorKind::Other.into())),
        }
    }

    /// Waits until as many items have been marked as done as have been put.
    pub fn join(&self) {
        self.0.store.join(None);
    }

    /// As [`join`](Self::join), up to `timeout`.
    ///
    /// # Errors
    /// [`TimeoutError`] if some were not.
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), TimeoutError> {
        if self.0.store.join(timeout::after(timeout)) { Ok(()) } else { Err(TimeoutError) }
    }

    /// How many items have been put and not been marked as done.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.0.store.unfinished() as usize
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

/// As a [`Queue`] is.
impl<T> Waitable for JoinableQueue<T> {
    fn is_ready(&self) -> Option<bool> {
        self.0.is_ready()
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.0.arm(arm);
    }

    fn disarm(&self) {
        self.0.disarm();
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue")
            .field("len", &self.len())
            .field("unfinished", &self.unfinished())
            .finish_non_exhaustive()
    }
}
