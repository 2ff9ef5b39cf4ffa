//! Atomics that processes share.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize, Ordering,
};

use serde::{Deserialize, Serialize};

use crate::memory::{Kind, Slot, allocate};
use crate::travel::travels;

/// An atomic truth value that processes share, with the methods of
/// [`AtomicBool`](std::sync::atomic::AtomicBool).
///
/// # If another process writes wildly there
/// It is a byte, of which zero is `false` and whatever else stands there is `true`, to all methods.
///
/// # If a process dies
/// Nothing: each operation has happened, or has not.
///
/// # Examples
/// ```
/// use std::sync::atomic::Ordering::{Acquire, Release, Relaxed};
/// use mp_sync::SharedAtomicBool;
///
/// let stop = SharedAtomicBool::new(false)?;
/// // … a clone of `stop` goes to other processes, which look at it now and then …
/// stop.store(true, Release);
/// assert!(stop.load(Acquire));
/// assert_eq!(stop.compare_exchange(false, true, Relaxed, Relaxed), Err(true));
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedAtomicBool(SharedAtomicU8);

impl SharedAtomicBool {
    /// An atomic with this value.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new(value: bool) -> io::Result<Self> {
        SharedAtomicU8::new(value.into()).map(Self)
    }

    /// Reads the value.
    ///
    /// # Panics
    /// If the order is `Release` or `AcqRel`, as of all atomics.
    #[inline]
    #[must_use]
    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order) != 0
    }

    /// Writes the value.
    ///
    /// # Panics
    /// If the order is `Acquire` or `AcqRel`, as of all atomics.
    #[inline]
    pub fn store(&self, value: bool, order: Ordering) {
        self.0.store(value.into(), order);
    }

    /// Writes the value; the one before.
    #[inline]
    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value.into(), order) != 0
    }

    /// Writes `new` if the value is `current`; the one before, as an error if it was another.
    ///
    /// # Errors
    /// The value, if it is not `current`.
    #[inline]
    pub fn compare_exchange(
        &self,
        current: bool,
        new: bool,
        success: Ordering,
        failure: Ordering,
    ) -> Result<bool, bool> {
        self.exchange(current, |byte| self.0.compare_exchange(byte, new.into(), success, failure))
    }

    /// As [`compare_exchange`](Self::compare_exchange), but may fail for no reason, for loops.
    ///
    /// # Errors
    /// The value, also where it is `current`.
    #[inline]
    pub fn compare_exchange_weak(
        &self,
        current: bool,
        new: bool,
        success: Ordering,
        failure: Ordering,
    ) -> Result<bool, bool> {
        self.exchange(current, |byte| self.0.compare_exchange_weak(byte, new.into(), success, failure))
    }

    /// Tries it for the byte that is `current`, and for another one that is too.
    #[inline]
    fn exchange(&self, current: bool, exchange: impl Fn(u8) -> Result<u8, u8>) -> Result<bool, bool> {
        let mut byte = u8::from(current);
        loop {
            match exchange(byte) {
                Err(found) if found != byte && is_true(found) == current => byte = found,
                result => return result.map(is_true).map_err(is_true),
            }
        }
    }

    /// Makes it true only if `value` is so too; the value before.
    #[inline]
    pub fn fetch_and(&self, value: bool, order: Ordering) -> bool {
        if value { self.fetch_or(false, order) } else { self.swap(false, order) }
    }

    /// Makes it true if `value` is; the value before.
    #[inline]
    pub fn fetch_or(&self, value: bool, order: Ordering) -> bool {
        self.0.fetch_or(value.into(), order) != 0
    }

    /// Turns it round if `value` is true; the value before.
    #[inline]
    pub fn fetch_xor(&self, value: bool, order: Ordering) -> bool {
        if value { self.fetch_not(order) } else { self.fetch_or(false, order) }
    }

    /// Turns it round; the value before.
    #[inline]
    pub fn fetch_not(&self, order: Ordering) -> bool {
        let mut byte = self.0.load(Ordering::Relaxed);
        loop {
            let turned = u8::from(!is_true(byte));
            match self.0.compare_exchange_weak(byte, turned, order, Ordering::Relaxed) {
                Ok(_) => return is_true(byte),
                Err(found) => byte = found,
            }
        }
    }

    /// Makes it false only if both it and `value` are true; the value before.
    #[inline]
    pub fn fetch_nand(&self, value: bool, order: Ordering) -> bool {
        if value { self.fetch_not(order) } else { self.swap(true, order) }
    }

    /// Writes what `change` makes of the value, asked again when another one was faster; the value
    /// before.
    ///
    /// # Errors
    /// The value, if `change` gave `None`.
    pub fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        mut change: impl FnMut(bool) -> Option<bool>,
    ) -> Result<bool, bool> {
        let result = self.0.fetch_update(set, fetch, |value| change(is_true(value)).map(u8::from));
        result.map(is_true).map_err(is_true)
    }
}

fn is_true(value: u8) -> bool {
    value != 0
}

impl fmt::Debug for SharedAtomicBool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedAtomicBool").field(&self.load(Ordering::Relaxed)).finish()
    }
}

macro_rules! shared_atomic {
    ($name:ident, $atomic:ident, $value:ident) => {
        #[doc = concat!("An [`", stringify!($atomic), "`] that processes share, with all its methods.")]
        ///
        /// Nothing waits for a change of it: for that there are [`Event`](crate::Event),
        /// [`Condition`](crate::Condition), [`Semaphore`](crate::Semaphore) and
        /// [`Latch`](crate::Latch), which know what to do when a process dies.
        ///
        /// # If a process dies
        /// Nothing: each operation has happened, or has not.
        ///
        /// # Examples
        /// ```
        /// use std::sync::atomic::Ordering;
        #[doc = concat!("use mp_sync::", stringify!($name), ";")]
        ///
        #[doc = concat!("let count = ", stringify!($name), "::new(1)?;")]
        /// count.fetch_add(1, Ordering::Relaxed);
        /// count.fetch_max(7, Ordering::Relaxed);
        /// let doubled = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_mul(2));
        /// assert_eq!((doubled, count.load(Ordering::Relaxed)), (Ok(7), 14));
        /// # Ok::<(), mp_sync::Error>(())
        /// ```
        #[derive(Clone)]
        pub struct $name {
            slot: Slot,
        }

        impl $name {
            /// An atomic with this value.
            ///
            /// # Errors
            /// What the system says: no memory, no descriptors.
            pub fn new(value: $value) -> io::Result<Self> {
                let atomic = Self { slot: allocate(Kind::Atomic, size_of::<$atomic>())? };
                atomic.store(value, Ordering::SeqCst);
                Ok(atomic)
            }
        }

        impl Deref for $name {
            type Target = $atomic;

            #[inline]
            fn deref(&self) -> &$atomic {
                self.slot.words()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.load(Ordering::Relaxed)).finish()
            }
        }

        travels!($name, Kind::Atomic, size_of::<$atomic>(), |slot| Ok::<_, String>($name { slot }));
    };
}

shared_atomic!(SharedAtomicI8, AtomicI8, i8);
shared_atomic!(SharedAtomicI16, AtomicI16, i16);
shared_atomic!(SharedAtomicI32, AtomicI32, i32);
shared_atomic!(SharedAtomicI64, AtomicI64, i64);
shared_atomic!(SharedAtomicIsize, AtomicIsize, isize);
shared_atomic!(SharedAtomicU8, AtomicU8, u8);
shared_atomic!(SharedAtomicU16, AtomicU16, u16);
shared_atomic!(SharedAtomicU32, AtomicU32, u32);
shared_atomic!(SharedAtomicU64, AtomicU64, u64);
shared_atomic!(SharedAtomicUsize, AtomicUsize, usize);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    /// Each method, beside the one of the library of Rust.
    #[test]
    fn a_truth_value_does_what_an_atomic_one_does() {
        let pairs = [(false, false), (false, true), (true, false), (true, true)];
        for (before, value) in pairs {
            let (shared, own) = (SharedAtomicBool::new(before).unwrap(), AtomicBool::new(before));
            let results = [
                (shared.fetch_and(value, SeqCst), own.fetch_and(value, SeqCst)),
                (shared.fetch_nand(value, SeqCst), own.fetch_nand(value, SeqCst)),
                (shared.fetch_or(value, SeqCst), own.fetch_or(value, SeqCst)),
                (shared.fetch_xor(value, SeqCst), own.fetch_xor(value, SeqCst)),
                (shared.fetch_nand(value, SeqCst), own.fetch_nand(value, SeqCst)),
                (shared.fetch_not(SeqCst), own.fetch_xor(true, SeqCst)),
                (shared.swap(value, SeqCst), own.swap(value, SeqCst)),
                (shared.load(SeqCst), own.load(SeqCst)),
            ];
            assert!(results.iter().all(|(here, there)| here == there), "{before} {value}: {results:?}");
            shared.store(before, SeqCst);
            own.store(before, SeqCst);
            let exchanged = (
                shared.compare_exchange(value, !value, SeqCst, SeqCst),
                own.compare_exchange(value, !value, SeqCst, SeqCst),
            );
            assert_eq!(exchanged.0, exchanged.1);
            let change = |old: bool| old.then_some(value);
            assert_eq!(shared.fetch_update(SeqCst, SeqCst, change), own.fetch_update(SeqCst, SeqCst, change));
            assert_eq!(shared.load(SeqCst), own.load(SeqCst));
        }
    }

    #[test]
    fn whatever_another_one_writes_there_is_true() {
        type Method = fn(&SharedAtomicBool) -> bool;
        // Each of them finds that it is true, and leaves it as it is said there.
        let methods: [(Method, bool); 10] = [
            (|wild| wild.load(SeqCst), true),
            (|wild| wild.swap(false, SeqCst), false),
            (|wild| wild.fetch_and(true, SeqCst), true),
            (|wild| wild.fetch_or(false, SeqCst), true),
            (|wild| wild.fetch_xor(true, SeqCst), false),
            (|wild| wild.fetch_not(SeqCst), false),
            (|wild| wild.fetch_nand(true, SeqCst), false),
            (|wild| wild.compare_exchange(true, false, SeqCst, SeqCst) == Ok(true), false),
            (|wild| wild.compare_exchange(false, false, SeqCst, SeqCst) == Err(true), true),
            (|wild| wild.fetch_update(SeqCst, SeqCst, |value| Some(!value)) == Ok(true), false),
        ];
        for byte in [1, 2, 6, 255] {
            for (number, (method, after)) in methods.iter().enumerate() {
                let wild = SharedAtomicBool::new(false).unwrap();
                wild.0.store(byte, SeqCst);
                assert!(method(&wild), "{byte}, method {number}");
                assert_eq!(wild.load(SeqCst), *after, "{byte}, after method {number}");
            }
        }
    }
}
