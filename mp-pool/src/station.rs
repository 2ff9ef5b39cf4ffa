//! A worker as the pool holds it: its process, its link and its board.

use std::time::Duration;

use ipc_core::link::Link;
use ipc_core::{Connection, duplex};
use mp_process::{Process, Sentinel};

use crate::error::PoolError;
use crate::worker::{Board, Equipment, WorkerLink, serve};

/// One worker process.
#[derive(Debug)]
pub(crate) struct Station {
    process: Process<()>,
    sentinel: Sentinel,
    link: Connection<(), ()>,
    board: Board,
}

impl Station {
    /// Starts a worker process.
    pub(crate) fn start(name: &str) -> Result<Self, PoolError> {
        let (link, theirs): (WorkerLink, WorkerLink) = duplex()?;
        let board = Board::new()?;
        let equipment = Equipment { link: theirs, board: board.clone() };
        let process = Process::builder().name(name).kill_on_drop(true).spawn(serve, equipment)?;
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
