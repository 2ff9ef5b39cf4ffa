//! The link over a pipe.

use std::io;
use std::time::Instant;

use super::Framed;
use crate::Packet;
use crate::error::{ExportError, RecvError, SendError};
use crate::link::{Capabilities, Export, ExportKind, Link, Outgoing, Polling, Share};
use crate::sys::Handle;
use crate::sys::stream::Stream;
use crate::wait::Arm;

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

    pub(in crate::link) fn reader(handle: Handle) -> Self {
        Self { framed: Framed::new(Stream::pipe(handle)), is_writer: false }
    }

    pub(in crate::link) fn writer(handle: Handle, share: Option<Share>) -> Self {
        Self { framed: Framed::new(Stream::pipe(handle)).shared(share), is_writer: true }
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

    fn hold(&self) -> Result<(), ExportError> {
        self.framed.hold()
    }

    fn let_go(&self) {
        self.framed.let_go();
    }

    fn export(&self) -> Result<Export, ExportError> {
        let kind = if self.is_writer { ExportKind::PipeWriter } else { ExportKind::PipeReader };
        self.framed.export(kind)
    }

    fn share(&self) -> Result<Export, ExportError> {
        if self.is_writer { self.framed.share(ExportKind::PipeWriter) } else { Err(ExportError::Unsupported) }
    }

    fn detach(&self) {
        self.framed.detach();
    }

    fn adopt(&self) {
        self.framed.adopt();
    }
}
