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
    /// A reference in a message that nobody has received goes.
    Lost { ticket: u128 },
}

impl Alarm {
    pub(crate) fn give_up(key: CallKey, object: u64) -> Self {
        Self::GiveUp { session: key.session, call: key.call, object }
    }
}

/// Alarms by time.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<BinaryHeap<Reverse<(Instant, Alarm)>>>);

impl Alarms {
    pub(crate) fn set(&self, at: Instant, alarm: Alarm) {
        lock(&self.0).push(Reverse((at, alarm)));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        lock(&self.0).peek().map(|Reverse((at, _))| *at)
    }

    /// Takes off an alarm whose time has come.
    pub(crate) fn due(&self) -> Option<Alarm> {
        let mut alarms = lock(&self.0);
        let is_due = alarms.peek().is_some_and(|Reverse((at, _))| *at <= Instant::now());
        if is_due { alarms.pop().map(|Reverse((_, alarm))| alarm) } else { None }
    }
}
