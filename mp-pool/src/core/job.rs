//! Jobs: what callers wait for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar};
use std::task::Waker;

use ipc_core::Packet;

use crate::error::{PoolError, TaskKind};

/// What a caller waits for.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) inbox: VecDeque<Reply>,
    /// Its tasks are given out before those of jobs with a lower one.
    pub(crate) priority: i32,
    /// Tasks that have not been answered in full.
    pub(crate) open: usize,
    /// What an item takes a worker, smoothed.
    pub(crate) item_nanos: Option<u64>,
    /// Wakes the caller, if it sleeps.
    pub(crate) wake: Arc<Condvar>,
    /// How many callers sleep until they are woken by it.
    pub(crate) sleepers: usize,
    /// Nobody need wait for it: the caller holds an `AsyncResult`.
    pub(crate) is_async: bool,
    /// Runs with all replies once there are no more to come.
    pub(crate) callback: Option<Callback>,
    /// The task of an async runtime that awaits it.
    pub(crate) waker: Option<Waker>,
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
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The outcomes, to be decoded by whoever knows their type.
    Outcomes(Packet),
    /// All of them failed alike.
    Failed(TaskKind),
}
