//! A worker as the pool holds it: its process, its link and its board.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ipc_core::link::{Link, Outgoing};
use ipc_core::{Connection, SendError, duplex};
use mp_process::{Process, ProcessError, Resource, Sentinel, StartMethod};

use crate::error::{Death, PoolError};
use crate::rules::Rules;
use crate::stats::Times;
use crate::transport::Wires;
use crate::wire::Watched;
use crate::worker::{Board, Equipment, Line, WorkerLink, serve};

/// How long a new worker may take to accept what it needs.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// One worker process.
#[derive(Debug)]
pub(crate) struct Station {
    process: Process<()>,
    sentinel: Sentinel,
    link: Connection<(), ()>,
    board: Board,
    started: (Instant, SystemTime),
    /// The link is the user's.
    is_foreign: bool,
    /// It took a part of a message and is to take the rest.
    is_cut: AtomicBool,
}

/// The pool's side of the way to a worker that is being started.
enum Reach {
    Ring(WorkerLink),
    Wires(Wires, [Vec<u8>; 2]),
}

impl Station {
    /// Starts a worker process, which first does what the rules say.
    pub(crate) fn start(
        name: &str,
        method: StartMethod,
        rules: &mut Rules,
        allowance: usize,
    ) -> Result<Self, PoolError> {
        let started = (Instant::now(), SystemTime::now());
        let (line, reach) = match &rules.wires {
            None => {
                let (link, theirs): (WorkerLink, WorkerLink) = duplex()?;
                (Line::Ring(theirs), Reach::Ring(link))
            }
            Some(wires) => {
                let dial = wires.dial()?;
                let keys = dial.keys();
                (Line::Dial(dial), Reach::Wires(wires.clone(), keys))
            }
        };
        let board = Board::new()?;
        let equipment = Equipment {
            line,
            board: board.clone(),
            has_setup: rules.setup.is_some(),
            has_farewell: rules.farewell.is_some(),
            time_limit: rules.told_limit(),
            allowance,
            measures: rules.memory_per_child.is_some(),
            measures_before: rules.task_memory.is_some(),
        };
        let mut builder = Process::builder().name(name).start_method(method).kill_on_drop(true);
        if let Some(bytes) = rules.memory_limit {
            builder = builder.limit(Resource::Memory, bytes);
        }
        let process = builder.spawn(serve, equipment)?;
        let is_foreign = matches!(reach, Reach::Wires(..));
        let link = match reach {
            Reach::Ring(link) => link,
            Reach::Wires(wires, keys) => wires.await_worker(&process, &keys)?,
        };
        for packet in rules.setup.iter_mut().chain(&mut rules.farewell) {
            // One that ends over it is met as any worker that ends.
            let _ = link.link().send(packet, Some(Instant::now() + SETUP_TIMEOUT));
        }
        Ok(Self {
            sentinel: process.sentinel(),
            process,
            link,
            board,
            started,
            is_foreign,
            is_cut: AtomicBool::new(false),
        })
    }

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

    pub(crate) fn process(&self) -> &Process<()> {
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

    /// Waits for the worker to end by itself; whether it did.
    pub(crate) fn ended_within(&self, grace: Duration) -> bool {
        match self.process.join_timeout(grace) {
            Err(error) => !error.is_timeout(),
            Ok(()) => true,
        }
    }
}
