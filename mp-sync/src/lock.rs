//! `Lock`: mutual exclusion between processes.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use ipc_core::raw::ThreadId;

use crate::deadlock::{self, DeadlockWatch, Refusal};
use crate::error::LockError;
use crate::memory::{Kind, Slot, allocate};
use crate::protocol::robust::{self, Patience};
use crate::timeout;

/// Mutual exclusion between the threads of all processes that hold a handle to it.
///
/// # If a process dies
/// The lock of one that dies holding it goes to the next, as
/// [`LockError::OwnerDied`], with the guard. Everybody after it is told the same,
/// until one calls [`Guard::mark_sound`]. A process that dies while it waits, or as it
/// asks who holds the lock, disturbs nobody.
///
/// # Limits
/// A thread may hold 2,000 locks at a time, because the kernel releases no more
/// when it dies. Unlike Python's, a lock is released only by the thread that holds
/// it; [`BinarySemaphore`](crate::BinarySemaphore) is released by whoever likes.
///
/// # Examples
/// ```
/// use mp_sync::{Lock, LockError};
///
/// let lock = Lock::new()?;
/// let guard = match lock.lock() {
///     Ok(guard) => guard,
///     Err(LockError::OwnerDied(guard)) => {
///         // … put right what the lock guards …
///         guard.mark_sound();
///         guard
///     }
///     Err(error) => return Err(error.into()),
/// };
/// assert!(lock.is_locked());
/// drop(guard);
/// assert!(lock.try_lock().is_ok());
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct Lock {
    pub(crate) slot: Slot,
    watch: Option<DeadlockWatch>,
}

/// The lock is held as long as this lives. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard<'a> {
    slot: &'a Slot,
    watch: Option<&'a DeadlockWatch>,
    stays: PhantomData<*const ()>,
}

impl Lock {
    /// A lock that nobody holds.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self::over(allocate(Kind::Lock, 0)?, None))
    }

    /// A lock that nobody holds, of which `watch` reports deadlocks, under a name of up
    /// to 56 bytes.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn watched(watch: &DeadlockWatch, name: &str) -> io::Result<Self> {
        let slot = allocate(Kind::Lock, deadlock::NAMED)?;
        deadlock::set_name(deadlock::name_alone(&slot), name);
        Ok(Self::over(slot, Some(watch.clone())))
    }

    fn over(slot: Slot, watch: Option<DeadlockWatch>) -> Self {
        Self { slot, watch }
    }

    /// Locks it; waits as long as somebody holds it.
    ///
    /// # Errors
    /// See [`LockError`]; no `Timeout`.
    #[doc(alias = "acquire")]
    #[inline]
    pub fn lock(&self) -> Result<Guard<'_>, LockError<Guard<'_>>> {
        self.acquire(Patience::Until(None))
    }

    /// Locks it if nobody holds it.
    ///
    /// # Errors
    /// See [`LockError`]; `Timeout` if somebody holds it.
    #[inline]
    pub fn try_lock(&self) -> Result<Guard<'_>, LockError<Guard<'_>>> {
        self.acquire(Patience::None)
    }

    /// Locks it; waits up to `timeout`.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Guard<'_>, LockError<Guard<'_>>> {
        self.acquire(Patience::Until(timeout::after(timeout)))
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

    #[inline]
    fn acquire(&self, patience: Patience) -> Result<Guard<'_>, LockError<Guard<'_>>> {
        Guard::acquire(&self.slot, self.watch.as_ref(), patience)
    }

    /// Locks it, for one who unlocks it by itself; whether the state is sound.
    #[inline]
    pub(crate) fn acquire_bare(&self, patience: Patience) -> Result<bool, Refusal> {
        deadlock::lock(&self.slot, self.watch.as_ref(), deadlock::name_alone, patience)
    }

    /// Whether two handles are to the same lock.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.slot.is(&other.slot)
    }
}

impl<'a> Guard<'a> {
    #[inline]
    pub(crate) fn acquire(
        slot: &'a Slot,
        watch: Option<&'a DeadlockWatch>,
        patience: Patience,
    ) -> Result<Self, LockError<Self>> {
        let sound = deadlock::lock(slot, watch, deadlock::name_alone, patience)?;
        let guard = Self { slot, watch, stays: PhantomData };
        if sound { Ok(guard) } else { Err(LockError::OwnerDied(guard)) }
    }

    /// Lets go of the lock, and gives what takes it back.
    pub(crate) fn let_go(self) -> impl FnOnce(Patience) -> Result<Self, LockError<Self>> {
        let Self { slot, watch, .. } = self;
        drop(self);
        move |patience| Self::acquire(slot, watch, patience)
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

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        robust::unlock(self.slot);
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("owner", &self.owner()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("is_sound", &self.is_sound()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::RLock;

    #[test]
    fn a_dead_holder_is_gone_whoever_has_its_number() {
        let lock = Lock::new().unwrap();
        // What a thread holds at its end is what a killed process holds.
        std::thread::scope(|scope| {
            scope.spawn(|| std::mem::forget(lock.lock().unwrap())).join().unwrap();
        });
        let (there, done) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                lock.slot.head().owner.store(ThreadId::current().to_word(), Ordering::Relaxed);
                there.wait();
                done.wait();
            });
            there.wait();
            let (owner, shown) = (lock.owner(), format!("{lock:?}"));
            done.wait();
            assert_eq!(owner, None);
            assert!(shown.contains("owner: None"), "{shown}");
        });
        assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))), "it is told all the same");
    }

    /// A thread that ends as if it had been killed: the kernel lets go for it.
    fn die_after(lock: &Lock, work: fn(&Lock)) {
        std::thread::scope(|scope| scope.spawn(|| work(lock)).join().unwrap());
    }

    #[test]
    fn one_who_dies_on_its_way_in_or_out_has_changed_nothing() {
        let lock = Lock::new().unwrap();
        // So does one that asks who holds the lock.
        die_after(&lock, |lock| assert!(lock.slot.mutex().try_lock().is_ok()));
        assert!(lock.lock().is_ok());
        die_after(&lock, |lock| {
            std::mem::forget(lock.lock().unwrap());
            lock.slot.head().owner.store(0, Ordering::Relaxed);
        });
        assert!(lock.lock().is_ok());
    }

    #[test]
    fn a_second_death_hides_no_first_one() {
        let lock = Lock::new().unwrap();
        die_after(&lock, |lock| std::mem::forget(lock.lock().unwrap()));
        die_after(&lock, |lock| assert!(lock.slot.mutex().try_lock().is_ok()));
        assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
        let rlock = RLock::new().unwrap();
        std::thread::scope(|scope| {
            let hold = || (0..2).for_each(|_| std::mem::forget(rlock.lock().unwrap()));
            scope.spawn(hold).join().unwrap();
        });
        assert_eq!(rlock.owner(), None, "who asks finds the dead one");
        let Err(LockError::OwnerDied(guard)) = rlock.lock() else { panic!("the owner died") };
        drop(guard);
        assert!(!rlock.is_locked(), "what the dead one held is not held again");
    }
}

deadlock::travels_watched!(Lock, Kind::Lock, 0);
