//! `RawArray`: many values without a lock, and what both arrays are made of.
//!
//! # Safety
//! Without a lock the data is copied in and out with atomics, byte by byte, so that
//! nobody has a reference to what another process changes.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use ipc_core::raw::deserialize_error;
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::{ALIGN, Plain};
use crate::memory::{Kind, Slot, allocate, too_large};

/// Where an array's data begins, behind its length.
const ITEMS: usize = 64;

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
    #[track_caller]
    pub fn get(&self, index: usize) -> T {
        let mut value = [T::zeroed()];
        self.read(index, &mut value);
        value[0]
    }

    /// Replaces the value at `index`.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn set(&self, index: usize, value: T) {
        self.write(index, &[value]);
    }

    /// Copies the values from `index` on into `items`.
    ///
    /// # Panics
    /// If there are not so many.
    #[track_caller]
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
    #[track_caller]
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
pub(super) struct Items<T: Plain> {
    pub(super) slot: Slot,
    pub(super) len: usize,
    types: PhantomData<fn() -> T>,
}

impl<T: Plain> Items<T> {
    pub(super) fn new(kind: Kind, len: usize) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= ALIGN) };
        let slot = allocate(kind, Self::body(len).ok_or_else(too_large)?)?;
        slot.word_at(0).store(len as u64, Ordering::Relaxed);
        Ok(Self { slot, len, types: PhantomData })
    }

    pub(super) fn from_slice(kind: Kind, items: &[T]) -> io::Result<Self> {
        let array = Self::new(kind, items.len())?;
        array.write(0, items);
        Ok(array)
    }

    fn body(len: usize) -> Option<usize> {
        len.checked_mul(size_of::<T>())?.checked_add(ITEMS)
    }

    pub(super) fn place(&self) -> NonNull<[T]> {
        self.slot.data(ITEMS, self.len)
    }

    #[track_caller]
    fn write(&self, index: usize, items: &[T]) {
        let shared = self.bytes(index, items.len());
        for (item, shared) in bytemuck::cast_slice::<T, u8>(items).iter().zip(shared) {
            shared.store(*item, Ordering::Relaxed);
        }
    }

    #[track_caller]
    fn bytes(&self, index: usize, len: usize) -> &[AtomicU8] {
        let is_inside = index.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(is_inside, "{len} values from {index} on are not in an array of {}", self.len);
        let first = self.slot.data::<u8>(ITEMS + index * size_of::<T>(), len * size_of::<T>());
        let bytes = NonNull::slice_from_raw_parts(first.cast::<AtomicU8>(), first.len());
        // SAFETY: inside the slot; bytes as atomics have no alignment and no invalid values.
        unsafe { bytes.as_ref() }
    }

    pub(super) fn receive<'de, D: Deserializer<'de>>(deserializer: D, kind: Kind) -> Result<Self, D::Error> {
        let slot = Slot::deserialize(deserializer, kind, ITEMS)?;
        let len = usize::try_from(slot.word_at(0).load(Ordering::Relaxed)).map_err(deserialize_error)?;
        if Self::body(len).is_none_or(|bytes| bytes > slot.body_len()) {
            return Err(deserialize_error("the message names an array that is not there"));
        }
        Ok(Self { slot, len, types: PhantomData })
    }
}

impl<T: Plain> Clone for RawArray<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Plain> Clone for Items<T> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), len: self.len, types: PhantomData }
    }
}

impl<T: Plain> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawArray").field("len", &self.len()).finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "2 values from 2 on are not in an array of 3")]
    fn what_is_not_there_is_named() {
        RawArray::<u8>::new(3).unwrap().write(2, &[1, 2]);
    }
}
