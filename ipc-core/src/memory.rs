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
    // Removed before the memory goes.
    #[cfg(feature = "named")]
    pub(crate) name: Option<crate::sys::named::Name>,
    segment: Segment,
    mapping: Mapping,
}

impl SharedMemory {
    /// Zeroed memory of `size` bytes.
    ///
    /// # Errors
    /// What the system says, for one that there is no memory.
    pub fn anonymous(size: usize) -> io::Result<Self> {
        let with_size =
            |error| with_reason(format_args!("no shared memory of {size} bytes can be had"), error);
        Segment::create(size).and_then(Self::map).map_err(with_size)
    }

    #[cfg(not(feature = "named"))]
    fn map(segment: Segment) -> io::Result<Self> {
        let mapping = Mapping::whole(&segment)?;
        Ok(Self { segment, mapping })
    }

    #[cfg(feature = "named")]
    fn map(segment: Segment) -> io::Result<Self> {
        Self::with_name(segment, None)
    }

    #[cfg(feature = "named")]
    pub(crate) fn with_name(segment: Segment, name: Option<crate::sys::named::Name>) -> io::Result<Self> {
        let mapping = Mapping::whole(&segment)?;
        Ok(Self { name, segment, mapping })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.segment.len()
    }

    /// Copies the bytes from `offset` on into `bytes`. What another process writes
    /// at the same time may be half there.
    ///
    /// # Panics
    /// If they do not lie inside.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.check(offset, bytes.len());
        self.mapping.copy_out(offset, bytes);
    }

    /// Copies `bytes` to `offset` and behind it.
    ///
    /// # Panics
    /// If they do not fit inside.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.check(offset, bytes.len());
        self.mapping.copy_in(offset, bytes);
    }

    fn check(&self, offset: usize, len: usize) {
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= self.size());
        assert!(is_inside, "{len} bytes at {offset} lie outside shared memory of {} bytes", self.size());
    }

    /// The four bytes at `offset` as an atomic.
    ///
    /// # Panics
    /// If they do not lie inside, or `offset` is no multiple of four.
    #[must_use]
    pub fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        self.check(offset, size_of::<AtomicU32>());
        self.mapping.word(offset)
    }

    /// The eight bytes at `offset` as an atomic.
    ///
    /// # Panics
    /// If they do not lie inside, or `offset` is no multiple of eight.
    #[must_use]
    pub fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        self.check(offset, size_of::<AtomicU64>());
        self.mapping.counter(offset)
    }
}

/// What the system refused, said before its reason.
pub(crate) fn with_reason(what: fmt::Arguments<'_>, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = transfer::give(self.segment.handle()).map_err(serialize_error)?;
        transfer::keeps(self.size());
        #[cfg(feature = "named")]
        let name = self.name().map(str::to_owned);
        #[cfg(not(feature = "named"))]
        let name = None;
        Wire { place, name }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { place, name } = Wire::deserialize(deserializer)?;
        let handle = transfer::take(place).map_err(deserialize_error)?;
        match name {
            None => Segment::import(handle).and_then(Self::map),
            #[cfg(feature = "named")]
            Some(name) => Self::receive(handle, name),
            #[cfg(not(feature = "named"))]
            Some(_) => Err(io::Error::other("memory with a name needs the feature `named`")),
        }
        .map_err(deserialize_error)
    }
}

/// Memory in a message: the place of its handle, and its name if it has one.
#[derive(Serialize, Deserialize)]
struct Wire {
    place: u32,
    name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn atomics_lie_inside() {
        let refuses = |run: &dyn Fn()| catch_unwind(AssertUnwindSafe(run)).is_err();
        let memory = SharedMemory::anonymous(62).unwrap();
        memory.atomic_u32(56).store(7, std::sync::atomic::Ordering::Relaxed);
        memory.atomic_u64(48).store(7, std::sync::atomic::Ordering::Relaxed);
        for offset in [60, 64, 4096, usize::MAX - 3, 2] {
            assert!(refuses(&|| _ = memory.atomic_u32(offset)), "word at {offset}");
        }
        for offset in [56, 64, 4096, usize::MAX - 7, 4] {
            assert!(refuses(&|| _ = memory.atomic_u64(offset)), "double word at {offset}");
        }
        // Memory of no bytes has a page that nothing stands behind.
        assert!(refuses(&|| _ = SharedMemory::anonymous(0).unwrap().atomic_u32(0)));
    }

    #[test]
    fn what_cannot_be_had_is_told_in_words() {
        let error = SharedMemory::anonymous(usize::MAX).unwrap_err().to_string();
        assert!(error.contains("no shared memory of 18446744073709551615 bytes"), "{error}");
        let error = crate::Arena::new(usize::MAX).unwrap_err().to_string();
        assert!(error.contains("no arena of"), "{error}");
        for size in [usize::MAX, usize::MAX / 2 + 1, usize::MAX - 4096] {
            let errors = [SharedMemory::anonymous(size).unwrap_err(), crate::Arena::new(size).unwrap_err()];
            assert!(errors.iter().all(|error| error.to_string().contains("ask for as much")), "{errors:?}");
        }
        // What no more than the system refuses.
        assert!(crate::Arena::new(usize::MAX / 2 - (1 << 20)).is_err());
    }
}
