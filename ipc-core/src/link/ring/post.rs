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
    /// Handles whose frame has not been read, each with its frame's place; none stands
    /// for one that was lost.
    arrived: VecDeque<Arrived>,
    /// How many threads wait for the bell, or are about to.
    armed: usize,
    /// Those of them that stay, and look again when they are told to.
    nudges: Vec<Arc<Nudge>>,
}

type Arrived = (u64, Option<Handle>);

/// Whether a frame at `place` would lie before `read_to`: its sender died before it was sent.
fn is_past(place: u64, read_to: u64) -> bool {
    place.wrapping_sub(read_to) > u64::MAX / 2
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
    /// Takes the `count` handles of the frame at `place`, which is the next: they were sent
    /// before it, and after those of frames that never came.
    pub(super) fn take(
        &self,
        companion: &Companion,
        place: u64,
        count: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<Option<Handle>>, Missing> {
        let mut state = self.lock();
        let mut packets = 0;
        state.forget_past(place);
        while state.arrived.len() < count {
            // A bell that others wait for must reach them: they wake now, find
            // this very frame still there, and go.
            if state.armed > 0 && companion.has_bell() {
                state.nudge();
                state = self.let_them_hear(state, deadline)?;
            }
            match companion.receive().map_err(Missing::Io)? {
                Packet::Handles(of, _) if is_past(of, place) => packets += 1,
                Packet::Handles(of, handles) => state.add(of, handles),
                Packet::Bell => packets += 1,
                Packet::End | Packet::Nothing => return Err(Missing::NeverSent),
            }
            if packets > PACKETS_PER_LOOK {
                return Err(Missing::NeverSent);
            }
        }
        if state.arrived.iter().take(count).any(|(of, _)| *of != place) {
            return Err(Missing::NeverSent);
        }
        Ok(state.arrived.drain(..count).map(|(_, handle)| handle).collect())
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

    /// One more thread is about to wait for the bell, and for `rattle` if there is one.
    pub(super) fn arm(
        &self,
        nudge: Option<&Arc<Nudge>>,
        rattle: Option<&Companion>,
    ) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if let Some(rattle) = rattle {
            state.hear(rattle);
        }
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

    /// The handles that came ahead of frames not read yet, and the places of these, for
    /// whoever goes on with this end.
    pub(super) fn copies(&self, read_to: u64) -> io::Result<(Vec<u64>, Vec<Handle>)> {
        let mut state = self.lock();
        state.forget_past(read_to);
        let lost = || io::Error::other("handles of a message to come were lost");
        let copy = |(place, handle): &Arrived| Ok((*place, handle.as_ref().ok_or_else(lost)?.try_clone()?));
        state.arrived.iter().map(copy).collect()
    }

    /// Puts back what [`copies`](Self::copies) brought.
    pub(super) fn put_back(&self, places: Vec<u64>, handles: Vec<Handle>) {
        self.lock().arrived.extend(places.into_iter().zip(handles.into_iter().map(Some)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, place: u64, handles: Vec<Option<Handle>>) {
        self.arrived.extend(handles.into_iter().map(|handle| (place, handle)));
    }

    /// Drops the handles of frames that never came.
    fn forget_past(&mut self, read_to: u64) {
        while self.arrived.front().is_some_and(|(place, _)| is_past(*place, read_to)) {
            self.arrived.pop_front();
        }
    }

    /// Takes off what rings for all that wait, unless some still have to hear it, and tells
    /// those that stay.
    fn hear(&mut self, rattle: &Companion) {
        if rattle.has_bell() {
            self.nudge();
            if self.armed == 0 {
                while let Ok(Packet::Bell) = rattle.receive() {}
            }
        }
    }

    /// Tells sets that a bell is about to be taken, and counts them as disarmed.
    fn nudge(&mut self) {
        let told = self.nudges.drain(..).filter(|nudge| nudge.tell()).count();
        self.armed = self.armed.saturating_sub(told);
    }

    /// Empties the companion socket, so that only what comes from now on makes it
    /// readable; `false` once the peer is gone, or sends handles without end.
    pub(super) fn drain(&mut self, companion: &Companion, read_to: u64) -> bool {
        self.forget_past(read_to);
        for _ in 0..PACKETS_PER_LOOK {
            match companion.receive() {
                Ok(Packet::Handles(of, _)) if is_past(of, read_to) => {}
                Ok(Packet::Handles(of, handles)) => self.add(of, handles),
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
