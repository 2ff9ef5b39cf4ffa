//! Where the words of the objects lie: slots, cut from slabs of shared memory.

mod slab;
mod slot;

pub(crate) use slab::{allocate, too_large};
pub(crate) use slot::{HEAD, Kind, SEAT, SEAT_OWN, Slot, Words, shared_words};
