//! `Array`: many values, with one lock.
//!
//! # Safety
//! As for a `Value`: only a guard lends the data out.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use ipc_core::raw::fork_generation;
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::items::Items;
use super::{Plain, assert_not_forked};
use crate::error::LockError;
use crate::lock::Lock;
use crate::memory::{Kind, Slot};
use crate::protocol::robust::{self, Patience};
use crate::timeout;

/// A number of values that processes share, with one lock.
///
/// # If a process dies
/// As with a [`Value`](crate::Value).
///
/// # Examples
/// ```
/// use mp_sync::Array;
///
/// let array = Array::<u32>::from_slice(&[3, 1, 2])?;
/// array.lock()?.sort();
/// assert_eq!(array.to_vec()?, [1, 2, 3]);
/// # Ok::<(), mp_sync::Error>(())
/// ```
pub struct Array<T: Plain> {
    items: Items<T>,
    lock: Option<Lock>,
}

/// The values, as long as this lives. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ArrayGuard<'a, T: Plain> {
    array: &'a Array<T>,
    generation: u32,
    stays: PhantomData<*const ()>,
}

impl<T: Plain> Array<T> {
    /// So many zeros.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new(len: usize) -> io::Result<Self> {
        Ok(Self { items: Items::new(Kind::Array, len)?, lock: None })
    }

    /// A copy of `items`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_slice(items: &[T]) -> io::Result<Self> {
        Ok(Self { items: Items::from_slice(Kind::Array, items)?, lock: None })
    }

    /// A copy of `items`, guarded by a lock which guards other things as well.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_lock(items: &[T], lock: &Lock) -> io::Result<Self> {
        Ok(Self { items: Items::from_slice(Kind::Array, items)?, lock: Some(lock.clone()) })
    }

    fn lock_slot(&self) -> &Slot {
        self.lock.as_ref().map_or(&self.items.slot, |lock| &lock.slot)
    }

    /// Locks the array; waits as long as somebody holds it.
    ///
    /// # Errors
    /// See [`LockError`]; no `Timeout`.
    #[doc(alias = "get_lock")]
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.acquire(Patience::Until(None))
    }

    /// Locks the array if nobody holds it.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn try_lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.acquire(Patience::None)
    }

    /// Locks the array; waits up to `timeout`.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.acquire(Patience::Until(timeout::after(timeout)))
    }

    fn acquire(&self, patience: Patience) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        let sound = super::acquire(&self.items.slot, self.lock.as_ref(), patience)?;
        let guard = ArrayGuard { array: self, generation: fork_generation(), stays: PhantomData };
        if sound { Ok(guard) } else { Err(LockError::OwnerDied(guard)) }
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the values, taken under the lock.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn to_vec(&self) -> Result<Vec<T>, LockError<ArrayGuard<'_, T>>> {
        self.lock().map(|guard| guard.to_vec())
    }

    /// A new shared array, a copy of this one.
    ///
    /// # Errors
    /// As [`lock`](Self::lock) and [`new`](Self::new).
    #[doc(alias = "copy")]
    pub fn duplicate(&self) -> crate::Result<Self> {
        Ok(Self::from_slice(&self.to_vec()?)?)
    }
}

impl<T: Plain> ArrayGuard<'_, T> {
    /// Whether no holder has died since the last [`mark_sound`](Self::mark_sound).
    #[must_use]
    pub fn is_sound(&self) -> bool {
        robust::is_sound(self.array.lock_slot())
    }

    /// Says that the values are whole.
    pub fn mark_sound(&self) {
        if robust::is_mine(self.array.lock_slot()) {
            robust::mark_sound(self.array.lock_slot());
        }
    }
}

impl<T: Plain> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        assert_not_forked(self.generation);
        // SAFETY: this thread of this process holds the lock under which the data changes.
        unsafe { self.array.items.place().as_ref() }
    }
}

impl<T: Plain> DerefMut for ArrayGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        assert_not_forked(self.generation);
        // SAFETY: as in `deref`, and the guard is borrowed alone.
        unsafe { self.array.items.place().as_mut() }
    }
}

impl<T: Plain> Drop for ArrayGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        robust::unlock(self.array.lock_slot());
    }
}

impl<T: Plain> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), lock: self.lock.clone() }
    }
}

impl<T: Plain> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = robust::owner(self.lock_slot());
        f.debug_struct("Array").field("len", &self.len()).field("owner", &owner).finish_non_exhaustive()
    }
}

impl<T: Plain> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayGuard").field("len", &self.array.len()).finish_non_exhaustive()
    }
}

/// A locked array without its lock, as it travels.
struct ItemsOf<T: Plain>(Items<T>);

impl<T: Plain> Serialize for ItemsOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.slot.serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for ItemsOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Items::receive(deserializer, Kind::Array).map(Self)
    }
}

impl<T: Plain> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (ItemsOf(self.items.clone()), &self.lock).serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (items, lock) = <(ItemsOf<T>, Option<Lock>)>::deserialize(deserializer)?;
        Ok(Self { items: items.0, lock })
    }
}
