//! `BinarySemaphore`: taken here, released there.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{AcquireError, ReleaseError};
use crate::protocol::ledger::Step;
use crate::protocol::robust::Patience;
use crate::semaphore::Semaphore;
use crate::timeout;

/// One permit, acquired by anybody and released by anybody else: Python's
/// `multiprocessing.Lock` as a signal between processes.
///
/// To guard something, use a [`Lock`](crate::Lock), which knows who holds it.
///
/// # If a process dies
/// Nothing comes back, because nobody is known to hold it. One who dies waiting
/// disturbs nobody.
///
/// # Examples
/// ```
/// use mp_sync::BinarySemaphore;
///
/// let turn = BinarySemaphore::new()?;
/// turn.acquire()?;
/// assert!(turn.is_locked());
/// turn.release()?;                     // here, or in another process
/// assert!(turn.release().is_err());
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BinarySemaphore(Semaphore);

impl BinarySemaphore {
    /// A free one.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Semaphore::limited(1, 1).map(Self)
    }

    /// Takes it; waits until it is free.
    ///
    /// # Errors
    /// See [`AcquireError`]; no `Timeout`.
    pub fn acquire(&self) -> Result<(), AcquireError> {
        self.0.take(Step::None, Patience::Until(None)).map(drop)
    }

    /// Takes it if it is free.
    ///
    /// # Errors
    /// See [`AcquireError`]; `Timeout` if it is not.
    pub fn try_acquire(&self) -> Result<(), AcquireError> {
        self.0.take(Step::None, Patience::None).map(drop)
    }

    /// Takes it; waits up to `timeout`.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<(), AcquireError> {
        self.0.take(Step::None, Patience::Until(timeout::after(timeout))).map(drop)
    }

    /// Frees it, whoever took it.
    ///
    /// # Errors
    /// [`ReleaseError::TooMany`] if it is free.
    pub fn release(&self) -> Result<(), ReleaseError> {
        self.0.release(1)
    }

    /// Whether it is taken, as of now.
    #[doc(alias = "locked")]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.available() == 0
    }
}
