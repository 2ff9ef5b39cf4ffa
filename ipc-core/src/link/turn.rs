//! Threads take turns at one direction of a link, with a deadline.
//!
//! # Safety
//! The value is reached only through a guard, and there is one guard at most:
//! `state` leaves `FREE` by an exchange that one thread wins, and comes back to it
//! when that thread's guard is dropped. Guards stay on their thread. A turn that is held
//! without a guard gives nobody the value.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, this_thread};
use crate::deadline;
use crate::error::ExportError;
use crate::sys::futex;

/// Nobody holds it.
const FREE: u32 = 0;
/// A thread holds it, and none waits.
const HELD: u32 = 1;
/// A thread holds it, and others may sleep on the word.
const CONTENDED: u32 = 2;

/// Who has been woken so often, and found that another thread was quicker, is let go first.
const IN_VAIN: u32 = if cfg!(under_loom) { 1 } else { 8 };

/// A mutex whose lock has a deadline, and which tells its own holder apart from
/// another one. A panic under it changes nothing: what it guards is committed in
/// single steps.
///
/// It goes to whoever comes first, so that a thread that takes it again and again waits for
/// nobody's wake; but one that was woken [in vain](IN_VAIN) shuts a gate, at which those that
/// come stand until it has had its turn.
pub(crate) struct Turn<T> {
    state: AtomicU32,
    /// How many threads shut the gate.
    overtaken: AtomicU32,
    holder: AtomicU64,
    /// It is held without a guard.
    is_held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: guards hand the value from thread to thread, one at a time.
unsafe impl<T: Send> Sync for Turn<T> {}

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
            state: AtomicU32::new(FREE),
            overtaken: AtomicU32::new(0),
            holder: AtomicU64::new(NOBODY),
            is_held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the turn.
    #[inline]
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Result<TurnGuard<'_, T>, NoTurn> {
        // ORDERING: what the last holder did is visible.
        let take = || self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        if self.overtaken.load(Ordering::Relaxed) != 0 || take().is_err() {
            self.take_slowly(deadline)?;
        }
        self.holder.store(this_thread(), Ordering::Relaxed);
        Ok(TurnGuard { turn: self, on_thread: PhantomData })
    }

    /// Waits for the turn of an end that is about to leave with a message: to the deadline of that
    /// message, and not for long. None if it is this thread's: a message that goes over this very end
    /// holds it by itself.
    pub(crate) fn take_to_leave(&self) -> Result<Option<TurnGuard<'_, T>>, ExportError> {
        match self.take(deadline::for_a_thread()) {
            Ok(guard) => Ok(Some(guard)),
            Err(NoTurn::Reentrant) => Ok(None),
            Err(NoTurn::Timeout) => {
                deadline::waited_in_vain();
                Err(ExportError::InUse)
            }
        }
    }

    /// Keeps the turn, which `guard` has, until [`let_go`](Self::let_go).
    pub(crate) fn hold(guard: TurnGuard<'_, T>) {
        guard.turn.is_held.store(true, Ordering::Relaxed);
        std::mem::forget(guard);
    }

    /// Gives back a turn that is held without a guard, by any thread; nothing if none is.
    pub(crate) fn let_go(&self) {
        if self.is_held.swap(false, Ordering::Relaxed) {
            self.pass_on();
        }
    }

    #[inline]
    fn pass_on(&self) {
        self.holder.store(NOBODY, Ordering::Relaxed);
        // ORDERING: what this thread did is visible to the next.
        if self.state.swap(FREE, Ordering::Release) == CONTENDED {
            futex::wake(&self.state, 1);
        }
    }

    #[cold]
    fn take_slowly(&self, deadline: Option<Instant>) -> Result<(), NoTurn> {
        // Only this thread can have put its own number there.
        if self.holder.load(Ordering::Relaxed) == this_thread() {
            return Err(NoTurn::Reentrant);
        }
        self.stand_at_the_gate(deadline)?;
        let mut waits = 0;
        let mut gate = None;
        // Also a thread that gives up leaves the word so: the holder wakes one in vain.
        // ORDERING: as in `take`.
        while self.state.swap(CONTENDED, Ordering::Acquire) != FREE {
            if deadline::expired(deadline) {
                return Err(NoTurn::Timeout);
            }
            if waits == IN_VAIN {
                gate = Some(Gate::shut(&self.overtaken));
            }
            waits += 1;
            // An error of the kernel here means only that the loop looks again.
            let _ = futex::wait(&self.state, CONTENDED, deadline);
        }
        drop(gate);
        Ok(())
    }

    /// Waits while others, who were overtaken, are to go first.
    fn stand_at_the_gate(&self, deadline: Option<Instant>) -> Result<(), NoTurn> {
        // ORDERING: the gate guards nothing, it only makes late; `state` says whose turn it is.
        loop {
            match self.overtaken.load(Ordering::Relaxed) {
                0 => return Ok(()),
                _ if deadline::expired(deadline) => return Err(NoTurn::Timeout),
                // As above.
                count => drop(futex::wait(&self.overtaken, count, deadline)),
            }
        }
    }
}

/// Shuts the gate of a turn until it is dropped.
struct Gate<'a>(&'a AtomicU32);

impl<'a> Gate<'a> {
    fn shut(overtaken: &'a AtomicU32) -> Self {
        overtaken.fetch_add(1, Ordering::Relaxed);
        Self(overtaken)
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        futex::wake(self.0, u32::MAX);
    }
}

impl<T: fmt::Debug> fmt::Debug for Turn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.take(deadline::now()) {
            Ok(value) => value.fmt(f),
            Err(_) => f.write_str("<in use>"),
        }
    }
}

/// The turn; it passes on when this is dropped.
#[derive(Debug)]
pub(crate) struct TurnGuard<'a, T> {
    turn: &'a Turn<T>,
    /// The holder is known by its thread, so that a guard must not leave it.
    on_thread: PhantomData<*const ()>,
}

impl<T> Deref for TurnGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this is the one guard.
        unsafe { &*self.turn.value.get() }
    }
}

impl<T> DerefMut for TurnGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this is the one guard, borrowed for this alone.
        unsafe { &mut *self.turn.value.get() }
    }
}

impl<T> Drop for TurnGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.turn.pass_on();
    }
}

const NOBODY: u64 = 0;

#[cfg(all(test, not(under_loom)))]
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
    fn a_held_turn_comes_back_from_any_thread() {
        let turn = Turn::new(1);
        Turn::hold(turn.take(None).unwrap());
        assert_eq!(turn.take(None).unwrap_err(), NoTurn::Reentrant);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| *turn.take(None).unwrap());
            let late = scope.spawn(|| turn.take(deadline::after(Duration::from_millis(20))).map(drop));
            assert_eq!(late.join().unwrap(), Err(NoTurn::Timeout));
            scope.spawn(|| turn.let_go());
            assert_eq!(waiting.join().unwrap(), 1);
        });
        let guard = turn.take(None).unwrap();
        turn.let_go();
        assert_eq!(turn.take(None).unwrap_err(), NoTurn::Reentrant, "a guard's turn is its own");
        drop(guard);
    }

    #[test]
    fn one_thread_at_a_time() {
        let turn = Turn::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| *turn.take(None).unwrap() += 1));
            }
        });
        assert_eq!(*turn.take(None).unwrap(), 80_000);
    }

    #[test]
    fn one_that_takes_it_again_and_again_lets_others_have_it() {
        let turn = Turn::new(());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let _turn = turn.take(None).unwrap();
                        std::thread::sleep(Duration::from_micros(300));
                    }
                });
            }
            let patience = Duration::from_secs(20);
            let had: Vec<_> = (0..20).map(|_| turn.take(deadline::after(patience)).is_ok()).collect();
            done.store(true, Ordering::Relaxed);
            assert_eq!(had, [true; 20]);
        });
    }

    #[test]
    fn who_comes_waits_for_one_that_was_overtaken() {
        let turn = Turn::new(1);
        let gate = Gate::shut(&turn.overtaken);
        assert_eq!(turn.take(deadline::now()).unwrap_err(), NoTurn::Timeout);
        std::thread::scope(|scope| {
            let one_who_comes = scope.spawn(|| *turn.take(None).unwrap());
            std::thread::sleep(Duration::from_millis(5));
            assert!(!one_who_comes.is_finished());
            drop(gate);
            assert_eq!(one_who_comes.join().unwrap(), 1);
        });
    }

    #[test]
    fn a_panic_gives_the_turn_back() {
        let turn = Turn::new(1);
        let panicking = std::panic::AssertUnwindSafe(|| {
            let _guard = turn.take(None).unwrap();
            panic!("on purpose");
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
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
