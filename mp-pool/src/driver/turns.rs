//! How callers wait: one at a time sleeps for all until a worker answers or ends, and the others
//! until they are woken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::{Waitable, wait_deadline};

use super::locked::Locked;
use super::{Driver, MUTE_GRACE, State};
use crate::core::{JobId, Reply};
use crate::error::PoolError;
use crate::station::Station;

/// How long a driver polls before it sleeps, where that pays.
const POLL_FOR: Duration = Duration::from_micros(20);
/// A user's link that is full is tried again so often.
const FLUSH_EVERY: Duration = Duration::from_millis(1);

impl Driver {
    /// Waits for news of a job; `None` when nothing of it is under way.
    ///
    /// # Errors
    /// Once the pool is broken; at the deadline, an empty list.
    pub(crate) fn replies(
        &self,
        job: JobId,
        deadline: Option<Instant>,
    ) -> Result<Option<VecDeque<Reply>>, PoolError> {
        let mut state = self.lock();
        let mut late = false;
        loop {
            let waiting = state.core.jobs.change(job, |job| (std::mem::take(&mut job.inbox), job.open));
            let Some((replies, open)) = waiting else { return Ok(None) };
            if !replies.is_empty() {
                self.hand_over(&mut state);
                return Ok(Some(replies));
            }
            if open == 0 {
                self.hand_over(&mut state);
                return Ok(None);
            }
            Self::check(&state)?;
            if late {
                self.hand_over(&mut state);
                return Ok(Some(VecDeque::new()));
            }
            // At the deadline what has come is looked at once more.
            late = deadline.is_some_and(|at| Instant::now() >= at);
            state = self.turn(state, job, deadline);
        }
    }

    /// Sleeps once, for all if nobody else does.
    pub(super) fn turn<'a>(&'a self, state: Locked<'a>, job: JobId, deadline: Option<Instant>) -> Locked<'a> {
        if state.driven { Self::sleep_until_woken(state, job, deadline) } else { self.drive(state, deadline) }
    }

    /// Somebody else drives: sleep until there is news, or the wheel is free.
    pub(super) fn sleep_until_woken(
        mut state: Locked<'_>,
        job: JobId,
        deadline: Option<Instant>,
    ) -> Locked<'_> {
        let wake = state.core.jobs.change(job, |job| {
            job.sleepers += 1;
            job.bed()
        });
        let Some(wake) = wake else { return state };
        state.sleepers.push_back(job);
        state = state.wait(&wake, deadline);
        state.sleepers.retain(|sleeper| *sleeper != job);
        state.core.jobs.change(job, |job| job.sleepers -= 1);
        state
    }

    /// Lets another caller drive, if one sleeps and nobody does.
    pub(super) fn hand_over(&self, state: &mut State) {
        if state.driven {
            return;
        }
        match state.sleepers.front().and_then(|next| state.core.jobs.get(*next)) {
            Some(job) => job.wake_one(),
            None => self.wake_supervisor(state),
        }
    }

    /// One turn: take in what has come, or sleep until something does.
    pub(super) fn drive<'a>(&'a self, mut state: Locked<'a>, deadline: Option<Instant>) -> Locked<'a> {
        if self.pump(&mut state, false) {
            return state;
        }
        let again = self.take_back(&mut state);
        let cut = state.flush().then(|| Instant::now() + FLUSH_EVERY);
        let stuck = state.core.try_stuck_again();
        let mute = state.mute.iter().flatten().min().map(|since| *since + MUTE_GRACE);
        let deadline = [
            deadline,
            again,
            cut,
            stuck,
            mute,
            state.core.next_deadline(),
            state.core.next_leave(),
            state.next_measuring(),
            state.next_try(),
        ]
        .into_iter()
        .flatten()
        .min();
        state.watches = again.is_some();
        let speaking = state.listen();
        let all: Vec<Arc<Station>> =
            state.stations.iter().flatten().chain(&state.leaving).map(Arc::clone).collect();
        let poll = state.core.may_poll();
        state.driven = true;
        drop(state);
        let one_ended = !(poll && Self::poll(&speaking)) && self.sleep(&speaking, &all, deadline);
        drop((speaking, all));
        let mut state = self.lock();
        state.driven = false;
        self.pump(&mut state, one_ended);
        state
    }

    /// Looks again and again for a short time: an answer that is about to come
    /// costs no wake-up.
    fn poll(stations: &[Arc<Station>]) -> bool {
        let until = Instant::now() + POLL_FOR;
        loop {
            for _ in 0..16 {
                if stations.iter().any(|station| station.link().is_ready() == Some(true)) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= until {
                return false;
            }
        }
    }

    /// Sleeps until a worker answers or ends; whether one has ended.
    fn sleep(&self, speaking: &[Arc<Station>], all: &[Arc<Station>], deadline: Option<Instant>) -> bool {
        let answers = speaking.iter().map(|station| station.answers() as &dyn Waitable);
        let ends = all.iter().map(|station| station.sentinel() as &dyn Waitable);
        let bell = std::iter::once(&self.bell as &dyn Waitable);
        let items: Vec<&dyn Waitable> = bell.chain(answers).chain(ends).collect();
        match wait_deadline(&items, deadline) {
            Ok(ready) => {
                if ready.first() == Some(&0) {
                    self.bell.hear();
                }
                ready.last().is_some_and(|last| *last > speaking.len())
            }
            Err(_) => {
                // The kernel refuses, for want of memory: look at everything, but not at once.
                std::thread::sleep(Duration::from_millis(1));
                true
            }
        }
    }
}

impl State {
    /// The workers whose answers are waited for from now on.
    fn listen(&mut self) -> Vec<Arc<Station>> {
        let Self { core, stations, mute, listened, .. } = self;
        listened.clear();
        listened.extend((0..stations.len()).map(|place| mute[place].is_none() && core.may_speak(place)));
        let speaking = stations.iter().zip(listened).filter(|(_, listened)| **listened);
        speaking.filter_map(|(station, _)| station.clone()).collect()
    }
}
