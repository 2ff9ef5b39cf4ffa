//! Shared memory that a process maps once.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::{PerProcess, inherited};
use crate::sys::memory::{Mapping, Segment, random_id};
use crate::transfer::{self, deserialize_error, serialize_error};

/// Shared memory that is mapped once in a process, however often it is received.
///
/// It begins with a random id, by which a process that receives it again finds
/// the mapping that it has. Clones are the same mapping. The memory is freed when
/// the last process has let go of it; nothing of it has a name.
#[derive(Clone)]
pub struct Region(Arc<Mapped>);

struct Mapped {
    segment: Segment,
    mapping: Mapping,
    id: u128,
}

/// What this process has mapped. A forked child has all of it too.
static TABLE: PerProcess<Mutex<Table>> =
    PerProcess::new(Mutex::new(None), |parents| inherited(parents, |known| known.clone()));

type Table = Option<HashMap<u128, Weak<Mapped>>>;

impl Region {
    /// Where the bytes behind the header begin; a multiple of a cache line.
    pub const HEAD: usize = 64;

    /// `len` bytes in all, header included: zeros, supplied page by page as they are touched.
    ///
    /// # Errors
    /// What the system says, for one that there is no memory.
    pub fn create(len: usize) -> io::Result<Self> {
        let segment = Segment::create(len.max(Self::HEAD))?;
        let mapping = Mapping::whole(&segment)?;
        let id = random_id()?;
        mapping.counter(ID).store(id as u64, Ordering::Relaxed);
        mapping.counter(ID + 8).store((id >> 64) as u64, Ordering::Relaxed);
        mapping.counter(KIND).store(THIS_KIND, Ordering::Relaxed);
        let mapped = Arc::new(Mapped { segment, mapping, id });
        table(|known| known.insert(id, Arc::downgrade(&mapped)));
        Ok(Self(mapped))
    }

    /// Its size in bytes, header included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.segment.len()
    }

    /// Whether there is nothing behind the header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() <= Self::HEAD
    }

    /// The first byte of the header; valid for [`len`](Self::len) bytes as long as a clone lives.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.0.mapping.base()
    }

    /// The four bytes at `offset` as an atomic.
    ///
    /// # Panics
    /// If they do not lie inside, or `offset` is no multiple of four.
    #[inline]
    #[must_use]
    pub fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        self.0.mapping.word(offset)
    }

    /// The eight bytes at `offset` as an atomic.
    ///
    /// # Panics
    /// If they do not lie inside, or `offset` is no multiple of eight.
    #[inline]
    #[must_use]
    pub fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        self.0.mapping.counter(offset)
    }

    /// Gives the memory of `len` bytes at `offset` back to the system; they read as zeros.
    /// Both are multiples of a page. What cannot be given back stays.
    pub fn discard(&self, offset: usize, len: usize) {
        self.0.segment.discard(offset, len);
    }

    /// Whether two are the same memory.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn downgrade(&self) -> WeakRegion {
        WeakRegion(Arc::downgrade(&self.0))
    }

    /// The mapping that this process has, or a new one of the memory in `segment`.
    fn of(segment: Segment) -> io::Result<Self> {
        let mapping = Mapping::whole(&segment)?;
        let word = |offset| mapping.counter(offset).load(Ordering::Relaxed);
        if segment.len() < Self::HEAD || word(KIND) != THIS_KIND {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the shared memory received holds no locks of this version and C library",
            ));
        }
        let id = u128::from(word(ID)) | (u128::from(word(ID + 8)) << 64);
        table(|known| {
            if let Some(mapped) = known.get(&id).and_then(Weak::upgrade) {
                return Ok(Self(mapped));
            }
            let mapped = Arc::new(Mapped { segment, mapping, id });
            known.insert(id, Arc::downgrade(&mapped));
            Ok(Self(mapped))
        })
    }
}

/// A region that this process may have let go of.
#[derive(Clone)]
pub(super) struct WeakRegion(Weak<Mapped>);

impl WeakRegion {
    pub(super) fn upgrade(&self) -> Option<Region> {
        self.0.upgrade().map(Region)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        table(|known| {
            // The same memory may have been received and mapped again meanwhile.
            if known.get(&self.id).is_some_and(|mapped| mapped.strong_count() == 0) {
                known.remove(&self.id);
            }
        });
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = transfer::give_shared(self.0.id, self.0.segment.handle()).map_err(serialize_error)?;
        (self.0.id, place).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, place) = <(u128, u32)>::deserialize(deserializer)?;
        if !transfer::decoding_from_own_tree() {
            return Err(deserialize_error(
                "a lock, or what contains one, is taken only from a process of this program's tree",
            ));
        }
        if let Some(mapped) = table(|known| known.get(&id).and_then(Weak::upgrade)) {
            return Ok(Self(mapped));
        }
        let handle = transfer::copy(place).map_err(deserialize_error)?;
        Segment::import(handle).and_then(Self::of).map_err(deserialize_error)
    }
}

/// Offset of the id in the header.
const ID: usize = 0;
/// Offset of what the region is.
const KIND: usize = 16;

/// The protocol's version, the width of a word and the C library whose mutexes it holds:
/// no two that differ may share one.
const THIS_KIND: u64 = 0x6970_6352_0000_0100
    | (size_of::<usize>() as u64)
    | if cfg!(target_env = "musl") { 0x1000 } else { 0x2000 };

fn table<R>(use_it: impl FnOnce(&mut HashMap<u128, Weak<Mapped>>) -> R) -> R {
    use_it(locked().get_or_insert_with(HashMap::new))
}

fn locked() -> MutexGuard<'static, Table> {
    TABLE.here().lock().unwrap_or_else(PoisonError::into_inner)
}

/// As another thread that maps something does it, for tests.
#[cfg(test)]
pub(crate) fn map_and_hold() -> impl Sized {
    locked()
}
