//! What becomes of a dead worker's tasks.

use std::ops::Range;
use std::time::Instant;

use super::{Core, Hands, JobId, Reply, Task, TaskId, What};
use crate::error::{TaskKind, WorkerId};
use crate::worker::ALL_DONE;

/// How the tasks of a dead worker are dealt with.
struct Verdict<'a> {
    worker: WorkerId,
    /// The error for an item that was running.
    why: &'a TaskKind,
    /// How often an item may be tried again.
    retries: u32,
    /// The job that the worker was killed for.
    cancelled: Option<JobId>,
}

/// How far a worker that has ended was in a task.
#[derive(Debug, Clone, Copy)]
struct Loss {
    /// How many items it had begun, those that are answered included.
    begun: u32,
    /// The item that it was at: the last one that it had begun, unless it was done with all.
    running: Option<usize>,
    /// How often a worker has ended at that one.
    tries: u32,
}

impl Loss {
    fn of(task: &Task, begun: u32) -> Self {
        let is_at_it = begun != ALL_DONE && begun > task.answered;
        let begun = begun.clamp(task.answered, task.items);
        Self { begun, running: is_at_it.then(|| task.index + begun as usize - 1), tries: 1 }
    }
}

impl Core {
    /// A worker has ended. `begun` says how many items of a task it had begun, more than
    /// there are if it was done with the task; `why` is the error for the one it was running.
    /// Returns the jobs concerned.
    pub(crate) fn died(&mut self, worker: usize, begun: impl Fn(u32) -> u32, why: &TaskKind) -> Vec<JobId> {
        let Hands { id: worker_id, held, doomed, .. } = std::mem::take(&mut self.workers[worker]);
        self.crew.retain(|place| *place != worker);
        let verdict = Verdict {
            worker: worker_id,
            why: doomed.as_ref().unwrap_or(why),
            retries: if doomed.is_some() { 0 } else { self.rules.retries },
            cancelled: matches!(doomed, Some(TaskKind::Cancelled))
                .then(|| self.job_of(held.front()))
                .flatten(),
        };
        self.end_fruitless(Instant::now());
        let mut concerned = Vec::new();
        let mut back = Vec::new();
        for id in held {
            let Some(task) = self.tasks.remove(&id) else { continue };
            let loss = Loss::of(&task, begun(task.turn));
            self.split(task, loss, &verdict, &mut back, &mut concerned);
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
        loss: Loss,
        verdict: &Verdict<'_>,
        back: &mut Vec<Task>,
        concerned: &mut Vec<JobId>,
    ) {
        let Loss { begun, .. } = loss;
        if self.jobs.get(task.job).is_none() {
            return;
        }
        if task.packet.moves_ends() || verdict.cancelled == Some(task.job) {
            self.fail_range(&task, task.answered..task.items, true, loss, verdict, concerned);
        } else if begun == task.answered {
            back.push(task.rest(begun, None));
        } else if verdict.retries == 0 {
            let whole = begun == task.items;
            self.fail_range(&task, task.answered..begun, whole, loss, verdict, concerned);
            if !whole {
                back.push(task.rest(begun, None));
            }
        } else {
            self.retry(task, loss, verdict, back, concerned);
        }
    }

    /// The item that was running is tried again, unless it has had its tries;
    /// those whose results were lost with the worker are.
    fn retry(
        &mut self,
        task: Task,
        loss: Loss,
        verdict: &Verdict<'_>,
        back: &mut Vec<Task>,
        concerned: &mut Vec<JobId>,
    ) {
        let (from, begun) = (task.answered, loss.begun);
        let Some(running) = loss.running else {
            let suspect = task.suspect;
            return back.push(task.rest(from, suspect));
        };
        let tries = match task.suspect {
            Some((index, tries)) if index == running => tries + 1,
            _ => 1,
        };
        if tries <= verdict.retries {
            return back.push(task.rest(from, Some((running, tries))));
        }
        let before = (begun - 1 > from).then(|| task.range(from, begun - 1));
        let after = (begun < task.items).then(|| task.range(begun, task.items));
        let parts = usize::from(before.is_some()) + usize::from(after.is_some());
        self.jobs.change(task.job, |job| job.open += parts);
        self.fail_range(&task, begun - 1..begun, true, Loss { tries, ..loss }, verdict, concerned);
        back.extend(before.into_iter().chain(after));
    }

    /// Fails some items of a task: the one that was running for what its worker ended of,
    /// others because their results were lost with it.
    fn fail_range(
        &mut self,
        task: &Task,
        items: Range<u32>,
        done: bool,
        loss: Loss,
        verdict: &Verdict<'_>,
        concerned: &mut Vec<JobId>,
    ) {
        // An item that failed for good is something brought forward.
        self.fruitless = 0;
        let place = |item: u32| task.index + item as usize;
        let (from, to) = (place(items.start), place(items.end));
        let running = loss.running.filter(|index| (from..to).contains(index));
        // The culprit comes first, so that it is the one that a map names.
        let culprit = running.map_or(from..from, |index| index..index + 1);
        let parts = [culprit.clone(), from..culprit.start, culprit.end..to];
        let mut parts = parts.into_iter().filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let why = match verdict.why {
                TaskKind::WorkerDied(died) => {
                    let died = died.clone().at(loss.running).in_try(loss.tries);
                    if running == Some(part.start) {
                        TaskKind::WorkerDied(died)
                    } else {
                        TaskKind::Lost(died)
                    }
                }
                why => why.clone(),
            };
            let (worker, what) = (Some(verdict.worker), What::Failed(why));
            let reply = Reply { index: part.start, items: part.len() as u32, worker, what };
            concerned.extend(self.reply(task.job, reply, done && parts.peek().is_none()));
        }
    }

    fn job_of(&self, task: Option<&TaskId>) -> Option<JobId> {
        Some(self.tasks.get(task?)?.job)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ipc_core::Packet;

    use super::*;
    use crate::core::{Code, HOPE};
    use crate::error::{Death, TaskError, WorkerDied};
    use crate::rules::Rules;
    use crate::wire::AnswerHead;

    const JOB: JobId = 7;

    fn why() -> TaskKind {
        let (name, last_records) = (String::new(), Vec::new());
        let death = Death { pid: 1, name, error: None, status: None, peak_memory: None, last_records };
        TaskKind::WorkerDied(WorkerDied::new(&Arc::new(death)))
    }

    /// A worker that holds a task of ten items, from number 100 of its call on.
    fn with_ten_items(retries: u32) -> Core {
        let mut core = Core::new(Rules { retries, ..Rules::new(1) }, 1);
        core.started(0, WorkerId::default());
        core.open_job(JOB, 0);
        let code = Code {
            bytes: Vec::new(),
            whole: true,
            item_width: Some(1),
            value_width: None,
            takes_vectors: false,
            lease: None,
        };
        let mut packet = Packet::new();
        packet.extend_bytes(&[0; 10]);
        core.submit(JOB, &Arc::new(code), 100, 10, packet);
        give(&mut core);
        core
    }

    fn give(core: &mut Core) {
        let id = core.next_task().unwrap();
        core.give(0, id);
    }

    /// What the job has been told: items, whether they were lost, and at which the worker was.
    fn news(core: &mut Core) -> Vec<(Range<usize>, bool, Option<usize>)> {
        let replies = core.jobs.change(JOB, |job| std::mem::take(&mut job.inbox)).unwrap();
        let tell = |reply: Reply| {
            let What::Failed(kind) = reply.what else { return None };
            let is_lost = matches!(kind, TaskKind::Lost(_));
            let culprit = TaskError::from(kind).worker_died().unwrap().index();
            Some((reply.index..reply.index + reply.items as usize, is_lost, culprit))
        };
        replies.into_iter().filter_map(tell).collect()
    }

    fn open(core: &Core) -> usize {
        core.jobs.get(JOB).unwrap().open
    }

    #[test]
    fn the_item_at_work_is_told_from_those_whose_results_were_lost() {
        let mut core = with_ten_items(0);
        let head = AnswerHead { task: 1, items: 2, busy_nanos: 1, kept_bytes: 0, slowest: None };
        core.answer(0, head, Packet::new());
        core.died(0, |_| 6, &why());
        assert_eq!(news(&mut core), [(105..106, false, Some(105)), (102..105, true, Some(105))]);
        // The rest is to be done by somebody else.
        assert_eq!((open(&core), core.queue.len()), (1, 1));
        core.started(0, WorkerId::default());
        give(&mut core);
        core.died(0, |_| 4, &why());
        assert_eq!(news(&mut core), [(109..110, false, Some(109)), (106..109, true, Some(109))]);
        assert_eq!((open(&core), core.queue.len()), (0, 0));
    }

    #[test]
    fn a_worker_that_was_done_with_its_items_was_at_none_of_them() {
        let mut core = with_ten_items(0);
        core.died(0, |_| ALL_DONE, &why());
        assert_eq!((news(&mut core), open(&core)), (vec![(100..110, true, None)], 0));
        // Nor does it count as a try of the last one.
        let mut core = with_ten_items(1);
        for _ in 0..3 {
            core.died(0, |_| ALL_DONE, &why());
            assert_eq!((news(&mut core), open(&core)), (vec![], 1));
            core.started(0, WorkerId::default());
            give(&mut core);
        }
        core.died(0, |_| 10, &why());
        assert_eq!(news(&mut core), []);
    }

    #[test]
    fn after_its_tries_an_item_fails_and_the_others_go_on() {
        let mut core = with_ten_items(1);
        for _ in 0..2 {
            assert_eq!(news(&mut core), []);
            core.died(0, |_| 4, &why());
            core.started(0, WorkerId::default());
            if core.has_queue() {
                give(&mut core);
            }
        }
        assert_eq!(news(&mut core), [(103..104, false, Some(103))]);
        // Three before it, one of which tasks is given already, and six behind it.
        assert_eq!(open(&core), 2);
    }

    /// Of a busy machine's workers many may be killed in a row before one has its turn.
    #[test]
    fn a_pool_gives_up_after_many_deaths_in_some_time() {
        let mut core = with_ten_items(u32::MAX);
        let die = |core: &mut Core| {
            core.started(0, WorkerId::default());
            core.died(0, |_| 0, &why());
        };
        let later = |core: &Core| core.fruitless_since + HOPE;
        (0..18).for_each(|_| die(&mut core));
        assert_eq!(core.is_hopeless(later(&core)), None);
        (0..100).for_each(|_| die(&mut core));
        assert_eq!(core.is_hopeless(later(&core) - Duration::from_millis(1)), None);
        assert_eq!(core.is_hopeless(later(&core)), Some(118));
        // What begins anew has its time again.
        let first = core.fruitless_since;
        core.fruitless = 0;
        std::thread::sleep(Duration::from_millis(1));
        die(&mut core);
        assert!(core.fruitless_since > first && core.is_hopeless(later(&core)).is_none());
    }
}
