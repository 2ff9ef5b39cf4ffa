//! `Event`: something has happened, or has not yet.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{Change, change_and_wake, wait_on};

use crate::error::TimeoutError;
use crate::memory::{Kind, Slot, allocate};
use crate::timeout;
use crate::travel::travels;

/// A flag that processes wait for.
///
/// # If a process dies
/// Nothing: the flag is set or it is not, and all who wait are woken with it, in
/// one step of the kernel. [`set`](Self::set) never waits for anybody, and may be
/// called in a signal handler.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use mp_sync::Event;
///
/// let ready = Event::new()?;
/// assert!(ready.wait_timeout(Duration::from_millis(1)).is_err());
/// ready.set();
/// ready.wait();
/// assert!(ready.is_set());
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct Event {
    slot: Slot,
}

/// The event is set.
const SET: u32 = 1;
/// Somebody sleeps on the word, or did: setting it goes through the kernel. Only
/// clearing takes this away, as nobody sleeps while the event is set.
const WAITED_FOR: u32 = 2;
/// One clearing: who slept through setting and clearing sees that the number of
/// clearings has changed.
const CLEARED: u32 = 4;

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { slot: allocate(Kind::Event, size_of::<AtomicU32>())? })
    }

    fn word(&self) -> &AtomicU32 {
        self.slot.words()
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.word().load(Ordering::Acquire) & SET != 0
    }

    /// Sets it: all who wait go on, also if it is cleared at once.
    pub fn set(&self) {
        let word = self.word();
        let mut old = word.load(Ordering::Relaxed);
        loop {
            if old & SET != 0 {
                return;
            }
            if old & WAITED_FOR != 0 {
                break;
            }
            // ORDERING: what was done before is seen by those who find it set.
            match word.compare_exchange_weak(old, old | SET, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
        // Set and wake together, so that nobody sleeps on if this process dies here.
        if change_and_wake(word, Change::Or(SET as u16), u32::MAX).is_err() {
            word.fetch_or(SET, Ordering::SeqCst);
            ipc_core::raw::wake(word, u32::MAX);
        }
    }

    /// Takes the setting back.
    pub fn clear(&self) {
        let cleared = |old: u32| (old & SET != 0).then(|| (old & !(SET | WAITED_FOR)).wrapping_add(CLEARED));
        let _ = self.word().fetch_update(Ordering::AcqRel, Ordering::Relaxed, cleared);
    }

    /// Waits until it is set.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits up to `timeout` until it is set.
    ///
    /// # Errors
    /// [`TimeoutError`] if it was not.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), TimeoutError> {
        if self.wait_until(timeout::after(timeout)) { Ok(()) } else { Err(TimeoutError) }
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let word = self.word();
        let first = word.load(Ordering::Acquire);
        loop {
            let now = word.load(Ordering::Acquire);
            if now & SET != 0 || now / CLEARED != first / CLEARED {
                return true;
            }
            if timeout::expired(deadline) {
                return false;
            }
            let waiting = now | WAITED_FOR;
            let announced = now == waiting
                || word.compare_exchange(now, waiting, Ordering::SeqCst, Ordering::Relaxed).is_ok();
            if announced {
                // An error of the kernel here means only that the loop looks again.
                let _ = wait_on(word, waiting, deadline);
            }
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

travels!(Event, Kind::Event, size_of::<AtomicU32>(), |slot| Ok::<_, String>(Event { slot }));
