//! Tasks that wait in a worker behind a long one, while another worker is idle.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Core, NO_JOB, Task, TaskId};

/// A worker that has been at one task for so long may have those behind it taken back.
const PATIENCE: Duration = Duration::from_millis(2);

/// What [`Core::stranded`] found.
#[derive(Debug, Default)]
pub(crate) struct Stranded {
    /// Tasks that should be taken back: the worker, which of those it was given, and
    /// which of the pool's.
    pub(crate) tasks: Vec<(usize, u64, TaskId)>,
    /// When to look again.
    pub(crate) look_at: Option<Instant>,
}

impl Core {
    /// Looks for tasks that an idle worker could do sooner than the one that holds
    /// them. Asked before the pool sleeps, so that it costs nothing while it is busy.
    pub(crate) fn stranded(&mut self) -> Stranded {
        let mut found = Stranded::default();
        let crowded = self.workers.iter().any(|hands| hands.held.len() > 1);
        if !crowded || !self.queue.is_empty() || self.next_worker(true).is_none() {
            return found;
        }
        let now = Instant::now();
        for (place, hands) in self.workers.iter_mut().enumerate().filter(|(_, hands)| hands.held.len() > 1) {
            let front = hands.held.front().copied();
            let since = match hands.at_since {
                Some((task, since)) if Some(task) == front => since,
                _ => now,
            };
            hands.at_since = front.map(|task| (task, since));
            let due = since + PATIENCE;
            if due > now {
                found.look_at = Some(found.look_at.map_or(due, |at| at.min(due)));
                continue;
            }
            // A channel end that was in one is the worker's now.
            let stays = |task: &Task| task.job == NO_JOB || task.packet.moves_ends();
            let behind = hands.turns().skip(1);
            let free = behind.filter(|(_, id)| self.tasks.get(id).is_some_and(|task| !stays(task)));
            found.tasks.extend(free.map(|(turn, id)| (place, turn, id)));
        }
        found
    }

    /// A worker has been told to skip a task, which goes to the front of the queue; the
    /// worker's answer to the old one concerns nobody.
    pub(crate) fn take_back(&mut self, id: TaskId) {
        let Some(old) = self.tasks.get_mut(&id) else { return };
        let task = Task { packet: mem::take(&mut old.packet), code: Arc::clone(&old.code), ..*old };
        old.job = NO_JOB;
        let priority = task.priority;
        let id = self.add(task);
        self.queue.push_front(priority, id);
    }
}
