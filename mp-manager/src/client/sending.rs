//! Requests on their way to the manager: over the ring or the socket, and kept if they find no room.

use std::cell::LazyCell;
use std::time::{Duration, Instant};

use ipc_core::{EncodeError, Packet, SendError};

use super::{Client, GONE, Once, at_once, lock};
use crate::error::{Kind, ManagerError};
use crate::wire::{Request, request};

/// A request up to this length most likely finds room.
const SHORT: usize = 4096;

/// How long a thread waits for one direction when both are full.
const SLICE: Duration = Duration::from_millis(2);

/// How long giving a reference back may take of a thread's time, if the manager is stuck.
const RELEASE: Duration = Duration::from_millis(20);

/// When a manager that sleeps beside its ring is woken.
#[derive(Clone, Copy)]
pub(super) enum Wake {
    Now,
    /// With the next message that is in a hurry.
    Later,
}

impl Client {
    /// Sends; while the manager takes nothing, because this process takes no answers,
    /// answers are read.
    pub(crate) fn send(&self, packet: Packet, patience: Duration) -> Result<(), ManagerError> {
        self.send_with(packet, patience, Wake::Now)
    }

    pub(super) fn send_with(
        &self,
        packet: Packet,
        patience: Duration,
        wake: Wake,
    ) -> Result<(), ManagerError> {
        // There is room for a short one, most likely, and then nobody looks at the clock.
        let mut is_easy = packet.bytes().len() <= SHORT && packet.handle_count() == 0;
        let deadline = LazyCell::new(|| Instant::now().checked_add(patience));
        let mut once = Once { packet, taken: false };
        let mut began = false;
        loop {
            let until = if std::mem::take(&mut is_easy) { at_once() } else { slice(*deadline) };
            let gate = self.waiting.fast.pass_gate();
            let sent = self.flush(until).and_then(|()| self.put(&mut once, until, wake));
            drop(gate);
            match sent {
                Ok(()) => return Ok(()),
                Err(SendError::Timeout) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(Kind::Timeout(patience).into());
                }
                Err(SendError::Timeout) => {
                    if once.taken {
                        began = true;
                        // A part is on its way; whatever is sent next completes it.
                        let next = request(0, Request::Cancel { object: 0, call: 0 });
                        once = Once { packet: next.map_err(Kind::Encode)?, taken: false };
                    }
                    let read = |packet: &mut Packet, until| self.read(packet, until);
                    self.let_go(self.waiting.read_some(slice(*deadline), read));
                }
                Err(SendError::Encode(error)) => return Err(Kind::Encode(error).into()),
                Err(error @ (SendError::NoHandles { .. } | SendError::Reentrant)) => {
                    return Err(Kind::Encode(EncodeError::new::<Packet>(error)).into());
                }
                Err(error) => {
                    let why = self.waiting.close(&unsendable(&error));
                    // Of what was not taken whole nothing runs.
                    return Err(if began { Kind::InFlight(why) } else { Kind::Gone(why) }.into());
                }
            }
        }
    }

    /// Says something that has no answer; what cannot be sent soon goes with the next call.
    pub(crate) fn post(&self, packet: Packet) {
        if self.is_inherited() {
            return;
        }
        if self.is_cut() {
            self.keep(packet);
            return;
        }
        let deadline = Instant::now().checked_add(RELEASE);
        let mut once = Once { packet, taken: false };
        let Some(_gate) = self.waiting.fast.try_pass_gate() else {
            lock(&self.unsent).push(once.packet);
            return;
        };
        let sent = self.flush(deadline).and_then(|()| self.put(&mut once, deadline, Wake::Now));
        if matches!(sent, Err(SendError::Timeout | SendError::Reentrant)) && !once.taken {
            self.keep(once.packet);
        }
    }

    /// Keeps what is sent with the next call. Who comes back after a cut sends it before that, and may
    /// have looked before it was here.
    pub(super) fn keep(&self, packet: Packet) {
        lock(&self.unsent).push(packet);
        if self.lasts() && !self.is_cut() {
            // If there is no room, a call waits for some, and sends this before it.
            let _ = self.flush(at_once());
        }
    }

    pub(super) fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError> {
        let mut unsent = lock(&self.unsent);
        while !unsent.is_empty() {
            let mut once = Once { packet: std::mem::take(&mut unsent[0]), taken: false };
            let sent = self.put(&mut once, deadline, Wake::Now);
            if sent.is_ok() || once.taken {
                unsent.remove(0);
            } else {
                unsent[0] = once.packet;
            }
            sent?;
        }
        Ok(())
    }

    /// Sends over the ring, if there is one, or the socket.
    fn put(&self, once: &mut Once, deadline: Option<Instant>, wake: Wake) -> Result<(), SendError> {
        let fast = &self.waiting.fast;
        let Some((ring, at)) = fast.outlet() else { return self.line.send(once, deadline) };
        let len = once.packet.bytes().len();
        if len as u64 > ring.longest {
            let text = format!("it is {len} bytes long, and the manager takes at most {}", ring.longest);
            return Err(EncodeError::new::<Packet>(text).into());
        }
        let has_ends = once.packet.moves_ends();
        let link = ring.link.link();
        let sent = match wake {
            Wake::Now => link.send(once, deadline),
            Wake::Later => link.send_unhurried(once, deadline),
        };
        match sent {
            Ok(()) if fast.sent(at) && !self.waiting.keep_late(&mut once.packet, has_ends, &ring) => {
                once.taken = false;
                self.line.send(once, deadline)
            }
            // The server is gone, or has dropped the ring: the socket knows.
            Err(SendError::Closed) if !once.taken => {
                fast.stop_sending();
                self.line.send(once, deadline)
            }
            other => other,
        }
    }
}

/// A short time, within the deadline.
pub(super) fn slice(deadline: Option<Instant>) -> Option<Instant> {
    let end = Instant::now() + SLICE;
    Some(deadline.map_or(end, |deadline| deadline.min(end)))
}

fn unsendable(error: &SendError) -> String {
    match error {
        SendError::Closed => GONE.to_owned(),
        other => other.to_string(),
    }
}
