//! The ring: messages through shared memory.
#![doc = include_str!("README.md")]

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::share::Share;
use super::turn::{NoTurn, Turn};
use super::{Capabilities, Export, ExportKind, Link, Outgoing, Polling};
use crate::Packet;
use crate::error::{ExportError, RecvError, SendError};
use crate::sys::Handle;
use crate::sys::companion::Companion;
use crate::sys::memory::{PAGE, Segment};
use crate::wait::Arm;

mod consumer;
mod end;
mod frame;
mod handshake;
mod layout;
mod post;
mod producer;
mod sleep;
#[cfg(test)]
mod tests;

/// The atomics under `handshake`; the model checker has its own.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering, fence};
}

use consumer::Consumer;
use end::{Common, End};
use layout::{LARGEST, Lane};
use producer::{Producer, Wake};

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
    common: Arc<Common>,
    roles: Roles,
    sending: Option<Direction<Producer>>,
    receiving: Option<Direction<Consumer>>,
}

#[derive(Debug)]
struct Direction<T> {
    end: End,
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

impl Roles {
    fn lanes(self) -> usize {
        usize::from(self.sends) + usize::from(self.receives)
    }
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
        self.capacity = bytes.clamp(PAGE, LARGEST).next_power_of_two();
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
        // Both ends are here, and see the same memory: one of them most likely moves soon.
        let made = shared(Lane::create(&segment, options.capacity, lanes)?);
        let (ours, theirs) = Companion::pair()?;
        let copy = segment.try_clone()?;
        Ok((Self::over(segment, ours, a, None, &made), Self::over(copy, theirs, b, None, &made)))
    }

    fn new(segment: Segment, companion: Companion, roles: Roles, share: Option<Share>) -> io::Result<Self> {
        let lanes = shared(Lane::open(&segment, roles.lanes())?);
        Ok(Self::over(segment, companion, roles, share, &lanes))
    }

    fn over(
        segment: Segment,
        companion: Companion,
        roles: Roles,
        share: Option<Share>,
        lanes: &[Arc<Lane>],
    ) -> Self {
        // The first end sends over lane 0, the second over lane 1; one way has only lane 0.
        let index = |is_producer: bool| usize::from(roles.lanes() == 2 && is_producer == roles.second);
        let outward = roles.sends.then(|| Arc::clone(&lanes[index(true)]));
        let inward = roles.receives.then(|| Arc::clone(&lanes[index(false)]));
        let outwards = outward.iter().map(|lane| (Arc::clone(lane), true));
        let inwards = inward.iter().map(|lane| (Arc::clone(lane), false));
        let common = Arc::new(Common::new(companion, outwards.chain(inwards).collect(), share));
        let sending = outward.map(|lane| {
            let turn = Turn::new(Producer::resume(&lane));
            let end = End::new(lane, Arc::clone(&common), true);
            Direction { end, turn }
        });
        let receiving = inward.map(|lane| {
            let end = End::new(lane, Arc::clone(&common), false);
            let turn = Turn::new(Consumer::resume(&end));
            Direction { end, turn }
        });
        common.claim();
        Self { segment, common, roles, sending, receiving }
    }

    pub(super) fn import(
        roles: Roles,
        places: Vec<u64>,
        handles: Vec<Handle>,
        share: Option<Share>,
    ) -> io::Result<Self> {
        let mut handles = handles.into_iter();
        let (Some(memory), Some(socket)) = (handles.next(), handles.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let companion = Companion::from_handle(socket);
        if share.is_some() && roles.receives {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let link = Self::new(Segment::import(memory)?, companion, roles, share)?;
        link.common.post.put_back(places, handles.collect());
        Ok(link)
    }
}

fn shared(lanes: Vec<Lane>) -> Vec<Arc<Lane>> {
    lanes.into_iter().map(Arc::new).collect()
}

impl RingLink {
    fn send_and_wake(
        &self,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
        wake: Wake,
    ) -> Result<(), SendError> {
        let direction = self.sending.as_ref().ok_or(SendError::WrongDirection)?;
        let mut producer = direction.turn.take(deadline).map_err(|error| match error {
            NoTurn::Timeout => SendError::Timeout,
            NoTurn::Reentrant => SendError::Reentrant,
        })?;
        let sent = producer.send(&direction.end, message, deadline, wake);
        if sent.is_err() {
            message.unsent();
        }
        sent
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
        self.send_and_wake(message, deadline, Wake::Always)
    }

    fn send_unhurried(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        self.send_and_wake(message, deadline, Wake::WhenHalfFull)
    }

    fn hurry(&self) {
        if let Some(direction) = &self.sending {
            direction.end.wake_peer();
        }
    }

    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        let direction = self.receiving.as_ref().ok_or(RecvError::WrongDirection)?;
        direction.turn.take(deadline).map_err(no_turn)?.recv(&direction.end, packet, most, deadline)
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
        Some(self.receiving.as_ref()?.end.is_ready())
    }

    fn is_peer_here(&self) -> bool {
        self.receiving.as_ref().is_some_and(|direction| direction.end.peer_is_here())
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        if let Some(direction) = &self.receiving {
            direction.end.arm(arm.nudge());
        }
        arm.push(self.common.companion.interest());
        if let Some(rattle) = self.common.rattle() {
            arm.push(rattle.interest());
        }
    }

    fn disarm(&self) {
        if let Some(direction) = &self.receiving {
            direction.end.disarm();
        }
    }

    fn flush(&self, _: Option<Instant>) -> Result<(), SendError> {
        // What a deadline cuts is withdrawn.
        Ok(())
    }

    fn set_polling(&self, polling: Polling) {
        self.common.set_polls(polling == Polling::Adaptive);
    }

    fn leave_unwatched(&self) {
        self.common.leave_unwatched();
    }

    fn leave_receiving_unwatched(&self) {
        self.common.leave_receiving_unwatched();
    }

    fn hold(&self) -> Result<(), ExportError> {
        let mut consumer = None;
        if let Some(direction) = &self.receiving {
            let turn = direction.turn.take(crate::deadline::now());
            let mut turn = turn.map_err(|_| ExportError::InUse)?;
            if turn.is_in_message() {
                return Err(ExportError::InMessage);
            }
            turn.tell(&direction.end);
            consumer = Some(turn);
        }
        if let Some(direction) = &self.sending {
            direction.turn.take_to_leave()?.into_iter().for_each(Turn::hold);
        }
        consumer.into_iter().for_each(Turn::hold);
        Ok(())
    }

    fn let_go(&self) {
        if let Some(direction) = &self.sending {
            direction.turn.let_go();
        }
        if let Some(direction) = &self.receiving {
            direction.turn.let_go();
        }
    }

    fn export(&self) -> Result<Export, ExportError> {
        if self.common.is_detached() {
            return Err(ExportError::Moved);
        }
        let read_to = self.receiving.as_ref().map_or(0, |direction| direction.end.read_to());
        let (places, waiting) = self.common.post.copies(read_to)?;
        let mut handles = self.handles()?;
        handles.extend(waiting);
        Ok(Export { kind: ExportKind::Ring(self.roles, places), handles, share: None })
    }

    fn share(&self) -> Result<Export, ExportError> {
        if self.common.is_detached() {
            return Err(ExportError::Moved);
        }
        let Some(direction) = self.sending.as_ref().filter(|_| !self.roles.receives) else {
            return Err(ExportError::Unsupported);
        };
        if self.common.share().is_none() {
            // Who sends at this moment does so alone. If it is this very thread, which is
            // encoding, it sees afterwards that it is not alone any more.
            let _turn = direction.turn.take_to_leave()?;
            // The one that it waited for may have been the only sender, on its way elsewhere.
            if self.common.is_detached() {
                return Err(ExportError::Moved);
            }
            if self.common.share().is_none() {
                self.common.set_share(Share::new()?);
            }
        }
        let kind = ExportKind::Ring(self.roles, Vec::new());
        Ok(Export { kind, handles: self.handles()?, share: self.common.share().cloned() })
    }

    fn detach(&self) {
        self.stand_up();
        self.common.detach();
    }

    fn adopt(&self) {
        self.common.adopt();
    }

    fn inherit(&self) -> bool {
        if self.common.share().is_some() {
            // Of many senders a fork's is one more.
            return true;
        }
        let is_free = self.common.is_free();
        if is_free {
            self.common.adopt();
        }
        is_free
    }
}

impl RingLink {
    fn handles(&self) -> io::Result<Vec<Handle>> {
        Ok(vec![self.segment.handle().try_clone()?, self.common.companion.handle().try_clone()?])
    }

    /// One of many senders gives its seat to another one.
    fn stand_up(&self) {
        if let Some(direction) = &self.sending
            && self.common.share().is_some()
            && let Ok(mut producer) = direction.turn.take(crate::deadline::now())
        {
            producer.leave(&direction.end.lane);
        }
    }
}

impl Drop for RingLink {
    fn drop(&mut self) {
        self.stand_up();
        self.common.close();
    }
}

fn no_turn(error: NoTurn) -> RecvError {
    match error {
        NoTurn::Timeout => RecvError::Timeout,
        NoTurn::Reentrant => RecvError::Reentrant,
    }
}
