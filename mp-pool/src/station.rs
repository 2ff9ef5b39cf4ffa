//! A worker as the pool holds it: its process, its link and its board.

use std::time::{Duration, Instant};

use ipc_core::link::Link;
use ipc_core::{Connection, duplex};
use mp_process::{Process, Resource, Sentinel, StartMethod};

use crate::error::PoolError;
use crate::rules::Rules;
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
}

impl Station {
    /// Starts a worker process, which first does what the rules say.
    pub(crate) fn start(name: &str, method: StartMethod, rules: &mut Rules) -> Result<Self, PoolError> {
        let (link, theirs): (WorkerLink, WorkerLink) = duplex()?;
        let board = Board::new()?;
        let equipment = Equipment {
            link: theirs,
            board: board.clone(),
            has_setup: rules.setup.is_some(),
            has_farewell: rules.farewell.is_some(),
            time_limit: rules.told_limit(),
            measures: rules.memory_per_child.is_some(),
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
        Ok(Self { sentinel: process.sentinel(), process, link, board })
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

    /// Waits for the worker to end by itself; whether it did.
    pub(crate) fn ended_within(&self, grace: Duration) -> bool {
        match self.process.join_timeout(grace) {
            Err(error) => !error.is_timeout(),
            Ok(()) => true,
        }
    }
}
