//! Tasks that take longer, or more memory, than they may.

use std::time::{Duration, Instant};

use super::{Core, Hands};
use crate::error::TaskKind;

/// A worker that comes up is not looked at more often than this.
const SHORTEST_LIMIT: Duration = Duration::from_millis(1);

impl Core {
    /// When the first task runs out of time.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.rules.task_timeout?;
        self.workers.iter().filter(|hands| hands.doomed.is_none()).filter_map(|hands| hands.deadline).min()
    }

    /// A worker was given a task before it was up.
    pub(crate) fn is_coming_up(&mut self, worker: usize) {
        self.workers[worker].coming_up = true;
    }

    /// Workers whose task has run out of time: each is doomed, and named once. The time of one
    /// that came up after it was given its task, or has not yet, as `is_up` says, begins anew.
    pub(crate) fn take_overdue(&mut self, now: Instant, is_up: impl Fn(usize) -> bool) -> Vec<usize> {
        let Some(limit) = self.rules.task_timeout else { return Vec::new() };
        let overdue = |hands: &Hands| hands.doomed.is_none() && hands.deadline.is_some_and(|at| at <= now);
        // What a worker does before its first task is no part of that.
        let later = now.checked_add(limit.max(SHORTEST_LIMIT));
        let mut late = Vec::new();
        for (place, hands) in self.workers.iter_mut().enumerate().filter(|(_, hands)| overdue(hands)) {
            if hands.coming_up {
                (hands.coming_up, hands.deadline) = (!is_up(place), later);
            } else {
                hands.doomed = Some(TaskKind::TimedOut(limit));
                late.push(place);
            }
        }
        late
    }

    /// A worker is to be killed for the task it is at.
    pub(crate) fn doom(&mut self, worker: usize, why: TaskKind) {
        self.workers[worker].doomed.get_or_insert(why);
    }

    /// The turns of the tasks that workers are at, by their places, but of those that are to
    /// be killed.
    pub(crate) fn at_work(&self) -> Vec<(usize, u32)> {
        let places = (0..self.workers.len()).filter(|place| self.workers[*place].doomed.is_none());
        places.filter_map(|place| Some((place, self.current(place)?.1.turn))).collect()
    }
}
