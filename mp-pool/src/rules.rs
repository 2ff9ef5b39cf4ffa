//! What was asked of a pool when it was made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipc_core::Packet;
use mp_process::StartMethod;

use crate::transport::Wires;

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
    /// Bytes by which the resident memory of a worker may grow in a task.
    pub(crate) task_memory: Option<u64>,
    /// A worker that has more bytes resident after a task is replaced.
    pub(crate) memory_per_child: Option<u64>,
    /// A worker that has run so many items is replaced.
    pub(crate) tasks_per_child: Option<u32>,
    /// How many processes the pools in its tasks may have, all together.
    pub(crate) budget: Option<usize>,
    /// How many bytes of arguments and results of one call are under way.
    pub(crate) window_bytes: usize,
    /// How workers are reached, if not by rings.
    pub(crate) wires: Option<Wires>,
    pub(crate) start_method: StartMethod,
    /// What each worker runs before its first task.
    pub(crate) setup: Option<Arc<Mutex<Packet>>>,
    /// What each worker runs when it leaves.
    pub(crate) farewell: Option<Arc<Mutex<Packet>>>,
}

/// How many bytes of a call are under way, unless set.
const WINDOW_BYTES: usize = 64 << 20;

impl Rules {
    /// What is usual, for so many workers.
    pub(crate) fn new(processes: usize) -> Self {
        Self {
            processes,
            idle_timeout: None,
            least: 0,
            retries: 0,
            task_timeout: None,
            soft_timeout: None,
            memory_limit: None,
            task_memory: None,
            memory_per_child: None,
            tasks_per_child: None,
            budget: None,
            window_bytes: WINDOW_BYTES,
            wires: None,
            start_method: StartMethod::Spawn,
            setup: None,
            farewell: None,
        }
    }

    /// Whether items go each by itself, and to workers that are idle, because each has its
    /// own limits.
    pub(crate) fn is_by_item(&self) -> bool {
        self.task_timeout.is_some() || self.task_memory.is_some()
    }

    /// What a task is told of its time.
    pub(crate) fn told_limit(&self) -> Option<Duration> {
        self.soft_timeout.into_iter().chain(self.task_timeout).min()
    }

    /// How many items a task of a map may have, of those that would be usual.
    pub(crate) fn chunk_size(&self, usual: usize) -> usize {
        match self.tasks_per_child {
            // The time and the memory of each item count by themselves.
            _ if self.is_by_item() => 1,
            Some(most) => usual.min(most as usize),
            None => usual,
        }
    }
}
