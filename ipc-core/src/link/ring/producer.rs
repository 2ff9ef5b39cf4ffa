//! The writing side of a lane.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::end::End;
use super::frame::{Frame, HEAD, Kind};
use super::layout::{FRAME_UNIT, Lane};
use crate::codec::EncodeError;
use crate::deadline;
use crate::error::SendError;
use crate::link::Outgoing;
use crate::link::share::Share;
use crate::raw::{ProcessId, fork_generation};
use crate::sys::Handle;
use crate::watch::Name;

/// Whether a consumer that sleeps is woken for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Always,
    /// Only when more than half of the ring is filled.
    WhenHalfFull,
    /// Only when there is no room: for parts of a message that has not been written whole, to a
    /// consumer on this very CPU, which would take each by itself and sleep again.
    WhenFull,
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
    /// Where this process stands among several senders, once it does.
    seat: Option<Seat>,
}

/// A place in the list of senders.
#[derive(Debug)]
struct Seat {
    /// The fork of the program that took it.
    generation: u32,
    /// None if this process does not know who it is.
    place: Option<(usize, u64)>,
}

impl Producer {
    /// Goes on where the last holder of this side stopped.
    pub(super) fn resume(lane: &Lane) -> Self {
        let header = lane.header();
        // ORDERING: what the last holder wrote below `head` is visible.
        let head = header.head.0.load(Ordering::Acquire);
        let tail = header.tail.0.load(Ordering::Acquire);
        Self { head, tail, wake: Wake::Always, broken: !head.is_multiple_of(FRAME_UNIT), seat: None }
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
        // One that is large goes in parts even if there is room, so that both sides copy at once.
        let is_large = message.size().is_some_and(|size| size > LUMP);
        let is_alone = end.common.share().is_none();
        if !is_alone || is_large || !self.send_in_place(end, message, deadline)? {
            // What runs a user's code comes before the turn among processes.
            message.parts()?;
            match end.common.share() {
                None => self.send_from_memory(end, message, deadline)?,
                Some(share) => self.send_by_turns(end, share, message, deadline)?,
            }
        }
        message.sent();
        Ok(())
    }

    /// Sends where other processes send as well.
    #[cold]
    fn send_by_turns(
        &mut self,
        end: &End,
        share: &Share,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let held = share.take(deadline)?;
        if held.after_a_death {
            end.rouse_peer();
        }
        // ORDERING: what the others wrote below `head` is visible.
        self.head = end.lane.header().head.0.load(Ordering::Acquire);
        if end.common.is_detached() {
            return Err(SendError::Moved);
        }
        if !self.head.is_multiple_of(FRAME_UNIT) || end.peer_has_closed() {
            return Err(SendError::Closed);
        }
        self.sit_down(end)?;
        if share.is_half() {
            // Its handles belong to a frame that will not come: no other may begin there.
            self.await_room(end, Frame::room(0), deadline)?;
            self.publish(end, Kind::Withdrawn, 0, 0);
            share.set_half(false);
        }
        let sent = self.send_from_memory(end, message, deadline);
        if !message.handles().is_empty() {
            share.set_half(false);
        }
        sent
    }

    /// Has the consumer watch this process, which may die with the news of a frame.
    fn sit_down(&mut self, end: &End) -> Result<(), SendError> {
        let generation = fork_generation();
        if self.seat.as_ref().is_some_and(|seat| seat.generation == generation) {
            return Ok(());
        }
        let mut place = None;
        if let Ok(own) = ProcessId::current().map(ProcessId::to_word) {
            let taken = end.lane.header().senders.0.add(own, Name::has_ended);
            let taken = taken.ok_or_else(|| io::Error::other(TOO_MANY))?;
            place = Some((taken, own));
            end.wake_peer();
        }
        self.seat = Some(Seat { generation, place });
        Ok(())
    }

    /// This process sends no more.
    pub(super) fn leave(&mut self, lane: &Lane) {
        if let Some(Seat { generation, place: Some((place, own)) }) = self.seat.take()
            && generation == fork_generation()
        {
            lane.header().senders.0.remove(place, own);
        }
    }

    /// Lets the message write itself into the ring, if it fits what is free.
    fn send_in_place(
        &mut self,
        end: &End,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
    ) -> Result<bool, SendError> {
        let free = self.free(end, end.lane.capacity() / 2);
        if free < Frame::room(0) {
            return Ok(false);
        }
        let room = free.min(Frame::room(largest_part(end)));
        let written = self.write(end, room, |space| message.write_into(&mut space[HEAD..]))?;
        let Some(len) = written.filter(|len| HEAD + len <= room) else { return Ok(false) };
        if end.common.share().is_some() {
            // A clone of this sender was encoded just now.
            return Ok(false);
        }
        self.commit(end, Kind::Whole, len, message.handles(), deadline)?;
        Ok(true)
    }

    /// Copies a message into the ring that lies in memory, in parts if it is large.
    fn send_from_memory(
        &mut self,
        end: &End,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let len: usize = message.parts()?.iter().map(|part| part.len()).sum();
        let lump = LUMP.min(largest_part(end));
        if len <= lump {
            self.await_room(end, Frame::room(len), deadline)?;
            let mut pieces = Pieces(message.parts()?);
            self.write(end, HEAD + len, |space| pieces.fill(&mut space[HEAD..]));
            return self.commit(end, Kind::Whole, len, message.handles(), deadline);
        }
        let handles = message.handles().len();
        self.check_time(end, size_of::<u64>() + len, lump, deadline)?;
        self.await_room(end, Frame::room(lump), deadline)?;
        if handles > 0 {
            self.pass(end, message.handles(), deadline)?;
        }
        let mut pieces = Pieces(message.parts()?);
        self.write(end, HEAD + lump, |space| {
            let (total, first) = space[HEAD..].split_at_mut(size_of::<u64>());
            total.copy_from_slice(&(len as u64).to_le_bytes());
            pieces.fill(first);
        });
        let wake = self.wake;
        if end.peer_is_here() {
            self.wake = Wake::WhenFull;
        }
        self.publish(end, Kind::First, lump, handles);
        let mut missing = len - (lump - size_of::<u64>());
        while missing > 0 {
            // A message given up here is dropped by the consumer when the next one begins.
            self.check_time(end, missing, lump, deadline)?;
            let next = missing.min(lump);
            self.await_room(end, Frame::room(next), deadline)?;
            self.write(end, HEAD + next, |space| pieces.fill(&mut space[HEAD..]));
            missing -= next;
            if missing == 0 {
                self.wake = wake;
            }
            self.publish(end, Kind::Next, next, 0);
        }
        Ok(())
    }

    /// An error past the deadline, unless there is room for all `len` bytes in lumps: a
    /// consumer that takes one after the other does not stretch it.
    fn check_time(
        &mut self,
        end: &End,
        len: usize,
        lump: usize,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let room = len / lump * Frame::room(lump) + Frame::room(len % lump);
        let is_late = deadline::expired(deadline) && self.free(end, room) < room;
        if !is_late {
            return Ok(());
        }
        if self.wake == Wake::WhenFull {
            // The parts that are there have woken nobody, and take room until somebody drops them.
            end.wake_peer();
        }
        Err(SendError::Timeout)
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
        if let Some(share) = end.common.share() {
            share.set_half(true);
        }
        if self.wake == Wake::Always && !end.peer_is_here() {
            // It takes longer to come than the handles to go out.
            end.wake_peer();
        }
        let sent = end.common.companion.send_handles(self.head, handles, deadline);
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
        let half = end.lane.capacity() / 2;
        if self.wake == Wake::Always || (self.wake == Wake::WhenHalfFull && self.free(end, half) < half) {
            end.wake_peer();
        }
    }

    fn await_room(&mut self, end: &End, room: usize, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.free(end, room) >= room {
            return Ok(());
        }
        if self.wake == Wake::WhenFull {
            end.wake_peer();
        }
        // What is judged is what is then used: a peer may change the counter at any time.
        let tail = Cell::new(self.tail);
        let has_room = || {
            // ORDERING: the consumer's reads of those bytes are over.
            tail.set(end.lane.header().tail.0.load(Ordering::Acquire));
            self.free_after(end, tail.get()) >= room
        };
        let in_time = end.wait_for_room(deadline, has_room)?;
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

    /// How many bytes are free, as far as is known; asks the consumer when that is less
    /// than `enough`.
    fn free(&mut self, end: &End, enough: usize) -> usize {
        let known = self.free_after(end, self.tail);
        if known >= enough {
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

const TOO_MANY: &str =
    "too many processes have clones of this sender: have some of them end, or send by way of others";

/// The most payload one frame carries: a quarter of the ring, so that the two
/// sides copy at the same time.
fn largest_part(end: &End) -> usize {
    end.lane.capacity() / 4 - HEAD
}

/// The most payload that one frame carries of a message in parts: little, so that the
/// receiver begins soon, and much beside what a frame costs.
const LUMP: usize = 16 << 10;

/// What is left of the pieces of a message.
struct Pieces<'a>([&'a [u8]; 4]);

impl Pieces<'_> {
    /// Moves the next bytes into `space`, which they fill.
    fn fill(&mut self, mut space: &mut [u8]) {
        for piece in &mut self.0 {
            let (here, rest) = piece.split_at(piece.len().min(space.len()));
            let (place, room) = space.split_at_mut(here.len());
            place.copy_from_slice(here);
            (*piece, space) = (rest, room);
        }
    }
}
