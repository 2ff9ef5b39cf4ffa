//! Jobs: what callers wait for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar};
use std::task::Waker;

use ipc_core::{EncodeError, Packet};

use super::{Code, JobId};
use crate::chunks::Chunk;
use crate::error::{PoolError, TaskKind, WorkerId};

/// What a caller waits for.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) inbox: VecDeque<Reply>,
    /// Its tasks are given out before those of jobs with a lower one.
    pub(crate) priority: i32,
    /// Tasks that have not been answered in full.
    pub(crate) open: usize,
    /// What items take.
    pub(crate) measured: Measured,
    /// Wakes the caller, if it sleeps.
    pub(super) wake: Option<Arc<Condvar>>,
    /// How many callers sleep until they are woken by it.
    pub(crate) sleepers: usize,
    /// Nobody need wait for it: the caller holds an `AsyncResult`.
    pub(crate) is_async: bool,
    /// Runs with all replies once there are no more to come.
    pub(crate) callback: Option<Callback>,
    /// The task of an async runtime that awaits it.
    pub(crate) waker: Option<Waker>,
}

impl Job {
    /// What wakes the caller, which is about to sleep.
    pub(crate) fn bed(&mut self) -> Arc<Condvar> {
        Arc::clone(self.wake.get_or_insert_default())
    }

    /// Wakes a caller that sleeps.
    pub(crate) fn wake_one(&self) {
        self.wake.iter().for_each(|wake| wake.notify_one());
    }

    pub(super) fn wake_all(&self) {
        self.wake.iter().for_each(|wake| wake.notify_all());
    }
}

/// A job of one item that has been handed in and is to be opened.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) job: JobId,
    pub(crate) priority: i32,
    pub(crate) code: Arc<Code>,
    pub(crate) chunk: Chunk,
}

/// What an asynchronous job has to do at its end.
pub(crate) struct Callback(pub(crate) Box<dyn FnOnce(VecDeque<Reply>, Option<PoolError>) + Send>);

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

/// News for a job: of `items` items from `index` on.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) index: usize,
    pub(crate) items: u32,
    /// Who had them; nobody if they came to no worker.
    pub(crate) worker: Option<WorkerId>,
    pub(crate) what: What,
}

impl Reply {
    /// An item could not be encoded.
    pub(crate) fn refused(index: usize, error: EncodeError) -> Self {
        Self { index, items: 1, worker: None, what: What::Failed(TaskKind::Argument(error)) }
    }
}

#[derive(Debug)]
pub(crate) enum What {
    /// The outcomes, to be decoded by whoever knows their type, and how many bytes of shared memory
    /// they keep from other use.
    Outcomes(Packet, usize),
    /// All of them failed alike.
    Failed(TaskKind),
}

/// What the last items took, those that came together as one reading.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Measured {
    nanos: u64,
    items: u64,
}

impl Measured {
    /// Readings of so much work count in full, older ones for less and less.
    const MEMORY: u64 = 4_000_000;

    pub(super) fn add(&mut self, items: u32, nanos: u64) {
        if self.nanos > Self::MEMORY {
            (self.nanos, self.items) = (self.nanos / 16, self.items / 16);
        }
        (self.nanos, self.items) = (self.nanos.saturating_add(nanos), self.items + u64::from(items));
    }

    /// How many items take about so long; `None` if nothing is known yet.
    pub(super) fn items_in(self, nanos: u64) -> Option<u64> {
        (self.nanos > 0)
            .then(|| u128::from(nanos) * u128::from(self.items) / u128::from(self.nanos))
            .map(|items| u64::try_from(items).unwrap_or(u64::MAX).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_items_count_for_more_than_one() {
        let mut measured = Measured::default();
        assert_eq!(measured.items_in(1000), None);
        measured.add(1, 50_000);
        assert_eq!(measured.items_in(100_000), Some(2));
        measured.add(10_000, 50_000);
        assert_eq!(measured.items_in(1_000), Some(100));
    }

    #[test]
    fn what_items_took_long_ago_is_forgotten() {
        let mut measured = Measured::default();
        (0..1_000).for_each(|_| measured.add(1_000, 1_000));
        (0..10).for_each(|_| measured.add(1, 10_000_000));
        assert_eq!(measured.items_in(25_000_000), Some(2));
    }
}
