//! The link over a local socket.

use std::io;
use std::time::Instant;

use super::frame::{UNIT, header};
use super::{Framed, Limits};
use crate::Packet;
use crate::error::{ExportError, RecvError, SendError};
use crate::link::{Capabilities, Export, ExportKind, Link, Outgoing, Polling, Share};
use crate::sys::Handle;
use crate::sys::stream::Stream;
use crate::wait::Arm;

/// A link over a local stream socket: both ways, and handles too.
#[derive(Debug)]
pub struct SocketLink {
    framed: Framed,
    foreign: bool,
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

    fn hold(&self) -> Result<(), ExportError> {
        self.framed.hold()
    }

    fn let_go(&self) {
        self.framed.let_go();
    }

    fn export(&self) -> Result<Export, ExportError> {
        self.framed.export(self.kind())
    }

    fn share(&self) -> Result<Export, ExportError> {
        self.framed.share(self.kind())
    }

    fn detach(&self) {
        self.framed.detach();
    }

    fn adopt(&self) {
        self.framed.adopt();
    }
}

impl SocketLink {
    fn kind(&self) -> ExportKind {
        ExportKind::Socket { trusted: !self.foreign, limits: self.framed.limits }
    }

    pub(in crate::link) fn with_share(mut self, share: Option<Share>) -> Self {
        self.framed = self.framed.shared(share);
        self
    }
}
