//! `Event`: something has happened, or has not yet.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::error::TimeoutError;
use crate::memory::{Kind, Slot, allocate, shared_words};
use crate::protocol::flag;
use crate::protocol::words::AtomicU32;
use crate::sleep::{Eagerness, Whereabouts};
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
pub struct Event {
    slot: Slot,
    eagerness: Eagerness,
}

shared_words! {
    struct EventWords {
        /// As in `protocol::flag`.
        flag: AtomicU32,
        /// Where it was set last.
        setter: Whereabouts,
    }
}

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self::over(allocate(Kind::Event, size_of::<EventWords>())?))
    }

    fn over(slot: Slot) -> Self {
        Self { slot, eagerness: Eagerness::default() }
    }

    fn words(&self) -> &EventWords {
        self.slot.words()
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        flag::is_set(&self.words().flag)
    }

    /// Sets it: all who wait go on, also if it is cleared at once.
    pub fn set(&self) {
        let words = self.words();
        words.setter.note();
        flag::set(&words.flag);
    }

    /// Takes the setting back.
    pub fn clear(&self) {
        flag::clear(&self.words().flag);
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
        let words = self.words();
        let begun = flag::begin(&words.flag);
        self.eagerness.look_to(&words.setter, deadline, || flag::is_over(&words.flag, begun));
        flag::wait(&words.flag, begun, deadline)
    }
}

impl Clone for Event {
    fn clone(&self) -> Self {
        Self::over(self.slot.clone())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

travels!(Event, Kind::Event, size_of::<EventWords>(), |slot| Ok::<_, String>(Event::over(slot)));
