//! `Value` and `Array`: plain data that processes share, with a lock or without.
//!
//! # Safety
//! The data of a slot is lent out as a reference only through a guard, which
//! holds the lock that all handles to this data use; it is plain, so that
//! whatever bits a process leaves there are a value. Without a lock it is copied
//! in and out with atomics.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytemuck::Pod;
use ipc_core::raw::fork_generation;
use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::error::LockError;
use crate::lock::Lock;
use crate::memory::{Kind, Slot, allocate};
use crate::protocol::robust::{self, Patience};
use crate::timeout;

/// Plain data: any bits are a value, and a value is only its bits.
///
/// Numbers and arrays of them are plain, and structures of plain fields by
/// `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]` with `#[repr(C)]`
/// (the crate is exported as [`mp_sync::bytemuck`](crate::bytemuck)). `bool`, `char`,
/// enums and references are not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain data that processes can share",
    note = "use numbers, arrays of them, or a `#[repr(C)]` structure that derives `bytemuck::Pod` and `bytemuck::Zeroable`"
)]
pub trait Plain: Pod + Send + Sync {}

impl<T: Pod + Send + Sync> Plain for T {}

/// How far the data may have to be aligned: as slots are.
const ALIGN: usize = 64;

/// Where an array's data begins, behind its length.
const ITEMS: usize = 64;

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
        let sound = robust::lock(self.lock_slot(), patience)?;
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

/// # Panics
/// A guard's data is its parent's in the child of a fork; there, using it panics.
fn assert_not_forked(generation: u32) {
    assert!(generation == fork_generation(), "this guard belongs to the process that was forked");
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

/// A number of values that processes share, with one lock.
///
/// # If a process dies
/// As with a [`Value`].
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
        let sound = robust::lock(self.lock_slot(), patience)?;
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

/// A number of values that processes share, without a lock: they are copied in and out.
///
/// A copy taken while another process writes may hold parts of the old value and of
/// the new one.
///
/// # If a process dies
/// What it has written stays.
///
/// # Examples
/// ```
/// use mp_sync::RawArray;
///
/// let array = RawArray::<u16>::new(3)?;
/// array.set(1, 7);
/// assert_eq!(array.to_vec(), [0, 7, 0]);
/// # Ok::<(), mp_sync::Error>(())
/// ```
pub struct RawArray<T: Plain>(Items<T>);

impl<T: Plain> RawArray<T> {
    /// So many zeros.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new(len: usize) -> io::Result<Self> {
        Items::new(Kind::Raw, len).map(Self)
    }

    /// A copy of `items`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_slice(items: &[T]) -> io::Result<Self> {
        Items::from_slice(Kind::Raw, items).map(Self)
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// A copy of the value at `index`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn get(&self, index: usize) -> T {
        let mut value = [T::zeroed()];
        self.read(index, &mut value);
        value[0]
    }

    /// Replaces the value at `index`.
    ///
    /// # Panics
    /// If there is none.
    pub fn set(&self, index: usize, value: T) {
        self.write(index, &[value]);
    }

    /// Copies the values from `index` on into `items`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read(&self, index: usize, items: &mut [T]) {
        let shared = self.0.bytes(index, items.len());
        for (item, shared) in bytemuck::cast_slice_mut::<T, u8>(items).iter_mut().zip(shared) {
            *item = shared.load(Ordering::Relaxed);
        }
    }

    /// Copies `items` over the values from `index` on.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn write(&self, index: usize, items: &[T]) {
        self.0.write(index, items);
    }

    /// A copy of all values.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        let mut items = vec![T::zeroed(); self.len()];
        self.read(0, &mut items);
        items
    }
}

/// What both arrays are made of: a length, and the values behind it.
struct Items<T: Plain> {
    slot: Slot,
    len: usize,
    types: PhantomData<fn() -> T>,
}

impl<T: Plain> Items<T> {
    fn new(kind: Kind, len: usize) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= ALIGN) };
        let slot = allocate(kind, Self::body(len).ok_or(io::ErrorKind::InvalidInput)?)?;
        slot.word_at(0).store(len as u64, Ordering::Relaxed);
        Ok(Self { slot, len, types: PhantomData })
    }

    fn from_slice(kind: Kind, items: &[T]) -> io::Result<Self> {
        let array = Self::new(kind, items.len())?;
        array.write(0, items);
        Ok(array)
    }

    fn body(len: usize) -> Option<usize> {
        len.checked_mul(size_of::<T>())?.checked_add(ITEMS)
    }

    fn place(&self) -> NonNull<[T]> {
        self.slot.data(ITEMS, self.len)
    }

    fn write(&self, index: usize, items: &[T]) {
        let shared = self.bytes(index, items.len());
        for (item, shared) in bytemuck::cast_slice::<T, u8>(items).iter().zip(shared) {
            shared.store(*item, Ordering::Relaxed);
        }
    }

    fn bytes(&self, index: usize, len: usize) -> &[AtomicU8] {
        assert!(index.checked_add(len).is_some_and(|end| end <= self.len), "index outside the array");
        let first = self.slot.data::<u8>(ITEMS + index * size_of::<T>(), len * size_of::<T>());
        let bytes = NonNull::slice_from_raw_parts(first.cast::<AtomicU8>(), first.len());
        // SAFETY: inside the slot; bytes as atomics have no alignment and no invalid values.
        unsafe { bytes.as_ref() }
    }

    fn receive<'de, D: Deserializer<'de>>(deserializer: D, kind: Kind) -> Result<Self, D::Error> {
        let slot = Slot::deserialize(deserializer, kind, ITEMS)?;
        let len = usize::try_from(slot.word_at(0).load(Ordering::Relaxed)).map_err(D::Error::custom)?;
        if Self::body(len).is_none_or(|bytes| bytes > slot.body_len()) {
            return Err(D::Error::custom("the message names an array that is not there"));
        }
        Ok(Self { slot, len, types: PhantomData })
    }
}

impl<T: Plain> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), lock: self.lock.clone(), types: PhantomData }
    }
}

impl<T: Plain> Clone for Items<T> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), len: self.len, types: PhantomData }
    }
}

impl<T: Plain> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Plain> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), lock: self.lock.clone() }
    }
}

impl<T: Plain> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("owner", &robust::owner(self.lock_slot())).finish_non_exhaustive()
    }
}

impl<T: Plain> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = robust::owner(self.lock_slot());
        f.debug_struct("Array").field("len", &self.len()).field("owner", &owner).finish_non_exhaustive()
    }
}

impl<T: Plain> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawArray").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueGuard").field(&**self).finish()
    }
}

impl<T: Plain> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayGuard").field("len", &self.array.len()).finish_non_exhaustive()
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

impl<T: Plain> Serialize for RawArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.slot.serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Items::receive(deserializer, Kind::Raw).map(Self)
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
