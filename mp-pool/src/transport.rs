//! Workers behind links of the user's own.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::link::Link;
use ipc_core::{AuthKey, Connection, Packet, RecvError};
use mp_process::{Function, Process};
use serde::{Deserialize, Serialize};

use crate::error::{PoolError, PoolKind};

/// How workers are reached, where it is not by the library's own rings: the pool's side of
/// a transport, for [`Builder::transport`](crate::Builder::transport).
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Where the next worker is to connect to, as its function takes it.
    ///
    /// # Errors
    /// Whatever keeps it from being said; the worker is then not started.
    fn address(&self) -> io::Result<String>;

    /// The link of the next one that has connected; `None` if nobody has by the deadline.
    /// It is asked again and again until the worker has come or has ended, so a few
    /// milliseconds in the future is all that is asked for.
    ///
    /// # Errors
    /// Whatever keeps workers from connecting for good; the pool or the worker is then not
    /// started. A connection that fails by itself is not that: `None`, or the next one.
    fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>>;
}

/// What a worker makes its end with.
pub(crate) type Connect = fn(String) -> io::Result<Box<dyn Link>>;

/// Both sides of a transport.
#[derive(Debug, Clone)]
pub(crate) struct Wires {
    transport: Arc<dyn Transport>,
    connect: Function<String, io::Result<Box<dyn Link>>>,
}

/// What a worker needs to reach its pool. It comes over the link that its process was
/// started with, so that nobody else can know the keys.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dial {
    connect: Function<String, io::Result<Box<dyn Link>>>,
    address: String,
    /// What the worker shows to the pool, and the pool to the worker: each once.
    keys: [Vec<u8>; 2],
}

/// How long a worker may take to connect and to show that it is the one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long is waited before it is asked whether the worker is still there.
const STEP: Duration = Duration::from_millis(20);
/// How long a stranger may take to show that it is none.
const PROOF_TIMEOUT: Duration = Duration::from_secs(1);

impl Wires {
    pub(crate) fn new(transport: impl Transport, connect: Connect) -> Self {
        Self { transport: Arc::new(transport), connect: Function::new(connect) }
    }

    /// What the next worker is told.
    pub(crate) fn dial(&self) -> io::Result<Dial> {
        let key = || Ok::<_, io::Error>(AuthKey::random()?.bytes().to_vec());
        Ok(Dial { connect: self.connect, address: self.transport.address()?, keys: [key()?, key()?] })
    }

    /// The end of a worker that was told `keys` and has just been started.
    pub(crate) fn await_worker(
        &self,
        process: &Process<()>,
        keys: &[Vec<u8>; 2],
    ) -> Result<Connection<(), ()>, PoolError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        while Instant::now() < deadline {
            match self.transport.accept(Instant::now() + STEP)? {
                Some(link) if is_worker(&*link, keys) => return Ok(Connection::over(link)),
                Some(_) => {}
                None if process.is_alive() => {}
                None => return Err(PoolKind::NoLink(process.join_timeout(Duration::ZERO).err()).into()),
            }
        }
        Err(PoolKind::NoLink(None).into())
    }
}

/// Whether at the other end is the worker that was told the keys; it learns that here is
/// its pool.
fn is_worker(link: &dyn Link, [theirs, ours]: &[Vec<u8>; 2]) -> bool {
    let deadline = Some(Instant::now() + PROOF_TIMEOUT);
    receives(link, theirs, deadline) && link.send(&mut packet_of(ours), deadline).is_ok()
}

impl Dial {
    pub(crate) fn keys(&self) -> [Vec<u8>; 2] {
        self.keys.clone()
    }

    /// The worker's end.
    pub(crate) fn connect(self) -> Result<Connection<(), ()>, String> {
        let Self { connect, address, keys: [ours, theirs] } = self;
        let link = connect(address).map_err(|error| format!("the worker could not connect: {error}"))?;
        let deadline = Some(Instant::now() + CONNECT_TIMEOUT);
        let is_pool =
            link.send(&mut packet_of(&ours), deadline).is_ok() && receives(&*link, &theirs, deadline);
        if is_pool {
            Ok(Connection::over(link))
        } else {
            Err("who answered is not the worker's pool".to_owned())
        }
    }
}

fn packet_of(bytes: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.extend_bytes(bytes);
    packet
}

/// Whether the next message is `key`. One of any other length is not even received.
fn receives(link: &dyn Link, key: &[u8], deadline: Option<Instant>) -> bool {
    let mut packet = Packet::new();
    let came: Result<(), RecvError> = link.recv_at_most(&mut packet, key.len(), deadline);
    came.is_ok() && AuthKey::from(packet.bytes()) == AuthKey::from(key)
}
