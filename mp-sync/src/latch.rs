//! `Latch`: open once so many things have happened.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{Change, change_and_wake, wait_on, wake};

use crate::error::TimeoutError;
use crate::memory::{Kind, Slot, allocate};
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

/// Somebody sleeps on the word, or did: opening goes through the kernel.
const WAITED_FOR: u32 = 1;
/// One more to go.
const ONE: u32 = 2;

impl Latch {
    /// A latch that opens after `count` calls of [`count_down`](Self::count_down).
    ///
    /// # Errors
    /// What the system says, and `InvalidInput` for more than 2,147,483,647.
    pub fn new(count: u32) -> io::Result<Self> {
        let word = count.checked_mul(ONE).ok_or(io::ErrorKind::InvalidInput)?;
        let latch = Self { slot: allocate(Kind::Latch, size_of::<AtomicU32>())? };
        latch.word().store(word, Ordering::Relaxed);
        Ok(latch)
    }

    fn word(&self) -> &AtomicU32 {
        self.slot.words()
    }

    /// One less to go; nothing happens to an open latch.
    pub fn count_down(&self) {
        let word = self.word();
        let mut old = word.load(Ordering::Relaxed);
        loop {
            if old < ONE {
                return;
            }
            if old == (ONE | WAITED_FOR) {
                // Open and wake together, so that nobody sleeps on if this process dies here.
                if change_and_wake(word, Change::Set(WAITED_FOR as u16), u32::MAX).is_err() {
                    word.store(WAITED_FOR, Ordering::SeqCst);
                    wake(word, u32::MAX);
                }
                return;
            }
            // ORDERING: what each has done before is seen by those who find the latch open.
            match word.compare_exchange_weak(old, old - ONE, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// How many are still to go.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.word().load(Ordering::Acquire) / ONE
    }

    /// Whether it has opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.count() == 0
    }

    /// Waits until it opens.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits up to `timeout` until it opens.
    ///
    /// # Errors
    /// [`TimeoutError`] if it did not.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), TimeoutError> {
        if self.wait_until(timeout::after(timeout)) { Ok(()) } else { Err(TimeoutError) }
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            let now = self.word().fetch_or(WAITED_FOR, Ordering::SeqCst) | WAITED_FOR;
            if now < ONE {
                return true;
            }
            if timeout::expired(deadline) {
                return false;
            }
            // It sleeps through counts that wake nobody, and finds the last one by the wake.
            let _ = wait_on(self.word(), now, deadline);
        }
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("count", &self.count()).finish_non_exhaustive()
    }
}

travels!(Latch, Kind::Latch, size_of::<AtomicU32>(), |slot| Ok::<_, String>(Latch { slot }));
