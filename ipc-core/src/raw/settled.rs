//! A value that is made once and stays, and is never waited for.
//!
//! # Safety
//! The pointer is null, or that of a box which belongs to this and is freed with it alone: it is
//! exchanged once, from null, and so what it points to lives as long as `self` and does not change.

#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value that whoever comes first makes.
///
/// Threads that come at one time may each make one, and all but the first are dropped. So there is no
/// moment in which others wait for the one who is making it: a fork in that very moment has a copy
/// without a value, and makes its own, where a `OnceLock` would be waited for in vain.
///
/// # Examples
/// ```
/// use ipc_core::raw::Settled;
///
/// static ANSWER: Settled<u32> = Settled::new();
/// assert_eq!(ANSWER.get(), None);
/// assert_eq!(*ANSWER.get_or_make(|| 42), 42);
/// assert_eq!(*ANSWER.get_or_make(|| unreachable!()), 42);
/// ```
pub struct Settled<T> {
    value: AtomicPtr<T>,
    owns: PhantomData<*const T>,
}

// SAFETY: it owns the value, as a box does.
unsafe impl<T: Send> Send for Settled<T> {}
// SAFETY: threads share the value, and one may make it which another one drops.
unsafe impl<T: Send + Sync> Sync for Settled<T> {}

impl<T> Settled<T> {
    /// Without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { value: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// The value, once there is one.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        // ORDERING: what its maker wrote is visible.
        let value = self.value.load(Ordering::Acquire);
        // SAFETY: see above.
        unsafe { value.as_ref() }
    }

    /// The value, which is made now if there is none.
    pub fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.settle(make()),
        }
    }

    /// The value: `value` if there is none yet.
    #[cold]
    pub(crate) fn settle(&self, value: T) -> &T {
        let own = Box::into_raw(Box::new(value));
        // ORDERING: others see what was written here, and this thread what another one wrote.
        match self.value.compare_exchange(ptr::null_mut(), own, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: see above.
            Ok(_) => unsafe { &*own },
            Err(first) => {
                // SAFETY: nobody else has seen the own one; for the first, see above.
                unsafe {
                    drop(Box::from_raw(own));
                    &*first
                }
            }
        }
    }
}

impl<T> Drop for Settled<T> {
    fn drop(&mut self) {
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: it came from a box, and nobody borrows it any more.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

impl<T> From<T> for Settled<T> {
    fn from(value: T) -> Self {
        Self { value: AtomicPtr::new(Box::into_raw(Box::new(value))), owns: PhantomData }
    }
}

impl<T> Default for Settled<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Settled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settled").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;

    #[test]
    fn the_first_stays_and_the_others_are_dropped() {
        let (settled, counted, barrier) = (Settled::new(), Arc::new(()), Barrier::new(4));
        let seen: Vec<usize> = thread::scope(|scope| {
            let make = || {
                let value = settled.get_or_make(|| {
                    barrier.wait();
                    Arc::clone(&counted)
                });
                ptr::from_ref(value).addr()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|one| *one == seen[0]), "each has the same");
        assert_eq!(Arc::strong_count(&counted), 2);
        drop(settled);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn nobody_waits_for_one_who_is_making_it() {
        let (settled, begun, ended) = (Settled::new(), Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                settled.get_or_make(|| {
                    begun.wait();
                    ended.wait();
                    1
                });
            });
            begun.wait();
            // As in the child of a fork, which has not the other thread.
            assert_eq!(*settled.get_or_make(|| 2), 2);
            ended.wait();
        });
        assert_eq!(settled.get(), Some(&2));
    }
}
