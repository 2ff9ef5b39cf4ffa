//! Tasks that wait behind a slow one are taken back while another worker is idle.

use std::time::{Duration, Instant};

use super::{Core, Hands, NO_JOB, Task, TaskId};
use crate::worker::Begun;

/// How long a worker may be at one thing, with others behind it.
const PATIENCE: Duration = Duration::from_millis(1);

impl Core {
    /// Whether a worker has nothing to do while another has things that wait.
    pub(crate) fn is_lopsided(&self) -> bool {
        let waits = |hands: &Hands| hands.alive && hands.held.iter().any(|id| self.may_wait(hands, *id));
        let all_given = self.queue.is_empty() || self.is_sparing();
        all_given && self.next_worker(true).is_some() && self.workers.iter().any(waits)
    }

    /// Whether a task that a worker holds may have something to be taken back.
    fn may_wait(&self, hands: &Hands, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(&id).filter(|task| task.job != NO_JOB) else { return false };
        if hands.held.front() == Some(&id) {
            task.is_divisible() && task.items - task.answered > 1
        } else {
            !task.packet.moves_ends()
        }
    }

    /// Workers that have brought nothing for a while, if it is to be feared that things
    /// wait in them for nothing, and when to look again.
    pub(crate) fn laggards(&mut self) -> (Vec<usize>, Option<Instant>) {
        if !self.is_lopsided() {
            return (Vec::new(), None);
        }
        let now = Instant::now();
        let mut late = Vec::new();
        let waiting: Vec<usize> = (0..self.workers.len())
            .filter(|place| {
                let hands = &self.workers[*place];
                hands.held.iter().any(|id| self.may_wait(hands, *id))
            })
            .collect();
        for place in &waiting {
            let hands = &mut self.workers[*place];
            match hands.watched {
                Some((answers, since)) if answers == hands.answers => {
                    if now >= since + PATIENCE {
                        late.push(*place);
                        hands.watched = None;
                        hands.late = true;
                    }
                }
                _ => hands.watched = Some((hands.answers, now)),
            }
        }
        if !late.is_empty() {
            // What was thought to be quick is not: others are to have it at once.
            self.takes_long(PATIENCE);
        }
        let since = |place: &usize| self.workers[*place].watched.map(|(_, since)| since + PATIENCE);
        let again = waiting.iter().filter_map(since).min();
        (late, again)
    }

    /// What may be taken back from a worker, the last first: tasks, their turns and
    /// whether their items are claimed several at a time.
    pub(crate) fn waiting_in(&self, worker: usize) -> Vec<(TaskId, u32, bool)> {
        let hands = &self.workers[worker];
        let waiting = hands.held.iter().rev().filter(|id| self.may_wait(hands, **id));
        let tasks = waiting.filter_map(|id| Some((*id, self.tasks.get(id)?)));
        tasks.map(|(id, task)| (id, task.turn, task.code.whole)).collect()
    }

    /// The worker will begin no more items of a task: those go back to the queue.
    pub(crate) fn take_back(&mut self, worker: usize, id: TaskId, begun: Begun) {
        match begun {
            Begun::Nothing => self.take_back_whole(id),
            Begun::Items(count) => self.take_back_rest(worker, id, count),
        }
    }

    /// The worker answers all the same, that it has skipped the task.
    fn take_back_whole(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let packet = std::mem::take(&mut task.packet);
        let back = Task { packet, ..task.range(0, 0) };
        let back = Task { items: task.items, suspect: task.suspect.take(), ..back };
        task.job = NO_JOB;
        self.put_in_front(back);
    }

    fn take_back_rest(&mut self, worker: usize, id: TaskId, begun: u32) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if begun >= task.items || !task.is_divisible() {
            return;
        }
        let mut back = task.range(begun, task.items);
        back.suspect = task.suspect.filter(|(index, _)| *index >= back.index);
        task.items = begun;
        let (job, done) = (task.job, task.answered == begun);
        if done {
            self.let_go(worker, id);
        }
        self.jobs.change(job, |job| job.open += usize::from(!done));
        self.put_in_front(back);
    }

    pub(super) fn put_in_front(&mut self, task: Task) {
        let id = self.add(task);
        self.put_back(id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use ipc_core::Packet;

    use super::super::Code;
    use super::*;
    use crate::error::WorkerId;
    use crate::rules::Rules;
    use crate::wire::AnswerHead;

    /// It stood still between an answer and the next item.
    #[test]
    fn a_worker_that_has_answered_all_that_is_left_to_it_gets_more() {
        let mut core = Core::new(Rules::new(2), 2);
        (0..2).for_each(|place| core.started(place, WorkerId { pool: 1, number: place as u32 + 1 }));
        core.open_job(1, 0);
        let code = Arc::new(Code {
            bytes: Vec::new(),
            whole: true,
            item_width: Some(1),
            value_width: None,
            takes_vectors: false,
            lease: None,
        });
        let mut packet = Packet::new();
        packet.extend_bytes(&[0; 4]);
        core.submit(1, &code, 0, 4, packet);
        let task = core.next_task().unwrap();
        core.give(0, task);
        core.answer(
            0,
            AnswerHead { task, items: 2, busy_nanos: 10, kept_bytes: 0, slowest: None },
            Packet::new(),
        );
        assert!(core.laggards().0.is_empty());
        thread::sleep(2 * PATIENCE);
        assert_eq!(core.laggards().0, [0]);
        core.take_back(0, task, Begun::Items(2));
        let rest = core.next_task().unwrap();
        core.give(1, rest);
        assert_eq!(core.next_worker(true), Some(0), "it is never given anything again");
    }
}
