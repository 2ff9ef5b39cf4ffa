//! What is to happen at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::answer::CallKey;
use crate::client::lock;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A call has waited in its object as long as it may.
    GiveUp { session: u64, call: u64, object: u64 },
    /// A client is to hear that its calls wait.
    Hear { session: u64, period: Duration },
    /// A client may not have used its ring.
    Idle { session: u64, ring: u64 },
    /// A reference in a message that nobody has received goes.
    Lost { ticket: u128 },
    /// Something is wrong in this crate.
    #[cfg(test)]
    Panic,
    /// Whoever is at the helm stops there.
    #[cfg(test)]
    Hold,
    /// A client whose connection was cut has not come back.
    Grace { session: u64, turn: u64 },
    /// A client beyond those that may be connected has asked nothing, and is told nothing.
    Surplus { session: u64 },
}

impl Alarm {
    pub(crate) fn give_up(key: CallKey, object: u64) -> Self {
        Self::GiveUp { session: key.session, call: key.call, object }
    }
}

/// Alarms by time.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    heap: BinaryHeap<Reverse<(Instant, Alarm)>>,
    /// Above this many it is time to look for those that mean nothing any more.
    crowd: usize,
}

/// So many alarms are never looked through.
const FEW: usize = 4096;

impl Alarms {
    /// Sets an alarm; whether it is the next one now.
    pub(crate) fn set(&self, at: Instant, alarm: Alarm) -> bool {
        let heap = &mut lock(&self.0).heap;
        let is_next = heap.peek().is_none_or(|Reverse((next, _))| at < *next);
        heap.push(Reverse((at, alarm)));
        is_next
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        lock(&self.0).heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes off an alarm whose time has come.
    pub(crate) fn due(&self) -> Option<Alarm> {
        let alarms = &mut lock(&self.0).heap;
        let is_due = alarms.peek().is_some_and(|Reverse((at, _))| *at <= Instant::now());
        if is_due { alarms.pop().map(|Reverse((_, alarm))| alarm) } else { None }
    }

    /// Drops alarms that mean nothing any more, if there are many: most waits end long
    /// before their time.
    pub(crate) fn prune(&self, is_meant: impl Fn(&Alarm) -> bool) {
        let mut state = lock(&self.0);
        if state.heap.len() > state.crowd.max(FEW) {
            state.heap.retain(|Reverse((_, alarm))| is_meant(alarm));
            state.crowd = state.heap.len() * 2;
        }
    }
}
