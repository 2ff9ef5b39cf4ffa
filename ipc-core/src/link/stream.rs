//! Messages over byte streams of the kernel: each behind a header of sixteen bytes.

use std::io;
use std::time::Instant;

use super::turn::{NoTurn, Turn};
use super::{Capabilities, Export, ExportKind, Link, Outgoing};
use crate::Packet;
use crate::codec::EncodeError;
use crate::deadline;
use crate::error::{ExportError, RecvError, SendError};
use crate::sys::Handle;
use crate::sys::companion::HANDLES_PER_PACKET;
use crate::sys::poll::{Interest, poll};
use crate::sys::stream::Stream;
use crate::wait::Arm;

/// "mpf1": a stream that is not one of ours is noticed at once.
const MAGIC: u32 = u32::from_le_bytes(*b"mpf1");
const HEAD: usize = 16;
/// However long a message says it is, no more than this is set aside at once.
const LARGEST_STEP: usize = 1 << 20;

/// A link over a kernel pipe: one way, and bytes only.
///
/// It takes one descriptor at each end and no memory of ours.
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

    pub(super) fn writer(handle: Handle) -> Self {
        Self { framed: Framed::new(Stream::pipe(handle)), is_writer: true }
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
        Ok([&header(body.len(), 0), body].concat())
    }

    /// The socket itself.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.framed.stream.handle()
    }

    /// Gives up the link for its socket.
    ///
    /// # Errors
    /// What the system says, if the socket cannot be duplicated.
    pub fn into_handle(self) -> io::Result<Handle> {
        self.framed.stream.handle().try_clone()
    }
}

impl Link for PipeLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { sends: self.is_writer, receives: !self.is_writer, passes_handles: false, local: true }
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.is_writer { self.framed.send(message, deadline) } else { Err(SendError::WrongDirection) }
    }

    fn recv(&self, packet: &mut Packet, deadline: Option<Instant>) -> Result<(), RecvError> {
        if self.is_writer { Err(RecvError::WrongDirection) } else { self.framed.recv(packet, deadline) }
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        if self.is_writer { Err(RecvError::WrongDirection) } else { self.framed.poll(deadline) }
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        arm.push(self.framed.stream.readable());
    }

    fn export(&self) -> Result<Export, ExportError> {
        let kind = if self.is_writer { ExportKind::PipeWriter } else { ExportKind::PipeReader };
        self.framed.export(kind)
    }
}

impl Link for SocketLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { sends: true, receives: true, passes_handles: true, local: true }
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        self.framed.send(message, deadline)
    }

    fn recv(&self, packet: &mut Packet, deadline: Option<Instant>) -> Result<(), RecvError> {
        self.framed.recv(packet, deadline)?;
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

    fn export(&self) -> Result<Export, ExportError> {
        self.framed.export(ExportKind::Socket)
    }
}

/// Frames over one stream, with what is half done in each direction.
#[derive(Debug)]
struct Framed {
    stream: Stream,
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
#[derive(Debug, Default)]
struct Reading {
    head: [u8; HEAD],
    head_len: usize,
    body: Vec<u8>,
    handles: Vec<Handle>,
    broken: Option<&'static str>,
}

impl Framed {
    fn new(stream: Stream) -> Self {
        Self { stream, writing: Turn::new(Writing::default()), reading: Turn::new(Reading::default()) }
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        let mut writing = self.writing.take(deadline).map_err(|error| match error {
            NoTurn::Timeout => SendError::Timeout,
            NoTurn::Reentrant => SendError::Reentrant,
        })?;
        if writing.broken {
            return Err(SendError::Closed);
        }
        writing.finish(&self.stream, deadline)?;
        let len = message.bytes()?.len();
        self.check_handles(message.handles())?;
        let head = header(len, message.handles().len());
        let handles = clones(message.handles())?;
        writing.begin(&head, message.bytes()?);
        let result = writing.go(&self.stream, handles, deadline);
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

    fn recv(&self, packet: &mut Packet, deadline: Option<Instant>) -> Result<(), RecvError> {
        let mut reading = self.reading.take(deadline).map_err(no_turn)?;
        packet.clear();
        reading.frame(&self.stream, deadline)?;
        // The packet's old memory is the next body's.
        std::mem::swap(&mut packet.bytes, &mut reading.body);
        reading.body.clear();
        reading.head_len = 0;
        reading.handles.drain(..).for_each(|handle| packet.received.push(Some(handle)));
        Ok(())
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        Ok(poll(&[self.stream.readable()], deadline)?[0])
    }

    fn export(&self, kind: ExportKind) -> Result<Export, ExportError> {
        let reading = self.reading.take(deadline::now()).map_err(|_| ExportError::InMessage)?;
        let writing = self.writing.take(deadline::now()).map_err(|_| ExportError::InMessage)?;
        if reading.head_len > 0 || !writing.rest.is_empty() {
            return Err(ExportError::InMessage);
        }
        Ok(Export { kind, handles: vec![self.stream.handle().try_clone()?] })
    }
}

fn clones(handles: &[Handle]) -> io::Result<Vec<Handle>> {
    handles.iter().map(Handle::try_clone).collect()
}

fn header(len: usize, handles: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&(handles as u32).to_le_bytes());
    head[8..].copy_from_slice(&(len as u64).to_le_bytes());
    head
}

impl Writing {
    fn begin(&mut self, head: &[u8], body: &[u8]) {
        self.done = 0;
        self.rest.clear();
        self.rest.extend_from_slice(head);
        self.rest.extend_from_slice(body);
    }

    /// Completes a frame that an earlier deadline cut.
    fn finish(&mut self, stream: &Stream, deadline: Option<Instant>) -> Result<(), SendError> {
        if self.rest.is_empty() { Ok(()) } else { self.go(stream, Vec::new(), deadline) }
    }

    /// Writes what is left; the handles go with the first bytes.
    fn go(
        &mut self,
        stream: &Stream,
        mut handles: Vec<Handle>,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        while self.done < self.rest.len() {
            match stream.try_write(&self.rest[self.done..], &handles) {
                Ok(Some(count)) => {
                    self.done += count;
                    handles.clear();
                }
                Ok(None) => await_stream(stream.writable(), deadline)?,
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
    /// Reads until `head` and `body` hold a whole frame.
    fn frame(&mut self, stream: &Stream, deadline: Option<Instant>) -> Result<(), RecvError> {
        if let Some(what) = self.broken {
            return Err(RecvError::Protocol(what));
        }
        while self.head_len < HEAD {
            let Self { head, head_len, handles, .. } = self;
            match stream.try_read(&mut head[*head_len..], handles)? {
                Some(0) if *head_len == 0 => return Err(RecvError::Closed),
                Some(0) => return Err(RecvError::Cut),
                Some(count) => *head_len += count,
                None => self.await_more(stream, deadline)?,
            }
        }
        let len = self.check_head()?;
        self.read_body(stream, len, deadline)
    }

    fn check_head(&mut self) -> Result<usize, RecvError> {
        let word = |at: usize| {
            u32::from_le_bytes([self.head[at], self.head[at + 1], self.head[at + 2], self.head[at + 3]])
        };
        let len = u64::from(word(8)) | u64::from(word(12)) << 32;
        let what = if word(0) != MAGIC {
            "no frame header"
        } else if word(4) as usize != self.handles.len() {
            "a frame without its handles"
        } else if let Ok(len) = usize::try_from(len) {
            return Ok(len);
        } else {
            "a length beyond memory"
        };
        self.broken = Some(what);
        Err(RecvError::Protocol(what))
    }

    /// The body grows as bytes arrive, whatever length was announced.
    fn read_body(&mut self, stream: &Stream, len: usize, deadline: Option<Instant>) -> Result<(), RecvError> {
        while self.body.len() < len {
            let have = self.body.len();
            let step = (len - have).min(LARGEST_STEP.max(have));
            self.body.resize(have + step, 0);
            let read = stream.try_read(&mut self.body[have..], &mut self.handles);
            self.body.truncate(have + read.as_ref().ok().copied().flatten().unwrap_or(0));
            match read? {
                Some(0) => return Err(RecvError::Cut),
                Some(_) => {}
                None => self.await_more(stream, deadline)?,
            }
        }
        Ok(())
    }

    fn await_more(&self, stream: &Stream, deadline: Option<Instant>) -> Result<(), RecvError> {
        if poll(&[stream.readable()], deadline)?[0] { Ok(()) } else { Err(RecvError::Timeout) }
    }
}

fn no_turn(error: NoTurn) -> RecvError {
    match error {
        NoTurn::Timeout => RecvError::Timeout,
        NoTurn::Reentrant => RecvError::Reentrant,
    }
}
