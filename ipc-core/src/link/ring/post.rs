//! What comes over the companion socket: handles ahead of their frames, and bells.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::deadline;
use crate::sys::Handle;
use crate::sys::companion::{Companion, HANDLES_PER_PACKET, Packet};
use crate::wait_set::Nudge;

/// The most handles that may wait for their frame: those of one message, and
/// what came in one packet with them.
const MOST: usize = u16::MAX as usize + HANDLES_PER_PACKET;
/// The most packets that one look takes, so that a peer that sends without end
/// cannot keep it.
const PACKETS_PER_LOOK: usize = 1024;
/// How long a receiver past its deadline still lets others take note of their bell.
const PATIENCE: Duration = Duration::from_millis(5);

/// The receiving end's letterbox, shared by its threads.
#[derive(Debug, Default)]
pub(super) struct Post {
    state: Mutex<State>,
    disarmed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Handles whose frame has not been read; an empty place is one that was lost.
    arrived: VecDeque<Option<Handle>>,
    /// How many threads wait for the bell, or are about to.
    armed: usize,
    /// Those of them that stay, and look again when they are told to.
    nudges: Vec<Arc<Nudge>>,
}

/// Why the handles of a frame could not be had.
#[derive(Debug)]
pub(super) enum Missing {
    /// They were never sent.
    NeverSent,
    /// The deadline passed first; nothing is lost.
    Timeout,
    Io(io::Error),
}

impl Post {
    /// Takes the `count` handles of the next frame: they were sent before it.
    pub(super) fn take(
        &self,
        companion: &Companion,
        count: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<Option<Handle>>, Missing> {
        let mut state = self.lock();
        let mut packets = 0;
        while state.arrived.len() < count {
            // A bell that others wait for must reach them: they wake now, find
            // this very frame still there, and go.
            if state.armed > 0 && companion.has_bell() {
                state.nudge();
                state = self.let_them_hear(state, deadline)?;
            }
            match companion.receive().map_err(Missing::Io)? {
                Packet::Handles(handles) => state.arrived.extend(handles),
                Packet::Bell => packets += 1,
                Packet::End | Packet::Nothing => return Err(Missing::NeverSent),
            }
            if packets > PACKETS_PER_LOOK {
                return Err(Missing::NeverSent);
            }
        }
        Ok(state.arrived.drain(..count).collect())
    }

    fn let_them_hear<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> Result<MutexGuard<'a, State>, Missing> {
        let latest = Instant::now() + PATIENCE;
        let deadline = deadline.map(|deadline| deadline.max(latest));
        while state.armed > 0 {
            if deadline::expired(deadline) {
                return Err(Missing::Timeout);
            }
            let left =
                deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            let waited = self.disarmed.wait_timeout(state, left.min(Duration::from_secs(1)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(state)
    }

    /// One more thread is about to wait for the bell.
    pub(super) fn arm(&self, nudge: Option<&Arc<Nudge>>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.armed += 1;
        if let Some(nudge) = nudge {
            state.nudges.retain(|nudge| nudge.is_armed());
            state.nudges.push(Arc::clone(nudge));
        }
        state
    }

    /// It waits no more; `last` runs if no other does, while none can begin to.
    pub(super) fn disarm(&self, last: impl FnOnce()) {
        let mut state = self.lock();
        state.armed = state.armed.saturating_sub(1);
        if state.armed == 0 {
            last();
            self.disarmed.notify_all();
        }
    }

    /// The handles that came ahead of frames not read yet, for whoever goes on with this end.
    pub(super) fn copies(&self) -> io::Result<Vec<Handle>> {
        let state = self.lock();
        let lost = || io::Error::other("handles of a message to come were lost");
        let copy = |place: &Option<Handle>| place.as_ref().ok_or_else(lost)?.try_clone();
        state.arrived.iter().map(copy).collect()
    }

    /// Puts back what [`copies`](Self::copies) brought.
    pub(super) fn put_back(&self, handles: Vec<Handle>) {
        self.lock().arrived.extend(handles.into_iter().map(Some));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells sets that a bell is about to be taken, and counts them as disarmed.
    fn nudge(&mut self) {
        let told = self.nudges.drain(..).filter(|nudge| nudge.tell()).count();
        self.armed = self.armed.saturating_sub(told);
    }

    /// Empties the companion socket, so that only what comes from now on makes it
    /// readable; `false` once the peer is gone, or sends handles without end.
    pub(super) fn drain(&mut self, companion: &Companion) -> bool {
        for _ in 0..PACKETS_PER_LOOK {
            match companion.receive() {
                Ok(Packet::Handles(handles)) => self.arrived.extend(handles),
                Ok(Packet::Bell) => {}
                Ok(Packet::Nothing) => return true,
                Ok(Packet::End) | Err(_) => return false,
            }
            if self.arrived.len() > MOST {
                self.arrived.clear();
                return false;
            }
        }
        true
    }
}
