//! The way through shared memory that a client on this machine gets while it calls often.
//!
//! From the answer that brings the ring on, all answers go over it, and so do the client's requests;
//! the socket stays, to tell of the client's end. A ring that was not used for a while is dropped,
//! and both go back to the socket: see the client's side for why nothing is lost.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use ipc_core::link::{Link, RingLink, RingOptions};
use ipc_core::{Arm, Connection, Packet, RecvError, SendError, Waitable};

use super::Server;
use super::alarms::Alarm;
use super::answer::Answer;
use super::session::Session;
use super::table::Hasty;
use crate::client::{Once, at_once, lock};
use crate::error::FaultKind;
use crate::wire::{self, RING_IDLE};

/// So many clients have one at a time, unless told otherwise; the others are served over their sockets.
pub(super) const MOST: usize = 256;
/// A longer message goes through in parts.
const CAPACITY: usize = 32 * 1024;

/// The server's end.
pub(super) struct Ring {
    link: Connection<u8, u8>,
    session: u64,
    /// Never given to another one.
    number: u64,
    is_trusted: bool,
    /// The longest request, and the longest answer.
    longest: (usize, u64),
    /// Something came over it since somebody last asked.
    is_used: AtomicBool,
    /// Whoever is at the helm looks at it without asking the kernel.
    pub(super) is_hot: AtomicBool,
    /// How often the kernel was asked since something came over it.
    silences: AtomicU32,
    /// Whoever is at the helm sees to it that its client wakes up.
    is_listed: AtomicBool,
    /// An answer went over it of which a client that sleeps does not know yet.
    is_owed: AtomicBool,
}

impl Ring {
    pub(super) fn new(
        link: Connection<u8, u8>,
        session: u64,
        number: u64,
        is_trusted: bool,
        longest: (usize, u64),
    ) -> Self {
        Self {
            link,
            session,
            number,
            is_trusted,
            longest,
            is_used: AtomicBool::new(false),
            is_hot: AtomicBool::new(false),
            silences: AtomicU32::new(0),
            is_owed: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whose it is.
    pub(super) fn session(&self) -> u64 {
        self.session
    }

    pub(super) fn link(&self) -> &dyn Link {
        self.link.link()
    }

    /// Sends an answer; a client that sleeps is woken at once, unless whoever is at the helm does
    /// that later.
    pub(super) fn send(&self, once: &mut Once, until: Option<Instant>) -> Result<(), SendError> {
        if self.is_listed.load(Ordering::Relaxed) && Hasty::is_now() {
            self.is_owed.store(true, Ordering::Relaxed);
            self.link().send_unhurried(once, until)
        } else {
            self.link().send(once, until)
        }
    }

    /// For whoever is at the helm: its answers wake nobody from now on, but [`pay`](Self::pay)
    /// does. `false` if that is known.
    pub(super) fn will_owe(&self) -> bool {
        // A thread of the client's may sleep while another one goes on.
        self.wake();
        !self.is_listed.swap(true, Ordering::Relaxed)
    }

    /// Wakes a client that sleeps beside its answer; `false` if there was no answer since.
    pub(super) fn pay(&self) -> bool {
        self.is_listed.store(false, Ordering::Relaxed);
        self.wake()
    }

    fn wake(&self) -> bool {
        let is_owed = self.is_owed.load(Ordering::Relaxed);
        if is_owed {
            self.is_owed.store(false, Ordering::Relaxed);
            self.link().hurry();
        }
        is_owed
    }

    /// Whether its client sleeps beside an answer, or something came since this was last asked `most`
    /// times.
    pub(super) fn is_spoken_over(&self, most: u32) -> bool {
        if self.is_listed.load(Ordering::Relaxed) {
            self.silences.store(0, Ordering::Relaxed);
            return true;
        }
        let silences = self.silences.load(Ordering::Relaxed) + 1;
        self.silences.store(silences, Ordering::Relaxed);
        silences < most
    }

    /// Whether an answer of so many bytes may go over it.
    pub(super) fn takes(&self, len: usize) -> bool {
        len as u64 <= self.longest.1
    }

    /// Takes what has come, if it is a whole request.
    pub(super) fn receive(&self, packet: &mut Packet) -> Result<bool, RecvError> {
        match self.link().recv_at_most(packet, self.longest.0, at_once()) {
            Ok(()) => {}
            Err(RecvError::Timeout) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.is_used.store(true, Ordering::Relaxed);
        self.silences.store(0, Ordering::Relaxed);
        if !self.is_trusted {
            packet.mark_foreign();
        }
        Ok(true)
    }

    /// Whether something came over it since this was last asked.
    pub(super) fn was_used(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Waitable for Ring {
    fn is_ready(&self) -> Option<bool> {
        self.link().is_ready()
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.link().arm(arm);
    }

    fn disarm(&self) {
        self.link().disarm();
    }
}

impl Server {
    /// Gives a client a ring, and has it listened to.
    pub(super) fn give_ring(&self, session: &Arc<Session>, longest: u64, answer: Answer) {
        let made = self.make_ring(session, longest);
        let given = made.map(|(ring, theirs)| (session.give_ring(answer.key().call, &ring, &theirs), ring));
        match given {
            Ok((true, ring)) => {
                let alarm = Alarm::Idle { session: session.id(), ring: ring.number };
                lock(&self.rings).push(ring);
                self.set_alarm(Instant::now() + RING_IDLE, alarm);
            }
            // The client goes on over the socket.
            _ => answer.fail(FaultKind::Busy("it has no ring to give".to_owned())),
        }
    }

    fn make_ring(&self, session: &Arc<Session>, longest: u64) -> io::Result<(Arc<Ring>, wire::Ring)> {
        let can = session.capabilities();
        if !can.passes_handles || !can.local || self.ring_count() >= self.limits.rings {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (ours, theirs) = RingLink::duplex(RingOptions::default().capacity(CAPACITY))?;
        let theirs = wire::Ring { link: Connection::over(theirs), longest: self.limits.message as u64 };
        let number = self.last_ring.fetch_add(1, Ordering::Relaxed);
        let longest = (self.limits.message, longest);
        let ring = Ring::new(Connection::over(ours), session.id(), number, session.is_trusted(), longest);
        Ok((Arc::new(ring), theirs))
    }

    pub(super) fn ring_count(&self) -> usize {
        self.ring_count.load(Ordering::Relaxed) + lock(&self.rings).len()
    }
}
