//! Threads take turns at one direction of a link, with a deadline.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use crate::deadline;
use crate::sys::futex;

/// A mutex whose lock has a deadline, and which tells its own holder apart from
/// another one. A panic under it changes nothing: what it guards is committed in
/// single steps.
#[derive(Debug)]
pub(crate) struct Turn<T> {
    value: Mutex<T>,
    holder: AtomicU64,
    waiters: AtomicU32,
    releases: AtomicU32,
}

/// Why there was no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// The deadline passed first.
    Timeout,
    /// This very thread holds it.
    Reentrant,
}

impl<T> Turn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            holder: AtomicU64::new(NOBODY),
            waiters: AtomicU32::new(0),
            releases: AtomicU32::new(0),
        }
    }

    /// Waits for the turn.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Result<TurnGuard<'_, T>, NoTurn> {
        if let Some(guard) = self.attempt() {
            return Ok(guard);
        }
        // Only this thread can have put its own number there.
        if self.holder.load(Ordering::Relaxed) == this_thread() {
            return Err(NoTurn::Reentrant);
        }
        // ORDERING: the waiter announces itself before it looks, the holder lets
        // go before it looks for waiters; one of the two sees the other.
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let result = self.take_slowly(deadline);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn take_slowly(&self, deadline: Option<Instant>) -> Result<TurnGuard<'_, T>, NoTurn> {
        loop {
            let seen = self.releases.load(Ordering::SeqCst);
            if let Some(guard) = self.attempt() {
                return Ok(guard);
            }
            if deadline::expired(deadline) {
                return Err(NoTurn::Timeout);
            }
            // An error of the kernel here means only that the loop looks again.
            let _ = futex::wait(&self.releases, seen, deadline);
        }
    }

    fn attempt(&self) -> Option<TurnGuard<'_, T>> {
        let value = match self.value.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.holder.store(this_thread(), Ordering::Relaxed);
        Some(TurnGuard { turn: self, value: Some(value) })
    }

    fn release(&self) {
        // ORDERING: see `take`; the unlock before it is made visible by the fence.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.releases.fetch_add(1, Ordering::SeqCst);
            futex::wake(&self.releases, 1);
        }
    }
}

/// The turn; it passes on when this is dropped.
#[derive(Debug)]
pub(crate) struct TurnGuard<'a, T> {
    turn: &'a Turn<T>,
    value: Option<MutexGuard<'a, T>>,
}

impl<T> Deref for TurnGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_deref().expect("held until dropped")
    }
}

impl<T> DerefMut for TurnGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_deref_mut().expect("held until dropped")
    }
}

impl<T> Drop for TurnGuard<'_, T> {
    fn drop(&mut self) {
        self.turn.holder.store(NOBODY, Ordering::Relaxed);
        drop(self.value.take());
        self.turn.release();
    }
}

const NOBODY: u64 = 0;

/// A number that no other living thread has: the address of a thread-local.
fn this_thread() -> u64 {
    thread_local!(static PLACE: u8 = const { 0 });
    PLACE.with(|place| std::ptr::from_ref(place).addr() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_holder_is_told_that_it_holds() {
        let turn = Turn::new(1);
        let guard = turn.take(None).unwrap();
        assert_eq!(turn.take(None).unwrap_err(), NoTurn::Reentrant);
        drop(guard);
        assert_eq!(*turn.take(None).unwrap(), 1);
    }

    #[test]
    fn another_thread_waits_until_its_deadline_and_until_the_release() {
        let turn = Turn::new(0);
        std::thread::scope(|scope| {
            let mut guard = turn.take(None).unwrap();
            let late = scope.spawn(|| turn.take(deadline::after(Duration::from_millis(20))).map(drop));
            assert_eq!(late.join().unwrap(), Err(NoTurn::Timeout));
            let patient = scope.spawn(|| *turn.take(None).unwrap());
            std::thread::sleep(Duration::from_millis(20));
            *guard = 7;
            drop(guard);
            assert_eq!(patient.join().unwrap(), 7);
        });
    }
}
