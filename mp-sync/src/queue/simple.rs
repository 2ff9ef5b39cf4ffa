//! `SimpleQueue`: put and get, and nothing else.

use std::fmt;
use std::io;
use std::time::Duration;

use ipc_core::{Arm, Message, Waitable};
use serde::{Deserialize, Serialize};

use super::{GetError, Items, PutError, Queue};

/// A [`Queue`] with Python's smaller set of methods, and their forms with a timeout.
///
/// # If a process dies, or is stopped
/// As with a [`Queue`].
///
/// # Examples
/// ```
/// use mp_sync::SimpleQueue;
///
/// let queue = SimpleQueue::new()?;
/// queue.put(1)?;
/// assert!(!queue.empty());
/// assert_eq!(queue.get()?, 1);
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "", transparent)]
pub struct SimpleQueue<T>(pub(super) Queue<T>);

impl<T: Message> SimpleQueue<T> {
    /// A queue of as many items as there is memory for.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn new() -> io::Result<Self> {
        Queue::new().map(Self)
    }

    /// As [`Queue::put`].
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.put(item)
    }

    /// As [`Queue::put_timeout`].
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.0.put_timeout(item, timeout)
    }

    /// As [`Queue::get`].
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }

    /// As [`Queue::iter`].
    pub fn iter(&self) -> Items<'_, T> {
        self.0.iter()
    }

    /// As [`Queue::get_timeout`].
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.0.get_timeout(timeout)
    }
}

impl<T> SimpleQueue<T> {
    /// Whether there is no item, as of now.
    #[must_use]
    pub fn empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`Queue::close`].
    pub fn close(&self) {
        self.0.close();
    }
}

/// As a [`Queue`] is.
impl<T> Waitable for SimpleQueue<T> {
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

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimpleQueue").field("len", &self.0.len()).finish_non_exhaustive()
    }
}
