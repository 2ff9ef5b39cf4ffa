//! The reading side of a lane.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::end::End;
use super::frame::{Frame, HEAD, Kind};
use super::layout::FRAME_UNIT;
use super::post::Missing;
use crate::Packet;
use crate::deadline;
use crate::error::RecvError;
use crate::link::lost_handles;
use crate::sys::Handle;

/// A message up to this gets its memory at once, as room that is taken from the system
/// only where bytes come: in one piece, so that large pages fit.
const ROOM: u64 = 256 << 20;
/// However large another one says it is, no more than this is set aside at first, and
/// then so many times what has come.
const FIRST_RESERVE: u64 = 1 << 20;
const GROWTH: u64 = 8;

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
    /// Some of its handles are lost, and so it is.
    lost: bool,
}

/// The handles of one frame; an empty place is one that was lost.
type Handles = Vec<Option<Handle>>;

impl Consumer {
    /// Goes on where the last holder of this side stopped.
    pub(super) fn resume(end: &End) -> Self {
        // ORDERING: pairs with the last holder's store.
        let tail = end.lane.header().tail.0.load(Ordering::Acquire);
        end.read_to.store(tail, Ordering::Relaxed);
        Self {
            tail,
            told: tail,
            head: tail,
            partial: None,
            broken: (!tail.is_multiple_of(FRAME_UNIT)).then_some("a counter between frames"),
        }
    }

    /// How much memory it holds for a message that has begun.
    #[cfg(test)]
    pub(super) fn set_aside(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.packet.bytes.capacity())
    }

    pub(super) fn is_in_message(&self) -> bool {
        self.partial.is_some()
    }

    pub(super) fn recv(
        &mut self,
        end: &End,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        packet.clear();
        let begun_at = self.tail;
        loop {
            let arrived = self.await_frame(end, deadline);
            arrived.map_err(|error| self.end_of_message(error))?;
            let frame = self.frame(end)?;
            if most != usize::MAX
                && let Some(needed) = self.message_len(end, frame).filter(|len| *len > most)
            {
                return Err(RecvError::BufferTooShort { needed });
            }
            let handles = self.handles(end, frame, deadline)?;
            let done = self.take(end, frame, handles, packet);
            self.free(end, frame);
            if done? {
                return Ok(());
            }
            // What was there when the call began is always looked at; but a peer
            // that keeps sending parts does not stretch the deadline.
            let taken = self.tail.wrapping_sub(begun_at);
            if taken >= end.lane.capacity() as u64 && deadline::expired(deadline) {
                return Err(RecvError::Timeout);
            }
        }
    }

    /// Waits until something is there or will never be.
    pub(super) fn poll(&mut self, end: &End, deadline: Option<Instant>) -> Result<bool, RecvError> {
        match self.await_frame(end, deadline) {
            Ok(()) | Err(RecvError::Closed) => Ok(true),
            Err(RecvError::Timeout) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn await_frame(&mut self, end: &End, deadline: Option<Instant>) -> Result<(), RecvError> {
        if let Some(what) = self.broken {
            return Err(RecvError::Protocol(what));
        }
        if end.common.is_detached() {
            return Err(RecvError::Moved);
        }
        if self.head != self.tail {
            return Ok(());
        }
        // What the producer has not been told of is less than an eighth of the ring, and all
        // else is free: it cannot be waiting.
        let tail = self.tail;
        // ORDERING: the bytes below `head` are visible.
        let head = || end.lane.header().head.0.load(Ordering::Acquire);
        let in_time = end.wait_for_frame(deadline, || head() != tail)?;
        // Looked at after the end was seen: what was sent before it counts.
        self.head = head();
        if end.common.is_detached() {
            Err(RecvError::Moved)
        } else if self.head != self.tail {
            Ok(())
        } else if in_time {
            Err(RecvError::Closed)
        } else {
            Err(RecvError::Timeout)
        }
    }

    /// The end has been reached; a message that it cut is reported once.
    fn end_of_message(&mut self, error: RecvError) -> RecvError {
        match error {
            RecvError::Closed if self.partial.take().is_some() => RecvError::Cut,
            error => error,
        }
    }

    /// Reads and checks the header of the next frame: nothing in shared memory is believed.
    fn frame(&mut self, end: &End) -> Result<Frame, RecvError> {
        let there = self.head.wrapping_sub(self.tail);
        if there > end.lane.capacity() as u64 || there < HEAD as u64 {
            return Err(self.give_up("a counter outside the ring"));
        }
        let Some(frame) = Frame::from_word(end.lane.read_u64(self.tail)) else {
            return Err(self.give_up("a frame of unknown kind"));
        };
        if u64::from(frame.len) > there || Frame::room(frame.len as usize) as u64 > there {
            return Err(self.give_up("a frame longer than what was written"));
        }
        Ok(frame)
    }

    /// How long the message is that the next frame belongs to, as far as it says so.
    fn message_len(&self, end: &End, frame: Frame) -> Option<usize> {
        let len = match (frame.kind, &self.partial) {
            (Kind::Whole, _) => frame.len.into(),
            (Kind::First, _) => end.lane.read_u64(self.tail.wrapping_add(HEAD as u64)),
            (Kind::Next, Some(partial)) => partial.missing.saturating_add(partial.packet.bytes.len() as u64),
            (Kind::Next, None) | (Kind::Withdrawn, _) => return None,
        };
        Some(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn give_up(&mut self, what: &'static str) -> RecvError {
        self.broken = Some(what);
        self.partial = None;
        RecvError::Protocol(what)
    }

    /// Fetches the handles that were sent ahead of the frame.
    fn handles(&mut self, end: &End, frame: Frame, deadline: Option<Instant>) -> Result<Handles, RecvError> {
        if frame.handles == 0 {
            return Ok(Vec::new());
        }
        let (post, companion) = (&end.common.post, &end.common.companion);
        match post.take(companion, self.tail, frame.handles.into(), deadline) {
            Ok(handles) => Ok(handles),
            Err(Missing::Timeout) => Err(RecvError::Timeout),
            Err(Missing::Io(error)) => Err(error.into()),
            Err(Missing::NeverSent) => Err(self.give_up("a frame without its handles")),
        }
    }

    /// Copies a frame out; whether `packet` now holds a whole message.
    fn take(
        &mut self,
        end: &End,
        frame: Frame,
        handles: Handles,
        packet: &mut Packet,
    ) -> Result<bool, RecvError> {
        let (at, len) = (self.tail.wrapping_add(HEAD as u64), frame.len as usize);
        match frame.kind {
            Kind::Whole => {
                self.partial = None;
                if !pack(handles, packet) {
                    packet.clear();
                    return Err(lost_handles().into());
                }
                end.lane.copy_out(at, len, &mut packet.bytes);
                Ok(true)
            }
            Kind::First => self.begin(end, at, len, handles, packet).map(|()| false),
            Kind::Next => self.go_on(end, at, len, packet),
            Kind::Withdrawn => Ok(false),
        }
    }

    fn begin(
        &mut self,
        end: &End,
        at: u64,
        len: usize,
        handles: Handles,
        packet: &mut Packet,
    ) -> Result<(), RecvError> {
        let Some(here) = len.checked_sub(size_of::<u64>()) else {
            return Err(self.give_up("a first part without the message's length"));
        };
        let total = end.lane.read_u64(at);
        if total <= here as u64 {
            return Err(self.give_up("a first part longer than its message"));
        }
        // The caller's memory is used again, as it has the size of such messages.
        let mut packet = std::mem::take(packet);
        let lost = !pack(handles, &mut packet);
        if !lost {
            let first = if total <= ROOM { total } else { FIRST_RESERVE };
            packet.bytes.reserve_exact(first as usize);
            let text = at.wrapping_add(size_of::<u64>() as u64);
            end.lane.copy_out(text, here, &mut packet.bytes);
        }
        self.partial = Some(Partial { packet, missing: total - here as u64, lost });
        Ok(())
    }

    fn go_on(&mut self, end: &End, at: u64, len: usize, packet: &mut Packet) -> Result<bool, RecvError> {
        let Some(partial) = &mut self.partial else {
            return Err(self.give_up("a part of no message"));
        };
        if len == 0 || len as u64 > partial.missing {
            return Err(self.give_up("a part that its message has no room for"));
        }
        if !partial.lost {
            let bytes = &mut partial.packet.bytes;
            if bytes.capacity() - bytes.len() < len {
                let more = (bytes.len() as u64).saturating_mul(GROWTH - 1).max(len as u64);
                bytes.reserve_exact(more.min(partial.missing) as usize);
            }
            end.lane.copy_out(at, len, &mut partial.packet.bytes);
        }
        partial.missing -= len as u64;
        if partial.missing > 0 {
            return Ok(false);
        }
        match self.partial.take() {
            Some(whole) if !whole.lost => *packet = whole.packet,
            _ => return Err(lost_handles().into()),
        }
        Ok(true)
    }

    /// Moves behind a frame. The producer is told in lumps, or when it sleeps.
    fn free(&mut self, end: &End, frame: Frame) {
        let room = Frame::room(frame.len as usize) as u64;
        self.tail = self.tail.wrapping_add(room);
        end.read_to.store(self.tail, Ordering::Relaxed);
        let untold = self.tail.wrapping_sub(self.told);
        if untold >= end.lane.capacity() as u64 / 8 {
            self.tell(end);
        }
    }

    /// Tells the producer of all room that is free.
    pub(super) fn tell(&mut self, end: &End) {
        if self.told != self.tail {
            self.told = self.tail;
            // ORDERING: our reads of the freed bytes are over.
            let header = end.lane.header();
            header.tail.0.store(self.tail, Ordering::Release);
            header.consumer.0.publish_cpu();
            end.wake_peer();
        }
    }
}

/// Puts a message's handles into its packet; `false` if one is lost.
fn pack(handles: Handles, packet: &mut Packet) -> bool {
    let whole = handles.iter().all(Option::is_some);
    let handles = handles.into_iter().flatten();
    handles.for_each(|handle| packet.push_handle(handle));
    whole
}
