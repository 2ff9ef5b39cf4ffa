//! A user's link whose panics end it, and nothing else.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ipc_core::link::{Capabilities, Link, Outgoing, Polling};
use ipc_core::{Arm, Packet, RecvError, SendError};
use mp_process::catch_panic;

/// The pool asks links for things while others wait for it: one that panics there counts as
/// closed from then on, which costs its worker.
pub(crate) struct Careful {
    /// Taken when this is dropped.
    link: Option<Box<dyn Link>>,
    has_panicked: AtomicBool,
}

impl Careful {
    pub(crate) fn new(link: Box<dyn Link>) -> Self {
        Self { link: Some(link), has_panicked: AtomicBool::new(false) }
    }

    fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::Relaxed)
    }

    /// What the link says; `None` if it panics, or has.
    fn ask<'a, R>(&'a self, question: impl FnOnce(&'a dyn Link) -> R) -> Option<R> {
        let link = self.link.as_deref().filter(|_| !self.has_panicked())?;
        let answer = catch_panic(|| question(link));
        if answer.is_err() {
            self.has_panicked.store(true, Ordering::Relaxed);
        }
        answer.ok()
    }
}

impl Link for Careful {
    fn capabilities(&self) -> Capabilities {
        self.ask(|link| link.capabilities()).unwrap_or(Capabilities::BYTES)
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        self.ask(|link| link.send(message, deadline)).unwrap_or(Err(SendError::Closed))
    }

    fn send_unhurried(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        self.ask(|link| link.send_unhurried(message, deadline)).unwrap_or(Err(SendError::Closed))
    }

    fn hurry(&self) {
        self.ask(|link| link.hurry());
    }

    fn recv(&self, packet: &mut Packet, deadline: Option<Instant>) -> Result<(), RecvError> {
        self.ask(|link| link.recv(packet, deadline)).unwrap_or(Err(RecvError::Closed))
    }

    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        self.ask(|link| link.recv_at_most(packet, most, deadline)).unwrap_or(Err(RecvError::Closed))
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        self.ask(|link| link.poll(deadline)).unwrap_or(Err(RecvError::Closed))
    }

    /// The end of a link is something to receive.
    fn is_ready(&self) -> Option<bool> {
        self.ask(|link| link.is_ready()).unwrap_or(Some(true))
    }

    fn is_peer_here(&self) -> bool {
        self.ask(|link| link.is_peer_here()).unwrap_or_default()
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.ask(|link| link.arm(arm));
    }

    fn disarm(&self) {
        self.ask(|link| link.disarm());
    }

    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        self.ask(|link| link.flush(deadline)).unwrap_or(Err(SendError::Closed))
    }

    fn arm_room<'a>(&'a self, arm: &mut Arm<'a>) -> bool {
        self.ask(|link| link.arm_room(arm)).unwrap_or_default()
    }

    fn arm_end<'a>(&'a self, arm: &mut Arm<'a>) -> bool {
        self.ask(|link| link.arm_end(arm)).unwrap_or_default()
    }

    fn set_polling(&self, polling: Polling) {
        self.ask(|link| link.set_polling(polling));
    }

    fn leave_unwatched(&self) {
        self.ask(|link| link.leave_unwatched());
    }

    fn leave_receiving_unwatched(&self) {
        self.ask(|link| link.leave_receiving_unwatched());
    }
}

impl Drop for Careful {
    fn drop(&mut self) {
        let link = self.link.take();
        let _ = catch_panic(|| drop(link));
    }
}

impl fmt::Debug for Careful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Careful").field("has_panicked", &self.has_panicked()).finish_non_exhaustive()
    }
}
