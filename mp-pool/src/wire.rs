//! What goes between a pool and its workers.

use ipc_core::link::{Link, Outgoing};
use ipc_core::{EncodeError, Handle, Packet, SendError, item_bytes};
use mp_process::{Function, Panic};
use serde::{Deserialize, Serialize};

use crate::spans::Caller;
use crate::worker::Runner;

/// At the end of whatever a worker is sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Run a task.
    Run(TaskHead),
    /// Keep a value, which follows, for the tasks that look at it.
    Keep(ShareId),
    /// Let it go.
    Drop(ShareId),
    /// End.
    Leave,
}

/// Numbers of values that tasks share; a pool never gives one twice.
pub(crate) type ShareId = u64;

/// Behind the items of each task, and what its job runs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TaskHead {
    pub(crate) task: u64,
    /// Which one it is of all that this worker is given.
    pub(crate) turn: u32,
    /// How many items there are.
    pub(crate) items: u32,
    /// They are one vector of numbers, without its length: it can have the memory that it comes in.
    pub(crate) lone: bool,
    /// How many bytes of `Job` stand between the items and the head.
    pub(crate) job_len: u32,
    /// Whether nobody need be woken before the last item is done.
    pub(crate) whole: bool,
    /// Whether it pays to poll for the next task before sleeping.
    pub(crate) poll: bool,
    /// The place of the first item among those of its call.
    #[cfg(feature = "tracing")]
    pub(crate) index: usize,
}

/// What a job's tasks run, encoded once for all of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Makes the runner for the function's types.
    pub(crate) bind: Function<Packet, Option<Runner>>,
    /// Where its tasks were submitted.
    pub(crate) caller: Caller,
}

/// Behind the outcomes of each answer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct AnswerHead {
    pub(crate) task: u64,
    /// How many outcomes there are: of the next items of the task that have none yet.
    pub(crate) items: u32,
    /// Time the worker spent on them.
    pub(crate) busy_nanos: u64,
    /// How many bytes of shared memory their values keep from other use.
    pub(crate) kept_bytes: usize,
    /// The slowest of them, if it is among the slowest that the worker has had.
    pub(crate) slowest: Option<Slowest>,
}

/// Some items of a task that took long together: one, unless they were begun as quick ones.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Slowest {
    /// The number in its task of the first.
    pub(crate) item: u32,
    pub(crate) items: u32,
    pub(crate) nanos: u64,
}

/// The byte in front of a value, which follows as an item.
pub(crate) const VALUE: u8 = 0;
/// The byte in front of a [`Failure`].
pub(crate) const FAILURE: u8 = 1;
/// The byte in front of values of a fixed width, one behind the other: their number
/// stands before them in four bytes, little end first.
pub(crate) const NUMBERS: u8 = 2;

/// Why an item has no value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Panicked(Panic),
    BadArgument(String),
    BadResult(String),
}

/// A task on its way to a worker: its parts are put together in the link's memory.
pub(crate) struct TaskFrame<'a> {
    items: &'a mut Packet,
    /// The first of their bytes that goes.
    from: usize,
    job: &'a [u8],
    head: &'a Packet,
    whole: Vec<u8>,
}

impl<'a> TaskFrame<'a> {
    /// The head is written into `space`, whose memory is used again.
    pub(crate) fn new(head: TaskHead, job: &'a [u8], items: &'a mut Packet, space: &'a mut Packet) -> Self {
        space.clear();
        // Numbers always encode.
        let _ = space.append_tail(&Order::Run(head));
        let all = Packet::bytes(items);
        let lone = item_bytes(all).filter(|_| head.lone);
        let from = lone.map_or(0, |item| all.len() - item.len());
        Self { head: space, job, items, from, whole: Vec::new() }
    }

    fn pieces(&self) -> [&[u8]; 4] {
        [&Packet::bytes(self.items)[self.from..], self.job, self.head.bytes(), &[]]
    }
}

impl Outgoing for TaskFrame<'_> {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        let Some(space) = self.size().and_then(|len| space.get_mut(..len)) else { return Ok(None) };
        // Ends that stand in the items are about to leave.
        Outgoing::bytes(self.items)?;
        Ok(Some(put_together(self.pieces(), space)))
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        Outgoing::bytes(self.items)?;
        if self.whole.is_empty() {
            self.whole = self.pieces().concat();
        }
        Ok(&self.whole)
    }

    fn parts(&mut self) -> Result<[&[u8]; 4], EncodeError> {
        Outgoing::bytes(self.items)?;
        Ok(self.pieces())
    }

    fn size(&self) -> Option<usize> {
        Some(self.pieces().iter().map(|part| part.len()).sum())
    }

    fn handles(&self) -> &[Handle] {
        self.items.handles()
    }

    fn sent(&mut self) {
        self.items.sent();
    }

    fn unsent(&mut self) {
        self.items.unsent();
    }
}

/// Writes them one behind the other into a space of their length, which it tells.
fn put_together(pieces: [&[u8]; 4], space: &mut [u8]) -> usize {
    let mut at = 0;
    for piece in pieces {
        space[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    at
}

/// An answer that is one value in its own memory, put together in the link's.
pub(crate) struct LoneAnswer<'a> {
    front: Packet,
    value: &'a mut Packet,
    head: Packet,
    whole: Vec<u8>,
}

impl<'a> LoneAnswer<'a> {
    pub(crate) fn new(value: &'a mut Packet, head: &AnswerHead) -> Self {
        let (mut front, mut tail) = (Packet::new(), Packet::new());
        front.writing(|front| {
            front.byte(VALUE);
            front.item_length(Packet::bytes(value).len());
        });
        // Numbers always encode.
        let _ = tail.append_tail(head);
        Self { front, value, head: tail, whole: Vec::new() }
    }

    fn pieces(&self) -> [&[u8]; 4] {
        [self.front.bytes(), Packet::bytes(self.value), self.head.bytes(), &[]]
    }
}

impl Outgoing for LoneAnswer<'_> {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        let space = self.size().and_then(|len| space.get_mut(..len));
        Ok(space.map(|space| put_together(self.pieces(), space)))
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        if self.whole.is_empty() {
            self.whole = self.pieces().concat();
        }
        Ok(&self.whole)
    }

    fn parts(&mut self) -> Result<[&[u8]; 4], EncodeError> {
        Ok(self.pieces())
    }

    fn size(&self) -> Option<usize> {
        Some(self.pieces().iter().map(|part| part.len()).sum())
    }

    fn handles(&self) -> &[Handle] {
        &[]
    }

    fn sent(&mut self) {}
}

/// Asks a worker to end once it has done what it holds.
pub(crate) fn send_stop(link: &dyn Link) {
    // One that does not even take this is ended by other means.
    let _ = send_order(link, Order::Leave);
}

/// Asks a worker for something that needs no more words.
pub(crate) fn send_order(link: &dyn Link, order: Order) -> Result<(), SendError> {
    let mut packet = Packet::new();
    let _ = packet.append_tail(&order);
    link.send(&mut packet, Some(std::time::Instant::now()))
}

/// A message that knows whether a link has taken it.
pub(crate) struct Watched<'a> {
    pub(crate) inner: &'a mut dyn Outgoing,
    pub(crate) is_taken: bool,
}

impl Outgoing for Watched<'_> {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        self.inner.write_into(space)
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        self.inner.bytes()
    }

    fn parts(&mut self) -> Result<[&[u8]; 4], EncodeError> {
        self.inner.parts()
    }

    fn size(&self) -> Option<usize> {
        self.inner.size()
    }

    fn handles(&self) -> &[Handle] {
        self.inner.handles()
    }

    fn sent(&mut self) {
        self.is_taken = true;
        self.inner.sent();
    }

    fn unsent(&mut self) {
        self.inner.unsent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link may ask in any of three ways.
    #[test]
    fn an_answer_in_its_own_memory_reads_as_any_other() {
        let (mut value, mut usual) = (Packet::new(), Packet::new());
        let head = AnswerHead { task: 7, items: 1, busy_nanos: 0, kept_bytes: 0, slowest: None };
        let mut numbers = vec![0.5_f64; 100_000];
        usual.writing(|writer| {
            writer.byte(VALUE);
            writer.item(&numbers).unwrap();
        });
        usual.append_tail(&head).unwrap();
        let usual = Packet::bytes(&usual);
        assert!(value.writing(|writer| writer.lone_item(&mut numbers)));
        let mut answer = LoneAnswer::new(&mut value, &head);
        assert!(answer.parts().unwrap().concat() == usual && answer.bytes().unwrap() == usual);
        let mut space = vec![0; usual.len() + 5];
        assert_eq!(answer.write_into(&mut space).unwrap(), Some(usual.len()));
        assert!(space.starts_with(usual));
        assert_eq!(answer.write_into(&mut space[..usual.len() - 1]).unwrap(), None);
    }
}
