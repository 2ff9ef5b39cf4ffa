//! The writing side of a lane.

use std::cell::Cell;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::end::End;
use super::frame::{Frame, HEAD, Kind};
use super::layout::{FRAME_UNIT, Lane};
use crate::codec::EncodeError;
use crate::deadline;
use crate::error::SendError;
use crate::link::Outgoing;
use crate::sys::Handle;

/// Whether a consumer that sleeps is woken for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Always,
    /// Only when more than half of the ring is filled.
    WhenHalfFull,
}

/// What the producer alone knows.
#[derive(Debug)]
pub(super) struct Producer {
    /// Where the next frame begins.
    head: u64,
    /// The consumer's counter when it was last read.
    tail: u64,
    /// Of the message that is being sent.
    wake: Wake,
    /// The last holder left a counter between two frames, which no correct one does.
    broken: bool,
}

impl Producer {
    /// Goes on where the last holder of this side stopped.
    pub(super) fn resume(lane: &Lane) -> Self {
        let header = lane.header();
        // ORDERING: what the last holder wrote below `head` is visible.
        let head = header.head.0.load(Ordering::Acquire);
        let tail = header.tail.0.load(Ordering::Acquire);
        Self { head, tail, wake: Wake::Always, broken: !head.is_multiple_of(FRAME_UNIT) }
    }

    pub(super) fn send(
        &mut self,
        end: &End,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
        wake: Wake,
    ) -> Result<(), SendError> {
        self.wake = wake;
        if end.common.is_detached() {
            return Err(SendError::Moved);
        }
        if self.broken || end.peer_has_closed() {
            return Err(SendError::Closed);
        }
        if !self.send_in_place(end, message, deadline)? {
            self.send_from_memory(end, message, deadline)?;
        }
        message.sent();
        Ok(())
    }

    /// Lets the message write itself into the ring, if it fits what is free.
    fn send_in_place(
        &mut self,
        end: &End,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
    ) -> Result<bool, SendError> {
        let free = self.free(end);
        if free < Frame::room(0) {
            return Ok(false);
        }
        let room = free.min(Frame::room(largest_part(end)));
        let written = self.write(end, room, |space| message.write_into(&mut space[HEAD..]))?;
        let Some(len) = written.filter(|len| HEAD + len <= room) else { return Ok(false) };
        self.commit(end, Kind::Whole, len, message.handles(), deadline)?;
        Ok(true)
    }

    /// Copies an encoded message into the ring, in parts if it must be.
    fn send_from_memory(
        &mut self,
        end: &End,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let len = message.bytes()?.len();
        let part = largest_part(end);
        if len <= part {
            self.put(end, message.bytes()?, deadline)?;
            return self.commit(end, Kind::Whole, len, message.handles(), deadline);
        }
        let handles = message.handles().len();
        let first = part - size_of::<u64>();
        self.await_room(end, Frame::room(part), deadline)?;
        if handles > 0 {
            self.pass(end, message.handles(), deadline)?;
        }
        let bytes = message.bytes()?;
        self.write(end, Frame::room(part), |space| {
            space[HEAD..HEAD + 8].copy_from_slice(&(len as u64).to_le_bytes());
            space[HEAD + 8..HEAD + part].copy_from_slice(&bytes[..first]);
        });
        self.publish(end, Kind::First, part, handles);
        for next in bytes[first..].chunks(part) {
            // A message given up here is dropped by the consumer when the next one begins.
            if deadline::expired(deadline) {
                return Err(SendError::Timeout);
            }
            self.put(end, next, deadline)?;
            self.publish(end, Kind::Next, next.len(), 0);
        }
        Ok(())
    }

    /// Copies one frame's payload behind the head.
    fn put(&mut self, end: &End, bytes: &[u8], deadline: Option<Instant>) -> Result<(), SendError> {
        let room = Frame::room(bytes.len());
        self.await_room(end, room, deadline)?;
        self.write(end, room, |space| space[HEAD..HEAD + bytes.len()].copy_from_slice(bytes));
        Ok(())
    }

    fn commit(
        &mut self,
        end: &End,
        kind: Kind,
        len: usize,
        handles: &[Handle],
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        if !handles.is_empty() {
            self.pass(end, handles, deadline)?;
        }
        self.publish(end, kind, len, handles.len());
        Ok(())
    }

    /// Sends handles ahead of the frame that names them.
    fn pass(&mut self, end: &End, handles: &[Handle], deadline: Option<Instant>) -> Result<(), SendError> {
        if handles.len() > usize::from(u16::MAX) {
            let reason = format!("{} handles stand in it, and {} is the most", handles.len(), u16::MAX);
            return Err(EncodeError::new::<Handle>(reason).into());
        }
        let sent = end.common.companion.send_handles(handles, deadline);
        sent.map_err(|(count, error)| {
            if count > 0 {
                // There is room for it: the frame to come has some.
                self.publish(end, Kind::Withdrawn, 0, count);
            }
            match error.kind() {
                ErrorKind::TimedOut => SendError::Timeout,
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => SendError::Closed,
                _ => SendError::Io(error),
            }
        })
    }

    /// Makes the frame visible: the one step before which nothing has happened.
    fn publish(&mut self, end: &End, kind: Kind, len: usize, handles: usize) {
        let frame = Frame { len: len as u32, kind, handles: handles as u16 };
        self.write(end, HEAD, |space| space.copy_from_slice(&frame.to_bytes()));
        self.head = self.head.wrapping_add(Frame::room(len) as u64);
        // ORDERING: the frame's bytes are visible before the counter is.
        end.lane.header().head.0.store(self.head, Ordering::Release);
        end.own().publish_cpu();
        if self.wake == Wake::Always || self.free(end) < end.lane.capacity() / 2 {
            end.wake_peer();
        }
    }

    fn await_room(&mut self, end: &End, room: usize, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.free(end) >= room {
            return Ok(());
        }
        // What is judged is what is then used: a peer may change the counter at any time.
        let tail = Cell::new(self.tail);
        let has_room = || {
            // ORDERING: the consumer's reads of those bytes are over.
            tail.set(end.lane.header().tail.0.load(Ordering::Acquire));
            self.free_after(end, tail.get()) >= room
        };
        let in_time = end.wait(deadline, has_room)?;
        let has_room = has_room();
        self.tail = tail.get();
        if end.common.is_detached() {
            Err(SendError::Moved)
        } else if end.peer_has_closed() {
            Err(SendError::Closed)
        } else if has_room {
            Ok(())
        } else if in_time {
            Err(SendError::Closed)
        } else {
            Err(SendError::Timeout)
        }
    }

    /// How many bytes are free, as far as is known; asks the consumer when that is little.
    fn free(&mut self, end: &End) -> usize {
        let known = self.free_after(end, self.tail);
        if known >= end.lane.capacity() / 2 {
            return known;
        }
        // ORDERING: the consumer's reads of those bytes are over.
        self.tail = end.lane.header().tail.0.load(Ordering::Acquire);
        self.free_after(end, self.tail)
    }

    /// A counter that no correct consumer can have leaves nothing free.
    fn free_after(&self, end: &End, tail: u64) -> usize {
        let capacity = end.lane.capacity() as u64;
        let used = self.head.wrapping_sub(tail);
        capacity.saturating_sub(used) as usize
    }

    fn write<R>(&self, end: &End, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        end.lane.fill(self.head, len, fill)
    }
}

/// The most payload one frame carries: a quarter of the ring, so that the two
/// sides copy at the same time.
fn largest_part(end: &End) -> usize {
    end.lane.capacity() / 4 - HEAD
}
