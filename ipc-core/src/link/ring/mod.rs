//! The ring: messages through shared memory. `README.md` beside this file tells how it works.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use super::turn::{NoTurn, Turn};
use super::{Capabilities, Export, ExportKind, Link, Outgoing, Polling};
use crate::Packet;
use crate::error::{ExportError, RecvError, SendError};
use crate::sys::companion::Companion;
use crate::sys::memory::{PAGE, Segment};
use crate::sys::poll::Interest;
use crate::sys::{Handle, cpu};
use crate::wait::Arm;
use crate::watch::{self, Watched};

mod consumer;
mod frame;
mod layout;
mod producer;
mod sleep;

use consumer::{Arrived, Consumer};
use layout::{Lane, Side};
use producer::Producer;

/// A link through shared memory between two processes of this machine.
///
/// A message is written straight into memory that both ends map, and a receiver
/// that waits finds it without the kernel's help. One end sends and the other
/// receives, or both do both; the memory has no name and goes with the last end.
///
/// # Examples
/// ```
/// use ipc_core::Packet;
/// use ipc_core::link::{Link, RingLink, RingOptions};
///
/// let (tx, rx) = RingLink::pipe(RingOptions::default())?;
/// let mut packet = Packet::new();
/// packet.append(&42)?;
/// tx.send(&mut packet, None)?;
/// rx.recv(&mut packet, None)?;
/// assert_eq!(packet.read::<i32>()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RingLink {
    segment: Segment,
    companion: Arc<Companion>,
    roles: Roles,
    sending: Option<Direction<Producer>>,
    receiving: Option<Direction<Consumer>>,
    detached: AtomicBool,
}

#[derive(Debug)]
struct Direction<T> {
    end: Arc<End>,
    turn: Turn<T>,
}

/// Which lanes an end uses, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Roles {
    sends: bool,
    receives: bool,
    /// The end that sends over the second lane and receives over the first.
    second: bool,
}

/// One lane as one end sees it.
#[derive(Debug)]
struct End {
    lane: Lane,
    companion: Arc<Companion>,
    is_producer: bool,
    arrived: Arc<Mutex<Arrived>>,
    /// The peer's process has ended, or closed everything.
    gone: Arc<AtomicBool>,
    polls: AtomicBool,
    watched: AtomicBool,
    /// How far this end has read; the shared counter lags behind it.
    read_to: AtomicU64,
}

/// How a ring is made.
#[derive(Debug, Clone, Copy)]
pub struct RingOptions {
    capacity: usize,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self { capacity: 256 * 1024 }
    }
}

impl RingOptions {
    /// How many bytes may lie in the ring, for each direction: rounded up to a
    /// power of two, 4 KiB to 1 GiB. 256 KiB unless set, which fits a CPU's cache.
    /// A message may be larger; it goes through in parts.
    #[must_use]
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes.clamp(PAGE, 1 << 30).next_power_of_two();
        self
    }
}

impl RingLink {
    /// A one-way ring: the end that sends, and the end that receives.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn pipe(options: RingOptions) -> io::Result<(Self, Self)> {
        Self::pair(
            options,
            1,
            Roles { sends: true, receives: false, second: false },
            Roles { sends: false, receives: true, second: true },
        )
    }

    /// A ring for each direction: two ends that both send and receive.
    ///
    /// # Errors
    /// As [`pipe`](Self::pipe).
    pub fn duplex(options: RingOptions) -> io::Result<(Self, Self)> {
        Self::pair(
            options,
            2,
            Roles { sends: true, receives: true, second: false },
            Roles { sends: true, receives: true, second: true },
        )
    }

    fn pair(options: RingOptions, lanes: usize, a: Roles, b: Roles) -> io::Result<(Self, Self)> {
        let segment = Segment::create(Lane::segment_len(options.capacity, lanes))?;
        for index in 0..lanes {
            Lane::create(&segment, index, options.capacity)?;
        }
        let (ours, theirs) = Companion::pair()?;
        let copy = Segment::import(segment.handle().try_clone()?)?;
        Ok((Self::new(segment, ours, a)?, Self::new(copy, theirs, b)?))
    }

    fn new(segment: Segment, companion: Companion, roles: Roles) -> io::Result<Self> {
        let lanes = if roles.sends && roles.receives { 2 } else { 1 };
        let companion = Arc::new(companion);
        let arrived = Arc::default();
        let gone = Arc::default();
        let open = |is_producer: bool| {
            // The first end sends over lane 0, the second over lane 1; one way has only lane 0.
            let index = usize::from(lanes == 2 && is_producer == roles.second);
            let lane = Lane::open(&segment, index, lanes)?;
            let end = End {
                lane,
                companion: Arc::clone(&companion),
                is_producer,
                arrived: Arc::clone(&arrived),
                gone: Arc::clone(&gone),
                polls: AtomicBool::new(cpu::several()),
                watched: AtomicBool::new(false),
                read_to: AtomicU64::new(0),
            };
            end.own().claim();
            io::Result::Ok(Arc::new(end))
        };
        let sending = roles.sends.then(|| open(true)).transpose()?.map(|end| {
            let turn = Turn::new(Producer::resume(&end.lane));
            Direction { end, turn }
        });
        let receiving = roles.receives.then(|| open(false)).transpose()?.map(|end| {
            let turn = Turn::new(Consumer::resume(&end));
            Direction { end, turn }
        });
        Ok(Self { segment, companion, roles, sending, receiving, detached: AtomicBool::new(false) })
    }

    pub(super) fn import(roles: Roles, handles: Vec<Handle>) -> io::Result<Self> {
        let [memory, socket] = <[Handle; 2]>::try_from(handles).map_err(|_| io::ErrorKind::InvalidData)?;
        Self::new(Segment::import(memory)?, Companion::from_handle(socket), roles)
    }

    /// A handle that becomes readable when the peer rings or has gone.
    fn ends(&self) -> impl Iterator<Item = &Arc<End>> {
        let sending = self.sending.iter().map(|direction| &direction.end);
        sending.chain(self.receiving.iter().map(|direction| &direction.end))
    }
}

impl Link for RingLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            sends: self.roles.sends,
            receives: self.roles.receives,
            passes_handles: true,
            local: true,
        }
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        let direction = self.sending.as_ref().ok_or(SendError::WrongDirection)?;
        let mut producer = direction.turn.take(deadline).map_err(|error| match error {
            NoTurn::Timeout => SendError::Timeout,
            NoTurn::Reentrant => SendError::Reentrant,
        })?;
        producer.send(&direction.end, message, deadline)
    }

    fn recv(&self, packet: &mut Packet, deadline: Option<Instant>) -> Result<(), RecvError> {
        let direction = self.receiving.as_ref().ok_or(RecvError::WrongDirection)?;
        direction.turn.take(deadline).map_err(no_turn)?.recv(&direction.end, packet, deadline)
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        let direction = self.receiving.as_ref().ok_or(RecvError::WrongDirection)?;
        match direction.turn.take(deadline) {
            Ok(mut consumer) => consumer.poll(&direction.end, deadline),
            Err(NoTurn::Timeout) => Ok(false),
            Err(error) => Err(no_turn(error)),
        }
    }

    fn is_ready(&self) -> Option<bool> {
        let end = &self.receiving.as_ref()?.end;
        let header = end.lane.header();
        let waits = header.head.0.load(Ordering::Acquire) != end.read_to.load(Ordering::Relaxed);
        Some(waits || end.peer_has_closed(&header.producer.0))
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        if let Some(direction) = &self.receiving {
            // The producer may wait for room that this end has not told it of.
            if let Ok(mut consumer) = direction.turn.take(crate::deadline::now()) {
                consumer.settle(&direction.end);
            }
            if self.is_ready() == Some(false) {
                direction.end.drain();
            }
            direction.end.own().sleep.fetch_or(sleep::ASLEEP_ON_BELL, Ordering::SeqCst);
            // ORDERING: as in `sleep::wait`; `wait` looks again after arming.
            std::sync::atomic::fence(Ordering::SeqCst);
        }
        arm.push(self.companion.interest());
    }

    fn disarm(&self) {
        if let Some(direction) = &self.receiving {
            direction.end.own().sleep.fetch_and(!sleep::ASLEEP_ON_BELL, Ordering::Relaxed);
        }
    }

    fn set_polling(&self, polling: Polling) {
        for end in self.ends() {
            end.polls.store(polling == Polling::Adaptive && cpu::several(), Ordering::Relaxed);
        }
    }

    fn leave_unwatched(&self) {
        self.ends().for_each(|end| end.watched.store(true, Ordering::Relaxed));
    }

    fn export(&self) -> Result<Export, ExportError> {
        if self.detached.load(Ordering::Relaxed) {
            return Err(ExportError::Moved);
        }
        if let Some(direction) = &self.receiving {
            let mut consumer = direction.turn.take(None).map_err(|_| ExportError::InMessage)?;
            if consumer.is_in_message() {
                return Err(ExportError::InMessage);
            }
            consumer.settle(&direction.end);
        }
        let handles = vec![self.segment.handle().try_clone()?, self.companion.handle().try_clone()?];
        Ok(Export { kind: ExportKind::Ring(self.roles), handles })
    }

    fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
        self.ends().for_each(|end| end.own().release());
    }
}

impl Drop for RingLink {
    fn drop(&mut self) {
        if *self.detached.get_mut() {
            return;
        }
        for end in self.ends() {
            end.own().closed.store(1, Ordering::SeqCst);
            sleep::wake(end.peer(), &self.companion);
        }
        if self.ends().any(|end| end.watched.load(Ordering::Relaxed)) {
            watch::forget();
        }
    }
}

impl End {
    fn own(&self) -> &Side {
        let header = self.lane.header();
        if self.is_producer { &header.producer.0 } else { &header.consumer.0 }
    }

    fn peer(&self) -> &Side {
        let header = self.lane.header();
        if self.is_producer { &header.consumer.0 } else { &header.producer.0 }
    }

    fn peer_has_closed(&self, peer: &Side) -> bool {
        peer.closed.load(Ordering::Acquire) != 0 || self.gone.load(Ordering::Relaxed)
    }

    fn polls(&self) -> bool {
        self.polls.load(Ordering::Relaxed)
    }

    /// Before the first sleep on the word: have somebody notice if the peer dies.
    fn watch_peer(self: &Arc<Self>) {
        if !self.watched.swap(true, Ordering::Relaxed) {
            let end: Weak<Self> = Arc::downgrade(self);
            watch::add(end);
        }
    }
}

impl Watched for End {
    fn hangup(&self) -> Interest<'_> {
        self.companion.hangup()
    }

    fn peer(&self) -> (u32, u64) {
        self.peer().holder()
    }

    fn gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
        sleep::wake_all(&self.own().sleep);
    }
}

fn no_turn(error: NoTurn) -> RecvError {
    match error {
        NoTurn::Timeout => RecvError::Timeout,
        NoTurn::Reentrant => RecvError::Reentrant,
    }
}
