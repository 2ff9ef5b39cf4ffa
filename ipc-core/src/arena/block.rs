//! Parts of an arena, filled by one and then read by many.
//!
//! # Safety
//! An arena gives a range out again only when the last copy of its lifeline is closed.
//! Every `BlockMut` and `Block`, in whatever process, holds a copy for as long as it
//! lives, and every reference to the memory borrows it. Before `share` there is one
//! `BlockMut` and no `Block`; afterwards nobody writes. Where a block comes from another
//! process, that process is of this tree and keeps the same rules; the place it names
//! is checked all the same.

#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::codec::type_hash;
use crate::deadline;
use crate::plain::Plain;
use crate::raw::{PerProcess, ProcessId, Region, inherited};
use crate::sys::Handle;
use crate::sys::memory::PAGE;
use crate::sys::poll::{Interest, poll_one};
use crate::sys::stream::Stream;
use crate::transfer::{self, deserialize_error, serialize_error};

/// Where an arena's region says that it is one.
const SIGN: usize = 24;
const ARENA: u64 = u64::from_le_bytes(*b"ipcarena");

/// What it says there once its maker has dropped it.
const ENDED: u64 = u64::from_le_bytes(*b"ipcended");

/// Where it says which process its maker is.
const MAKER: usize = 32;
/// A maker that does not know who it is.
const UNKNOWN: u64 = 0;

/// So many arenas whose blocks have come stay mapped between one block and the next:
/// what was mapped anew would be met page by page again.
const MAPPED: usize = 4;
static KEPT: PerProcess<Mutex<Vec<Region>>> =
    PerProcess::new(Mutex::new(Vec::new()), |parents| inherited(parents, std::mem::take));

fn kept() -> MutexGuard<'static, Vec<Region>> {
    KEPT.here().lock().unwrap_or_else(PoisonError::into_inner)
}

/// As another thread that receives a block does it, for tests.
#[cfg(test)]
pub(crate) fn keep_and_hold() -> impl Sized {
    kept()
}

/// Says in a new region that it is an arena, and whose.
pub(super) fn sign(region: &Region) {
    let maker = ProcessId::current().map_or(UNKNOWN, ProcessId::to_word);
    region.atomic_u64(MAKER).store(maker, Ordering::Relaxed);
    region.atomic_u64(SIGN).store(ARENA, Ordering::Relaxed);
}

/// Says that no more blocks of it will come.
pub(super) fn end(region: &Region) {
    region.atomic_u64(SIGN).store(ENDED, Ordering::Relaxed);
    forget(region);
}

fn has_ended(region: &Region) -> bool {
    region.atomic_u64(SIGN).load(Ordering::Relaxed) == ENDED
}

/// Whether no more blocks of it will come: it has been dropped, or its maker was killed.
fn is_over(region: &Region) -> bool {
    let maker = ProcessId::from_word(region.atomic_u64(MAKER).load(Ordering::Relaxed));
    has_ended(region) || maker.is_some_and(ProcessId::has_ended)
}

/// Keeps an arena mapped no longer than its blocks.
fn forget(region: &Region) {
    let mut kept = kept();
    let gone: Vec<Region> = kept.extract_if(.., |other| other.is(region)).collect();
    drop(kept);
    drop(gone);
}

fn is_kept(region: &Region) -> bool {
    kept().iter().any(|other| other.is(region))
}

/// Keeps an arena mapped, for its next block, in the place of one that has ended or has
/// been quiet for the longest.
fn keep(region: &Region) {
    let mut kept = kept();
    let gone: Vec<Region> = kept.extract_if(.., |other| other.is(region) || is_over(other)).collect();
    if !has_ended(region) {
        kept.push(region.clone());
    }
    let oldest = (kept.len() > MAPPED).then(|| kept.remove(0));
    drop(kept);
    drop((gone, oldest));
}

/// A part of an [`Arena`](crate::Arena) to be filled: a slice of items that nobody else sees.
///
/// Dropping it gives the memory back.
pub struct BlockMut<T> {
    held: Held,
    types: PhantomData<T>,
}

/// A part of an [`Arena`](crate::Arena) that has been filled: a slice that its holders read in place.
///
/// It may stand anywhere in a message to a process of this program's tree, as often as
/// need be, and a receiver may send it on. Clones are the same memory. When the last
/// holder in any process has dropped it or ended, the arena has its memory back; a message
/// with it that is never received counts as a holder for as long as its channel or queue
/// holds it, and so does a fork of a holder until it ends.
pub struct Block<T> {
    held: Arc<Held>,
    types: PhantomData<T>,
}

/// Memory, and what tells the arena that it is in use.
struct Held {
    region: Region,
    offset: usize,
    count: usize,
    /// Held, not used: the kernel counts who does.
    lifeline: Handle,
}

impl<T: Plain> BlockMut<T> {
    /// The `count` items at `offset`, which fit there, and which nobody else has.
    pub(super) fn new(region: Region, offset: usize, count: usize, lifeline: Stream) -> Self {
        Self { held: Held { region, offset, count, lifeline: lifeline.into_handle() }, types: PhantomData }
    }

    /// It is filled: from now on it is read, here and wherever it is sent.
    #[must_use]
    pub fn share(self) -> Block<T> {
        Block { held: Arc::new(self.held), types: PhantomData }
    }
}

impl Held {
    fn start<T>(&self) -> NonNull<T> {
        // SAFETY: `offset` lies inside the region, as `alloc` and `checked` made sure.
        unsafe { self.region.base().add(self.offset).cast() }
    }

    /// How many bytes of the arena it takes.
    fn len<T>(&self) -> usize {
        (self.count * size_of::<T>()).max(1).next_multiple_of(PAGE)
    }

    /// What has been received, if it lies inside an arena.
    fn checked<T>(self) -> Result<Self, &'static str> {
        let len = self.count.checked_mul(size_of::<T>());
        let end = len.and_then(|len| self.offset.checked_add(len));
        let is_inside = self.offset >= PAGE && end.is_some_and(|end| end <= self.region.len());
        let is_arena = matches!(self.region.atomic_u64(SIGN).load(Ordering::Relaxed), ARENA | ENDED);
        if is_inside && is_arena && self.offset.is_multiple_of(PAGE) {
            Ok(self)
        } else {
            Err("the block received does not lie inside its arena")
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Of a maker that was killed the kernel has closed the other end.
        let is_cut =
            || poll_one(Interest::hangup(&self.lifeline), deadline::now()).is_ok_and(|has_ended| has_ended);
        if has_ended(&self.region) || is_kept(&self.region) && is_cut() {
            forget(&self.region);
        }
    }
}

impl<T: Plain> Deref for BlockMut<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many items lie there, whatever their bytes are, and nobody else has them.
        unsafe { std::slice::from_raw_parts(self.held.start().as_ptr(), self.held.count) }
    }
}

impl<T: Plain> DerefMut for BlockMut<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.held.start().as_ptr(), self.held.count) }
    }
}

impl<T: Plain> Deref for Block<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many items lie there, whatever their bytes are, and nobody writes to them.
        unsafe { std::slice::from_raw_parts(self.held.start().as_ptr(), self.held.count) }
    }
}

impl<T: Plain> AsRef<[T]> for Block<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> Clone for Block<T> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), types: PhantomData }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for BlockMut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockMut").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T: Plain> fmt::Debug for Block<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A block in a message.
#[derive(Serialize, Deserialize)]
struct Wire {
    items: u64,
    offset: u64,
    count: u64,
    lifeline: u32,
}

impl<T: Plain> Serialize for Block<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lifeline = transfer::give(&self.held.lifeline).map_err(serialize_error)?;
        if Arc::strong_count(&self.held) == 1 {
            transfer::keeps(self.held.len::<T>());
        }
        let (offset, count) = (self.held.offset as u64, self.held.count as u64);
        (Wire { items: type_hash::<T>(), offset, count, lifeline }, &self.held.region).serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for Block<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (wire, region) = <(Wire, Region)>::deserialize(deserializer)?;
        let lifeline = transfer::take(wire.lifeline).map_err(deserialize_error)?;
        if wire.items != type_hash::<T>() {
            return Err(deserialize_error("the block received is of items of another type"));
        }
        let (Ok(offset), Ok(count)) = (usize::try_from(wire.offset), usize::try_from(wire.count)) else {
            return Err(deserialize_error("the block received is larger than memory"));
        };
        let held = Held { region, offset, count, lifeline }.checked::<T>().map_err(deserialize_error)?;
        keep(&held.region);
        Ok(Self { held: Arc::new(held), types: PhantomData })
    }
}
