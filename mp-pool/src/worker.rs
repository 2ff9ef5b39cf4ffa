//! A worker's life: takes tasks, runs them item by item, answers.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use ipc_core::link::Polling;
use ipc_core::{Connection, Message, Packet, Reader, SharedMemory, Writer, outside_messages};
use mp_process::{Function, Panic, StateFunction, catch_panic};
use serde::{Deserialize, Serialize};

use crate::wire::{AnswerHead, FAILURE, Failure, Job, TaskHead, VALUE};

/// A worker's end of its link to the pool. What goes over it are raw packets.
pub(crate) type WorkerLink = Connection<(), ()>;

/// What a worker is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Equipment {
    pub(crate) link: WorkerLink,
    pub(crate) board: Board,
    /// The first packet is no task, but says how to make the worker's state.
    pub(crate) has_setup: bool,
}

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
    fn begin(&self, task: u64, item: u32) {
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
    fn is_skipped(&self, task: u64) -> bool {
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

/// An answer that is this old goes out before the next item begins, so that a
/// worker which dies takes few results with it.
const ANSWER_AGE: Duration = Duration::from_micros(100);
/// An answer of this many bytes goes out at once.
const ANSWER_BYTES: usize = 48 << 10;

/// Runs items until there are no more or the answer is due; the number of the
/// next one. Made for one function and its types.
type Run = dyn FnMut(&mut dyn Any, &mut Reader<'_>, &mut Writer<'_>, &mut Progress<'_>);

/// A job's function, bound to its types.
pub(crate) struct Runner(Box<Run>);

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
    Some(Runner(Box::new(move |_, items, answer, progress| {
        run(|argument: A| function(argument), items, answer, progress);
    })))
}

/// As [`job`], for a function that takes the worker's state.
pub(crate) fn state_job<S: 'static, A: Message, R: Message>(
    function: fn(&mut S, A) -> R,
) -> Result<Vec<u8>, ipc_core::EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Job { bind: Function::new(bind_state::<S, A, R>) })?;
    packet.append(&StateFunction::new(function))?;
    Ok(packet.bytes().to_vec())
}

fn bind_state<S: 'static, A: Message, R: Message>(mut job: Packet) -> Option<Runner> {
    let function: StateFunction<S, A, R> = job.read().ok()?;
    Some(Runner(Box::new(move |state, items, answer, progress| {
        // The pool's type says which state its workers have.
        let Some(state) = state.downcast_mut::<S>() else {
            return refuse_rest(answer, progress, UNKNOWN_JOB);
        };
        run(|argument: A| function(state, argument), items, answer, progress);
    })))
}

/// Encodes how a worker's state is made.
pub(crate) fn setup<S: 'static, A: Message>(
    make: fn(A) -> S,
    argument: &A,
) -> Result<Packet, ipc_core::EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Function::new(set_up::<S, A>))?;
    packet.append(&Function::new(make))?;
    packet.append_item(argument)?;
    Ok(packet)
}

/// What a setup leaves.
type Made = Result<Box<dyn Any>, String>;

fn set_up<S: 'static, A: Message>(mut setup: Packet) -> Made {
    let make: Function<A, S> = setup.read().map_err(|error| error.to_string())?;
    let argument = setup.read_item::<A>().map_err(|error| error.to_string())?;
    Ok(Box::new(make(argument)))
}

fn obey_setup(mut setup: Packet) -> Made {
    let set_up: Function<Packet, Made> = setup.read().map_err(|error| error.to_string())?;
    set_up(setup)
}

/// What a panic interrupted.
#[derive(Clone, Copy)]
enum Step {
    Argument,
    Function,
    Result,
}

/// Runs items one after the other. A panic ends the inner loop and the item; the
/// outer one goes on behind it.
fn run<A: Message, R: Message>(
    mut function: impl FnMut(A) -> R,
    items: &mut Reader<'_>,
    answer: &mut Writer<'_>,
    progress: &mut Progress<'_>,
) {
    while !progress.is_over() {
        let step = Cell::new(Step::Argument);
        let begun = Cell::new(answer.len());
        let caught = catch_panic(|| {
            while progress.begin_next(answer.len()) {
                begun.set(answer.len());
                run_one(&mut function, items, answer, &step);
            }
        });
        match caught {
            Ok(()) => return,
            Err(panic) => {
                answer.truncate(begun.get());
                fail(answer, &failure(step.get(), panic));
            }
        }
    }
}

fn run_one<A: Message, R: Message>(
    function: &mut impl FnMut(A) -> R,
    items: &mut Reader<'_>,
    answer: &mut Writer<'_>,
    step: &Cell<Step>,
) {
    // A user's `Deserialize` and `Serialize` run here as well, and may panic.
    step.set(Step::Argument);
    let argument = match items.item::<A>() {
        Ok(argument) => argument,
        Err(error) => return fail(answer, &Failure::BadArgument(error.to_string())),
    };
    step.set(Step::Function);
    let value = outside_messages(|| function(argument));
    step.set(Step::Result);
    let before = answer.len();
    answer.byte(VALUE);
    if let Err(error) = answer.item(&value) {
        answer.truncate(before);
        fail(answer, &Failure::BadResult(error.to_string()));
    }
}

fn failure(step: Step, panic: Panic) -> Failure {
    match step {
        Step::Argument => Failure::BadArgument(format!("its decoding panicked: {panic}")),
        Step::Function => Failure::Panicked(panic),
        Step::Result => Failure::BadResult(format!("its encoding panicked: {panic}")),
    }
}

fn fail(answer: &mut Writer<'_>, failure: &Failure) {
    answer.byte(FAILURE);
    // Text and numbers always encode.
    let _ = answer.value(failure);
}

/// How far a worker is in a task, and whether its answer is due.
struct Progress<'a> {
    board: &'a Board,
    task: u64,
    items: u32,
    /// The item to begin next.
    next: u32,
    /// The first item that is not answered.
    unanswered: u32,
    began: Instant,
    pace: Pace,
    due: bool,
}

impl<'a> Progress<'a> {
    fn new(board: &'a Board, head: TaskHead) -> Self {
        let now = Instant::now();
        Self {
            board,
            task: head.task,
            items: head.items,
            next: 0,
            unanswered: 0,
            began: now,
            pace: Pace::new(now),
            due: false,
        }
    }

    fn is_over(&self) -> bool {
        self.next == self.items || self.due
    }

    /// Marks the next item as begun; `false` if there is none, or the answer,
    /// which now has `len` bytes, is to go out first.
    fn begin_next(&mut self, len: usize) -> bool {
        if self.next > self.unanswered {
            self.due |= len >= ANSWER_BYTES || self.pace.is_due(self.began);
        }
        if self.is_over() {
            return false;
        }
        self.board.begin(self.task, self.next);
        self.next += 1;
        true
    }

    /// The head of an answer with all outcomes so far; the next answer begins here.
    fn head(&mut self) -> AnswerHead {
        let now = Instant::now();
        let busy_nanos = u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX);
        let head = AnswerHead { task: self.task, items: self.next - self.unanswered, busy_nanos };
        (self.unanswered, self.began, self.due) = (self.next, now, false);
        head
    }
}

/// The function that worker processes run.
pub(crate) fn serve(equipment: Equipment) {
    let Equipment { link, board, has_setup } = equipment;
    // This process ends with the pool's: nobody need watch for that.
    link.link().leave_unwatched();
    let mut packet = Packet::new();
    let mut state: Box<dyn Any> = Box::new(());
    if has_setup {
        if link.link().recv(&mut packet, None).is_err() {
            return;
        }
        // A panic of the initializer ends the worker, and its parent learns of it.
        state = match obey_setup(std::mem::take(&mut packet)) {
            Ok(state) => state,
            Err(reason) => panic!("the initializer's argument could not be decoded: {reason}"),
        };
    }
    let mut worker =
        Worker { link: &link, board: &board, job: Vec::new(), runner: None, state, answer: Packet::new() };
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
    state: Box<dyn Any>,
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
        let mut progress = Progress::new(self.board, head);
        self.board.begin(head.task, 0);
        if self.board.is_skipped(head.task) {
            refuse_all(&mut self.answer, &mut progress, "it was cancelled");
            return self.send(progress.head());
        }
        while progress.unanswered < head.items {
            let Self { runner, state, answer, .. } = self;
            packet.reading(|items| {
                answer.writing(|answer| match runner {
                    Some(Runner(run)) => run(&mut **state, items, answer, &mut progress),
                    None => refuse_rest(answer, &mut progress, UNKNOWN_JOB),
                });
            });
            if !self.send(progress.head()) {
                return false;
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

fn refuse_rest(answer: &mut Writer<'_>, progress: &mut Progress<'_>, why: &str) {
    while progress.begin_next(answer.len()) {
        fail(answer, &Failure::BadArgument(why.to_owned()));
    }
}

fn refuse_all(answer: &mut Packet, progress: &mut Progress<'_>, why: &str) {
    answer.writing(|answer| refuse_rest(answer, progress, why));
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
