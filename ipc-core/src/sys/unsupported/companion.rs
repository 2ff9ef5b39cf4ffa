use std::io;
use std::time::Instant;

use super::handle::Handle;
use super::poll::Interest;
use super::unsupported;

pub(crate) const HANDLES_PER_PACKET: usize = 253;

#[derive(Debug)]
pub(crate) struct Companion(Handle);

#[derive(Debug)]
#[allow(dead_code, reason = "nothing here makes one")]
pub(crate) enum Packet {
    Bell,
    Handles(u64, Vec<Option<Handle>>),
    End,
    Nothing,
}

impl Companion {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        unsupported()
    }

    pub(crate) fn from_handle(handle: Handle) -> Self {
        Self(handle)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0
    }

    pub(crate) fn interest(&self) -> Interest<'_> {
        self.0.never()
    }

    pub(crate) fn hangup(&self) -> Interest<'_> {
        self.0.never()
    }

    pub(crate) fn ring(&self) {
        self.0.never()
    }

    pub(crate) fn send_handles(
        &self,
        _place: u64,
        _handles: &[Handle],
        _deadline: Option<Instant>,
    ) -> Result<(), (usize, io::Error)> {
        self.0.never()
    }

    pub(crate) fn receive(&self) -> io::Result<Packet> {
        self.0.never()
    }

    pub(crate) fn has_bell(&self) -> bool {
        self.0.never()
    }

    pub(crate) fn let_go(&self) {
        self.0.let_go();
    }

    pub(crate) fn shut_down(&self) {
        self.0.never()
    }
}

pub(crate) fn rest_until_received(_deadline: Option<Instant>) -> bool {
    false
}
