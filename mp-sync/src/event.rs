//! `Event`: something has happened, or has not yet.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::error::TimeoutError;
use crate::memory::{Kind, Slot, allocate};
use crate::protocol::flag;
use crate::protocol::words::AtomicU32;
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
        flag::is_set(self.word())
    }

    /// Sets it: all who wait go on, also if it is cleared at once.
    pub fn set(&self) {
        flag::set(self.word());
    }

    /// Takes the setting back.
    pub fn clear(&self) {
        flag::clear(self.word());
    }

    /// Waits until it is set.
    pub fn wait(&self) {
        flag::wait(self.word(), None);
    }

    /// Waits up to `timeout` until it is set.
    ///
    /// # Errors
    /// [`TimeoutError`] if it was not.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), TimeoutError> {
        if flag::wait(self.word(), timeout::after(timeout)) { Ok(()) } else { Err(TimeoutError) }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

travels!(Event, Kind::Event, size_of::<AtomicU32>(), |slot| Ok::<_, String>(Event { slot }));
