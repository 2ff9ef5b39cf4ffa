//! What becomes of a dead worker's tasks.

use std::ops::Range;

use super::{Core, Hands, JobId, Reply, Task, TaskId, What};
use crate::error::{TaskKind, WorkerId};

/// How the tasks of a dead worker are dealt with.
struct Verdict<'a> {
    worker: WorkerId,
    /// The error for items that were running.
    why: &'a TaskKind,
    /// How often an item may be tried again.
    retries: u32,
    /// The job that the worker was killed for.
    cancelled: Option<JobId>,
}

impl Core {
    /// A worker has ended. `begun` says how many items of a task it had begun,
    /// `why` is the error for those it was running. Returns the jobs concerned.
    pub(crate) fn died(&mut self, worker: usize, begun: impl Fn(u32) -> u32, why: &TaskKind) -> Vec<JobId> {
        let Hands { id: worker_id, held, doomed, .. } = std::mem::take(&mut self.workers[worker]);
        let verdict = Verdict {
            worker: worker_id,
            why: doomed.as_ref().unwrap_or(why),
            retries: if doomed.is_some() { 0 } else { self.rules.retries },
            cancelled: matches!(doomed, Some(TaskKind::Cancelled))
                .then(|| self.job_of(held.front()))
                .flatten(),
        };
        self.fruitless += 1;
        let mut concerned = Vec::new();
        let mut back = Vec::new();
        for id in held {
            let Some(task) = self.tasks.remove(&id) else { continue };
            let begun = begun(task.turn).clamp(task.answered, task.items);
            self.split(task, begun, &verdict, &mut back, &mut concerned);
        }
        for task in back.into_iter().rev() {
            let priority = task.priority;
            let id = self.add(task);
            self.queue.push_front(priority, id);
        }
        concerned
    }

    /// Divides a dead worker's task into what failed and what is to be done (again).
    fn split(
        &mut self,
        task: Task,
        begun: u32,
        verdict: &Verdict<'_>,
        back: &mut Vec<Task>,
        concerned: &mut Vec<JobId>,
    ) {
        let lost = begun - task.answered;
        let sent_for_good = task.packet.moves_ends();
        if self.jobs.get(task.job).is_none() {
            return;
        }
        if sent_for_good || verdict.cancelled == Some(task.job) {
            self.fail_range(&task, task.answered..task.items, true, verdict, 1, concerned);
        } else if lost == 0 {
            back.push(task.rest(begun, None));
        } else if verdict.retries == 0 {
            let whole = begun == task.items;
            self.fail_range(&task, task.answered..begun, whole, verdict, 1, concerned);
            if !whole {
                back.push(task.rest(begun, None));
            }
        } else {
            self.retry(task, begun, verdict, back, concerned);
        }
    }

    /// The item that was running is tried again, unless it has had its tries;
    /// those whose results were lost with the worker are.
    fn retry(
        &mut self,
        task: Task,
        begun: u32,
        verdict: &Verdict<'_>,
        back: &mut Vec<Task>,
        concerned: &mut Vec<JobId>,
    ) {
        let running = task.index + begun as usize - 1;
        let tries = match task.suspect {
            Some((index, tries)) if index == running => tries + 1,
            _ => 1,
        };
        if tries <= verdict.retries {
            let from = task.answered;
            back.push(task.rest(from, Some((running, tries))));
            return;
        }
        let before = (begun - 1 > task.answered).then(|| task.range(task.answered, begun - 1));
        let after = (begun < task.items).then(|| task.range(begun, task.items));
        let parts = usize::from(before.is_some()) + usize::from(after.is_some());
        self.jobs.change(task.job, |job| job.open += parts);
        self.fail_range(&task, begun - 1..begun, true, verdict, tries, concerned);
        back.extend(before.into_iter().chain(after));
    }

    fn fail_range(
        &mut self,
        task: &Task,
        items: Range<u32>,
        done: bool,
        verdict: &Verdict<'_>,
        attempt: u32,
        concerned: &mut Vec<JobId>,
    ) {
        // An item that failed for good is something brought forward.
        self.fruitless = 0;
        let why = match verdict.why {
            TaskKind::WorkerDied(died) => TaskKind::WorkerDied(died.clone().in_try(attempt)),
            why => why.clone(),
        };
        let (index, items) = (task.index + items.start as usize, items.end - items.start);
        let reply = Reply { index, items, worker: Some(verdict.worker), what: What::Failed(why) };
        concerned.extend(self.reply(task.job, reply, done));
    }

    fn job_of(&self, task: Option<&TaskId>) -> Option<JobId> {
        Some(self.tasks.get(task?)?.job)
    }
}
