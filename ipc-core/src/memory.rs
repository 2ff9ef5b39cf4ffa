//! Memory that several processes see.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64};

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::sys::memory::{Mapping, Segment};
use crate::transfer::{self, deserialize_error, serialize_error};

/// Memory without a name that several processes share.
///
/// It travels inside a message, by handle, and is freed when the last process
/// that holds it lets go of it or ends. What another process may write at any
/// moment is never lent out as a plain reference: it is reached through atomics.
///
/// # Examples
/// ```
/// use std::sync::atomic::Ordering;
/// use ipc_core::SharedMemory;
///
/// let memory = SharedMemory::anonymous(4096)?;
/// memory.atomic_u64(0).store(7, Ordering::Relaxed);
/// assert_eq!(memory.atomic_u64(0).load(Ordering::Relaxed), 7);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SharedMemory {
    segment: Segment,
    mapping: Mapping,
}

impl SharedMemory {
    /// Zeroed memory of `size` bytes.
    ///
    /// # Errors
    /// What the system says, for one that there is no memory.
    pub fn anonymous(size: usize) -> io::Result<Self> {
        Self::map(Segment::create(size)?)
    }

    fn map(segment: Segment) -> io::Result<Self> {
        let mapping = Mapping::whole(&segment)?;
        Ok(Self { segment, mapping })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.segment.len()
    }

    /// The four bytes at `offset` as an atomic.
    ///
    /// # Panics
    /// If they do not lie inside, or `offset` is no multiple of four.
    #[must_use]
    pub fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        self.mapping.word(offset)
    }

    /// The eight bytes at `offset` as an atomic.
    ///
    /// # Panics
    /// If they do not lie inside, or `offset` is no multiple of eight.
    #[must_use]
    pub fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        self.mapping.counter(offset)
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        transfer::give(self.segment.handle()).map_err(serialize_error)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handle = transfer::take(u32::deserialize(deserializer)?).map_err(deserialize_error)?;
        Segment::import(handle).and_then(Self::map).map_err(deserialize_error)
    }
}
