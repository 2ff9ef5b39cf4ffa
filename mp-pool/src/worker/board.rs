//! What outlives a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc_core::SharedMemory;
use serde::{Deserialize, Serialize};

/// Memory that pool and worker share: which item the worker has begun and which
/// outcomes it has not sent, which survive it, and which tasks it should skip. Clones are
/// the same words, and so is what
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
        SharedMemory::anonymous(KEPT + MOST_KEPT).map(|memory| Self(Arc::new(memory)))
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

    /// Tells the worker not to begin the task that is number `turn` of those it was
    /// given; `false` if it has begun it. One of the two is sure.
    pub(crate) fn skip(&self, turn: u64) -> bool {
        let (slot, order) = (self.slot(turn), turn << 1);
        let mut seen = slot.load(Ordering::Relaxed);
        while seen != order | BEGUN {
            match slot.compare_exchange_weak(seen, order, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Begins the task that is number `turn`; `false` if it is to be skipped.
    pub(super) fn begin_turn(&self, turn: u64) -> bool {
        self.slot(turn).swap(turn << 1 | BEGUN, Ordering::Relaxed) != turn << 1
    }

    /// Where pool and worker agree whether a task is begun. A worker holds fewer tasks
    /// than there are places, so what is found there is of this task or an earlier one.
    fn slot(&self, turn: u64) -> &AtomicU64 {
        self.0.atomic_u64((1 + turn as usize % SKIPS) * size_of::<u64>())
    }

    /// The last bits of a task's number tell it from the few others a worker holds.
    fn mark(task: u64) -> u64 {
        (task + 1) << 32
    }

    /// Outcomes are kept from now on that follow the first `from` of `task`.
    pub(super) fn keep_from(&self, task: u64, from: u32) {
        self.0.atomic_u64(KEPT_DONE).store(0, Ordering::Relaxed);
        // ORDERING: with the new head nothing counts that was kept under the old one.
        self.0.atomic_u64(KEPT_FROM).store(Self::mark(task) | u64::from(from), Ordering::Release);
    }

    /// Adds `bytes`, which end the first `items` outcomes of those that are kept, at
    /// `at`; `false` if there is no room.
    pub(super) fn keep(&self, items: u32, at: usize, bytes: &[u8]) -> bool {
        let len = at + bytes.len();
        if len > MOST_KEPT {
            return false;
        }
        self.0.write(KEPT + at, bytes);
        // ORDERING: the bytes are there before they count.
        self.0.atomic_u64(KEPT_DONE).store(u64::from(items) << 32 | len as u64, Ordering::Release);
        true
    }

    /// The outcomes of `task` that follow the first `answered`, which the worker, which
    /// has ended, had and did not send: how many, and their bytes.
    pub(crate) fn kept(&self, task: u64, answered: u32) -> Option<(u32, Vec<u8>)> {
        let from = self.0.atomic_u64(KEPT_FROM).load(Ordering::Acquire);
        let done = self.0.atomic_u64(KEPT_DONE).load(Ordering::Acquire);
        let (items, len) = ((done >> 32) as u32, done as u32 as usize);
        if from != Self::mark(task) | u64::from(answered) || items == 0 || len > MOST_KEPT {
            return None;
        }
        let mut bytes = vec![0; len];
        self.0.read(KEPT, &mut bytes);
        Some((items, bytes))
    }
}

/// Places for orders to skip tasks: more than a worker holds tasks.
const SKIPS: usize = 63;
/// In such a place, behind the number of a task: it has been begun.
const BEGUN: u64 = 1;
/// Where it says of which task, and from which item on, outcomes are kept.
const KEPT_FROM: usize = (1 + SKIPS) * size_of::<u64>();
/// Where it says how many are kept, and how many bytes they have.
const KEPT_DONE: usize = KEPT_FROM + size_of::<u64>();
/// Where their bytes lie.
const KEPT: usize = KEPT_DONE + size_of::<u64>();
/// The most bytes that are kept.
const MOST_KEPT: usize = 16 << 10;
