//! `Value` and `Array`: plain data that processes share, with a lock or without.

mod array;
mod items;
mod single;

pub(crate) use ipc_core::Plain;
use ipc_core::raw::fork_generation;

use crate::deadlock::Refusal;
use crate::lock::Lock;
use crate::memory::Slot;
use crate::protocol::robust::{self, Patience};

pub use array::{Array, ArrayGuard};
pub use items::RawArray;
pub use single::{Value, ValueGuard};

/// How far the data may have to be aligned: as slots are.
const ALIGN: usize = 64;

/// Takes the lock that was given, or else that of the slot; whether the state is sound.
#[inline]
fn acquire(slot: &Slot, given: Option<&Lock>, patience: Patience) -> Result<bool, Refusal> {
    match given {
        None => Ok(robust::lock(slot, patience)?),
        Some(lock) => lock.acquire_bare(patience),
    }
}

/// # Panics
/// A guard's data is its parent's in the child of a fork; there, using it panics.
fn assert_not_forked(generation: u32) {
    assert!(generation == fork_generation(), "this guard belongs to the process that was forked");
}
