//! `Latch`: open once so many things have happened.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::TimeoutError;
use crate::memory::{Kind, Slot, allocate};
use crate::protocol::countdown;
use crate::protocol::words::AtomicU32;
use crate::timeout;
use crate::travel::travels;

/// A count that goes down to zero once, and those who wait for that.
///
/// # If a process dies
/// Nothing: what it has counted down is counted, what it has not is not.
///
/// # Examples
/// ```
/// use mp_sync::Latch;
///
/// let started = Latch::new(2)?;
/// started.count_down();
/// assert!(!started.is_open());
/// started.count_down();
/// started.wait();
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct Latch {
    slot: Slot,
}

impl Latch {
    /// A latch that opens after `count` calls of [`count_down`](Self::count_down).
    ///
    /// # Errors
    /// What the system says, and `InvalidInput` for more than 2,147,483,647.
    pub fn new(count: u32) -> io::Result<Self> {
        let word = countdown::word_of(count).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a latch counts from 2147483647 at most")
        })?;
        let latch = Self { slot: allocate(Kind::Latch, size_of::<AtomicU32>())? };
        latch.word().store(word, Ordering::Relaxed);
        Ok(latch)
    }

    fn word(&self) -> &AtomicU32 {
        self.slot.words()
    }

    /// One less to go; nothing happens to an open latch.
    pub fn count_down(&self) {
        countdown::count_down(self.word());
    }

    /// How many are still to go.
    #[must_use]
    pub fn count(&self) -> u32 {
        countdown::count(self.word())
    }

    /// Whether it has opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.count() == 0
    }

    /// Waits until it opens.
    pub fn wait(&self) {
        countdown::wait(self.word(), None);
    }

    /// Waits up to `timeout` until it opens.
    ///
    /// # Errors
    /// [`TimeoutError`] if it did not.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), TimeoutError> {
        if countdown::wait(self.word(), timeout::after(timeout)) { Ok(()) } else { Err(TimeoutError) }
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("count", &self.count()).finish_non_exhaustive()
    }
}

travels!(Latch, Kind::Latch, size_of::<AtomicU32>(), |slot| Ok::<_, String>(Latch { slot }));
