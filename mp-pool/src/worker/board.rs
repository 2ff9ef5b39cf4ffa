//! Words that outlive a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use ipc_core::SharedMemory;
use serde::{Deserialize, Serialize};

/// Words that pool and worker share: which item the worker has begun, which survives
/// it, and which tasks it should skip. Clones are the same words, and so is what
/// arrives when one is sent.
#[derive(Debug, Clone)]
pub(crate) struct Board(Arc<SharedMemory>);

impl Serialize for Board {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Board {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedMemory::deserialize(deserializer).map(|memory| Self(Arc::new(memory)))
    }
}

impl Board {
    pub(crate) fn new() -> std::io::Result<Self> {
        SharedMemory::anonymous((1 + SKIPS) * size_of::<u64>()).map(|memory| Self(Arc::new(memory)))
    }

    /// Item number `item` of `task` begins.
    pub(super) fn begin(&self, task: u64, item: u32) {
        // ORDERING: the reader looks after this process has ended.
        self.0.atomic_u64(0).store(Self::mark(task) | u64::from(item + 1), Ordering::Relaxed);
    }

    /// How many items of `task` have been begun.
    pub(crate) fn begun(&self, task: u64) -> u32 {
        let word = self.0.atomic_u64(0).load(Ordering::Relaxed);
        if word & !u64::from(u32::MAX) == Self::mark(task) { word as u32 } else { 0 }
    }

    /// Tells the worker not to begin `task`; `false` if it may have begun it.
    pub(crate) fn skip(&self, task: u64) -> bool {
        self.slot(task).store(task + 1, Ordering::Relaxed);
        // ORDERING: the worker marks a task as begun before it looks here, and here
        // the mark is looked at after the order: one of the two sees the other.
        fence(Ordering::SeqCst);
        self.begun(task) == 0
    }

    /// Whether `task`, which has just been marked as begun, is to be skipped.
    pub(super) fn is_skipped(&self, task: u64) -> bool {
        // ORDERING: see `skip`.
        fence(Ordering::SeqCst);
        self.slot(task).load(Ordering::Relaxed) == task + 1
    }

    /// Where the order to skip `task` stands. Should two share a place, the first
    /// is run for nothing.
    fn slot(&self, task: u64) -> &AtomicU64 {
        self.0.atomic_u64((1 + task as usize % SKIPS) * size_of::<u64>())
    }

    /// The last bits of a task's number tell it from the few others a worker holds.
    fn mark(task: u64) -> u64 {
        (task + 1) << 32
    }
}

/// Places for orders to skip tasks: more than a worker holds tasks.
const SKIPS: usize = 63;
