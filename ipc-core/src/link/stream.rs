//! Messages over byte streams of the kernel.
//!
//! A frame is a header of sixteen bytes and the message, and no frame is shorter than
//! [`UNIT`]: so much is read in one step whatever has come, and a small message needs
//! no second one.
//!
//! Where several processes send, a message is written in chunks that the kernel takes whole
//! or not at all, so that one who is killed leaves whole chunks behind; a message that does
//! not go on when the next one begins is dropped.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::incoming::{Incoming, Source};
use super::share::Share;
use super::turn::{NoTurn, Turn};
use super::{Capabilities, Export, ExportKind, Link, Outgoing, PATIENCE, Polling};
use crate::Packet;
use crate::buffer::Buffer;
use crate::codec::EncodeError;
use crate::deadline;
use crate::error::{ExportError, RecvError, SendError};
use crate::sys::companion::{HANDLES_PER_PACKET, rest_until_received};
use crate::sys::poll::{Interest, poll};
use crate::sys::stream::Stream;
use crate::sys::{Handle, cpu};
use crate::wait::Arm;

/// "mpf2": a stream that is not one of ours is noticed at once. Behind it the header has the
/// number of handles, the CPU on which the message was sent, and the message's length.
const MAGIC: u32 = u32::from_le_bytes(*b"mpf2");
/// "mpf3", "mpf4": the first chunk of a message, which has more, and a further one.
const FIRST: u32 = u32::from_le_bytes(*b"mpf3");
const NEXT: u32 = u32::from_le_bytes(*b"mpf4");
const HEAD: usize = 16;
/// So much a pipe takes whole or not at all (`PIPE_BUF`), and a socket as one buffer.
const CHUNK: usize = 4096;
/// How much of a message a chunk carries at most.
const PART: usize = CHUNK - HEAD;
/// The shortest frame: a header, and the message's first bytes or zeros.
const UNIT: usize = 64;
/// However long a message says it is, no more than this is set aside at once.
const LARGEST_STEP: usize = 1 << 20;

/// A link over a kernel pipe: one way, and bytes only.
///
/// It takes one descriptor at each end and no memory of ours. Writing where nobody
/// reads any more is the error `Closed`, and no signal, also in a program that has left
/// `SIGPIPE` as it was before the link was made.
#[derive(Debug)]
pub struct PipeLink {
    framed: Framed,
    is_writer: bool,
}

/// A link over a local stream socket: both ways, and handles too.
#[derive(Debug)]
pub struct SocketLink {
    framed: Framed,
    foreign: bool,
}

/// The longest messages that an end takes from its peer, and its peer from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Limits {
    pub(crate) receives: u64,
    pub(crate) sends: u64,
}

impl Limits {
    pub(crate) const NONE: Self = Self { receives: u64::MAX, sends: u64::MAX };
}

impl PipeLink {
    /// A pipe: the end that sends, and the end that receives.
    ///
    /// # Errors
    /// What the system says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (reader, writer) = Stream::pipe_pair()?;
        let writer = Self { framed: Framed::new(writer), is_writer: true };
        Ok((writer, Self { framed: Framed::new(reader), is_writer: false }))
    }

    pub(super) fn reader(handle: Handle) -> Self {
        Self { framed: Framed::new(Stream::pipe(handle)), is_writer: false }
    }

    pub(super) fn writer(handle: Handle, share: Option<Share>) -> Self {
        Self { framed: Framed::new(Stream::pipe(handle)).shared(share), is_writer: true }
    }
}

impl SocketLink {
    /// Two connected ends.
    ///
    /// # Errors
    /// What the system says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = Stream::socket_pair()?;
        let over = |stream| Self { framed: Framed::new(stream), foreign: false };
        Ok((over(a), over(b)))
    }

    /// A link over a connected local stream socket.
    ///
    /// Its peer counts as a stranger until [`trust_peer`](Self::trust_peer).
    #[must_use]
    pub fn from_handle(handle: Handle) -> Self {
        Self { framed: Framed::new(Stream::socket(handle)), foreign: true }
    }

    /// A link over a connection that a listener took or a client made.
    pub(crate) fn connected(stream: Stream, trusted: bool, limits: Limits) -> Self {
        Self { framed: Framed::limited(stream, limits), foreign: !trusted }
    }

    /// Says that the peer is a process of this program's tree.
    #[must_use]
    pub fn trust_peer(mut self) -> Self {
        self.foreign = false;
        self
    }

    /// The bytes that make up a frame without handles: for a process in trouble
    /// that can do nothing any more but write to the socket.
    ///
    /// # Errors
    /// [`SendError::Encode`] if the message refuses to be encoded.
    pub fn frame(message: &mut dyn Outgoing) -> Result<Vec<u8>, SendError> {
        let body = message.bytes()?;
        let mut frame = [&header(body.len(), 0), body].concat();
        frame.resize(frame.len().max(UNIT), 0);
        Ok(frame)
    }

    /// The socket itself.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.framed.stream.handle()
    }

    /// Gives up the link for its socket.
    #[must_use]
    pub fn into_handle(self) -> Handle {
        self.framed.stream.into_handle()
    }
}

impl Link for PipeLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { sends: self.is_writer, receives: !self.is_writer, passes_handles: false, local: true }
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.is_writer { self.framed.send(message, deadline) } else { Err(SendError::WrongDirection) }
    }

    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        if self.is_writer { Err(RecvError::WrongDirection) } else { self.framed.recv(packet, most, deadline) }
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        if self.is_writer { Err(RecvError::WrongDirection) } else { self.framed.poll(deadline) }
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        arm.push(self.framed.stream.readable());
    }

    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        self.framed.flush(deadline)
    }

    fn arm_room<'a>(&'a self, arm: &mut Arm<'a>) -> bool {
        arm.push(self.framed.stream.writable());
        true
    }

    fn set_polling(&self, polling: Polling) {
        self.framed.set_polling(polling);
    }

    fn export(&self) -> Result<Export, ExportError> {
        let kind = if self.is_writer { ExportKind::PipeWriter } else { ExportKind::PipeReader };
        self.framed.export(kind)
    }

    fn share(&self) -> Result<Export, ExportError> {
        if self.is_writer { self.framed.share(ExportKind::PipeWriter) } else { Err(ExportError::Unsupported) }
    }

    fn detach(&self) {
        self.framed.detach(self.is_writer);
    }

    fn adopt(&self) {
        self.framed.detached.store(false, Ordering::Relaxed);
    }
}

impl Link for SocketLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { sends: true, receives: true, passes_handles: true, local: true }
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        self.framed.send(message, deadline)
    }

    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        self.framed.recv(packet, most, deadline)?;
        if self.foreign {
            packet.mark_foreign();
        }
        Ok(())
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        self.framed.poll(deadline)
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        arm.push(self.framed.stream.readable());
    }

    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        self.framed.flush(deadline)
    }

    fn arm_room<'a>(&'a self, arm: &mut Arm<'a>) -> bool {
        arm.push(self.framed.stream.writable());
        true
    }

    fn set_polling(&self, polling: Polling) {
        self.framed.set_polling(polling);
    }

    fn export(&self) -> Result<Export, ExportError> {
        self.framed.export(self.kind())
    }

    fn share(&self) -> Result<Export, ExportError> {
        self.framed.share(self.kind())
    }

    fn detach(&self) {
        self.framed.detach(false);
    }

    fn adopt(&self) {
        self.framed.detached.store(false, Ordering::Relaxed);
    }
}

impl SocketLink {
    fn kind(&self) -> ExportKind {
        ExportKind::Socket { trusted: !self.foreign, limits: self.framed.limits }
    }

    pub(super) fn with_share(mut self, share: Option<Share>) -> Self {
        self.framed = self.framed.shared(share);
        self
    }
}

/// Frames over one stream, with what is half done in each direction.
#[derive(Debug)]
pub(super) struct Framed {
    pub(super) stream: Stream,
    pub(super) limits: Limits,
    polls: AtomicBool,
    /// Where the senders take turns, if other processes write here as well.
    share: OnceLock<Share>,
    /// This end has left for another process.
    detached: AtomicBool,
    writing: Turn<Writing>,
    reading: Turn<Reading>,
}

/// A frame of which a part is on the way: the next send completes it first.
#[derive(Debug, Default)]
struct Writing {
    rest: Vec<u8>,
    done: usize,
    broken: bool,
}

/// A frame of which a part has come.
#[derive(Debug)]
struct Reading {
    /// Its shortest form, of which so much has come.
    head: [u8; UNIT],
    head_len: usize,
    /// How long the body is when the frame has come, once that has begun to come.
    goal: Option<usize>,
    /// The message that it is a chunk of, if it is.
    partial: Option<Partial>,
    /// Its first `body_len` bytes have come; the others are room for more.
    body: Buffer,
    body_len: usize,
    incoming: Incoming,
    /// What was read since the call began.
    read: usize,
    /// A longer message is refused.
    longest: u64,
    broken: Option<&'static str>,
    ended: bool,
}

/// A message that comes in chunks.
#[derive(Debug)]
struct Partial {
    len: usize,
    handles: Vec<Handle>,
    lost_handles: bool,
}

impl Framed {
    fn new(stream: Stream) -> Self {
        Self::limited(stream, Limits::NONE)
    }

    pub(super) fn limited(stream: Stream, limits: Limits) -> Self {
        let reading = Turn::new(Reading::new(limits.receives));
        let polls = AtomicBool::new(true);
        let (share, detached) = (OnceLock::new(), AtomicBool::new(false));
        Self { stream, limits, polls, share, detached, writing: Turn::new(Writing::default()), reading }
    }

    fn shared(mut self, share: Option<Share>) -> Self {
        self.share = share.map_or_else(OnceLock::new, OnceLock::from);
        self
    }

    pub(super) fn send(
        &self,
        message: &mut dyn Outgoing,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
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
        if written.is_some() {
            small[..HEAD].copy_from_slice(&head);
            writing.begin(&small, [&[]; 4]);
        } else {
            writing.begin(&head, message.parts()?);
        }
        let result = writing.go(&self.stream, message.handles(), deadline);
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
        let mut done = 0;
        loop {
            let missing = len - done;
            let kind = match done {
                0 if len <= PART => MAGIC,
                0 => FIRST,
                _ => NEXT,
            };
            let here = missing.min(PART);
            let count = if done == 0 { message.handles().len() } else { 0 };
            writing.begin(&header_of(kind, missing, count), cut_out(message.parts()?, done, here));
            let handles = if done == 0 { message.handles() } else { &[] };
            let result = writing.go(&self.stream, handles, deadline);
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
    pub(super) fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        let mut writing = self.writing.take(deadline).map_err(|error| match error {
            NoTurn::Timeout => SendError::Timeout,
            NoTurn::Reentrant => SendError::Reentrant,
        })?;
        if writing.broken { Err(SendError::Closed) } else { writing.finish(&self.stream, deadline) }
    }

    pub(super) fn recv(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        let mut reading = self.reading.take(deadline).map_err(no_turn)?;
        packet.clear();
        // A message that begins now is read into the packet's memory, which may be of a kind.
        if reading.is_between() {
            std::mem::swap(&mut packet.bytes, &mut reading.body);
        }
        let polls = self.polls.load(Ordering::Relaxed);
        let result = reading.frame(&Source { stream: &self.stream, deadline, polls }, most);
        if reading.is_between() {
            std::mem::swap(&mut packet.bytes, &mut reading.body);
        }
        result?;
        reading.hand_over(packet)
    }

    pub(super) fn set_polling(&self, polling: Polling) {
        self.polls.store(polling == Polling::Adaptive, Ordering::Relaxed);
    }

    pub(super) fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        Ok(poll(&[self.stream.readable()], deadline)?[0])
    }

    pub(super) fn export(&self, kind: ExportKind) -> Result<Export, ExportError> {
        let reading = self.reading.take(deadline::now()).map_err(|_| ExportError::InMessage)?;
        let writing = self.writing.take(deadline::now()).map_err(|_| ExportError::InMessage)?;
        if !reading.is_between() || !writing.rest.is_empty() {
            return Err(ExportError::InMessage);
        }
        Ok(Export { kind, handles: vec![self.stream.handle().try_clone()?], share: None })
    }

    /// Another process is to write here too.
    fn share(&self, kind: ExportKind) -> Result<Export, ExportError> {
        if self.detached.load(Ordering::Relaxed) {
            return Err(ExportError::Moved);
        }
        if self.share.get().is_none() {
            // Who sends at this moment does so alone. If it is this very thread, which is
            // encoding, it sees afterwards that it is not alone any more.
            let turn = self.writing.take(deadline::after(PATIENCE));
            match &turn {
                Ok(writing) if !writing.rest.is_empty() => return Err(ExportError::InMessage),
                Err(NoTurn::Timeout) => return Err(ExportError::InUse),
                Ok(_) | Err(NoTurn::Reentrant) => {}
            }
            if self.share.get().is_none() {
                let _ = self.share.set(Share::new()?);
            }
        }
        Ok(Export {
            kind,
            handles: vec![self.stream.handle().try_clone()?],
            share: self.share.get().cloned(),
        })
    }

    /// Lets go of a stream into which others write, so that the peer is told when they end.
    fn detach(&self, is_writer: bool) {
        let is_first = !self.detached.swap(true, Ordering::Relaxed);
        if is_first && (is_writer || self.share.get().is_some()) {
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

fn header(len: usize, handles: usize) -> [u8; HEAD] {
    header_of(MAGIC, len, handles)
}

fn header_of(kind: u32, len: usize, handles: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&kind.to_le_bytes());
    head[4..6].copy_from_slice(&(handles as u16).to_le_bytes());
    head[6..8].copy_from_slice(&(cpu::current() as u16).to_le_bytes());
    head[8..].copy_from_slice(&(len as u64).to_le_bytes());
    head
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

impl Writing {
    fn begin(&mut self, head: &[u8], body: [&[u8]; 4]) {
        self.done = 0;
        self.rest.clear();
        let len = head.len() + body.iter().map(|part| part.len()).sum::<usize>();
        self.rest.reserve_exact(len.max(UNIT));
        self.rest.extend_from_slice(head);
        body.iter().for_each(|part| self.rest.extend_from_slice(part));
        self.rest.resize(len.max(UNIT), 0);
    }

    /// Completes a frame that an earlier deadline cut.
    fn finish(&mut self, stream: &Stream, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.rest.is_empty() { Ok(()) } else { self.go(stream, &[], deadline) }
    }

    /// Writes what is left; the handles go with the first bytes.
    fn go(
        &mut self,
        stream: &Stream,
        mut handles: &[Handle],
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let mut written = 0;
        while self.done < self.rest.len() {
            // A peer that takes bit by bit does not stretch the deadline.
            if written > LARGEST_STEP && deadline::expired(deadline) {
                return Err(SendError::Timeout);
            }
            let rest = &self.rest[self.done..];
            let wrote = match deadline {
                None => stream.write_waiting(rest, handles),
                Some(_) => stream.try_write(rest, handles),
            };
            match wrote {
                Ok(Some(count)) => {
                    self.done += count;
                    written += count;
                    handles = &[];
                }
                Ok(None) => await_stream(stream.writable(), deadline)?,
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    if !rest_until_received(deadline) {
                        return Err(SendError::Timeout);
                    }
                }
                Err(error) if is_closed(&error) => return Err(SendError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        self.rest.clear();
        self.rest.shrink_to(LARGEST_STEP);
        Ok(())
    }
}

fn await_stream(interest: Interest<'_>, deadline: Option<Instant>) -> Result<(), SendError> {
    if poll(&[interest], deadline)?[0] { Ok(()) } else { Err(SendError::Timeout) }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

impl Reading {
    fn new(longest: u64) -> Self {
        Self {
            head: [0; UNIT],
            head_len: 0,
            goal: None,
            partial: None,
            body: Buffer::new(),
            body_len: 0,
            incoming: Incoming::default(),
            read: 0,
            longest,
            broken: None,
            ended: false,
        }
    }

    /// Whether nothing of a message has come.
    fn is_between(&self) -> bool {
        self.head_len == 0 && self.partial.is_none()
    }

    /// Reads until `body` holds a whole message.
    fn frame(&mut self, source: &Source<'_>, most: usize) -> Result<(), RecvError> {
        if let Some(what) = self.broken {
            return Err(RecvError::Protocol(what));
        }
        self.read = 0;
        loop {
            // One that may be refused keeps its rest in the stream, which so says that it is there.
            self.read_head(source, HEAD, if most == usize::MAX { UNIT } else { HEAD })?;
            let head = self.check_head()?;
            let needed = match (&self.partial, head.kind) {
                (Some(partial), Kind::Next) => partial.len,
                _ => head.len,
            };
            if needed > most {
                return Err(RecvError::BufferTooShort { needed });
            }
            self.read_head(source, UNIT, UNIT)?;
            let goal = self.begin(&head)?;
            self.read_body(source, goal)?;
            if self.has_whole_message() {
                return Ok(());
            }
        }
    }

    /// Takes what of the frame lies beside its header; how long the body is when it has come.
    fn begin(&mut self, head: &Head) -> Result<usize, RecvError> {
        if let Some(goal) = self.goal {
            return Ok(goal);
        }
        let here = match head.kind {
            Kind::Whole => {
                self.drop_partial();
                head.len
            }
            Kind::First => {
                self.drop_partial();
                self.partial = Some(Partial { len: head.len, handles: Vec::new(), lost_handles: false });
                head.len.min(PART)
            }
            Kind::Next => {
                let missing = self.partial.as_ref().map(|partial| partial.len - self.body_len);
                if missing != Some(head.len) {
                    return Err(self.give_up("a part of no message"));
                }
                head.len.min(PART)
            }
        };
        let beside = &self.head[HEAD..HEAD + here.min(UNIT - HEAD)];
        self.body.truncate(self.body_len);
        self.body.extend_from_slice(beside);
        let goal = self.body_len + here;
        self.body_len += beside.len();
        self.goal = Some(goal);
        Ok(goal)
    }

    /// Its sender died, or gave it up.
    fn drop_partial(&mut self) {
        if self.partial.take().is_some() {
            self.body_len = 0;
        }
    }

    /// Whether the frame that has come was the message's last.
    fn has_whole_message(&mut self) -> bool {
        let Some(partial) = &mut self.partial else { return true };
        partial.handles.append(&mut self.incoming.handles);
        partial.lost_handles |= std::mem::take(&mut self.incoming.lost_handles);
        if self.body_len == partial.len {
            return true;
        }
        (self.head_len, self.goal) = (0, None);
        false
    }

    /// Reads until the first `least` bytes have come, and up to `most` on the way.
    fn read_head(&mut self, source: &Source<'_>, least: usize, most: usize) -> Result<(), RecvError> {
        while self.head_len < least {
            let read = self.incoming.read(source, &mut self.head[self.head_len..most])?;
            self.head_len += self.check(read)?;
        }
        Ok(())
    }

    fn check_head(&mut self) -> Result<Head, RecvError> {
        let head = match parse(&self.head) {
            Ok(head) => head,
            Err(what) => return Err(self.give_up(what)),
        };
        let handles = head.handles;
        self.incoming.peer_cpu = Some(head.cpu);
        if head.len as u64 > self.longest {
            return Err(self.give_up("a message longer than this end takes"));
        }
        let came = self.incoming.handles.len();
        let is_short = self.incoming.lost_handles && came < handles;
        if came == handles || is_short { Ok(head) } else { Err(self.give_up("a frame without its handles")) }
    }

    fn give_up(&mut self, what: &'static str) -> RecvError {
        self.broken = Some(what);
        self.body = Buffer::new();
        self.incoming.handles.clear();
        RecvError::Protocol(what)
    }

    /// The body grows as bytes arrive, whatever length was announced.
    fn read_body(&mut self, source: &Source<'_>, len: usize) -> Result<(), RecvError> {
        let handles = self.incoming.handles.len();
        while self.body_len < len {
            // A peer that sends bit by bit does not stretch the deadline.
            if self.read > LARGEST_STEP && deadline::expired(source.deadline) {
                return Err(RecvError::Timeout);
            }
            if self.body_len == self.body.len() {
                let step = (len - self.body_len).min(LARGEST_STEP.max(self.body_len));
                self.body.resize(self.body_len + step);
            }
            let read = self.incoming.read(source, &mut self.body[self.body_len..])?;
            self.body_len += self.check(read)?;
            if self.incoming.handles.len() > handles {
                return Err(self.give_up("handles in the middle of a frame"));
            }
        }
        Ok(())
    }

    /// How much a reading brought.
    fn check(&mut self, read: usize) -> Result<usize, RecvError> {
        self.read += read;
        if read == 0 { Err(self.end()) } else { Ok(read) }
    }

    /// The end has been reached; a message that it cut is reported once.
    fn end(&mut self) -> RecvError {
        if !self.is_between() && !self.ended {
            self.ended = true;
            RecvError::Cut
        } else {
            RecvError::Closed
        }
    }

    fn hand_over(&mut self, packet: &mut Packet) -> Result<(), RecvError> {
        self.body.truncate(self.body_len);
        // The packet's old memory is the next body's.
        std::mem::swap(&mut packet.bytes, &mut self.body);
        self.body.clear();
        (self.head_len, self.body_len, self.goal) = (0, 0, None);
        let partial = self.partial.take();
        let mut is_lost = std::mem::take(&mut self.incoming.lost_handles);
        is_lost |= partial.as_ref().is_some_and(|partial| partial.lost_handles);
        let handles = partial.into_iter().flat_map(|partial| partial.handles);
        handles.chain(self.incoming.handles.drain(..)).for_each(|handle| packet.push_handle(handle));
        if is_lost {
            packet.clear();
            return Err(super::lost_handles().into());
        }
        Ok(())
    }
}

/// Which part of a message a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    First,
    Next,
}

/// What a header says.
struct Head {
    kind: Kind,
    /// Of the message, or of what is missing of it at this chunk.
    len: usize,
    handles: usize,
    cpu: u16,
}

fn parse(head: &[u8; UNIT]) -> Result<Head, &'static str> {
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
    let kind = match word(0) {
        MAGIC => Kind::Whole,
        FIRST => Kind::First,
        NEXT => Kind::Next,
        _ => return Err("no frame header"),
    };
    let len = u64::from(word(8)) | u64::from(word(12)) << 32;
    let len = usize::try_from(len).map_err(|_| "a length beyond memory")?;
    Ok(Head { kind, len, handles: half(4).into(), cpu: half(6) })
}

fn no_turn(error: NoTurn) -> RecvError {
    match error {
        NoTurn::Timeout => RecvError::Timeout,
        NoTurn::Reentrant => RecvError::Reentrant,
    }
}
