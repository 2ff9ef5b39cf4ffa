//! A worker's life: takes tasks, runs them item by item, answers.

use std::any::Any;
use std::time::{Duration, Instant};

use ipc_core::link::Polling;
use ipc_core::{Connection, Packet};
use serde::{Deserialize, Serialize};

use crate::budget;
use crate::spans::Spans;
use crate::transport::Dial;
use crate::wire::{AnswerHead, LoneAnswer, Order, TaskHead};

mod board;
mod claims;
mod deadline;
mod gear;
mod job;
mod run;
mod timing;

pub(crate) use board::Board;
pub(crate) use claims::{ALL_DONE, Begun};
pub use deadline::task_deadline;
pub(crate) use gear::keep_order;
pub(crate) use job::{farewell, job, setup, shared_job, star2_job, star3_job, star4_job, state_job};
pub(crate) use run::Runner;

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};

    #[inline]
    pub(super) fn set(word: &AtomicU64, value: u64) {
        word.store(value, Ordering::Relaxed);
    }
}

use gear::Gear;
use job::{UNKNOWN_JOB, obey_farewell, obey_setup, resolve};
use run::{Progress, refuse_all, refuse_rest};
use timing::Timing;

/// A worker's end of its link to the pool. What goes over it are raw packets.
pub(crate) type WorkerLink = Connection<(), ()>;

/// What a worker is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Equipment {
    pub(crate) line: Line,
    pub(crate) board: Board,
    /// The first packet is no task, but says how to make the worker's state.
    pub(crate) has_setup: bool,
    /// The next one says what to do with it at the end.
    pub(crate) has_farewell: bool,
    /// What tasks are told of their time.
    pub(crate) time_limit: Option<Duration>,
    /// How many processes the pools in its tasks may have.
    pub(crate) allowance: usize,
    /// Polls for its first task before it sleeps; each task says it of the next.
    pub(crate) polls: bool,
    /// Tells how much memory it has after its tasks.
    pub(crate) measures: bool,
    /// Tells how much memory it has before each task.
    pub(crate) measures_before: bool,
}

/// A worker's way to its pool.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    Ring(WorkerLink),
    /// A link of the user's, which is yet to be made.
    Dial(Dial),
}

impl Line {
    /// In a fork of the pool's process: from now on the end is this process's.
    pub(crate) fn adopt(&self) {
        match self {
            Self::Ring(link) => link.adopt(),
            // There is none yet.
            Self::Dial(_) => {}
        }
    }

    /// In the pool's process: the end is that of a fork.
    pub(crate) fn abandon(&self) {
        match self {
            Self::Ring(link) => link.abandon(),
            Self::Dial(_) => {}
        }
    }
}

/// The function that worker processes run.
pub(crate) fn serve(equipment: Equipment) {
    let Equipment { line, board, has_setup, has_farewell, time_limit, measures, measures_before, .. } =
        equipment;
    budget::begin_worker(equipment.allowance);
    let (link, is_foreign) = match line {
        Line::Ring(link) => (link, false),
        // A panic here ends the worker, and its parent learns of it.
        Line::Dial(dial) => (dial.connect().unwrap_or_else(|reason| panic!("{reason}")), true),
    };
    // The peer has shown that it is the pool.
    let receive = |packet: &mut Packet| {
        let came = link.link().recv(packet, None).is_ok();
        if came && is_foreign {
            packet.mark_trusted();
        }
        came
    };
    // This process ends with the pool's: nobody need watch for that.
    link.link().leave_unwatched();
    if !equipment.polls {
        link.set_polling(Polling::Off);
    }
    let mut packet = Packet::new();
    let mut state: Box<dyn Any> = Box::new(());
    if has_setup {
        if !receive(&mut packet) {
            return;
        }
        board.tell_setting_up();
        // A panic of the initializer ends the worker, and its parent learns of it.
        state = match obey_setup(std::mem::take(&mut packet)) {
            Ok(state) => state,
            Err(reason) => panic!("the initializer's argument could not be decoded: {reason}"),
        };
        board.tell_set_up();
    }
    let mut farewell = None;
    if has_farewell {
        if !receive(&mut packet) {
            return;
        }
        farewell = Some(std::mem::take(&mut packet));
    }
    let timing = Timing::begin(&board);
    let mut worker = Worker {
        link: &link,
        board: &board,
        timing: &timing,
        job: Vec::new(),
        runner: None,
        gear: Gear::new(state),
        answer: Packet::new(),
        time_limit,
        measured: measures.then(Instant::now),
        measures_before,
    };
    while receive(&mut packet) {
        match packet.read_tail() {
            Ok(Order::Run(head)) => {
                if !worker.obey(head, &mut packet) {
                    return;
                }
            }
            Ok(Order::Keep(id)) => worker.gear.keep(id, std::mem::take(&mut packet)),
            Ok(Order::Drop(id)) => worker.gear.let_go(id),
            Ok(Order::Leave) => break,
            Err(_) => return,
        }
    }
    if let Some(farewell) = farewell {
        obey_farewell(worker.gear.state, farewell);
    }
}

struct Worker<'a> {
    link: &'a WorkerLink,
    board: &'a Board,
    timing: &'a Timing<'a>,
    /// The job that `runner` was made for.
    job: Vec<u8>,
    runner: Option<(Runner, Spans)>,
    gear: Gear,
    answer: Packet,
    time_limit: Option<Duration>,
    /// When its memory was last measured, if it is to be.
    measured: Option<Instant>,
    measures_before: bool,
}

/// Memory is measured no more often than this.
const MEASURE_EVERY: Duration = Duration::from_millis(1);

impl Worker<'_> {
    /// Runs one task; `false` when the pool is gone.
    fn obey(&mut self, head: TaskHead, packet: &mut Packet) -> bool {
        self.link.set_polling(if head.poll { Polling::Adaptive } else { Polling::Off });
        let Some(items_len) = packet.bytes().len().checked_sub(head.job_len as usize) else { return false };
        let job = &packet.bytes()[items_len..];
        if self.runner.is_none() || self.job != job {
            self.job = job.to_vec();
            self.runner = resolve(&self.job);
        }
        packet.truncate(items_len);
        if head.lone {
            packet.mark_lone();
        }
        self.run_items(head, packet)
    }

    fn run_items(&mut self, head: TaskHead, packet: &mut Packet) -> bool {
        let spans = self.runner.as_ref().map(|(_, spans)| spans.of_task(&head)).unwrap_or_default();
        let mut progress = Progress::new(self.board, self.timing, head, self.time_limit, spans);
        if self.measures_before {
            self.board.tell_memory_before(resident_memory());
        }
        if !self.board.start(head.turn) {
            while !progress.is_answered() {
                refuse_all(&mut self.answer, &mut progress, "it was cancelled");
                if !self.send(progress.head(), false) {
                    return false;
                }
            }
            return true;
        }
        while !progress.is_answered() {
            let Self { runner, gear, answer, .. } = self;
            packet.reading(|items| {
                answer.writing(|answer| match runner {
                    Some((Runner(run), _)) => run(gear, items, answer, &mut progress),
                    None => refuse_rest(answer, &mut progress, UNKNOWN_JOB),
                });
            });
            let answer = progress.head();
            self.measure();
            let unhurried = head.whole && !progress.is_answered();
            if answer.items == 0 {
                // All that was left has been recalled, and nobody may have been woken for
                // what was sent before.
                self.answer.clear();
                self.link.link().hurry();
                return true;
            }
            if !self.send(answer, unhurried) {
                return false;
            }
            progress.sent();
        }
        true
    }

    /// Tells how much memory it has, before the answer goes, so that the pool reads it
    /// with that.
    fn measure(&mut self) {
        if self.measured.is_none_or(|at| at.elapsed() < MEASURE_EVERY) {
            return;
        }
        self.board.tell_memory(resident_memory());
        self.measured = Some(Instant::now());
    }

    fn send(&mut self, head: AnswerHead, unhurried: bool) -> bool {
        // The head goes last: it is known only now, and the pool reads it first.
        let head = AnswerHead { kept_bytes: self.answer.kept_bytes(), ..head };
        let link = self.link.link();
        let sent = if self.answer.is_lone() {
            link.send(&mut LoneAnswer::new(&mut self.answer, &head), None).is_ok()
        } else {
            self.answer.append_tail(&head).is_ok()
                && match unhurried {
                    true => link.send_unhurried(&mut self.answer, None),
                    false => link.send(&mut self.answer, None),
                }
                .is_ok()
        };
        self.answer.clear();
        sent
    }
}

/// How many bytes of memory this process has; zero if that cannot be told.
fn resident_memory() -> u64 {
    mp_process::current_process().resident_memory().unwrap_or(0)
}
