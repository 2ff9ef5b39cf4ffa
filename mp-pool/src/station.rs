//! A worker as the pool holds it: its process, its link and its board.

use std::time::{Duration, Instant, SystemTime};

use ipc_core::link::Link;
use ipc_core::{Connection, duplex};
use mp_process::{Process, ProcessError, Resource, Sentinel, StartMethod};

use crate::error::{Death, PoolError};
use crate::rules::Rules;
use crate::stats::Times;
use crate::worker::{Board, Equipment, WorkerLink, serve};

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
        let (link, theirs): (WorkerLink, WorkerLink) = duplex()?;
        let board = Board::new()?;
        let equipment = Equipment {
            link: theirs,
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
        for packet in rules.setup.iter_mut().chain(&mut rules.farewell) {
            // One that ends over it is met as any worker that ends.
            let _ = link.link().send(packet, Some(Instant::now() + SETUP_TIMEOUT));
        }
        Ok(Self { sentinel: process.sentinel(), process, link, board, started })
    }

    pub(crate) fn link(&self) -> &dyn Link {
        self.link.link()
    }

    /// The link as something to wait for.
    pub(crate) fn answers(&self) -> &Connection<(), ()> {
        &self.link
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
