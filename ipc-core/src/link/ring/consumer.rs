//! The reading side of a lane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::End;
use super::frame::{Frame, HEAD, Kind};
use super::sleep;
use crate::Packet;
use crate::error::RecvError;
use crate::sys::Handle;
use crate::sys::companion;

/// However large a message says it is, no more than this is set aside at once.
const LARGEST_RESERVE: u64 = 1 << 20;

/// What the consumer alone knows.
#[derive(Debug)]
pub(super) struct Consumer {
    /// Where the next frame begins.
    tail: u64,
    /// What the producer has been told of `tail`.
    told: u64,
    /// The producer's counter when it was last read.
    head: u64,
    /// A message of which parts are still to come.
    partial: Option<Partial>,
    broken: Option<&'static str>,
}

#[derive(Debug)]
struct Partial {
    packet: Packet,
    missing: u64,
}

impl Consumer {
    /// Goes on where the last holder of this side stopped.
    pub(super) fn resume(end: &End) -> Self {
        // ORDERING: pairs with the last holder's store.
        let tail = end.lane.header().tail.0.load(Ordering::Acquire);
        end.read_to.store(tail, Ordering::Relaxed);
        Self { tail, told: tail, head: tail, partial: None, broken: None }
    }

    pub(super) fn is_in_message(&self) -> bool {
        self.partial.is_some()
    }

    pub(super) fn recv(
        &mut self,
        end: &Arc<End>,
        packet: &mut Packet,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        packet.clear();
        loop {
            self.await_frame(end, deadline)?;
            let frame = self.frame(end)?;
            let done = self.take(end, frame, packet);
            self.free(end, Frame::room(frame.len as usize));
            if done? {
                return Ok(());
            }
        }
    }

    /// Waits until something is there or will never be.
    pub(super) fn poll(&mut self, end: &Arc<End>, deadline: Option<Instant>) -> Result<bool, RecvError> {
        match self.await_frame(end, deadline) {
            Ok(()) | Err(RecvError::Closed | RecvError::Cut) => Ok(true),
            Err(RecvError::Timeout) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn await_frame(&mut self, end: &Arc<End>, deadline: Option<Instant>) -> Result<(), RecvError> {
        if let Some(what) = self.broken {
            return Err(RecvError::Protocol(what));
        }
        if self.head != self.tail {
            return Ok(());
        }
        // The producer may wait for all that has been read so far.
        self.tell(end);
        let header = end.lane.header();
        let tail = self.tail;
        // ORDERING: the bytes below `head` are visible.
        let arrived = || header.head.0.load(Ordering::Acquire) != tail;
        let in_time = if arrived() {
            true
        } else {
            end.watch_peer();
            sleep::wait(&header.consumer.0, &header.producer.0, end.polls(), deadline, || {
                arrived() || end.peer_has_closed(&header.producer.0)
            })
        };
        // Looked at after the end was seen: what was sent before it counts.
        self.head = header.head.0.load(Ordering::Acquire);
        if self.head != self.tail {
            return Ok(());
        }
        match (in_time, &self.partial) {
            (false, _) => Err(RecvError::Timeout),
            (true, Some(_)) => Err(RecvError::Cut),
            (true, None) => Err(RecvError::Closed),
        }
    }

    /// Reads and checks the header of the next frame: nothing in shared memory is believed.
    fn frame(&mut self, end: &Arc<End>) -> Result<Frame, RecvError> {
        let there = self.head.wrapping_sub(self.tail);
        if there > end.lane.capacity() as u64 || there < HEAD as u64 {
            return Err(self.give_up("a counter outside the ring"));
        }
        let Some(frame) = Frame::from_word(end.lane.read_u64(self.tail)) else {
            return Err(self.give_up("a frame of unknown kind"));
        };
        if Frame::room(frame.len as usize) as u64 > there {
            return Err(self.give_up("a frame longer than what was written"));
        }
        Ok(frame)
    }

    fn give_up(&mut self, what: &'static str) -> RecvError {
        self.broken = Some(what);
        RecvError::Protocol(what)
    }

    /// Copies a frame out; whether `packet` now holds a whole message.
    fn take(&mut self, end: &Arc<End>, frame: Frame, packet: &mut Packet) -> Result<bool, RecvError> {
        let (at, len) = (self.tail + HEAD as u64, frame.len as usize);
        match frame.kind {
            Kind::Whole => {
                self.partial = None;
                end.lane.copy_out(at, len, &mut packet.bytes);
                self.collect(end, frame.handles, packet)?;
                Ok(true)
            }
            Kind::First => self.begin(end, at, frame, packet).map(|()| false),
            Kind::Next => self.go_on(end, at, len, packet),
        }
    }

    fn begin(&mut self, end: &Arc<End>, at: u64, frame: Frame, packet: &mut Packet) -> Result<(), RecvError> {
        let len = frame.len as usize;
        if len < size_of::<u64>() {
            return Err(self.give_up("a first part without the message's length"));
        }
        let total = end.lane.read_u64(at);
        let here = (len - size_of::<u64>()) as u64;
        if total <= here {
            return Err(self.give_up("a first part longer than its message"));
        }
        let mut begun = Packet::new();
        // The caller's memory is used again, as it has the size of such messages.
        std::mem::swap(&mut begun, packet);
        begun.bytes.reserve(total.min(LARGEST_RESERVE) as usize);
        end.lane.copy_out(at + 8, len - 8, &mut begun.bytes);
        let collected = self.collect(end, frame.handles, &mut begun);
        self.partial = Some(Partial { packet: begun, missing: total - here });
        collected
    }

    fn go_on(&mut self, end: &Arc<End>, at: u64, len: usize, packet: &mut Packet) -> Result<bool, RecvError> {
        let Some(mut partial) = self.partial.take() else {
            // The rest of a message whose beginning was refused.
            return Ok(false);
        };
        if len as u64 > partial.missing {
            return Err(self.give_up("more parts than the message is long"));
        }
        end.lane.copy_out(at, len, &mut partial.packet.bytes);
        partial.missing -= len as u64;
        if partial.missing == 0 {
            *packet = partial.packet;
            return Ok(true);
        }
        self.partial = Some(partial);
        Ok(false)
    }

    /// Fetches the handles that were sent ahead of the frame.
    fn collect(&mut self, end: &Arc<End>, count: u16, packet: &mut Packet) -> Result<(), RecvError> {
        for _ in 0..count {
            match end.next_handle()? {
                Some(handle) => packet.received.push(Some(handle)),
                None => return Err(self.give_up("a frame without its handles")),
            }
        }
        Ok(())
    }

    /// Moves behind a frame. The producer is told in lumps, or when it sleeps.
    fn free(&mut self, end: &Arc<End>, room: usize) {
        self.tail += room as u64;
        end.read_to.store(self.tail, Ordering::Relaxed);
        let untold = self.tail - self.told;
        if untold >= end.lane.capacity() as u64 / 8 {
            self.tell(end);
        }
    }

    /// Tells the producer of all room that is free.
    pub(super) fn settle(&mut self, end: &Arc<End>) {
        self.tell(end);
    }

    fn tell(&mut self, end: &Arc<End>) {
        if self.told != self.tail {
            self.told = self.tail;
            let header = end.lane.header();
            // ORDERING: our reads of the freed bytes are over.
            header.tail.0.store(self.tail, Ordering::Release);
            header.consumer.0.publish_cpu();
            sleep::wake(&header.producer.0, &end.companion);
        }
    }
}

/// Handles that have come over the companion socket and whose frame has not.
#[derive(Debug, Default)]
pub(super) struct Arrived(VecDeque<Handle>);

impl End {
    /// The next handle sent by the peer, without waiting: it was sent before its frame.
    fn next_handle(&self) -> std::io::Result<Option<Handle>> {
        let mut arrived = self.arrived.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if let Some(handle) = arrived.0.pop_front() {
                return Ok(Some(handle));
            }
            match self.companion.receive()? {
                companion::Packet::Handles(handles) => arrived.0.extend(handles),
                companion::Packet::Bell => {}
                companion::Packet::End | companion::Packet::Nothing => return Ok(None),
            }
        }
    }

    /// Empties the companion socket, so that only what comes from now on makes it
    /// readable.
    pub(super) fn drain(&self) {
        let mut arrived = self.arrived.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            match self.companion.receive() {
                Ok(companion::Packet::Handles(handles)) => arrived.0.extend(handles),
                Ok(companion::Packet::Bell) => {}
                Ok(companion::Packet::End) => {
                    self.gone.store(true, Ordering::SeqCst);
                    return;
                }
                Ok(companion::Packet::Nothing) | Err(_) => return,
            }
        }
    }
}
