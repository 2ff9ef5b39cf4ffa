//! Running a task's items one after the other.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use ipc_core::{EncodeError, Message, Packet, Reader, Writer, item_width, outside_messages};
use mp_process::{Panic, catch_panic};

use super::board::Board;
use super::deadline;
use super::gear::Gear;
use super::timing::Timing;
use crate::spans::Spans;
use crate::wire::{AnswerHead, FAILURE, Failure, NUMBERS, TaskHead, VALUE};

/// An answer that is this old goes out before the next item begins, so that a
/// worker which dies takes few results with it.
const ANSWER_AGE: Duration = Duration::from_micros(100);
/// An answer of this many bytes goes out at once.
const ANSWER_BYTES: usize = 48 << 10;

/// Runs items until there are no more or the answer is due. Made for one function
/// and its types; gets what the worker keeps.
type Run = dyn FnMut(&mut Gear, &mut Reader<'_>, &mut Writer<'_>, &mut Progress<'_>);

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
    let mut outcomes = Outcomes::new::<R>(answer, progress);
    // To copy a number takes less than to read the clock.
    let is_encoded = item_width::<A>().is_none() || item_width::<R>().is_none();
    let is_bare = !is_encoded && progress.is_unminded();
    while !progress.is_over() {
        let step = Cell::new(Step::Argument);
        let caught = catch_panic(|| {
            while let Some(burst) = progress.next_burst(outcomes.answer.len()) {
                if is_bare {
                    step.set(Step::Function);
                    run_numbers(&mut function, items, &mut outcomes, progress, burst);
                    continue;
                }
                for _ in 0..burst {
                    if !progress.begin_next() {
                        break;
                    }
                    outcomes.begin();
                    let _span = progress.spans.enter(progress.next - 1);
                    if is_encoded && progress.timing.is_sampled() {
                        progress.sample(|mark| run_one(&mut function, items, &mut outcomes, &step, mark));
                    } else {
                        run_one(&mut function, items, &mut outcomes, &step, || ());
                    }
                    progress.keep(&outcomes);
                    if progress.due || outcomes.answer.len() >= ANSWER_BYTES {
                        break;
                    }
                }
            }
        });
        match caught {
            Ok(()) => break,
            Err(panic) => {
                if is_bare {
                    // All values before it are whole.
                    outcomes.begun = outcomes.answer.len();
                }
                outcomes.fail(&failure(step.get(), panic));
                progress.keep(&outcomes);
            }
        }
    }
    outcomes.end_run();
}

/// Runs some items of which nothing need be known but that they have begun. Nothing but the
/// function can fail or panic, or sees the messages around.
#[inline]
fn run_numbers<A: Message, R: Message>(
    function: &mut impl FnMut(A) -> R,
    items: &mut Reader<'_>,
    outcomes: &mut Outcomes<'_, '_>,
    progress: &mut Progress<'_>,
    burst: u32,
) {
    outcomes.begin();
    let begins = progress.board.begins(progress.turn);
    outside_messages(|| {
        for _ in 0..burst {
            begins(progress.next);
            progress.next += 1;
            match items.item::<A>() {
                // A number always encodes.
                Ok(argument) => drop(outcomes.answer.item(&function(argument))),
                Err(error) => {
                    outcomes.begin();
                    outcomes.fail(&Failure::BadArgument(error.to_string()));
                    outcomes.begin();
                }
            }
        }
    });
}

/// Calls `mark` where its function begins, and where that has returned.
#[inline]
fn run_one<A: Message, R: Message>(
    function: &mut impl FnMut(A) -> R,
    items: &mut Reader<'_>,
    outcomes: &mut Outcomes<'_, '_>,
    step: &Cell<Step>,
    mut mark: impl FnMut(),
) {
    // A user's `Deserialize` and `Serialize` run here as well, and may panic.
    step.set(Step::Argument);
    let argument = match items.item::<A>() {
        Ok(argument) => argument,
        Err(error) => return outcomes.fail(&Failure::BadArgument(error.to_string())),
    };
    step.set(Step::Function);
    mark();
    let mut value = outside_messages(|| function(argument));
    step.set(Step::Result);
    mark();
    if let Err(error) = outcomes.value(&mut value) {
        outcomes.fail(&Failure::BadResult(error.to_string()));
    }
}

/// The outcomes of a task's items on their way into an answer.
struct Outcomes<'a, 'w> {
    answer: &'a mut Writer<'w>,
    /// How many bytes a value takes, if it is a number and lies in a run of them.
    width: Option<usize>,
    /// Values may bring handles along.
    brings_handles: bool,
    /// There is one item and one value.
    is_only: bool,
    /// Where the numbers begin that lie one behind the other at the answer's end.
    run: Option<usize>,
    /// Where the outcome begins that is being written.
    begun: usize,
}

/// What stands in front of numbers: the mark, and how many.
const RUN_HEAD: [u8; 5] = [NUMBERS, 0, 0, 0, 0];

impl<'a, 'w> Outcomes<'a, 'w> {
    fn new<R: 'static>(answer: &'a mut Writer<'w>, progress: &Progress<'_>) -> Self {
        let width = item_width::<R>();
        let (run_width, brings_handles) = (width.filter(|_| !progress.keeps), width.is_none());
        let is_only = brings_handles && progress.items == 1;
        Self { answer, width: run_width, brings_handles, is_only, run: None, begun: 0 }
    }

    #[inline]
    fn begin(&mut self) {
        if self.width.is_some() && self.run.is_none() {
            self.begin_run();
        }
        self.begun = self.answer.len();
    }

    #[inline]
    fn value<R: Message>(&mut self, value: &mut R) -> Result<(), EncodeError> {
        if self.is_only && self.answer.lone_item(value) {
            return Ok(());
        }
        if self.width.is_none() {
            self.answer.byte(VALUE);
        }
        self.answer.item(value)
    }

    /// Writes a failure in the place of the outcome that was begun.
    fn fail(&mut self, failure: &Failure) {
        self.answer.truncate(self.begun);
        self.end_run();
        fail(self.answer, failure);
    }

    fn begin_run(&mut self) {
        RUN_HEAD.iter().for_each(|byte| self.answer.byte(*byte));
        self.run = Some(self.answer.len());
    }

    fn end_run(&mut self) {
        let (Some(start), Some(width)) = (self.run.take(), self.width) else { return };
        let count = (self.answer.len() - start) / width;
        if count == 0 {
            self.answer.truncate(start - RUN_HEAD.len());
        } else {
            self.answer.overwrite(start - size_of::<u32>(), &(count as u32).to_le_bytes());
        }
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
    timing: &'a Timing<'a>,
    spans: Spans,
    task: u64,
    turn: u32,
    items: u32,
    /// The item to begin next.
    next: u32,
    /// The first item that is not answered.
    pub(super) unanswered: u32,
    began: Instant,
    pace: Pace,
    /// The first item whose time is not noted.
    timed: u32,
    due: bool,
    /// Each outcome is kept for the pool as it comes.
    keeps: bool,
    /// Items are claimed several at a time: so many are, of those that may be recalled.
    claimed: u32,
    /// How many bytes of them are.
    kept: usize,
    /// What each item is told of its time.
    limit: Option<Duration>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(
        board: &'a Board,
        timing: &'a Timing<'a>,
        head: TaskHead,
        limit: Option<Duration>,
        spans: Spans,
    ) -> Self {
        let now = Instant::now();
        timing.task_begins(now);
        let keeps = !head.whole && head.items > 1;
        if keeps {
            board.keep_from(head.turn, 0);
        }
        Self {
            board,
            timing,
            spans,
            task: head.task,
            turn: head.turn,
            items: head.items,
            next: 0,
            unanswered: 0,
            began: now,
            pace: Pace::new(now),
            timed: 0,
            due: false,
            keeps,
            claimed: if head.whole && head.items > 1 { 0 } else { head.items },
            kept: 0,
            limit,
        }
    }

    /// Whether items need neither be kept, nor told of their time, nor have a span.
    fn is_unminded(&self) -> bool {
        !self.keeps && self.limit.is_none() && !cfg!(feature = "tracing")
    }

    fn is_over(&self) -> bool {
        self.next == self.items || self.due
    }

    /// How many items may be begun before the next look at the clock and at the
    /// answer, which has `len` bytes now; `None` if it is to go out first, or there
    /// are no more.
    fn next_burst(&mut self, len: usize) -> Option<u32> {
        if self.next > self.unanswered {
            let now = Instant::now();
            self.note(now);
            self.due |= len >= ANSWER_BYTES || self.pace.is_due(now, self.began);
        }
        if self.is_over() {
            return None;
        }
        let burst = self.pace.stride.min(self.items - self.next);
        let more = (self.next + burst).saturating_sub(self.claimed);
        if more == 0 {
            return Some(burst);
        }
        if self.board.claim_more(more) {
            self.claimed += more;
            return Some(burst);
        }
        // What is left has been recalled.
        self.items = self.claimed;
        Some(self.items - self.next).filter(|burst| *burst > 0)
    }

    /// Notes how long the items took that were begun since the clock was read.
    fn note(&mut self, now: Instant) {
        if self.next > self.timed {
            self.timing.note(self.timed, self.next - self.timed, now - self.pace.read_at);
            self.timed = self.next;
        }
    }

    /// Has `run` run an item, which marks where its function begins and has returned, and
    /// notes what the rest of it takes.
    fn sample(&self, run: impl FnOnce(&mut dyn FnMut())) {
        let begun = Instant::now();
        let mut marks = [begun; 2];
        let mut places = marks.iter_mut();
        run(&mut || places.next().into_iter().for_each(|place| *place = Instant::now()));
        let [decoded, returned] = marks;
        self.timing.sample((decoded - begun) + (Instant::now() - returned.max(decoded)));
    }

    /// Marks the next item as begun; `false` if what is left has been recalled.
    #[inline]
    fn begin_next(&mut self) -> bool {
        if !self.keeps {
            self.board.begin(self.turn, self.next);
        } else if !self.board.claim() {
            self.items = self.next;
            return false;
        }
        self.next += 1;
        if let Some(limit) = self.limit {
            deadline::begin(limit);
        }
        true
    }

    /// Whether all items have been answered.
    pub(super) fn is_answered(&self) -> bool {
        self.unanswered == self.items
    }

    /// Keeps what has come, so that it outlives the worker; what cannot be kept is to
    /// go out at once.
    #[inline]
    fn keep(&mut self, outcomes: &Outcomes<'_, '_>) {
        if self.keeps {
            self.keep_now(outcomes);
        }
    }

    fn keep_now(&mut self, outcomes: &Outcomes<'_, '_>) {
        let bytes = outcomes.answer.written(self.kept);
        let fits = !(outcomes.brings_handles && outcomes.answer.handle_count() > 0)
            && self.board.keep(self.next - self.unanswered, self.kept, bytes);
        self.kept += bytes.len();
        self.due |= !fits;
    }

    /// What was kept has been sent.
    pub(super) fn sent(&mut self) {
        if self.keeps {
            self.board.keep_from(self.turn, self.unanswered);
            self.kept = 0;
        }
    }

    /// The head of an answer with all outcomes so far; the next answer begins here.
    pub(super) fn head(&mut self) -> AnswerHead {
        let now = Instant::now();
        self.note(now);
        let slowest = self.timing.items_end(now);
        let busy_nanos = u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX);
        let items = self.next - self.unanswered;
        let head = AnswerHead { task: self.task, items, busy_nanos, kept_bytes: 0, slowest };
        (self.unanswered, self.began, self.due) = (self.next, now, false);
        head
    }
}

/// Answers the remaining items with one failure.
pub(super) fn refuse_rest(answer: &mut Writer<'_>, progress: &mut Progress<'_>, why: &str) {
    while let Some(burst) = progress.next_burst(answer.len()) {
        let burst = (0..burst).take_while(|_| progress.begin_next()).count();
        for _ in 0..burst {
            fail(answer, &Failure::BadArgument(why.to_owned()));
        }
    }
}

/// As [`refuse_rest`], for a task of which nothing is run.
pub(super) fn refuse_all(answer: &mut Packet, progress: &mut Progress<'_>, why: &str) {
    answer.writing(|answer| refuse_rest(answer, progress, why));
}

/// Reads the clock seldom while items are quick, and after each one that is not.
struct Pace {
    /// How many items may begin before the next reading.
    stride: u32,
    read_at: Instant,
}

impl Pace {
    /// The most items between two readings.
    const LONGEST: u32 = 256;
    /// Items that together take less than this need no reading between them.
    const QUICK: Duration = Duration::from_micros(5);

    fn new(now: Instant) -> Self {
        Self { stride: 1, read_at: now }
    }

    fn is_due(&mut self, now: Instant, begun_at: Instant) -> bool {
        self.stride = if now - self.read_at < Self::QUICK { (self.stride * 2).min(Self::LONGEST) } else { 1 };
        self.read_at = now;
        now - begun_at >= ANSWER_AGE
    }
}
