//! `Value`: one value, with a lock.
//!
//! # Safety
//! The data of a slot is lent out as a reference only through a guard, which
//! holds the lock that all handles to this data use; it is plain, so that
//! whatever bits a process leaves there are a value.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::time::Duration;

use ipc_core::raw::fork_generation;
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::{ALIGN, Plain, assert_not_forked};
use crate::error::LockError;
use crate::lock::Lock;
use crate::memory::{Kind, Slot, allocate};
use crate::protocol::robust::{self, Patience};
use crate::timeout;

/// A value that processes share, with a lock.
///
/// # If a process dies
/// As with a [`Lock`]: the next one gets [`LockError::OwnerDied`] with the guard,
/// and finds what the dead one had written so far.
///
/// # Examples
/// ```
/// use mp_sync::Value;
///
/// let total = Value::<f64>::new(0.5)?;
/// *total.lock()? += 1.0;
/// assert_eq!(total.get()?, 1.5);
/// # Ok::<(), mp_sync::Error>(())
/// ```
///
/// A structure of plain data derives what is needed, which checks that any bits are a value
/// of it; see [`Plain`] for the line that tells the derives where they are:
/// ```
/// use mp_sync::Value;
/// use mp_sync::bytemuck::{Pod, Zeroable};
///
/// #[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
/// #[bytemuck(crate = "mp_sync::bytemuck")]
/// #[repr(C)]
/// struct Point {
///     x: f64,
///     y: f64,
/// }
///
/// let point = Value::new(Point { x: 1.0, y: 2.0 })?;
/// point.lock()?.y += 1.0;
/// assert_eq!(point.get()?, Point { x: 1.0, y: 3.0 });
/// # Ok::<(), mp_sync::Error>(())
/// ```
pub struct Value<T: Plain> {
    slot: Slot,
    /// The lock that was given; else it is the slot's own.
    lock: Option<Lock>,
    types: PhantomData<fn() -> T>,
}

/// The value, as long as this lives. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ValueGuard<'a, T: Plain> {
    value: &'a Value<T>,
    generation: u32,
    stays: PhantomData<*const ()>,
}

impl<T: Plain> Value<T> {
    /// A value with a lock of its own.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new(value: T) -> io::Result<Self> {
        Self::make(value, None)
    }

    /// A value that is guarded by a lock which guards other things as well.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_lock(value: T, lock: &Lock) -> io::Result<Self> {
        Self::make(value, Some(lock.clone()))
    }

    fn make(value: T, lock: Option<Lock>) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= ALIGN) };
        let slot = allocate(Kind::Value, size_of::<T>())?;
        let made = Self { slot, lock, types: PhantomData };
        // SAFETY: nobody else knows the slot yet.
        unsafe { made.place().write(value) };
        Ok(made)
    }

    fn place(&self) -> NonNull<T> {
        self.slot.data::<T>(0, 1).cast()
    }

    fn lock_slot(&self) -> &Slot {
        self.lock.as_ref().map_or(&self.slot, |lock| &lock.slot)
    }

    /// Locks the value; waits as long as somebody holds it.
    ///
    /// # Errors
    /// See [`LockError`]; no `Timeout`.
    #[doc(alias = "get_lock")]
    pub fn lock(&self) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        self.acquire(Patience::Until(None))
    }

    /// Locks the value if nobody holds it.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn try_lock(&self) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        self.acquire(Patience::None)
    }

    /// Locks the value; waits up to `timeout`.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        self.acquire(Patience::Until(timeout::after(timeout)))
    }

    pub(crate) fn acquire(
        &self,
        patience: Patience,
    ) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        let sound = super::acquire(&self.slot, self.lock.as_ref(), patience)?;
        let guard = ValueGuard { value: self, generation: fork_generation(), stays: PhantomData };
        if sound { Ok(guard) } else { Err(LockError::OwnerDied(guard)) }
    }

    /// A copy of the value, taken under the lock.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn get(&self) -> Result<T, LockError<ValueGuard<'_, T>>> {
        self.lock().map(|guard| *guard)
    }

    /// Replaces the value, under the lock. To change it by what it is, use
    /// [`lock`](Self::lock).
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn set(&self, value: T) -> Result<(), LockError<ValueGuard<'_, T>>> {
        *self.lock()? = value;
        Ok(())
    }

    /// A new shared value, a copy of this one.
    ///
    /// # Errors
    /// As [`lock`](Self::lock) and [`new`](Self::new).
    #[doc(alias = "copy")]
    pub fn duplicate(&self) -> crate::Result<Self> {
        Ok(Self::new(self.get()?)?)
    }
}

impl<'a, T: Plain> ValueGuard<'a, T> {
    pub(crate) fn value(&self) -> &'a Value<T> {
        self.value
    }

    /// Whether no holder has died since the last [`mark_sound`](Self::mark_sound).
    #[must_use]
    pub fn is_sound(&self) -> bool {
        robust::is_sound(self.value.lock_slot())
    }

    /// Says that the value is whole.
    pub fn mark_sound(&self) {
        if robust::is_mine(self.value.lock_slot()) {
            robust::mark_sound(self.value.lock_slot());
        }
    }
}

impl<T: Plain> Deref for ValueGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        assert_not_forked(self.generation);
        // SAFETY: this thread of this process holds the lock under which the data changes.
        unsafe { self.value.place().as_ref() }
    }
}

impl<T: Plain> DerefMut for ValueGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        assert_not_forked(self.generation);
        // SAFETY: as in `deref`, and the guard is borrowed alone.
        unsafe { self.value.place().as_mut() }
    }
}

impl<T: Plain> Drop for ValueGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        robust::unlock(self.value.lock_slot());
    }
}

impl<T: Plain> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), lock: self.lock.clone(), types: PhantomData }
    }
}

impl<T: Plain> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("owner", &robust::owner(self.lock_slot())).finish_non_exhaustive()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueGuard").field(&**self).finish()
    }
}

impl<T: Plain> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (SlotOf::<T>(self.slot.clone(), PhantomData), &self.lock).serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (slot, lock) = <(SlotOf<T>, Option<Lock>)>::deserialize(deserializer)?;
        Ok(Self { slot: slot.0, lock, types: PhantomData })
    }
}

/// A value without its lock, as it travels.
struct SlotOf<T>(Slot, PhantomData<fn() -> T>);

impl<T> Serialize for SlotOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for SlotOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Slot::deserialize(deserializer, Kind::Value, size_of::<T>()).map(|slot| Self(slot, PhantomData))
    }
}
