//! `RLock`: a lock that its holder may lock again.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipc_core::raw::{LockFailure, ThreadId};

use crate::deadlock::{self, DeadlockWatch, Refusal};
use crate::error::LockError;
use crate::memory::{Kind, Slot, allocate};
use crate::protocol::robust::{self, Patience};
use crate::timeout;

/// A [`Lock`](crate::Lock) that the thread which holds it may lock again; it is
/// free when all guards are gone.
///
/// # If a process dies
/// As with a [`Lock`](crate::Lock), however often the dead one had locked it.
///
/// # Examples
/// ```
/// use mp_sync::RLock;
///
/// let lock = RLock::new()?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// drop(outer);
/// assert!(lock.is_locked());
/// drop(inner);
/// assert!(!lock.is_locked());
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct RLock {
    slot: Slot,
    watch: Option<DeadlockWatch>,
}

/// One of possibly many holds of this thread. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RGuard<'a> {
    slot: &'a Slot,
    watch: Option<&'a DeadlockWatch>,
    stays: PhantomData<*const ()>,
}

impl RLock {
    /// A lock that nobody holds.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self::over(allocate(Kind::RLock, 0)?, None))
    }

    /// A lock that nobody holds, of which `watch` reports deadlocks, under a name of up
    /// to 56 bytes.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn watched(watch: &DeadlockWatch, name: &str) -> io::Result<Self> {
        let slot = allocate(Kind::RLock, deadlock::NAMED)?;
        deadlock::set_name(deadlock::name_alone(&slot), name);
        Ok(Self::over(slot, Some(watch.clone())))
    }

    fn over(slot: Slot, watch: Option<DeadlockWatch>) -> Self {
        Self { slot, watch }
    }

    /// Locks it; waits as long as another thread holds it.
    ///
    /// # Errors
    /// See [`LockError`]; neither `Timeout` nor `Relocked`.
    #[doc(alias = "acquire")]
    #[inline]
    pub fn lock(&self) -> Result<RGuard<'_>, LockError<RGuard<'_>>> {
        RGuard::acquire(&self.slot, self.watch.as_ref(), Patience::Until(None))
    }

    /// Locks it if no other thread holds it.
    ///
    /// # Errors
    /// See [`LockError`]; `Timeout` if another thread holds it.
    #[inline]
    pub fn try_lock(&self) -> Result<RGuard<'_>, LockError<RGuard<'_>>> {
        RGuard::acquire(&self.slot, self.watch.as_ref(), Patience::None)
    }

    /// Locks it; waits up to `timeout`.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<RGuard<'_>, LockError<RGuard<'_>>> {
        RGuard::acquire(&self.slot, self.watch.as_ref(), Patience::Until(timeout::after(timeout)))
    }

    /// Whether somebody holds it, as of now.
    #[doc(alias = "locked")]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.owner().is_some()
    }

    /// Who holds it, as of now.
    #[must_use]
    pub fn owner(&self) -> Option<ThreadId> {
        robust::owner(&self.slot)
    }
}

impl<'a> RGuard<'a> {
    #[inline]
    pub(crate) fn acquire(
        slot: &'a Slot,
        watch: Option<&'a DeadlockWatch>,
        patience: Patience,
    ) -> Result<Self, LockError<Self>> {
        let sound = match deadlock::lock(slot, watch, deadlock::name_alone, patience) {
            Ok(sound) => sound,
            // The mutex itself knows that this thread holds it.
            Err(Refusal::Failure(LockFailure::Deadlock)) => {
                slot.head().again.fetch_add(1, Ordering::Relaxed);
                robust::is_sound(slot)
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let guard = Self { slot, watch, stays: PhantomData };
        if sound { Ok(guard) } else { Err(LockError::OwnerDied(guard)) }
    }

    pub(crate) fn slot(&self) -> &'a Slot {
        self.slot
    }

    pub(crate) fn watch(&self) -> Option<&'a DeadlockWatch> {
        self.watch
    }

    /// Whether no holder has died since the last [`mark_sound`](Self::mark_sound).
    #[must_use]
    pub fn is_sound(&self) -> bool {
        robust::is_sound(self.slot)
    }

    /// Says that what the lock guards is whole: from now on it is locked without
    /// [`LockError::OwnerDied`].
    pub fn mark_sound(&self) {
        if robust::is_mine(self.slot) {
            robust::mark_sound(self.slot);
        }
    }
}

impl Drop for RGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if !robust::is_mine(self.slot) {
            return;
        }
        let again = &self.slot.head().again;
        match again.load(Ordering::Relaxed) {
            0 => robust::unlock(self.slot),
            // Only the holder changes it.
            more => again.store(more - 1, Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock").field("owner", &self.owner()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RGuard").field("is_sound", &self.is_sound()).finish_non_exhaustive()
    }
}

deadlock::travels_watched!(RLock, Kind::RLock, 0);
