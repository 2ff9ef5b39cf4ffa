//! A worker's life: takes tasks, runs them item by item, answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::link::Polling;
use ipc_core::{Connection, Message, Packet, SharedMemory};
use mp_process::{Function, catch_panic};
use serde::{Deserialize, Serialize};

use crate::wire::{AnswerHead, Job, Outcome, TaskHead};

/// A worker's end of its link to the pool. What goes over it are raw packets.
pub(crate) type WorkerLink = Connection<(), ()>;

/// What a worker is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Equipment {
    pub(crate) link: WorkerLink,
    pub(crate) board: Board,
}

/// A word that survives its worker: which item it has begun. Clones are the same
/// word, and so is what arrives when one is sent.
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
        SharedMemory::anonymous(64).map(|memory| Self(Arc::new(memory)))
    }

    /// Item number `item` of `task` begins.
    fn begin(&self, task: u64, item: u32) {
        // ORDERING: the reader looks after this process has ended.
        self.0.atomic_u64(0).store(Self::mark(task) | u64::from(item + 1), Ordering::Relaxed);
    }

    /// How many items of `task` have been begun.
    pub(crate) fn begun(&self, task: u64) -> u32 {
        let word = self.0.atomic_u64(0).load(Ordering::Relaxed);
        if word & !u64::from(u32::MAX) == Self::mark(task) { word as u32 } else { 0 }
    }

    /// The last bits of a task's number tell it from the few others a worker holds.
    fn mark(task: u64) -> u64 {
        (task + 1) << 32
    }
}

/// An answer that is this old goes out before the next item begins, so that a
/// worker which dies takes few results with it.
const ANSWER_AGE: Duration = Duration::from_micros(100);
/// An answer of this many bytes goes out at once.
const ANSWER_BYTES: usize = 48 << 10;

/// Runs one item: reads the argument, writes the outcome.
pub(crate) struct Runner(Box<dyn FnMut(&mut Packet, &mut Packet)>);

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runner")
    }
}

/// Encodes what the tasks of a job run.
pub(crate) fn job<A: Message, R: Message>(function: fn(A) -> R) -> Result<Vec<u8>, ipc_core::EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Job { bind: Function::new(bind::<A, R>) })?;
    packet.append(&Function::new(function))?;
    Ok(packet.bytes().to_vec())
}

/// Binds a job's function to its types.
fn bind<A: Message, R: Message>(mut job: Packet) -> Option<Runner> {
    let function: Function<A, R> = job.read().ok()?;
    Some(Runner(Box::new(move |items, answer| run(function, items, answer))))
}

fn run<A: Message, R: Message>(function: Function<A, R>, items: &mut Packet, answer: &mut Packet) {
    // A user's `Deserialize` and `Serialize` run here as well, and may panic.
    let argument = match catch_panic(|| items.read_item::<A>()) {
        Ok(Ok(argument)) => argument,
        Ok(Err(error)) => return put(answer, &Outcome::BadArgument(error.to_string())),
        Err(panic) => return put(answer, &Outcome::BadArgument(panic.to_string())),
    };
    match catch_panic(|| function(argument)) {
        Ok(value) => put_value(answer, &value),
        Err(panic) => put(answer, &Outcome::Panicked(panic)),
    }
}

fn put_value<R: Message>(answer: &mut Packet, value: &R) {
    let before = answer.bytes().len();
    put(answer, &Outcome::Value);
    let reason = match catch_panic(|| answer.append_item(value)) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.to_string(),
    };
    answer.truncate(before);
    put(answer, &Outcome::BadResult(reason));
}

fn put(answer: &mut Packet, outcome: &Outcome) {
    // Text and numbers always encode.
    let _ = answer.append(outcome);
}

/// The function that worker processes run.
pub(crate) fn serve(equipment: Equipment) {
    let Equipment { link, board } = equipment;
    // This process ends with the pool's: nobody need watch for that.
    link.link().leave_unwatched();
    let mut worker =
        Worker { link: &link, board: &board, job: Vec::new(), runner: None, answer: Packet::new() };
    let mut packet = Packet::new();
    while link.link().recv(&mut packet, None).is_ok() {
        let Ok(head) = packet.read::<TaskHead>() else { return };
        if head.items == 0 || !worker.obey(head, &mut packet) {
            return;
        }
    }
}

struct Worker<'a> {
    link: &'a WorkerLink,
    board: &'a Board,
    /// The job that `runner` was made for.
    job: Vec<u8>,
    runner: Option<Runner>,
    answer: Packet,
}

impl Worker<'_> {
    /// Runs one task; `false` when the pool is gone.
    fn obey(&mut self, head: TaskHead, packet: &mut Packet) -> bool {
        self.link.set_polling(if head.poll { Polling::Adaptive } else { Polling::Off });
        let Some(job) = packet.read_bytes(head.job_len as usize) else { return false };
        if self.runner.is_none() || self.job != job {
            self.job = job.to_vec();
            self.runner = resolve(&self.job);
        }
        self.run_items(head, packet)
    }

    fn run_items(&mut self, head: TaskHead, packet: &mut Packet) -> bool {
        let mut begun_at = Instant::now();
        let mut pending = 0;
        let mut pace = Pace::new(begun_at);
        for item in 0..head.items {
            self.board.begin(head.task, item);
            match &mut self.runner {
                Some(Runner(run)) => run(packet, &mut self.answer),
                None => put(&mut self.answer, &Outcome::BadArgument(UNKNOWN_JOB.to_owned())),
            }
            pending += 1;
            let last = item + 1 == head.items;
            if last || self.answer.bytes().len() >= ANSWER_BYTES || pace.is_due(begun_at) {
                let now = Instant::now();
                let busy_nanos = u64::try_from((now - begun_at).as_nanos()).unwrap_or(u64::MAX);
                if !self.send(AnswerHead { task: head.task, items: pending, busy_nanos }) {
                    return false;
                }
                (begun_at, pending) = (now, 0);
            }
        }
        true
    }

    fn send(&mut self, head: AnswerHead) -> bool {
        // The head goes last: it is known only now, and the pool reads it first.
        let sent =
            self.answer.append_tail(&head).is_ok() && self.link.link().send(&mut self.answer, None).is_ok();
        self.answer.clear();
        sent
    }
}

/// Reads the clock seldom while items are quick, and after each one that is not.
struct Pace {
    items: u32,
    stride: u32,
    read_at: Instant,
}

impl Pace {
    /// The most items between two readings.
    const LONGEST: u32 = 256;
    /// Items that together take less than this need no reading between them.
    const QUICK: Duration = Duration::from_micros(5);

    fn new(now: Instant) -> Self {
        Self { items: 0, stride: 1, read_at: now }
    }

    fn is_due(&mut self, begun_at: Instant) -> bool {
        self.items += 1;
        if self.items < self.stride {
            return false;
        }
        let now = Instant::now();
        self.stride = if now - self.read_at < Self::QUICK { (self.stride * 2).min(Self::LONGEST) } else { 1 };
        (self.items, self.read_at) = (0, now);
        now - begun_at >= ANSWER_AGE
    }
}

const UNKNOWN_JOB: &str = "the worker could not make out the function of its task";

fn resolve(job: &[u8]) -> Option<Runner> {
    let mut packet = Packet::new();
    packet.extend_bytes(job);
    // The bytes came over the pool's own link, which is of this tree.
    packet.mark_trusted();
    let job: Job = packet.read().ok()?;
    (job.bind)(packet)
}
