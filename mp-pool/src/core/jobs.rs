//! All jobs of a pool, and how many of them need somebody to drive for them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::task::Waker;

use super::job::{Callback, Job};
use super::{JobId, Reply};
use crate::error::PoolError;

/// The jobs of a pool.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    map: HashMap<JobId, Job, Ids>,
    /// Asynchronous ones that are not over.
    open: usize,
    /// Those of them whose end somebody wants to be told of.
    noticed: usize,
    /// Jobs that are over and have a callback.
    ended: Vec<JobId>,
}

/// What a job counts for.
struct Standing {
    open: bool,
    noticed: bool,
    ended: bool,
}

impl Standing {
    fn of(job: &Job) -> Self {
        let open = job.is_async && job.open > 0;
        let noticed = open && (job.callback.is_some() || job.waker.is_some());
        Self { open, noticed, ended: job.open == 0 && job.callback.is_some() }
    }
}

impl Jobs {
    pub(super) fn insert(&mut self, id: JobId, job: Job) {
        let standing = Standing::of(&job);
        self.open += usize::from(standing.open);
        self.noticed += usize::from(standing.noticed);
        self.map.insert(id, job);
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Job> {
        self.map.get(&id)
    }

    /// Lets `change` change a job, if there is one of that number.
    pub(crate) fn change<T>(&mut self, id: JobId, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let job = self.map.get_mut(&id)?;
        let before = Standing::of(job);
        let result = change(job);
        let after = Standing::of(job);
        self.open = self.open + usize::from(after.open) - usize::from(before.open);
        self.noticed = self.noticed + usize::from(after.noticed) - usize::from(before.noticed);
        if after.ended && !before.ended {
            self.ended.push(id);
        }
        Some(result)
    }

    pub(crate) fn remove(&mut self, id: JobId) -> Option<Job> {
        let job = self.map.remove(&id)?;
        let standing = Standing::of(&job);
        self.open -= usize::from(standing.open);
        self.noticed -= usize::from(standing.noticed);
        Some(job)
    }

    /// Whether there are asynchronous jobs that are not over.
    pub(super) fn any_open(&self) -> bool {
        self.open > 0
    }

    /// Whether somebody wants to be told of the end of one.
    pub(crate) fn any_noticed(&self) -> bool {
        self.noticed > 0
    }

    /// Nothing will be done any more.
    pub(super) fn wake_all(&self) {
        self.map.values().for_each(Job::wake_all);
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let ids: Vec<JobId> = self.map.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.change(id, |job| job.waker.take()).flatten()).collect()
    }

    /// The callbacks of jobs that are over, or of all if the pool is broken, with what
    /// they came to.
    pub(super) fn take_callbacks(&mut self, broken: Option<&PoolError>) -> Vec<Box<dyn FnOnce() + Send>> {
        let mut over = std::mem::take(&mut self.ended);
        if broken.is_some() {
            over = self.map.iter().filter(|(_, job)| job.callback.is_some()).map(|(id, _)| *id).collect();
        }
        let mut calls: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for id in over {
            let Some(Job { inbox, callback: Some(Callback(callback)), open, .. }) = self.remove(id) else {
                continue;
            };
            let error = broken.cloned().filter(|_| open > 0);
            calls.push(Box::new(move || callback(inbox, error)));
        }
        calls
    }

    /// Puts news into a job's inbox.
    pub(super) fn reply(&mut self, id: JobId, reply: Reply, done: bool) -> Option<JobId> {
        self.change(id, |job| {
            if done && job.open == 1 {
                // The last one; of a job of one item the only one.
                job.inbox.reserve_exact(1);
            }
            job.inbox.push_back(reply);
            job.open -= usize::from(done);
            id
        })
    }
}

/// Numbers that are given one after the other need no strong hash.
pub(super) type Ids = BuildHasherDefault<IdHasher>;

#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, id: u64) {
        // Spreads neighbours over all bits: the golden ratio's.
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
