//! Workers behind links of the user's own.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_core::link::Link;
use ipc_core::{AuthKey, Connection, Packet, RecvError};
use mp_process::{Function, Process};
use serde::{Deserialize, Serialize};

use crate::careful::Careful;
use crate::error::{PoolError, PoolKind};

/// How workers are reached, where it is not by the library's own rings: the pool's side of
/// a transport, for [`Builder::transport`](crate::Builder::transport).
///
/// A panic here, or in a link on the pool's side, is the error of the one worker that it concerns.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Where the next worker is to connect to, as its function takes it.
    ///
    /// # Errors
    /// Whatever keeps it from being said; the worker is then not started.
    fn address(&self) -> io::Result<String>;

    /// The link of the next one that has connected; `None` if nobody has by the deadline.
    /// It is asked again and again until the worker has come or has ended, so a few
    /// milliseconds in the future is all that is asked for; by several threads at once where
    /// several workers are awaited, and each may get another one's. One that does not return
    /// costs its thread: the worker counts as one that has not come, and the pool's end does
    /// not wait for it.
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
    lobby: Arc<Mutex<Vec<Guest>>>,
}

/// A worker that is on its way.
#[derive(Debug)]
struct Guest {
    /// What the worker shows to the pool, and the pool to the worker: each once.
    keys: [Vec<u8>; 2],
    /// Somebody who waited for another one has met it.
    link: Option<Box<dyn Link>>,
}

/// A worker that has been told where to come; forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct Expected {
    wires: Wires,
    key: Vec<u8>,
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

/// How long a key is.
const KEY_BYTES: usize = 32;
/// How long a worker may take to connect and to show that it is the one.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long is waited before it is asked whether the worker is still there.
const STEP: Duration = Duration::from_millis(20);
/// How long a stranger may take to show that it is none.
const PROOF_TIMEOUT: Duration = Duration::from_secs(1);

impl Wires {
    pub(crate) fn new(transport: impl Transport, connect: Connect) -> Self {
        Self {
            transport: Arc::new(transport),
            connect: Function::new(connect),
            lobby: Arc::new(Mutex::new(Vec::new())),
        }
    }

    /// What the next worker is told, and who waits for it then.
    pub(crate) fn expect(&self) -> io::Result<(Dial, Expected)> {
        let key = || Ok::<_, io::Error>(AuthKey::random()?.bytes().to_vec());
        let keys = [key()?, key()?];
        let address = self.transport.address()?;
        let expected = Expected { wires: self.clone(), key: keys[0].clone() };
        self.lobby().push(Guest { keys: keys.clone(), link: None });
        Ok((Dial { connect: self.connect, address, keys }, expected))
    }

    fn lobby(&self) -> MutexGuard<'_, Vec<Guest>> {
        self.lobby.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in whoever has connected, if it is a worker that is expected; it learns that
    /// here is its pool.
    fn let_in(&self, link: Box<dyn Link>) {
        let deadline = Some(Instant::now() + PROOF_TIMEOUT);
        let Some(shown) = key_from(&*link, deadline) else { return };
        let ours =
            self.lobby().iter().find(|guest| guest.keys[0] == shown).map(|guest| guest.keys[1].clone());
        let Some(ours) = ours else { return };
        if link.send(&mut packet_of(&ours), deadline).is_err() {
            return;
        }
        // It may have been given up meanwhile.
        if let Some(guest) = self.lobby().iter_mut().find(|guest| guest.keys[0] == shown) {
            guest.link.get_or_insert(link);
        }
    }
}

impl Expected {
    /// The end of the worker, which has just been started.
    pub(crate) fn await_worker(&self, process: &Process<()>) -> Result<Connection<(), ()>, PoolError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        while Instant::now() < deadline {
            let is_alive = process.is_alive();
            if let Some(link) = self.wires.transport.accept(Instant::now() + STEP)? {
                self.wires.let_in(Box::new(Careful::new(link)));
            } else if !is_alive && self.has_not_come() {
                return Err(PoolKind::NoLink(process.join_timeout(Duration::ZERO).err()).into());
            }
            if let Some(link) = self.take() {
                return Ok(Connection::over(link));
            }
        }
        Err(PoolKind::NoLink(None).into())
    }

    fn has_not_come(&self) -> bool {
        self.wires.lobby().iter().all(|guest| guest.keys[0] != self.key || guest.link.is_none())
    }

    fn take(&self) -> Option<Box<dyn Link>> {
        let mut lobby = self.wires.lobby();
        lobby.iter_mut().find(|guest| guest.keys[0] == self.key)?.link.take()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.wires.lobby().retain(|guest| guest.keys[0] != self.key);
    }
}

impl Dial {
    /// The worker's end.
    pub(crate) fn connect(self) -> Result<Connection<(), ()>, String> {
        let Self { connect, address, keys: [ours, theirs] } = self;
        let link = connect(address).map_err(|error| format!("the worker could not connect: {error}"))?;
        let deadline = Some(Instant::now() + CONNECT_TIMEOUT);
        let is_pool = link.send(&mut packet_of(&ours), deadline).is_ok()
            && key_from(&*link, deadline).is_some_and(|key| key == theirs);
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

/// The next message, if it is as long as a key. A longer one is not even received.
fn key_from(link: &dyn Link, deadline: Option<Instant>) -> Option<Vec<u8>> {
    let mut packet = Packet::new();
    let came: Result<(), RecvError> = link.recv_at_most(&mut packet, KEY_BYTES, deadline);
    came.ok().map(|()| packet.bytes().to_vec())
}
