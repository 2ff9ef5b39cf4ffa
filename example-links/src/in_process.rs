//! A link inside one process: a queue for each direction, and a pipe as its bell.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use ipc_core::link::{Capabilities, Link, Outgoing};
use ipc_core::{Arm, Handle, Packet, RecvError, SendError};

use crate::turn::{lock, wait};

/// So many bytes wait for a receiver that does not keep up; a larger message waits alone.
const CAPACITY: usize = 1 << 20;

/// One end of a link between threads of one process.
///
/// It shows what a link must do where the system does nothing of it: bound what is on the
/// way, keep deadlines, tell its end, and have a handle that is readable while there is
/// something to receive, so that `wait` and the `async` forms work.
#[derive(Debug)]
pub struct InProcessLink {
    outward: Arc<Lane>,
    inward: Arc<Lane>,
}

/// One direction.
#[derive(Debug)]
struct Lane {
    state: Mutex<State>,
    changed: Condvar,
    /// Readable while there is a message, or the sender has gone.
    bell: Handle,
    ear: PipeReader,
}

#[derive(Debug)]
struct State {
    letters: VecDeque<Letter>,
    bytes: usize,
    /// None once the sender has gone, which makes the bell readable for ever.
    ring: Option<PipeWriter>,
    receiver_has_gone: bool,
}

#[derive(Debug)]
struct Letter {
    bytes: Vec<u8>,
    handles: Vec<Handle>,
}

impl InProcessLink {
    /// Two connected ends.
    ///
    /// # Errors
    /// What the system says: no descriptors.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (there, back) = (Arc::new(Lane::new()?), Arc::new(Lane::new()?));
        let a = Self { outward: Arc::clone(&there), inward: Arc::clone(&back) };
        Ok((a, Self { outward: back, inward: there }))
    }
}

fn letter(message: &mut dyn Outgoing) -> Result<Letter, SendError> {
    let bytes = message.bytes()?.to_vec();
    let handles: io::Result<Vec<Handle>> = message.handles().iter().map(Handle::try_clone).collect();
    Ok(Letter { bytes, handles: handles? })
}

impl Link for InProcessLink {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::BYTES;
        capabilities.passes_handles = true;
        capabilities.local = true;
        capabilities
    }

    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        // Users' code runs here: before the lock, so that it may send on this very link.
        let sent = letter(message).and_then(|letter| self.outward.push(letter, deadline));
        if sent.is_ok() {
            message.sent()
        } else {
            message.unsent()
        }
        sent
    }

    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError> {
        let letter = self.inward.pop(most, deadline)?;
        packet.clear();
        packet.extend_bytes(&letter.bytes);
        letter.handles.into_iter().for_each(|handle| packet.push_handle(handle));
        // The peer is this very process.
        packet.mark_trusted();
        Ok(())
    }

    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError> {
        Ok(self.inward.await_letter(deadline).is_some())
    }

    fn is_ready(&self) -> Option<bool> {
        Some(lock(&self.inward.state).is_ready())
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        arm.readable(&self.inward.bell);
    }

    fn flush(&self, _: Option<Instant>) -> Result<(), SendError> {
        // A letter is in the queue whole, or not at all.
        Ok(())
    }
}

impl Drop for InProcessLink {
    fn drop(&mut self) {
        lock(&self.outward.state).ring = None;
        lock(&self.inward.state).receiver_has_gone = true;
        self.outward.changed.notify_all();
        self.inward.changed.notify_all();
    }
}

impl Lane {
    fn new() -> io::Result<Self> {
        let (ear, ring) = io::pipe()?;
        let bell = OwnedFd::from(ear.try_clone()?).into();
        let state = State { letters: VecDeque::new(), bytes: 0, ring: Some(ring), receiver_has_gone: false };
        Ok(Self { state: Mutex::new(state), changed: Condvar::new(), bell, ear })
    }

    fn push(&self, letter: Letter, deadline: Option<Instant>) -> Result<(), SendError> {
        let mut state = lock(&self.state);
        loop {
            if state.receiver_has_gone {
                return Err(SendError::Closed);
            }
            if state.letters.is_empty() || state.bytes + letter.bytes.len() <= CAPACITY {
                break;
            }
            state = wait(&self.changed, state, deadline).ok_or(SendError::Timeout)?;
        }
        if state.letters.is_empty()
            && let Some(ring) = &mut state.ring
        {
            ring.write_all(&[0])?;
        }
        state.bytes += letter.bytes.len();
        state.letters.push_back(letter);
        self.changed.notify_all();
        Ok(())
    }

    fn pop(&self, most: usize, deadline: Option<Instant>) -> Result<Letter, RecvError> {
        let mut state = self.await_letter(deadline).ok_or(RecvError::Timeout)?;
        let needed = state.letters.front().map(|letter| letter.bytes.len());
        if let Some(needed) = needed.filter(|needed| *needed > most) {
            return Err(RecvError::BufferTooShort { needed });
        }
        let letter = state.letters.pop_front().ok_or(RecvError::Closed)?;
        state.bytes -= letter.bytes.len();
        if state.letters.is_empty() {
            // The byte is there: it came with the first of the letters.
            (&self.ear).read_exact(&mut [0])?;
        }
        self.changed.notify_all();
        Ok(letter)
    }

    /// Waits for a letter, or the end; `None` at the deadline.
    fn await_letter(&self, deadline: Option<Instant>) -> Option<MutexGuard<'_, State>> {
        let mut state = lock(&self.state);
        while !state.is_ready() {
            state = wait(&self.changed, state, deadline)?;
        }
        Some(state)
    }
}

impl State {
    fn is_ready(&self) -> bool {
        !self.letters.is_empty() || self.ring.is_none()
    }
}
