//! `Once`: done by one process, for all.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::error::LockError;
use crate::lock::Guard;
use crate::memory::{Kind, Slot, allocate};
use crate::protocol::done;
use crate::protocol::robust::Patience;
use crate::protocol::words::AtomicU32;
use crate::timeout;
use crate::travel::travels;

/// Something that is to be done once, by whichever process comes first.
///
/// # If a process dies
/// The next one does it. So does the next one after a panic or an error.
///
/// # Examples
/// ```
/// use mp_sync::Once;
///
/// let once = Once::new()?;
/// assert!(once.call(|| ())?);
/// assert!(!once.call(|| unreachable!("it was done"))?);
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct Once {
    slot: Slot,
}

impl Once {
    /// Something not yet done.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { slot: allocate(Kind::Once, size_of::<AtomicU32>())? })
    }

    fn word(&self) -> &AtomicU32 {
        self.slot.words()
    }

    /// Runs `work`, unless it has been done; whether it was done by this call. Waits
    /// while another one does it.
    ///
    /// # Errors
    /// [`LockError::Relocked`] if called inside `work` itself, and what the system says.
    pub fn call(&self, work: impl FnOnce()) -> Result<bool, LockError<()>> {
        self.call_until(None, work)
    }

    /// As [`call`](Self::call), but waits for another one up to `timeout`; once begun, the work
    /// itself goes on to its end.
    ///
    /// # Errors
    /// As [`call`](Self::call), and [`LockError::Timeout`].
    pub fn call_timeout(&self, timeout: Duration, work: impl FnOnce()) -> Result<bool, LockError<()>> {
        self.call_until(timeout::after(timeout), work)
    }

    fn call_until(&self, deadline: Option<Instant>, work: impl FnOnce()) -> Result<bool, LockError<()>> {
        let lock = || match Guard::acquire(&self.slot, None, Patience::Until(deadline)) {
            Ok(guard) => Ok(guard),
            Err(error) => error.into_guard().map_err(|error| error.map(drop)),
        };
        done::call(self.word(), lock, work)
    }

    /// Whether it has been done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        done::is_done(self.word())
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("is_done", &self.is_done()).finish_non_exhaustive()
    }
}

travels!(Once, Kind::Once, size_of::<AtomicU32>(), |slot| Ok::<_, String>(Once { slot }));
