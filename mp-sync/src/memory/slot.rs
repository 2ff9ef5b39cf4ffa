//! A slot: the piece of shared memory that belongs to one object.
//!
//! # Safety
//! A slot is made by the slab allocator, which gives each its own bytes, or is
//! named by another process of our tree, which keeps the protocols. Its bytes
//! are used by one kind of object for as long as any process maps the region:
//! robust mutexes lie at their offsets and nowhere else, and what is read as
//! [`Words`] is atomics, for which any bits are valid.

#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bytemuck::Pod;
use ipc_core::raw::{Region, RobustMutex, ThreadId, deserialize_error, fork_epoch};
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::slab;
use crate::protocol::board::Board;
use crate::protocol::ledger::Ledger;

/// How many bytes of a slot come before the object's own: tag, mutex, and who holds it.
pub(crate) const HEAD: usize = 64;

const MUTEX: usize = 8;

/// How long a seat is: a mutex, and what [`SEAT_OWN`] says.
pub(crate) const SEAT: usize = 64;

/// Where in a seat the object's own words begin.
pub(crate) const SEAT_OWN: usize = RobustMutex::SIZE;

const _: () = assert!(SEAT_OWN.is_multiple_of(8) && SEAT_OWN < SEAT);

/// The head of every slot, apart from the mutex.
#[repr(C)]
pub(crate) struct Head {
    /// Kind and length, so that a slot named by another process can be checked.
    tag: AtomicU64,
    mutex: [AtomicU64; 5],
    /// Who holds the mutex, for those who ask and for errors; zero is nobody.
    pub(crate) owner: AtomicU64,
    /// See `protocol::robust`.
    pub(crate) mark: AtomicU32,
    /// How often the owner of a lock that may be locked again has locked it again.
    pub(crate) again: AtomicU32,
}

const _: () = assert!(size_of::<Head>() == HEAD && size_of::<[AtomicU64; 5]>() == RobustMutex::SIZE);

/// What lies in a slot. Memory once used for one kind is never used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(crate) enum Kind {
    Lock = 1,
    RLock,
    Event,
    Condition,
    Semaphore,
    Barrier,
    RwLock,
    Latch,
    Once,
    Value,
    Atomic,
    Array,
    Raw,
    Queue,
    Watch,
}

/// Atomics in `repr(C)`, valid whatever the bits are.
///
/// # Safety
/// The type is `repr(C)`, at most eight-byte aligned, and all its fields are
/// atomics or such types; it needs no initialisation beyond zeros.
pub(crate) unsafe trait Words: Sync {}

// SAFETY: as below, one behind the other.
unsafe impl<const N: usize> Words for [AtomicU64; N] {}
// SAFETY: the model checker's own lie in no shared memory: only protocols run under it.
#[cfg(under_loom)]
unsafe impl Words for loom::sync::atomic::AtomicU32 {}
// SAFETY: as above.
#[cfg(under_loom)]
unsafe impl Words for loom::sync::atomic::AtomicU64 {}

/// Says of single atomics that they are [`Words`].
macro_rules! single_words {
    ($($atomic:ident),*) => { $(
        // SAFETY: a single atomic.
        unsafe impl Words for std::sync::atomic::$atomic {}
    )* };
}

single_words!(AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize);
single_words!(AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize);

// SAFETY: `repr(C)` and atomics only; zeros are a count of none, held by nobody.
unsafe impl Words for Ledger {}
// SAFETY: `repr(C)` and atomics only; zeros are a board on which nobody waits.
unsafe impl Words for Board {}

/// Declares a structure of [`Words`], which is then one itself.
macro_rules! shared_words {
    ($(#[$about:meta])* $vis:vis struct $name:ident {
        $($(#[$field_about:meta])* $field:ident: $type:ty,)+
    }) => {
        $(#[$about])*
        #[repr(C)]
        $vis struct $name { $($(#[$field_about])* $field: $type,)+ }

        // SAFETY: `repr(C)`, and each field is checked to be `Words` below.
        #[allow(unsafe_code)]
        unsafe impl crate::memory::Words for $name {}

        const _: () = {
            const fn is_words<T: crate::memory::Words>() {}
            $(is_words::<$type>();)+
        };
    };
}

pub(crate) use shared_words;

/// A handle to a slot; clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Slot(Arc<Place>);

struct Place {
    at: NonNull<u8>,
    region: Region,
    offset: usize,
    len: usize,
    kind: Kind,
    origin: Origin,
}

// SAFETY: `at` points into the region, which is kept mapped, and what it points to
// is reached through atomics or under a mutex.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// Where this process has the slot from.
enum Origin {
    /// Allocated here, in this epoch of forks; and whether it has been sent since.
    Here {
        epoch: u32,
        sent: AtomicBool,
    },
    Elsewhere,
}

impl Slot {
    /// Takes over bytes that the slab allocator has set aside.
    pub(super) fn fresh(region: Region, offset: usize, len: usize, kind: Kind) -> std::io::Result<Self> {
        let origin = Origin::Here { epoch: fork_epoch(), sent: AtomicBool::new(false) };
        let slot = Self::over(region, offset, len, kind, origin);
        slot.mutex().init()?;
        (0..slot.seats()).try_for_each(|seat| slot.seat_mutex(seat).init())?;
        slot.head().tag.store(tag(kind, len), Ordering::Relaxed);
        Ok(slot)
    }

    fn over(region: Region, offset: usize, len: usize, kind: Kind, origin: Origin) -> Self {
        assert!(
            offset.is_multiple_of(HEAD) && len >= HEAD && offset + len <= region.len(),
            "a slot outside its region"
        );
        // SAFETY: the offset lies inside the region, as just asserted.
        let at = unsafe { region.base().add(offset) };
        Self(Arc::new(Place { at, region, offset, len, kind, origin }))
    }

    /// How many bytes of it are the object's own.
    pub(crate) fn body_len(&self) -> usize {
        self.0.len - HEAD
    }

    /// The head.
    #[inline]
    pub(crate) fn head(&self) -> &Head {
        // SAFETY: a slot is at least as long as its head and aligned for it; the head is atomics.
        unsafe { self.0.at.cast::<Head>().as_ref() }
    }

    /// The words of the body, or of its beginning.
    #[inline]
    pub(crate) fn words<T: Words>(&self) -> &T {
        self.words_at(0)
    }

    /// The words at `offset` of the body.
    #[inline]
    pub(crate) fn words_at<T: Words>(&self, offset: usize) -> &T {
        const { assert!(align_of::<T>() <= 8) };
        assert!(
            offset.is_multiple_of(8) && offset + size_of::<T>() <= self.body_len(),
            "words outside their slot"
        );
        // SAFETY: inside the slot, aligned as the offset is, and any bits are valid `Words`.
        unsafe { self.body().add(offset).cast::<T>().as_ref() }
    }

    /// The eight-byte word at `offset` of the body.
    pub(crate) fn word_at(&self, offset: usize) -> &AtomicU64 {
        self.words_at(offset)
    }

    /// Where `len` values of plain data lie, from `offset` of the body on.
    pub(crate) fn data<T: Pod>(&self, offset: usize, len: usize) -> NonNull<[T]> {
        let end = len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(offset));
        let inside = end.is_some_and(|end| end <= self.body_len());
        assert!(inside && offset.is_multiple_of(align_of::<T>()), "data outside its slot");
        // SAFETY: inside the slot, as just asserted.
        let first = unsafe { self.body().add(offset) };
        NonNull::slice_from_raw_parts(first.cast::<T>(), len)
    }

    /// The body's first byte; valid for `body_len` bytes while a clone of this lives.
    #[inline]
    pub(crate) fn body(&self) -> NonNull<u8> {
        // SAFETY: a slot is at least as long as its head.
        unsafe { self.0.at.add(HEAD) }
    }

    /// The mutex in the head.
    #[inline]
    pub(crate) fn mutex(&self) -> RobustMutex<'_> {
        // SAFETY: these bytes of a slot are a mutex, whatever the kind, and `fresh` has
        // initialised it; `Place::drop` keeps the region of one that is still held.
        unsafe { RobustMutex::from_address(self.0.at.add(MUTEX)) }
    }

    /// How many seats the body has behind its first [`SEAT`] bytes: as many as fit, in a
    /// slot of a kind that has any.
    pub(crate) fn seats(&self) -> usize {
        if self.0.kind == Kind::Barrier { (self.body_len() / SEAT).saturating_sub(1) } else { 0 }
    }

    /// The mutex with which a seat begins.
    #[inline]
    pub(crate) fn seat_mutex(&self, seat: usize) -> RobustMutex<'_> {
        assert!(seat < self.seats(), "a seat outside its slot");
        // SAFETY: inside the slot, as just asserted, which is aligned; `fresh` has initialised
        // the mutex of each seat. It is held only by one who borrows the slot meanwhile.
        unsafe { RobustMutex::from_address(self.body().add(SEAT * (seat + 1))) }
    }

    /// The place of a word of this slot in its region.
    pub(crate) fn offset_of(&self, word: &crate::protocol::words::AtomicU32) -> (&Region, usize) {
        let offset = std::ptr::from_ref(word).addr() - self.0.region.base().as_ptr().addr();
        (&self.0.region, offset)
    }

    /// The region, and where in it the body begins.
    pub(crate) fn region(&self) -> (&Region, usize) {
        (&self.0.region, self.0.offset + HEAD)
    }

    /// Whether two handles are to the same object.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.at == other.0.at
    }

    /// As a part of a message.
    pub(crate) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let result = (&self.0.region, self.0.offset as u64).serialize(serializer)?;
        if let Origin::Here { sent, .. } = &self.0.origin {
            sent.store(true, Ordering::Relaxed);
        }
        Ok(result)
    }

    /// From a part of a message that must be of this kind, with a body of at least `least` bytes.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        kind: Kind,
        least: usize,
    ) -> Result<Self, D::Error> {
        let (region, offset) = <(Region, u64)>::deserialize(deserializer)?;
        let offset = usize::try_from(offset).map_err(deserialize_error)?;
        let inside = offset.is_multiple_of(HEAD)
            && offset >= Region::HEAD
            && offset.checked_add(HEAD).is_some_and(|end| end <= region.len());
        let len = if inside { untag(region.atomic_u64(offset).load(Ordering::Relaxed), kind) } else { None };
        match len {
            Some(len) if len >= HEAD + least && offset + len <= region.len() => {
                Ok(Self::over(region, offset, len, kind, Origin::Elsewhere))
            }
            _ => Err(deserialize_error("the message names an object that is not there")),
        }
    }
}

fn tag(kind: Kind, len: usize) -> u64 {
    ((len / HEAD) as u64) << 32 | 0x5100_0000 | kind as u64
}

fn untag(found: u64, kind: Kind) -> Option<usize> {
    let len = usize::try_from(found >> 32).ok()? * HEAD;
    (found == tag(kind, len)).then_some(len)
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: as in `Slot::head`.
        let head = unsafe { self.at.cast::<Head>().as_ref() };
        let owner = ThreadId::from_word(head.owner.load(Ordering::Relaxed));
        if owner.is_some_and(|owner| owner.process() == ThreadId::current().process()) {
            // A guard was forgotten: its thread's list of held mutexes points here, for ever.
            std::mem::forget(self.region.clone());
            return;
        }
        if let Origin::Here { epoch, sent } = &self.origin
            && !sent.load(Ordering::Relaxed)
            && *epoch == fork_epoch()
        {
            slab::give_back(&self.region, self.offset, self.len, self.kind);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.0.kind, self.0.offset)
    }
}
