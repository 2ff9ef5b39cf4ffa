//! Messages over TCP.

use std::time::Instant;

use super::stream::{Framed, Limits};
use super::{Capabilities, Export, ExportKind, Link, Outgoing, Polling};
use crate::Packet;
use crate::error::{ExportError, RecvError, SendError};
use crate::sys::Handle;
use crate::sys::stream::Stream;
use crate::wait::Arm;

/// A link over a TCP connection: both ways, to any machine, bytes only.
///
/// A [`Listener`](crate::Listener) and [`connect`](crate::connect) make them. A
/// message leaves in one write and at once. What is sent is neither encrypted
/// nor signed: whoever can change packets on the way can change messages.
#[derive(Debug)]
pub struct TcpLink {
    framed: Framed,
    foreign: bool,
}

impl TcpLink {
    /// A link over a connected TCP socket, on which the caller has chosen the options.
    ///
    /// Its peer counts as a stranger until [`trust_peer`](Self::trust_peer).
    #[must_use]
    pub fn from_handle(handle: Handle) -> Self {
        Self::connected(Stream::tcp(handle), false, Limits::NONE)
    }

    pub(crate) fn connected(stream: Stream, trusted: bool, limits: Limits) -> Self {
        Self { framed: Framed::limited(stream, limits), foreign: !trusted }
    }

    /// Says that the peer is a process of this program's tree.
    #[must_use]
    pub fn trust_peer(mut self) -> Self {
        self.foreign = false;
        self
    }

    /// The socket itself.
    ///
    /// Where this crate has made it, by [`connect`](crate::connect) or a listener, its reads may end after a second
    /// without anything (`SO_RCVTIMEO`), as which [`recv`](crate::link::Link::recv) goes on: whoever reads from a
    /// duplicate gets `WouldBlock` then.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.framed.stream.handle()
    }
}

impl Link for TcpLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities::BYTES
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

    fn arm_end<'a>(&'a self, arm: &mut Arm<'a>) -> bool {
        arm.push(self.framed.stream.ended());
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
        self.framed.export(ExportKind::Tcp { trusted: !self.foreign, limits: self.framed.limits })
    }

    fn detach(&self) {
        self.framed.detach();
    }

    fn adopt(&self) {
        self.framed.adopt();
    }
}
