//! Slabs: regions that hold many slots, so that ten thousand locks cost a handful
//! of descriptors.
//!
//! Each process cuts slots from slabs of its own. A slot that never left the
//! process is used again, for the same kind of object; any other stays what it is
//! until nobody holds anything in its slab, whose memory then goes. So a process
//! that is killed with an object in its hands costs at most memory, never the
//! meaning of another's words.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use ipc_core::raw::{PerProcess, Region};

use super::{HEAD, Kind, Slot};

/// How large a slab is. Its pages come from the system as they are touched.
const SLAB: usize = 256 * 1024;

/// What is larger has a region to itself.
const LARGEST: usize = 8 * 1024;

/// How many free slots of a kind are kept.
const KEPT: usize = 1024;

#[derive(Default)]
struct Allocator {
    /// The slab that slots are cut from, and where the next one begins.
    current: Option<(Region, usize)>,
    free: HashMap<(Kind, usize), Vec<(Region, usize)>>,
}

/// A forked child leaves its parent's slabs alone: both would cut the same slots.
static ALLOCATOR: PerProcess<Mutex<Option<Allocator>>> =
    PerProcess::new(Mutex::new(None), |_| Mutex::new(None));

/// A slot with a body of at least `body` zeros.
pub(crate) fn allocate(kind: Kind, body: usize) -> io::Result<Slot> {
    let len = body
        .checked_add(HEAD)
        .and_then(|len| len.checked_next_multiple_of(HEAD))
        .filter(|len| len / HEAD <= u32::MAX as usize)
        .ok_or_else(too_large)?;
    let (region, offset) = if len > LARGEST {
        (Region::create(Region::HEAD + len)?, Region::HEAD)
    } else {
        with_allocator(|allocator| allocator.place(kind, len))?
    };
    Slot::fresh(region, offset, len, kind)
}

/// The error of an object that is not to be had.
pub(crate) fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "an object takes less than 256 GiB of shared memory")
}

/// Takes back a slot that no other process has ever seen.
pub(super) fn give_back(region: &Region, offset: usize, len: usize, kind: Kind) {
    if len > LARGEST {
        return;
    }
    with_allocator(|allocator| {
        let free = allocator.free.entry((kind, len)).or_default();
        if free.len() < KEPT {
            free.push((region.clone(), offset));
        }
    });
}

impl Allocator {
    fn place(&mut self, kind: Kind, len: usize) -> io::Result<(Region, usize)> {
        if let Some((region, offset)) = self.free.get_mut(&(kind, len)).and_then(Vec::pop) {
            for at in (offset..offset + len).step_by(8) {
                region.atomic_u64(at).store(0, Ordering::Relaxed);
            }
            return Ok((region, offset));
        }
        let (region, offset) = match self.current.take() {
            Some((region, offset)) if offset + len <= SLAB => (region, offset),
            _ => (Region::create(SLAB)?, Region::HEAD),
        };
        self.current = Some((region.clone(), offset + len));
        Ok((region, offset))
    }
}

fn with_allocator<R>(use_it: impl FnOnce(&mut Allocator) -> R) -> R {
    let mut place = ALLOCATOR.here().lock().unwrap_or_else(PoisonError::into_inner);
    use_it(place.get_or_insert_default())
}
