//! What a thread's time goes into.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::stats::{PoolStats, SlowInput, Times, WorkerStats};

/// So many of the slowest inputs are known.
const SLOWEST: usize = 5;

/// What a thread is at.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Starting,
    Waiting,
    Busy,
    Over,
}

/// Written by one thread, read by whoever asks.
pub(super) struct Record {
    name: String,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// Since when it has been at that.
    begun: Instant,
    /// Up to when that is in its times.
    noted: Instant,
    times: Times,
    tasks: u64,
    answers: u64,
    /// How many threads have had this place before.
    restarts: u32,
    slowest: Vec<SlowInput>,
}

impl Record {
    pub(super) fn new(name: String) -> Self {
        let state = State {
            phase: Phase::Starting,
            begun: Instant::now(),
            noted: Instant::now(),
            times: Times::default(),
            tasks: 0,
            answers: 0,
            restarts: 0,
            slowest: Vec::new(),
        };
        Self { name, state: Mutex::new(state) }
    }

    /// The thread is at something else from now on.
    pub(super) fn turn_to(&self, phase: Phase) {
        self.lock().turn_to(phase);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Another thread takes the place of one that has left.
    pub(super) fn begin_again(&self) {
        let mut state = self.lock();
        state.turn_to(Phase::Starting);
        state.restarts += 1;
    }

    /// The thread has done some items of a call.
    pub(super) fn end_task(&self, index: usize, items: usize) {
        let mut state = self.lock();
        let time = state.turn_to(Phase::Waiting);
        state.tasks += items as u64;
        state.answers += 1;
        let at = state.slowest.partition_point(|other| other.time >= time);
        if at < SLOWEST {
            state.slowest.insert(at, SlowInput { index, items, time, worker: self.name.clone() });
            state.slowest.truncate(SLOWEST);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long the thread was at what it was at.
    fn turn_to(&mut self, phase: Phase) -> Duration {
        self.note();
        self.phase = phase;
        self.noted - std::mem::replace(&mut self.begun, self.noted)
    }

    /// Adds up to now what it is at.
    fn note(&mut self) {
        let now = Instant::now();
        let time = now - std::mem::replace(&mut self.noted, now);
        match self.phase {
            Phase::Starting => self.times.starting += time,
            Phase::Waiting => self.times.waiting += time,
            Phase::Busy => self.times.busy += time,
            Phase::Over => {}
        }
    }
}

/// What all threads have done.
pub(super) fn stats<'a>(records: impl Iterator<Item = &'a Record>) -> PoolStats {
    let mut stats =
        PoolStats { workers: Vec::new(), slowest: Vec::new(), cpus: mp_process::cpu_count(), answers: 0 };
    for record in records {
        let mut state = record.lock();
        state.note();
        let (name, tasks, times) = (record.name.clone(), state.tasks, state.times);
        let restarts = state.restarts;
        stats.workers.push(WorkerStats { name, pid: None, restarts, tasks, times });
        stats.slowest.extend_from_slice(&state.slowest);
        stats.answers += state.answers;
    }
    stats.slowest.sort_by_key(|slow| std::cmp::Reverse(slow.time));
    stats.slowest.truncate(SLOWEST);
    stats
}
