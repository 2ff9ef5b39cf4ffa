//! A worker as the pool holds it: its process, its link and its board.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ipc_core::link::{Link, Outgoing};
use ipc_core::{Connection, Packet, SendError, duplex};
use mp_process::{Builder, Process, ProcessError, Resource, Sentinel, StartMethod};

use crate::error::{Death, PoolError};
use crate::rules::Rules;
use crate::stats::Times;
use crate::transport::{Expected, Wires};
use crate::wire::Watched;
use crate::worker::{Board, Equipment, Line, WorkerLink, serve};

/// How long a new worker may take to accept what it needs.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// One worker process.
#[derive(Debug)]
pub(crate) struct Station {
    process: Arc<Process<()>>,
    sentinel: Sentinel,
    link: Connection<(), ()>,
    board: Board,
    started: (Instant, SystemTime),
    /// The link is the user's.
    is_foreign: bool,
    /// It took a part of a message and is to take the rest.
    is_cut: AtomicBool,
}

/// What a worker is started with: taken from the rules, so that it can be done without the
/// pool's lock.
#[derive(Debug)]
pub(crate) struct Opening {
    name: String,
    method: StartMethod,
    allowance: usize,
    polls: bool,
    wires: Option<Wires>,
    setup: Option<Arc<Mutex<Packet>>>,
    farewell: Option<Arc<Mutex<Packet>>>,
    time_limit: Option<Duration>,
    memory_limit: Option<u64>,
    measures: bool,
    measures_before: bool,
    /// One that is there already.
    board: Option<Board>,
}

/// A worker's process, whose link the pool does not have yet.
#[derive(Debug)]
pub(crate) struct Newcomer {
    process: Arc<Process<()>>,
    board: Board,
    reach: Reach,
    started: (Instant, SystemTime),
}

/// The pool's side of the way to a worker that is being started.
#[derive(Debug)]
enum Reach {
    Ring(WorkerLink),
    Wires(Expected),
}

impl Opening {
    pub(crate) fn new(name: &str, method: StartMethod, rules: &Rules, allowance: usize, polls: bool) -> Self {
        Self {
            name: name.to_owned(),
            method,
            allowance,
            polls,
            wires: rules.wires.clone(),
            setup: rules.setup.clone(),
            farewell: rules.farewell.clone(),
            time_limit: rules.told_limit(),
            memory_limit: rules.memory_limit,
            measures: rules.memory_per_child.is_some(),
            measures_before: rules.task_memory.is_some(),
            board: None,
        }
    }

    /// Gives it this board, instead of one of its own.
    pub(crate) fn with_board(mut self, board: Board) -> Self {
        self.board = Some(board);
        self
    }

    /// Starts the process.
    pub(crate) fn start(&self) -> Result<Newcomer, PoolError> {
        let started = (Instant::now(), SystemTime::now());
        let (line, reach) = match &self.wires {
            None => {
                let (link, theirs): (WorkerLink, WorkerLink) = duplex()?;
                (Line::Ring(theirs), Reach::Ring(link))
            }
            Some(wires) => {
                let (dial, expected) = wires.expect()?;
                (Line::Dial(dial), Reach::Wires(expected))
            }
        };
        let board = self.board.clone().map_or_else(Board::new, Ok)?;
        let equipment = Equipment {
            line,
            board: board.clone(),
            has_setup: self.setup.is_some(),
            has_farewell: self.farewell.is_some(),
            time_limit: self.time_limit,
            allowance: self.allowance,
            polls: self.polls,
            measures: self.measures,
            measures_before: self.measures_before,
        };
        let mut builder = Process::builder().name(&self.name).start_method(self.method).kill_on_drop(true);
        if let Some(bytes) = self.memory_limit {
            builder = builder.limit(Resource::Memory, bytes);
        }
        let process = Arc::new(match self.method {
            StartMethod::Fork => fork(builder, equipment)?,
            _ => builder.spawn(serve, equipment)?,
        });
        Ok(Newcomer { process, board, reach, started })
    }
}

/// A worker that has its end of the ring and its board as they lie in this process's memory: it
/// need not be told of them, nor map them again.
fn fork(builder: Builder, equipment: Equipment) -> Result<Process<()>, PoolError> {
    let equipment = Cell::new(Some(equipment));
    // Nothing is captured that would have to be dropped before the worker may begin.
    let process = builder.fork(|| {
        if let Some(equipment) = equipment.take() {
            equipment.line.adopt();
            serve(equipment);
        }
    })?;
    // The end is the worker's alone, whether it has come to it yet or not.
    if let Some(Equipment { line, .. }) = equipment.take() {
        line.abandon();
    }
    Ok(process)
}

impl Newcomer {
    pub(crate) fn process(&self) -> &Arc<Process<()>> {
        &self.process
    }

    /// Waits until it is there, and tells it what it does first.
    pub(crate) fn meet(self, opening: &Opening) -> Result<Station, PoolError> {
        let Self { process, board, reach, started } = self;
        let is_foreign = matches!(reach, Reach::Wires(_));
        let link = match reach {
            Reach::Ring(link) => link,
            Reach::Wires(expected) => expected.await_worker(&process)?,
        };
        // Whoever waits for answers waits for the worker's end too.
        link.link().leave_receiving_unwatched();
        for packet in opening.setup.iter().chain(&opening.farewell) {
            let mut packet = packet.lock().unwrap_or_else(PoisonError::into_inner);
            // One that ends over it is met as any worker that ends.
            let _ = link.link().send(&mut *packet, Some(Instant::now() + SETUP_TIMEOUT));
        }
        Ok(Station {
            sentinel: process.sentinel(),
            process,
            link,
            board,
            started,
            is_foreign,
            is_cut: AtomicBool::new(false),
        })
    }
}

impl Station {
    pub(crate) fn link(&self) -> &dyn Link {
        self.link.link()
    }

    /// The link as something to wait for.
    pub(crate) fn answers(&self) -> &Connection<(), ()> {
        &self.link
    }

    /// Whether the link is the user's. Its other end is the worker's all the same: it has
    /// shown that.
    pub(crate) fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Sends a message; one that a user's link has begun and not finished counts as sent,
    /// and [`flush`](Self::flush) goes on with it.
    pub(crate) fn send(
        &self,
        message: &mut dyn Outgoing,
        hurried: bool,
        deadline: Instant,
    ) -> Result<(), SendError> {
        let mut message = Watched { inner: message, is_taken: false };
        // Nobody waits for a user's link with the pool's lock in his hands.
        let deadline = Some(if self.is_foreign { Instant::now() } else { deadline });
        let sent = match hurried {
            true => self.link().send(&mut message, deadline),
            false => self.link().send_unhurried(&mut message, deadline),
        };
        if matches!(sent, Err(SendError::Timeout)) && message.is_taken {
            self.is_cut.store(true, Ordering::Relaxed);
            return Ok(());
        }
        sent
    }

    /// Whether a message was begun and, when last looked at, not finished.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Goes on with a message that was begun, if there is one; whether there is still.
    pub(crate) fn flush(&self) -> bool {
        let is_cut = self.is_cut.load(Ordering::Relaxed)
            && matches!(self.link().flush(Some(Instant::now())), Err(SendError::Timeout));
        self.is_cut.store(is_cut, Ordering::Relaxed);
        is_cut
    }

    pub(crate) fn sentinel(&self) -> &Sentinel {
        &self.sentinel
    }

    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    pub(crate) fn process(&self) -> &Arc<Process<()>> {
        &self.process
    }

    /// What the worker's time has gone into, which is at a task now or waits.
    pub(crate) fn times(&self, is_at_work: bool) -> Times {
        let total = self.started.0.elapsed();
        match self.board.times(self.started.1) {
            Some(times) => Times { starting: times.starting.min(total), ..times }.up_to(total, is_at_work),
            None => Times { starting: total, ..Times::default() },
        }
    }

    /// What is known of its end, which came with `error`.
    pub(crate) fn death(&self, error: Option<ProcessError>) -> Death {
        let process = &self.process;
        Death {
            pid: process.pid(),
            name: process.name().to_owned(),
            error,
            status: process.exit_status(),
            peak_memory: process.peak_memory(),
            last_records: process.last_records(),
        }
    }
}
