//! Running a task's items one after the other.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use ipc_core::{Message, Packet, Reader, Writer, outside_messages};
use mp_process::{Panic, catch_panic};

use super::board::Board;
use crate::wire::{AnswerHead, FAILURE, Failure, TaskHead, VALUE};

/// An answer that is this old goes out before the next item begins, so that a
/// worker which dies takes few results with it.
const ANSWER_AGE: Duration = Duration::from_micros(100);
/// An answer of this many bytes goes out at once.
const ANSWER_BYTES: usize = 48 << 10;

/// Runs items until there are no more or the answer is due. Made for one function
/// and its types; gets the worker's state.
type Run = dyn FnMut(&mut dyn Any, &mut Reader<'_>, &mut Writer<'_>, &mut Progress<'_>);

/// A job's function, bound to its types.
pub(crate) struct Runner(pub(super) Box<Run>);

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runner")
    }
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
pub(super) fn run<A: Message, R: Message>(
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
pub(super) struct Progress<'a> {
    board: &'a Board,
    task: u64,
    items: u32,
    /// The item to begin next.
    next: u32,
    /// The first item that is not answered.
    pub(super) unanswered: u32,
    began: Instant,
    pace: Pace,
    due: bool,
}

impl<'a> Progress<'a> {
    pub(super) fn new(board: &'a Board, head: TaskHead) -> Self {
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
    pub(super) fn head(&mut self) -> AnswerHead {
        let now = Instant::now();
        let busy_nanos = u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX);
        let head = AnswerHead { task: self.task, items: self.next - self.unanswered, busy_nanos };
        (self.unanswered, self.began, self.due) = (self.next, now, false);
        head
    }
}

/// Answers the remaining items with one failure.
pub(super) fn refuse_rest(answer: &mut Writer<'_>, progress: &mut Progress<'_>, why: &str) {
    while progress.begin_next(answer.len()) {
        fail(answer, &Failure::BadArgument(why.to_owned()));
    }
}

/// As [`refuse_rest`], for a task of which nothing is run.
pub(super) fn refuse_all(answer: &mut Packet, progress: &mut Progress<'_>, why: &str) {
    answer.writing(|answer| refuse_rest(answer, progress, why));
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
