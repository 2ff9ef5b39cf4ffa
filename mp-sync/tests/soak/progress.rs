//! What workers have done, and how long they did nothing.

use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mp_sync::SharedAtomicU64;

/// What the workers of one number have done, one after the other, as their parent sees it.
pub(crate) struct Progress {
    steps: SharedAtomicU64,
    /// How many calls have returned that were not a step by themselves.
    others: SharedAtomicU64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { steps: SharedAtomicU64::new(0).unwrap(), others: SharedAtomicU64::new(0).unwrap() }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(SeqCst)
    }

    /// How many calls have returned.
    pub(crate) fn calls(&self) -> u64 {
        self.steps() + self.others.load(SeqCst)
    }
}

/// One step more.
pub(crate) fn done(progress: &Progress) {
    progress.steps.fetch_add(1, SeqCst);
}

/// A call more has returned, where a step takes several.
pub(crate) fn returned(progress: &Progress) {
    progress.others.fetch_add(1, SeqCst);
}

/// The longest waits of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Longest {
    /// Of one call.
    pub(crate) wait: Wait,
    /// For a step, where that takes several calls.
    pub(crate) barren: Barren,
    /// The longest time in which one slept, and was not even woken.
    pub(crate) asleep: Duration,
}

/// One call that did not return for a time.
#[derive(Debug, Default)]
pub(crate) struct Wait {
    pub(crate) time: Duration,
    /// How long of it the worker could have gone on, and had none.
    pub(crate) starved: Duration,
    /// How many steps the others did meanwhile.
    pub(crate) overtaken: u64,
}

/// A time without a step, in which so many calls returned.
#[derive(Debug, Default)]
pub(crate) struct Barren {
    pub(crate) time: Duration,
    pub(crate) calls: u64,
}

impl Longest {
    pub(crate) fn note(&mut self, wait: Wait) {
        if wait.time > self.wait.time {
            self.wait = wait;
        }
    }

    pub(crate) fn note_barren(&mut self, barren: Barren) {
        if barren.calls > 0 && barren.time > self.barren.time {
            self.barren = barren;
        }
    }
}

impl fmt::Display for Longest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wait { time, starved, overtaken } = &self.wait;
        let [time, starved, asleep] = [time, starved, &self.asleep].map(Duration::as_millis);
        write!(
            f,
            "longest wait {time} ms ({starved} without a processor, others did {overtaken}), asleep {asleep} ms"
        )
    }
}
