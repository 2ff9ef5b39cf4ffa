//! Tasks: items that go through the pool together.

use std::sync::Arc;

use ipc_core::{Packet, skip_item};

use super::{JobId, Lease};

/// Some items of a job, on their way through the pool together.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) job: JobId,
    /// The place in its job of the first item.
    pub(crate) index: usize,
    pub(crate) items: u32,
    /// Items that have an outcome already; their bytes are still in the packet.
    pub(crate) answered: u32,
    /// Which one it is of all that its worker was given.
    pub(crate) turn: u32,
    /// The items, each behind its length.
    pub(crate) packet: Packet,
    /// What the job runs.
    pub(crate) code: Arc<Code>,
    /// The item that was running when a worker died, and how often one did.
    pub(super) suspect: Option<(usize, u32)>,
    /// Of its job.
    pub(super) priority: i32,
}

/// What a job runs, and on what.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) bytes: Vec<u8>,
    /// Outcomes are of use only when all have come, so that nobody need be woken for some.
    pub(crate) whole: bool,
    /// How many bytes each item takes, if that is the same for all.
    pub(crate) item_width: Option<usize>,
    /// How many bytes each value takes, if that is the same for all.
    pub(crate) value_width: Option<usize>,
    /// An item is a vector of numbers.
    pub(crate) takes_vectors: bool,
    /// The value that the tasks look at.
    pub(crate) lease: Option<Arc<Lease>>,
}

impl Code {
    /// Where item number `count` begins.
    fn skip(&self, bytes: &[u8], count: u32) -> usize {
        let count = count as usize;
        self.item_width.map_or_else(|| skip(bytes, count), |width| width * count)
    }
}

impl Task {
    /// The items from number `from` on, as a task of their own.
    pub(super) fn rest(self, from: u32, suspect: Option<(usize, u32)>) -> Self {
        if from == 0 {
            return Self { suspect, ..self };
        }
        Self { suspect, ..self.range(from, self.items) }
    }

    /// Items that are sent again lie in a packet of their own. They hold no
    /// handles: a task with handles has one item.
    pub(super) fn range(&self, from: u32, to: u32) -> Self {
        let bytes = self.packet.bytes();
        let mut packet = Packet::new();
        packet.extend_bytes(&bytes[self.code.skip(bytes, from)..self.code.skip(bytes, to)]);
        Self {
            job: self.job,
            index: self.index + from as usize,
            items: to - from,
            answered: 0,
            packet,
            code: Arc::clone(&self.code),
            suspect: None,
            priority: self.priority,
            turn: 0,
        }
    }

    /// Whether its worker can be told to stop between two items, and others do the rest.
    pub(super) fn is_divisible(&self) -> bool {
        self.items > 1 && self.packet.handle_count() == 0
    }
}

/// Where item number `count` begins, of items behind their lengths.
fn skip(bytes: &[u8], count: usize) -> usize {
    let rest = (0..count).try_fold(bytes, |rest, _| skip_item(rest));
    bytes.len() - rest.map_or(0, <[u8]>::len)
}
