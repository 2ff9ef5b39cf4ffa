//! `Condition`: wait until somebody says that something has changed.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::LockError;
use crate::lock::{Guard, Lock};
use crate::memory::{Kind, Slot, allocate, shared_words};
use crate::protocol::robust::{self, Patience};
use crate::protocol::sequence;
use crate::protocol::words::{AtomicU32, wait_on};
use crate::rlock::RGuard;
use crate::sleep::{Eagerness, Whereabouts};
use crate::timeout;
use crate::value::ValueGuard;

/// Lets processes that hold a lock wait until others say that something has changed.
///
/// It has a [`Lock`] of its own, as Python's has; it works as well with the guard of
/// any other `Lock`, [`RLock`](crate::RLock) or [`Value`](crate::Value), as long as
/// all use the same one. A wait may end for no reason: look again, or use
/// [`wait_while`](Self::wait_while).
///
/// # If a process dies
/// One that waits, or notifies, disturbs nobody: notifying changes the word that is
/// slept on and wakes in one step of the kernel, and waits for no answer. The
/// wake-ups that [`notify`](Self::notify) gave to a waiter which was then killed are
/// lost; [`notify_all`](Self::notify_all) loses none. What a death means for the
/// lock, see there.
///
/// # Examples
/// ```
/// use mp_sync::{Condition, Value};
///
/// let ready = Value::<u32>::new(0)?;
/// let changed = Condition::new()?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         *ready.lock().unwrap() = 1;
///         changed.notify_all();
///     });
///     let guard = changed.wait_while(ready.lock().unwrap(), |ready| **ready == 0).unwrap();
///     assert_eq!(*guard, 1);
/// });
/// # Ok::<(), mp_sync::Error>(())
/// ```
pub struct Condition {
    slot: Slot,
    lock: Lock,
    eagerness: Eagerness,
}

shared_words! {
    struct ConditionWords {
        /// As in `protocol::sequence`.
        sequence: AtomicU32,
        /// Where it was notified last.
        notifier: Whereabouts,
    }
}

/// A guard that a [`Condition`] can let go of and take back.
///
/// Sealed: these are the guards of this crate.
pub trait Held: Sized + sealed::Release {}

pub(crate) mod sealed {
    use super::{Instant, LockError};

    pub trait Release: Sized {
        /// Lets go of the lock altogether, runs `wait`, and takes it back.
        fn released(self, deadline: Option<Instant>, wait: impl FnOnce()) -> Result<Self, LockError<Self>>;
    }
}

impl Condition {
    /// A condition with a lock of its own.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Self::with_lock(&Lock::new()?)
    }

    /// A condition whose [`lock`](Self::lock) is `lock`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_lock(lock: &Lock) -> io::Result<Self> {
        Ok(Self::over(allocate(Kind::Condition, size_of::<ConditionWords>())?, lock.clone()))
    }

    fn over(slot: Slot, lock: Lock) -> Self {
        Self { slot, lock, eagerness: Eagerness::default() }
    }

    fn words(&self) -> &ConditionWords {
        self.slot.words()
    }

    /// Locks the condition's own lock.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<Guard<'_>, LockError<Guard<'_>>> {
        self.lock.lock()
    }

    /// Locks the condition's own lock if nobody holds it.
    ///
    /// # Errors
    /// As [`Lock::try_lock`].
    pub fn try_lock(&self) -> Result<Guard<'_>, LockError<Guard<'_>>> {
        self.lock.try_lock()
    }

    /// Locks the condition's own lock; waits up to `timeout`.
    ///
    /// # Errors
    /// As [`Lock::lock_timeout`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Guard<'_>, LockError<Guard<'_>>> {
        self.lock.lock_timeout(timeout)
    }

    /// Lets go of the lock, waits for a notification, and locks again.
    ///
    /// # Errors
    /// As [`Lock::lock`]; with `OwnerDied` comes the guard.
    pub fn wait<G: Held>(&self, guard: G) -> Result<G, LockError<G>> {
        self.wait_until(guard, None)
    }

    /// As [`wait`](Self::wait), up to `timeout`, which holds for the locking too.
    ///
    /// The guard comes back at the timeout as well, if nobody else holds the lock
    /// then: look whether what was waited for is there. Where this thread holds an
    /// [`RLock`](crate::RLock) by other guards too, these must hold it again, so that it is
    /// waited for without a timeout then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and [`LockError::Timeout`] if the lock could not be
    /// had in time.
    pub fn wait_timeout<G: Held>(&self, guard: G, timeout: Duration) -> Result<G, LockError<G>> {
        self.wait_until(guard, timeout::after(timeout))
    }

    /// Waits until `holds_still` is false of the guard: Python's `wait_for`, the other way round.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    #[doc(alias = "wait_for")]
    pub fn wait_while<G: Held>(
        &self,
        mut guard: G,
        mut holds_still: impl FnMut(&mut G) -> bool,
    ) -> Result<G, LockError<G>> {
        while holds_still(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait_while`](Self::wait_while), up to `timeout`; beside the guard,
    /// whether the wait ended as it should.
    ///
    /// # Errors
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_while_timeout<G: Held>(
        &self,
        mut guard: G,
        timeout: Duration,
        mut holds_still: impl FnMut(&mut G) -> bool,
    ) -> Result<(G, bool), LockError<G>> {
        let deadline = timeout::after(timeout);
        while holds_still(&mut guard) {
            if timeout::expired(deadline) {
                return Ok((guard, false));
            }
            guard = self.wait_until(guard, deadline)?;
        }
        Ok((guard, true))
    }

    /// Wakes up to `count` of those that wait now.
    ///
    /// It may be called with or without the lock. What they wait for is changed
    /// under the lock.
    pub fn notify(&self, count: u32) {
        let words = self.words();
        words.notifier.note();
        sequence::notify(&words.sequence, count);
    }

    /// Wakes all that wait now.
    pub fn notify_all(&self) {
        self.notify(u32::MAX);
    }

    fn wait_until<G: Held>(&self, guard: G, deadline: Option<Instant>) -> Result<G, LockError<G>> {
        let words = self.words();
        let seen = sequence::announce(&words.sequence);
        let is_notified = || words.sequence.load(Ordering::Relaxed) != seen;
        guard.released(deadline, || {
            self.eagerness.look_to(&words.notifier, deadline, is_notified);
            if !is_notified() {
                // An error of the kernel is a wake-up for no reason.
                let _ = wait_on(&words.sequence, seen, deadline);
            }
        })
    }
}

/// At the deadline the lock is looked at once more, so that a guard comes back if it can.
fn patience(deadline: Option<Instant>) -> Patience {
    if timeout::expired(deadline) { Patience::None } else { Patience::Until(deadline) }
}

impl Held for Guard<'_> {}

impl sealed::Release for Guard<'_> {
    fn released(self, deadline: Option<Instant>, wait: impl FnOnce()) -> Result<Self, LockError<Self>> {
        let take_back = self.let_go();
        wait();
        take_back(patience(deadline))
    }
}

impl<T: crate::Plain> Held for ValueGuard<'_, T> {}

impl<T: crate::Plain> sealed::Release for ValueGuard<'_, T> {
    fn released(self, deadline: Option<Instant>, wait: impl FnOnce()) -> Result<Self, LockError<Self>> {
        let value = self.value();
        drop(self);
        wait();
        value.acquire(patience(deadline))
    }
}

impl Held for RGuard<'_> {}

impl sealed::Release for RGuard<'_> {
    fn released(self, deadline: Option<Instant>, wait: impl FnOnce()) -> Result<Self, LockError<Self>> {
        let (slot, watch) = (self.slot(), self.watch());
        let again = &slot.head().again;
        let holds = again.load(Ordering::Relaxed);
        if holds == 0 || !robust::is_mine(slot) {
            drop(self);
            wait();
            return RGuard::acquire(slot, watch, patience(deadline));
        }
        // Other guards of this thread live on while it waits: all holds go and come back.
        again.store(0, Ordering::Relaxed);
        drop(self);
        wait();
        // Without a deadline, because those other guards must hold the lock again.
        let guard = RGuard::acquire(slot, watch, Patience::Until(None));
        if matches!(guard, Ok(_) | Err(LockError::OwnerDied(_))) {
            again.store(holds, Ordering::Relaxed);
        }
        guard
    }
}

impl Clone for Condition {
    fn clone(&self) -> Self {
        Self::over(self.slot.clone(), self.lock.clone())
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl serde::Serialize for Condition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (SlotOnly { slot: self.slot.clone() }, &self.lock).serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Condition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (SlotOnly { slot }, lock) = serde::Deserialize::deserialize(deserializer)?;
        Ok(Self::over(slot, lock))
    }
}

/// The condition without its lock, as it travels.
struct SlotOnly {
    slot: Slot,
}

crate::travel::travels!(SlotOnly, Kind::Condition, size_of::<ConditionWords>(), |slot| Ok::<_, String>(
    SlotOnly { slot }
));
