//! Which worker gets the next task, and how many tasks are given ahead.
//!
//! A task that takes long goes to whoever is idle. Quick ones go to as many workers as there
//! are processors, and to those that have just had some: more would only take turns there,
//! and to wake each costs more than its tasks take.

use std::time::Duration;

use super::{Core, Hands};

/// A task that takes a worker longer than this is not given ahead.
const LONG_TASK: u64 = 5_000_000;
/// Answers to tasks that take less are not waited for one by one, and no more workers do
/// them than there are processors.
const QUICK_TASK: u64 = 20_000;
/// Tasks that take less are given ahead, so that the worker has this much to do.
const WORK_AHEAD: u64 = 200_000;
/// About what it costs to wake a worker.
const WAKE_NANOS: u64 = 10_000;
/// The most tasks that one worker holds: of the quickest ones so many that it has to do
/// while nobody looks after it for a while.
const MOST_HELD: u64 = 128;
/// One reading counts for no more than so many times what was known: a worker that had to
/// wait for its processor has not done more.
const MOST_GROWTH: u64 = 4;
/// Of pools with so many workers, all are listened to at any time.
const FEW: usize = 8;
/// Who was given one of so many tasks may soon get the next.
const RECENT: u64 = 64;

impl Core {
    /// How many tasks of one job should be under way: enough to keep all workers
    /// busy that are to work, and no more.
    pub(crate) fn appetite(&self) -> usize {
        self.most_at_work() * (self.window() + 1)
    }

    /// The worker that should get the next task, if one should: the least loaded,
    /// and of about equals the one used last, whose caches are warm. It costs more to
    /// wake another one than some quick tasks take.
    pub(crate) fn next_worker(&self, idle_only: bool) -> Option<usize> {
        let limit = if idle_only { 1 } else { self.window() };
        let takes = |place: &usize| {
            let hands = &self.workers[*place];
            hands.alive && !hands.full && !hands.late && hands.held.len() < limit && !self.is_spent(hands)
        };
        let by_load = |place: &usize| {
            let hands = &self.workers[*place];
            (self.wakes_ahead(hands), self.is_slow(hands), u64::MAX - hands.used)
        };
        if idle_only || !self.is_sparing() {
            return (0..self.workers.len()).filter(takes).min_by_key(by_load);
        }
        let going = || self.crew.iter().copied().filter(|place| self.is_going(&self.workers[*place]));
        let best = going().filter(takes).min_by_key(by_load);
        let has_little = best.is_some_and(|place| self.wakes_ahead(&self.workers[place]) == 0);
        if has_little || going().count() >= self.most_at_work() {
            return best;
        }
        (0..self.workers.len()).filter(takes).min_by_key(by_load)
    }

    /// How long a worker has to do, counted in wakes.
    fn wakes_ahead(&self, hands: &Hands) -> u64 {
        hands.held.len() as u64 * self.task_nanos.unwrap_or(WAKE_NANOS) / WAKE_NANOS
    }

    /// Whether a worker that holds tasks brings them forward, as far as is known.
    fn is_going(&self, hands: &Hands) -> bool {
        !hands.late && !self.is_slow(hands)
    }

    /// Whether a worker is at something while others have done a lot.
    fn is_slow(&self, hands: &Hands) -> bool {
        let others = 2 * MOST_HELD * self.most_at_work() as u64;
        !hands.held.is_empty() && self.given - hands.heard > others
    }

    /// How many tasks a worker holds at the most.
    fn window(&self) -> usize {
        // One that waits behind another would have its time run, or be lost to a
        // worker that is about to be replaced.
        if self.rules.is_by_item() || self.rules.tasks_per_child.is_some() {
            return 1;
        }
        match self.task_nanos {
            None => 2,
            Some(nanos) if nanos > LONG_TASK => 1,
            Some(nanos) => (1 + (WORK_AHEAD / nanos.max(1))).clamp(2, MOST_HELD) as usize,
        }
    }

    /// How many workers are to have tasks at a time.
    fn most_at_work(&self) -> usize {
        let all = self.rules.processes;
        if self.is_quick() && self.window() > 1 { all.min(self.cpus.max(1)) } else { all }
    }

    /// Whether workers are left idle though there are tasks.
    pub(super) fn is_sparing(&self) -> bool {
        self.most_at_work() < self.rules.processes
    }

    fn is_quick(&self) -> bool {
        self.task_nanos.is_some_and(|nanos| nanos < QUICK_TASK)
    }

    /// A task has taken so long and is not done.
    pub(super) fn takes_long(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.task_nanos = self.task_nanos.max(Some(nanos));
    }

    /// Whether the workers have so much to do, of quick tasks, that whoever drives need
    /// not see each answer at once.
    pub(crate) fn may_nap(&self) -> bool {
        self.is_quick() && !self.rules.is_by_item() && !self.jobs.any_noticed()
    }

    /// Whether fewer workers are at work than there are CPUs, so that polling takes
    /// no CPU from any of them.
    pub(crate) fn may_poll(&self) -> bool {
        self.crew.len() < self.cpus
    }

    /// Whether that is so still once a worker has one task more.
    pub(crate) fn may_poll_after(&self, worker: usize) -> bool {
        self.crew.len() + usize::from(self.workers[worker].held.is_empty()) < self.cpus
    }

    /// Whether a new worker may poll for its first task: of many that come up together, each
    /// that polled would keep the next from coming.
    pub(crate) fn may_poll_at_first(&self) -> bool {
        self.rules.processes <= self.cpus
    }

    /// Whether something is to be heard of a worker, or may soon be: of one that has nothing
    /// to do, and has not had for long, nothing comes but its end.
    pub(crate) fn may_speak(&self, worker: usize) -> bool {
        let hands = &self.workers[worker];
        let is_near = self.workers.len() <= FEW || self.given - hands.used < RECENT;
        is_near || hands.full || !hands.held.is_empty()
    }
}

/// What a task takes, with a new reading taken into account.
pub(super) fn smoothed(known: Option<u64>, nanos: u64) -> u64 {
    known.map_or(nanos, |known| (3 * known + nanos.min(MOST_GROWTH * known.max(1))) / 4)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use ipc_core::Packet;

    use super::super::{Code, JobId};
    use super::*;
    use crate::error::WorkerId;
    use crate::rules::Rules;
    use crate::wire::AnswerHead;
    use crate::worker::Begun;

    const WORKERS: usize = 16;
    const CPUS: usize = 2;
    const JOB: JobId = 1;
    const QUICK: u64 = 100;
    const SLOW: u64 = 2_000_000;

    fn core() -> Core {
        let mut core = Core::new(Rules::new(WORKERS), CPUS);
        (0..WORKERS).for_each(|place| core.started(place, WorkerId { pool: 1, number: place as u32 + 1 }));
        core.open_job(JOB, 0);
        core
    }

    /// Gives out so many more tasks, as far as workers are to have them.
    fn give(core: &mut Core, tasks: usize) {
        let code = Code {
            bytes: Vec::new(),
            whole: false,
            item_width: None,
            value_width: None,
            takes_vectors: false,
            lease: None,
        };
        let code = Arc::new(code);
        (0..tasks).for_each(|index| core.submit(JOB, &code, index, 1, Packet::new()));
        give_queued(core);
    }

    fn give_queued(core: &mut Core) {
        while core.has_queue() {
            let Some(worker) = core.next_worker(false) else { return };
            let task = core.next_task().unwrap();
            core.give(worker, task);
        }
    }

    /// All workers but those at some places do all that they hold.
    fn answer_all_but(core: &mut Core, places: &[usize], busy_nanos: u64) {
        for place in (0..WORKERS).filter(|place| !places.contains(place)) {
            while let Some((task, _)) = core.current(place) {
                let head = AnswerHead { task, items: 1, busy_nanos, kept_bytes: 0, slowest: None };
                core.answer(place, head, Packet::new());
            }
        }
    }

    fn pool_of(nanos: u64) -> Core {
        let mut core = core();
        for _ in 0..4 {
            give(&mut core, 2 * WORKERS);
            answer_all_but(&mut core, &[], nanos);
        }
        core
    }

    #[test]
    fn tasks_of_which_nothing_is_known_go_to_all_workers() {
        let mut core = core();
        give(&mut core, WORKERS);
        assert_eq!(core.crew.len(), WORKERS);
    }

    #[test]
    fn quick_tasks_go_to_as_many_workers_as_there_are_processors() {
        let mut core = pool_of(QUICK);
        assert!(core.crew.is_empty());
        give(&mut core, 1_000);
        assert_eq!(core.crew.len(), CPUS);
        assert!(core.has_queue() && core.appetite() <= CPUS * (MOST_HELD as usize + 1));
        // They stay the same ones.
        let crew = core.crew.clone();
        answer_all_but(&mut core, &crew[1..], QUICK);
        give_queued(&mut core);
        assert_eq!((core.crew.len(), core.crew.contains(&crew[0])), (CPUS, true));
    }

    #[test]
    fn slow_tasks_go_to_all_workers() {
        let mut core = pool_of(SLOW);
        give(&mut core, WORKERS);
        assert_eq!(core.crew.len(), WORKERS);
    }

    #[test]
    fn slow_tasks_that_were_thought_quick_go_to_all_workers_at_once() {
        let mut core = pool_of(QUICK);
        give(&mut core, 100);
        assert!(core.crew.len() <= CPUS);
        let (late, again) = core.laggards();
        assert!(late.is_empty() && again.is_some());
        thread::sleep(Duration::from_millis(2));
        for place in core.laggards().0 {
            for (task, ..) in core.waiting_in(place) {
                core.take_back(place, task, Begun::Nothing);
            }
        }
        give_queued(&mut core);
        assert_eq!(core.crew.len(), WORKERS);
    }

    #[test]
    fn quick_tasks_do_not_wait_behind_a_slow_one() {
        let mut core = pool_of(QUICK);
        give(&mut core, 1);
        let slow = core.crew[0];
        for _ in 0..20 {
            give(&mut core, 100);
            answer_all_but(&mut core, &[slow], QUICK);
        }
        let held = core.workers[slow].held.len();
        give(&mut core, 100);
        assert_eq!(core.workers[slow].held.len(), held);
        // The processors are worked on all the same.
        give(&mut core, 1_000);
        assert_eq!(core.crew.len(), 1 + CPUS);
    }

    #[test]
    fn one_long_reading_does_not_make_tasks_slow() {
        assert!(smoothed(Some(QUICK), 10_000_000) < QUICK_TASK);
        assert_eq!(smoothed(None, SLOW), SLOW);
        let last = (0..20).fold(QUICK, |known, _| smoothed(Some(known), SLOW));
        assert!(last > SLOW / 2);
    }

    #[test]
    fn nothing_but_its_end_is_heard_of_a_worker_that_is_left_idle() {
        let mut core = pool_of(QUICK);
        for _ in 0..4 {
            give(&mut core, 100);
            answer_all_but(&mut core, &[], QUICK);
        }
        give(&mut core, 10);
        let speaking = (0..WORKERS).filter(|place| core.may_speak(*place)).count();
        assert!((1..=CPUS).contains(&speaking), "{speaking}");
        assert!(core.crew.iter().all(|place| core.may_speak(*place)));
    }
}
