//! What was asked of a pool when it was made.

use std::time::Duration;

use ipc_core::Packet;
use mp_process::StartMethod;

/// The settings of a pool.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) processes: usize,
    /// A worker that has been idle for so long leaves, and comes back when needed.
    pub(crate) idle_timeout: Option<Duration>,
    /// So many stay all the same.
    pub(crate) least: usize,
    pub(crate) retries: u32,
    pub(crate) task_timeout: Option<Duration>,
    /// What tasks are told of their time; nothing happens to those that overrun it.
    pub(crate) soft_timeout: Option<Duration>,
    /// Bytes of address space that a worker may have.
    pub(crate) memory_limit: Option<u64>,
    /// A worker that has more bytes resident after a task is replaced.
    pub(crate) memory_per_child: Option<u64>,
    /// A worker that has run so many items is replaced.
    pub(crate) tasks_per_child: Option<u32>,
    pub(crate) start_method: StartMethod,
    /// What each worker runs before its first task.
    pub(crate) setup: Option<Packet>,
    /// What each worker runs when it leaves.
    pub(crate) farewell: Option<Packet>,
}

impl Rules {
    /// What a task is told of its time.
    pub(crate) fn told_limit(&self) -> Option<Duration> {
        self.soft_timeout.into_iter().chain(self.task_timeout).min()
    }

    /// How many items a task of a map may have, of those that would be usual.
    pub(crate) fn chunk_size(&self, usual: usize) -> usize {
        match (self.task_timeout, self.tasks_per_child) {
            // The time of each item counts by itself.
            (Some(_), _) => 1,
            (None, Some(most)) => usual.min(most as usize),
            (None, None) => usual,
        }
    }
}
