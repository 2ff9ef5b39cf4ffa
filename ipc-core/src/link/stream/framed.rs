//! Frames over one stream, and whose turn it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Limits;
use super::frame::{CHUNK, FIRST, HEAD, LARGEST_STEP, NEXT, PART, UNIT, header, header_of, mark};
use super::incoming::Source;
use super::reading::Reading;
use super::writing::Writing;
use crate::Packet;
use crate::codec::EncodeError;
use crate::deadline;
use crate::error::{ExportError, RecvError, SendError};
use crate::link::turn::{NoTurn, Turn};
use crate::link::{Export, ExportKind, Outgoing, Polling, Share};
use crate::raw::Settled;
use crate::sys::Handle;
use crate::sys::companion::HANDLES_PER_PACKET;
use crate::sys::poll::poll_one;
use crate::sys::stream::Stream;

/// Frames over one stream, with what is half done in each direction.
#[derive(Debug)]
pub(in crate::link) struct Framed {
    pub(in crate::link) stream: Stream,
    pub(in crate::link) limits: Limits,
    pub(super) polls: AtomicBool,
    /// Where the senders take turns, if other processes write here as well.
    share: Settled<Share>,
    /// This end has left for another process.
    detached: AtomicBool,
    writing: Turn<Writing>,
    reading: Turn<Reading>,
}

impl Framed {
    pub(super) fn new(stream: Stream) -> Self {
        Self::limited(stream, Limits::NONE)
    }

    pub(in crate::link) fn limited(stream: Stream, limits: Limits) -> Self {
        let reading = Turn::new(Reading::new(limits.receives));
        let polls = AtomicBool::new(true);
        let (share, detached) = (Settled::new(), AtomicBool::new(false));
        Self { stream, limits, polls, share, detached, writing: Turn::new(Writing::default()), reading }
    }

    pub(super) fn shared(mut self, share: Option<Share>) -> Self {
        self.share = share.map_or_else(Settled::new, Settled::from);
        self
    }

    pub(in crate::link) fn send(
        &self,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let sent = self.send_held(message, deadline);
        if sent.is_err() {
            message.unsent();
        }
        sent
    }

    fn send_held(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        let mut writing = self.writing.take(deadline).map_err(|error| match error {
            NoTurn::Timeout => SendError::Timeout,
            NoTurn::Reentrant => SendError::Reentrant,
        })?;
        if self.detached.load(Ordering::Relaxed) {
            return Err(SendError::Moved);
        }
        if writing.broken {
            return Err(SendError::Closed);
        }
        writing.finish(&self.stream, deadline)?;
        let mut small = [0; UNIT];
        let is_alone = self.share.get().is_none();
        let written = if is_alone { write_small(message, &mut small[HEAD..])? } else { None };
        if written.is_none() {
            message.parts()?;
        }
        // A clone of this sender may have been encoded just now.
        if let Some(share) = self.share.get() {
            return self.send_by_turns(&mut writing, share, message, deadline);
        }
        let len = match written {
            Some(len) => len,
            None => message.parts()?.iter().map(|part| part.len()).sum(),
        };
        self.check_len(len)?;
        self.check_handles(message.handles())?;
        let head = header(len, message.handles().len());
        let result = if written.is_some() {
            small[..HEAD].copy_from_slice(&head);
            writing.go_at_once(&small, &self.stream, message.handles(), deadline)
        } else {
            writing.begin(&head, message.parts()?, &[]);
            writing.go(&self.stream, message.handles(), deadline)
        };
        match result {
            Ok(()) => message.sent(),
            // Nothing has left: the message is the caller's again.
            Err(_) if writing.done == 0 => writing.rest.clear(),
            // The frame has begun and will be completed, so its ends have left.
            Err(SendError::Timeout) => message.sent(),
            Err(_) => writing.broken = true,
        }
        result
    }

    /// Sends where other processes send as well.
    #[cold]
    fn send_by_turns(
        &self,
        writing: &mut Writing,
        share: &Share,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        // What runs a user's code comes before the turn.
        let len = message.parts()?.iter().map(|part| part.len()).sum();
        self.check_len(len)?;
        self.check_handles(message.handles())?;
        let _held = share.take(deadline)?;
        if self.detached.load(Ordering::Relaxed) {
            return Err(SendError::Moved);
        }
        self.stream.take_whole(CHUNK)?;
        let mut done = 0;
        loop {
            let missing = len - done;
            let kind = if done == 0 { FIRST } else { NEXT };
            let here = missing.min(PART);
            let count = if done == 0 { message.handles().len() } else { 0 };
            let head = header_of(kind, missing, count);
            writing.begin(&head, cut_out(message.parts()?, done, here), &mark(&head));
            let handles = if done == 0 { message.handles() } else { &[] };
            let result = writing.go(&self.stream, handles, deadline);
            if result.is_err() && writing.done > 0 {
                // Somebody made the buffer too small in this very moment. What comes behind a
                // part of a chunk would be taken for the rest of it.
                self.stream.end_sending();
            }
            // Also of what is given up nothing is left to be completed.
            writing.rest.clear();
            result?;
            done += here;
            if done >= len {
                break;
            }
            // A peer that takes chunk by chunk does not stretch the deadline.
            if done > LARGEST_STEP && deadline::expired(deadline) {
                return Err(SendError::Timeout);
            }
        }
        message.sent();
        Ok(())
    }

    fn check_len(&self, len: usize) -> Result<(), SendError> {
        if len as u64 <= self.limits.sends {
            return Ok(());
        }
        let reason = format!("it is {len} bytes long, and the peer takes at most {}", self.limits.sends);
        Err(EncodeError::new::<[u8]>(reason).into())
    }

    fn check_handles(&self, handles: &[Handle]) -> Result<(), SendError> {
        if !handles.is_empty() && !self.stream.passes_handles() {
            return Err(SendError::NoHandles { count: handles.len() });
        }
        if handles.len() > HANDLES_PER_PACKET {
            let reason = format!(
                "{} handles stand in it, and one message over a socket takes {HANDLES_PER_PACKET}",
                handles.len()
            );
            return Err(EncodeError::new::<Handle>(reason).into());
        }
        Ok(())
    }

    /// Completes a message of which a part has left.
    pub(in crate::link) fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        let mut writing = self.writing.take(deadline).map_err(|error| match error {
            NoTurn::Timeout => SendError::Timeout,
            NoTurn::Reentrant => SendError::Reentrant,
        })?;
        if writing.broken {
            return Err(SendError::Closed);
        }
        writing.finish(&self.stream, deadline)
    }

    pub(in crate::link) fn recv(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        let mut reading = self.reading.take(deadline).map_err(no_turn)?;
        if self.detached.load(Ordering::Relaxed) {
            return Err(RecvError::Moved);
        }
        packet.clear();
        let polls = self.polls.load(Ordering::Relaxed);
        let source = Source { stream: &self.stream, deadline, polls };
        if most == usize::MAX && reading.is_between() && reading.small(&source, packet)? {
            return Ok(());
        }
        // A message that begins now is read into the packet's memory, which may be of a kind.
        if !reading.has_body() {
            std::mem::swap(&mut packet.bytes, &mut reading.body);
        }
        let result = reading.frame(&source, most);
        if reading.is_between() {
            std::mem::swap(&mut packet.bytes, &mut reading.body);
        }
        result?;
        reading.hand_over(packet)
    }

    pub(in crate::link) fn set_polling(&self, polling: Polling) {
        self.polls.store(polling == Polling::Adaptive, Ordering::Relaxed);
    }

    pub(in crate::link) fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        Ok(poll_one(self.stream.readable(), deadline)?)
    }

    /// Keeps others from using the stream, which is between two messages.
    pub(in crate::link) fn hold(&self) -> Result<(), ExportError> {
        let reading = self.reading.take(deadline::now()).map_err(|_| ExportError::InUse)?;
        if !reading.is_between() {
            return Err(ExportError::InMessage);
        }
        if let Some(mut writing) = self.writing.take_to_leave()? {
            if !writing.is_between(&self.stream) {
                return Err(ExportError::InMessage);
            }
            Turn::hold(writing);
        }
        Turn::hold(reading);
        Ok(())
    }

    pub(in crate::link) fn let_go(&self) {
        self.writing.let_go();
        self.reading.let_go();
    }

    pub(in crate::link) fn export(&self, kind: ExportKind) -> Result<Export, ExportError> {
        if self.detached.load(Ordering::Relaxed) {
            return Err(ExportError::Moved);
        }
        Ok(Export { kind, handles: vec![self.stream.handle().try_clone()?], share: None })
    }

    /// Another process is to write here too.
    pub(super) fn share(&self, kind: ExportKind) -> Result<Export, ExportError> {
        if self.detached.load(Ordering::Relaxed) {
            return Err(ExportError::Moved);
        }
        if self.share.get().is_none() {
            // Who sends at this moment does so alone. If it is this very thread, which is
            // encoding, it sees afterwards that it is not alone any more.
            let mut turn = self.writing.take_to_leave()?;
            if turn.as_mut().is_some_and(|writing| !writing.is_between(&self.stream)) {
                return Err(ExportError::InMessage);
            }
            // The one that it waited for may have been the only sender, on its way elsewhere.
            if self.detached.load(Ordering::Relaxed) {
                return Err(ExportError::Moved);
            }
            if self.share.get().is_none() {
                self.share.settle(Share::new()?);
            }
        }
        Ok(Export {
            kind,
            handles: vec![self.stream.handle().try_clone()?],
            share: self.share.get().cloned(),
        })
    }

    pub(in crate::link) fn adopt(&self) {
        self.detached.store(false, Ordering::Relaxed);
    }

    /// Lets go of the stream, so that the peer is told when those end who have it now. Its
    /// number stays taken until the end is dropped, as somebody may still wait on it.
    pub(in crate::link) fn detach(&self) {
        if !self.detached.swap(true, Ordering::Relaxed) {
            self.stream.handle().let_go();
        }
    }
}

/// The `len` bytes from the byte `from` on.
fn cut_out(parts: [&[u8]; 4], from: usize, len: usize) -> [&[u8]; 4] {
    let (mut skip, mut left) = (from, len);
    parts.map(|part| {
        let part = &part[skip.min(part.len())..];
        skip = skip.saturating_sub(part.len());
        let part = &part[..left.min(part.len())];
        left -= part.len();
        part
    })
}

/// Lets a message write itself into a place for short ones, if it is one: how long it is.
fn write_small(message: &mut dyn Outgoing, place: &mut [u8]) -> Result<Option<usize>, EncodeError> {
    if message.size().is_some_and(|size| size > place.len()) {
        return Ok(None);
    }
    // More than there is room for cannot be what was written.
    let written = message.write_into(place)?.filter(|written| *written <= place.len());
    // What did not fit may have left something behind.
    place[written.unwrap_or(0)..].fill(0);
    Ok(written)
}

fn no_turn(error: NoTurn) -> RecvError {
    match error {
        NoTurn::Timeout => RecvError::Timeout,
        NoTurn::Reentrant => RecvError::Reentrant,
    }
}
