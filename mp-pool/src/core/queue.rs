//! Tasks that no worker holds, by urgency.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use super::TaskId;

/// Tasks in the order in which they are given out: those of higher priority first,
/// and of equals the one that came first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Tasks of priority zero, as nearly all are.
    usual: VecDeque<TaskId>,
    /// All others, the most urgent first; no list is empty.
    special: BTreeMap<Reverse<i32>, VecDeque<TaskId>>,
}

impl Queue {
    pub(super) fn push_back(&mut self, priority: i32, id: TaskId) {
        self.lane(priority).push_back(id);
    }

    pub(super) fn push_front(&mut self, priority: i32, id: TaskId) {
        self.lane(priority).push_front(id);
    }

    fn lane(&mut self, priority: i32) -> &mut VecDeque<TaskId> {
        if priority == 0 { &mut self.usual } else { self.special.entry(Reverse(priority)).or_default() }
    }

    pub(super) fn pop(&mut self) -> Option<TaskId> {
        let Some(mut lane) = self.special.first_entry() else { return self.usual.pop_front() };
        if lane.key().0 < 0
            && let Some(id) = self.usual.pop_front()
        {
            return Some(id);
        }
        let id = lane.get_mut().pop_front();
        if lane.get().is_empty() {
            lane.remove();
        }
        id
    }

    pub(super) fn len(&self) -> usize {
        self.usual.len() + self.special.values().map(VecDeque::len).sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.usual.is_empty() && self.special.is_empty()
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(TaskId) -> bool) {
        self.usual.retain(|id| keep(*id));
        self.special.retain(|_, lane| {
            lane.retain(|id| keep(*id));
            !lane.is_empty()
        });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urgent_come_first_and_equals_in_turn() {
        let mut queue = Queue::default();
        for (priority, id) in [(0, 1), (-3, 2), (5, 3), (0, 4), (5, 5), (1, 6), (-3, 7)] {
            queue.push_back(priority, id);
        }
        queue.push_front(0, 8);
        queue.retain(|id| id != 4);
        let order: Vec<TaskId> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [3, 5, 6, 8, 1, 2, 7]);
        assert!(queue.is_empty() && queue.pop().is_none());
    }
}
