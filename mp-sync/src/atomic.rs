//! Atomics that processes share.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::memory::{Kind, Slot, allocate};
use crate::travel::travels;

macro_rules! shared_atomic {
    ($name:ident, $atomic:ident, $value:ident) => {
        #[doc = concat!("An [`", stringify!($atomic), "`] that processes share.")]
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
        /// assert_eq!(count.load(Ordering::Relaxed), 2);
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

shared_atomic!(SharedAtomicI32, AtomicI32, i32);
shared_atomic!(SharedAtomicI64, AtomicI64, i64);
shared_atomic!(SharedAtomicU32, AtomicU32, u32);
shared_atomic!(SharedAtomicU64, AtomicU64, u64);
