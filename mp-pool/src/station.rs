//! A worker as the pool holds it: its process, its link and its board.

use std::time::{Duration, Instant};

use ipc_core::link::Link;
use ipc_core::{Connection, Packet, duplex};
use mp_process::{Process, Sentinel, StartMethod};

use crate::error::PoolError;
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
    /// Starts a worker process, which first does what `setup` says.
    pub(crate) fn start(
        name: &str,
        method: StartMethod,
        setup: Option<&mut Packet>,
    ) -> Result<Self, PoolError> {
        let (link, theirs): (WorkerLink, WorkerLink) = duplex()?;
        let board = Board::new()?;
        let equipment = Equipment { link: theirs, board: board.clone(), has_setup: setup.is_some() };
        let builder = Process::builder().name(name).start_method(method).kill_on_drop(true);
        let process = builder.spawn(serve, equipment)?;
        if let Some(setup) = setup {
            // One that ends over it is met as any worker that ends.
            let _ = link.link().send(setup, Some(Instant::now() + SETUP_TIMEOUT));
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
