//! The pool's state, and the rules by which it changes. Nothing here waits, sends
//! or receives.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use ipc_core::Packet;

use crate::chunks::Chunk;
use crate::error::{PoolError, TaskKind, WorkerId};
use crate::rules::Rules;
use crate::wire::{AnswerHead, ShareId};

use self::queue::Queue;

mod choice;
mod death;
mod job;
mod jobs;
mod ledger;
mod limits;
mod queue;
mod recall;
mod shares;
mod staff;
mod task;

pub(crate) use job::{Callback, Errand, Job, Reply, What};
use jobs::{Ids, Jobs};
use ledger::Ledger;
pub(crate) use ledger::Place;
pub(crate) use shares::{Lease, Shares};
pub(crate) use task::{Code, Task};

/// Numbers of tasks and of jobs; never given twice.
pub(crate) type TaskId = u64;
pub(crate) type JobId = u64;

/// For how long workers must end in a row for nothing before the pool gives up, unless they may
/// end by its initializer.
const HOPE: Duration = Duration::from_secs(1);

/// What the pool knows of one worker.
#[derive(Debug, Default)]
struct Hands {
    /// Which worker it is.
    id: WorkerId,
    /// Tasks given to it, the one it works on first.
    held: VecDeque<TaskId>,
    /// Its link takes nothing more until it answers, or for a while.
    full: bool,
    /// How often in a row it took nothing though it held nothing.
    refusals: u32,
    /// When it is tried again.
    pause: Option<Instant>,
    /// It can be given tasks.
    alive: bool,
    /// It has been started, and is not there yet.
    on_its_way: bool,
    /// It is to get no more tasks, and to leave when it has done those it has.
    retiring: bool,
    /// Since when it has held nothing, if that is of interest.
    idle_since: Option<Instant>,
    /// When it was last given one, in counts of tasks.
    used: u64,
    /// How many tasks it has been given: the turn of the last.
    turns: u32,
    /// In counts of tasks: when it last answered, or got something to do.
    heard: u64,
    /// How many answers have come from it.
    answers: u64,
    /// How many had come when it was last looked at for being late, and when that was.
    watched: Option<(u64, Instant)>,
    /// What waited behind the task it is at was taken back: until it answers it gets
    /// nothing more.
    late: bool,
    /// Items it has been given in its life.
    items: u32,
    /// When the task it works on must be done.
    deadline: Option<Instant>,
    /// It had not come up when it was given that task, as far as is known.
    coming_up: bool,
    /// Why it is being killed.
    doomed: Option<TaskKind>,
    /// Shared values that it has been sent.
    knows: Vec<ShareId>,
}

/// The job of tasks that nobody wants any more.
const NO_JOB: JobId = 0;

/// The state of a pool.
#[derive(Debug)]
pub(crate) struct Core {
    workers: Vec<Hands>,
    /// The places of those that hold tasks, in no order.
    crew: Vec<usize>,
    /// Tasks that no worker holds.
    queue: Queue,
    tasks: HashMap<TaskId, Task, Ids>,
    pub(crate) jobs: Jobs,
    /// Why the pool takes and does nothing any more.
    pub(crate) broken: Option<PoolError>,
    pub(crate) closed: bool,
    pub(crate) rules: Rules,
    next_task: TaskId,
    /// What a task takes a worker, smoothed.
    task_nanos: Option<u64>,
    /// How many processors there are.
    pub(crate) cpus: usize,
    /// Workers that ended in a row and brought nothing forward, and when the first of them did.
    fruitless: u32,
    fruitless_since: Instant,
    /// How many tasks have been given out.
    given: u64,
    pub(crate) shares: Shares,
    pub(crate) ledger: Ledger,
}

/// How a job's next items should go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Advice {
    /// How many may travel together though each goes by itself: so many that a worker is
    /// soon done with them.
    pub(crate) bundle: usize,
    /// How many of a map's go together at least, if there are as many.
    pub(crate) least: usize,
    /// How many do at the most.
    pub(crate) most: usize,
    pub(crate) workers: usize,
    /// How many bytes may be under way.
    pub(crate) window_bytes: usize,
}

/// How long a worker that took nothing is left alone, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Items that together take less may travel together.
const BUNDLE_NANOS: u64 = 20_000;
/// The most items that do.
const MOST_BUNDLED: usize = 64;
/// About what a task of a map should take: so much that its cost is nothing beside it, and
/// little beside what a worker would have to wait for another one's last.
const CHUNK_NANOS: u64 = 1_000_000;
impl Core {
    pub(crate) fn new(rules: Rules, cpus: usize) -> Self {
        Self {
            workers: (0..rules.processes).map(|_| Hands::default()).collect(),
            crew: Vec::new(),
            queue: Queue::default(),
            tasks: HashMap::default(),
            jobs: Jobs::default(),
            broken: None,
            closed: false,
            rules,
            next_task: 0,
            task_nanos: None,
            cpus,
            fruitless: 0,
            fruitless_since: Instant::now(),
            given: 0,
            shares: Shares::default(),
            ledger: Ledger::default(),
        }
    }

    pub(crate) fn open_job(&mut self, id: JobId, priority: i32) {
        self.jobs.insert(id, Job { priority, ..Job::default() });
    }

    /// Opens a job of one item that nobody need wait for.
    pub(crate) fn take_in(&mut self, Errand { job: id, priority, code, chunk }: Errand) {
        let mut job = Job { priority, is_async: true, ..Job::default() };
        match chunk {
            Chunk::Refused { index, error } => job.inbox.push_back(Reply::refused(index, error)),
            Chunk::Items { index, items, packet } => {
                job.open = 1;
                // Of a pool that has ended it is a job that is never over.
                if self.broken.is_none() {
                    let task = Task {
                        job: id,
                        index,
                        items,
                        answered: 0,
                        packet,
                        code,
                        suspect: None,
                        priority,
                        turn: 0,
                    };
                    let task = self.add(task);
                    self.queue.push_back(priority, task);
                }
            }
        }
        self.jobs.insert(id, job);
    }

    /// Forgets a job, which is returned; what its tasks answer from now on is dropped.
    pub(crate) fn close_job(&mut self, job: JobId) -> Option<Job> {
        let closed = self.jobs.remove(job);
        if closed.as_ref().is_some_and(|job| job.open == 0) {
            return closed;
        }
        let Self { queue, tasks, .. } = self;
        queue.retain(|id| {
            let keep = tasks.get(&id).is_some_and(|task| task.job != job);
            if !keep {
                tasks.remove(&id);
            }
            keep
        });
        closed
    }

    pub(crate) fn submit(&mut self, job: JobId, code: &Arc<Code>, index: usize, items: u32, packet: Packet) {
        let opened = self.jobs.change(job, |job| {
            job.open += 1;
            job.priority
        });
        let Some(priority) = opened else { return };
        let code = Arc::clone(code);
        let task = Task { job, index, items, answered: 0, packet, code, suspect: None, priority, turn: 0 };
        let id = self.add(task);
        self.queue.push_back(priority, id);
    }

    fn add(&mut self, task: Task) -> TaskId {
        self.next_task += 1;
        self.tasks.insert(self.next_task, task);
        self.next_task
    }

    /// How a job's next items should go, by what those before them took.
    pub(crate) fn advice(&self, job: JobId) -> Advice {
        let measured = self.jobs.get(job).map(|job| job.measured).unwrap_or_default();
        let items = |nanos| match measured.items_in(nanos) {
            Some(items) => self.rules.chunk_size(usize::try_from(items).unwrap_or(usize::MAX)),
            None => 1,
        };
        // Several at a time would have to be divided where a worker may run no more.
        let most_bundled = if self.rules.tasks_per_child.is_some() { 1 } else { MOST_BUNDLED };
        Advice {
            bundle: items(BUNDLE_NANOS).min(most_bundled),
            least: items(BUNDLE_NANOS),
            most: items(CHUNK_NANOS),
            workers: self.rules.processes,
            window_bytes: self.rules.window_bytes,
        }
    }

    /// The task that a worker is at.
    pub(crate) fn current(&self, worker: usize) -> Option<(TaskId, &Task)> {
        let id = *self.workers[worker].held.front()?;
        Some((id, self.tasks.get(&id)?))
    }

    /// The turn of the task that a worker is given next.
    pub(crate) fn next_turn(&self, worker: usize) -> u32 {
        self.workers[worker].turns.wrapping_add(1)
    }

    /// Whether a worker has run as many items as it may, or is to leave.
    fn is_spent(&self, hands: &Hands) -> bool {
        hands.doomed.is_some()
            || hands.retiring
            || self.rules.tasks_per_child.is_some_and(|most| hands.items >= most)
    }

    /// Workers that have run as many items as they may, and hold none: each once.
    fn take_spent(&mut self) -> Vec<usize> {
        let retiring = || self.workers.iter().any(|hands| hands.retiring);
        if self.rules.tasks_per_child.is_none() && !retiring() {
            return Vec::new();
        }
        let spent: Vec<usize> = (0..self.workers.len())
            .filter(|place| {
                let hands = &self.workers[*place];
                hands.alive && hands.held.is_empty() && self.is_spent(hands)
            })
            .collect();
        spent.iter().for_each(|place| self.workers[*place].alive = false);
        spent
    }

    /// Fails the queued tasks of a job that is cancelled.
    pub(crate) fn cancel_queued(&mut self, job: JobId) {
        let Self { tasks, queue, .. } = &mut *self;
        let mut queued = Vec::new();
        queue.retain(|id| {
            let is_of_it = tasks.get(&id).is_some_and(|task| task.job == job);
            queued.extend(is_of_it.then_some(id));
            !is_of_it
        });
        for id in queued {
            self.fail(id, TaskKind::Cancelled);
        }
    }

    /// The tasks that a worker holds for somebody, the last first: with their turns and jobs.
    pub(crate) fn held_by(&self, worker: usize) -> Vec<(TaskId, u32, JobId)> {
        let held = self.workers[worker].held.iter().rev();
        let tasks = held.filter_map(|id| Some((*id, self.tasks.get(id)?)));
        tasks.filter(|(_, task)| task.job != NO_JOB).map(|(id, task)| (id, task.turn, task.job)).collect()
    }

    /// Fails a task of a cancelled job that its worker has not begun and will not, and
    /// keeps it as one of no job, because the worker still has it.
    pub(crate) fn forsake(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let job = std::mem::replace(&mut task.job, NO_JOB);
        let (index, items) = (task.index + task.answered as usize, task.items - task.answered);
        self.reply(job, Reply { index, items, worker: None, what: What::Failed(TaskKind::Cancelled) }, true);
    }

    /// Whether an asynchronous job, or a worker that is to leave, needs somebody to drive
    /// for it.
    pub(crate) fn needs_supervision(&self) -> bool {
        let leaves = self.workers.iter().any(|hands| hands.retiring);
        leaves || (self.jobs.any_open() && (self.is_urgent() || self.is_lopsided()))
    }

    /// Whether answers must be taken in as they come.
    pub(crate) fn is_urgent(&self) -> bool {
        self.jobs.any_noticed()
            || !self.queue.is_empty()
            || self.rules.is_by_item()
            || self.workers.iter().any(|hands| hands.retiring)
    }

    /// Whether tasks wait for a worker.
    pub(crate) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes the first task off the queue.
    pub(crate) fn next_task(&mut self) -> Option<TaskId> {
        self.queue.pop()
    }

    /// Puts a task back for which no worker is ready.
    pub(crate) fn put_back(&mut self, id: TaskId) {
        let priority = self.tasks.get(&id).map_or(0, |task| task.priority);
        self.queue.push_front(priority, id);
    }

    /// Lets workers be tried again that took nothing though they held nothing: one
    /// that was stopped may have been continued. When the next one is to be tried.
    pub(crate) fn try_stuck_again(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let stuck = self.workers.iter_mut().filter(|hands| hands.full && hands.held.is_empty());
        stuck
            .filter_map(|hands| {
                let at = hands.pause?;
                if at <= now {
                    hands.full = false;
                }
                Some(at.max(now + FIRST_PAUSE))
            })
            .min()
    }

    /// Whether a worker that holds nothing took nothing either, and is to be tried again.
    pub(crate) fn is_stuck(&self) -> bool {
        self.workers.iter().any(|hands| hands.full && hands.held.is_empty() && hands.pause.is_some())
    }

    pub(crate) fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(&id)
    }

    pub(crate) fn give(&mut self, worker: usize, id: TaskId) {
        let turn = self.next_turn(worker);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.turn = turn;
        let items = task.items;
        self.given += 1;
        let hands = &mut self.workers[worker];
        if hands.held.is_empty() {
            hands.heard = self.given;
            self.crew.push(worker);
        }
        hands.turns = turn;
        hands.used = self.given;
        hands.items = hands.items.saturating_add(items);
        hands.held.push_back(id);
        if hands.held.len() == 1 {
            hands.deadline = self.rules.task_timeout.and_then(|limit| Instant::now().checked_add(limit));
        }
    }

    /// A worker's link took nothing more.
    pub(crate) fn refuse(&mut self, worker: usize, id: TaskId) {
        let hands = &mut self.workers[worker];
        hands.full = true;
        if hands.held.is_empty() {
            hands.refusals = (hands.refusals + 1).min(6);
            hands.pause = Instant::now().checked_add(FIRST_PAUSE * (1 << hands.refusals));
        }
        self.put_back(id);
    }

    /// An answer of a worker; the job it concerns. Nonsense is ignored.
    pub(crate) fn answer(&mut self, worker: usize, head: AnswerHead, packet: Packet) -> Option<JobId> {
        let hands = &mut self.workers[worker];
        let task = self.tasks.get_mut(&head.task).filter(|_| hands.held.contains(&head.task))?;
        if head.items == 0 || head.items > task.items - task.answered {
            return None;
        }
        let index = task.index + task.answered as usize;
        task.answered += head.items;
        self.fruitless = 0;
        (hands.full, hands.late, hands.refusals) = (false, false, 0);
        hands.answers += 1;
        hands.heard = self.given;
        let by = hands.id;
        let (job, done, first) = (task.job, task.answered == task.items, task.index);
        if job != NO_JOB {
            self.ledger.done(worker, head.items, first, head.slowest);
        }
        if head.busy_nanos > 0 && job != NO_JOB {
            let item_nanos = head.busy_nanos / u64::from(head.items);
            let nanos = item_nanos.saturating_mul(u64::from(task.items));
            self.task_nanos = Some(choice::smoothed(self.task_nanos, nanos));
            self.jobs.change(job, |job| job.measured.add(head.items, head.busy_nanos));
        }
        if done {
            self.let_go(worker, head.task);
        }
        self.reply(
            job,
            Reply {
                index,
                items: head.items,
                worker: Some(by),
                what: What::Outcomes(packet, head.kept_bytes),
            },
            done,
        )
    }

    /// A worker has done all of a task.
    fn let_go(&mut self, worker: usize, id: TaskId) {
        let hands = &mut self.workers[worker];
        // Tasks are done in their order, nearly always.
        if hands.held.front() == Some(&id) {
            hands.held.pop_front();
        } else {
            hands.held.retain(|held| *held != id);
        }
        hands.deadline = None;
        if hands.held.is_empty() {
            // Of what was taken back from it to the last item no answer comes.
            hands.late = false;
            self.crew.retain(|place| *place != worker);
        }
        if self.rules.idle_timeout.is_some() {
            hands.idle_since = Some(Instant::now());
        }
        self.tasks.remove(&id);
    }

    /// Puts news into a job's inbox.
    fn reply(&mut self, id: JobId, reply: Reply, done: bool) -> Option<JobId> {
        self.jobs.reply(id, reply, done)
    }

    /// Fails a task whole: it could not be sent.
    pub(crate) fn fail(&mut self, id: TaskId, why: TaskKind) -> Option<JobId> {
        let task = self.tasks.remove(&id)?;
        let (index, items) = (task.index + task.answered as usize, task.items - task.answered);
        self.reply(task.job, Reply { index, items, worker: None, what: What::Failed(why) }, true)
    }

    /// A worker can be given tasks.
    pub(crate) fn started(&mut self, worker: usize, id: WorkerId) {
        let idle_since = self.rules.idle_timeout.map(|_| Instant::now());
        self.workers[worker] = Hands { id, alive: true, idle_since, ..Hands::default() };
    }

    /// Workers that ended in a row for nothing: more than this, for as long as that, and the
    /// pool gives up. Where all processors are busy, many can be killed in a row before one of
    /// them had its turn; but an initializer is tried so often and no more.
    pub(crate) fn is_hopeless(&self, now: Instant) -> Option<u32> {
        let are_many = self.fruitless > 16 + 2 * self.rules.processes as u32;
        let hope = if self.rules.setup.is_some() { Duration::ZERO } else { HOPE };
        (are_many && now - self.fruitless_since >= hope).then_some(self.fruitless)
    }

    /// A worker has ended before it came; whether the pool should try no more for now.
    pub(crate) fn is_stillborn(&mut self) -> bool {
        self.end_fruitless(Instant::now());
        self.is_hopeless(Instant::now()).is_some()
    }

    /// A worker has ended, and may have brought nothing forward.
    fn end_fruitless(&mut self, now: Instant) {
        if self.fruitless == 0 {
            self.fruitless_since = now;
        }
        self.fruitless += 1;
    }

    /// Whether there is something to do for a new worker.
    pub(crate) fn has_work(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Nothing will be done any more, and here is why.
    pub(crate) fn give_up(&mut self, why: PoolError) {
        self.queue.clear();
        self.tasks.clear();
        self.broken.get_or_insert(why);
        self.jobs.wake_all();
    }

    /// The wakers of jobs that nothing will be done for any more.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        self.jobs.take_wakers()
    }

    /// The callbacks of jobs that are over, with what they came to.
    pub(crate) fn take_callbacks(&mut self) -> Vec<Box<dyn FnOnce() + Send>> {
        self.jobs.take_callbacks(self.broken.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rules;

    /// It was handed in when the pool still took work.
    #[test]
    fn what_comes_to_an_ended_pool_leaves_nothing_to_do() {
        let code = Arc::new(Code {
            bytes: Vec::new(),
            whole: true,
            item_width: None,
            value_width: None,
            takes_vectors: false,
            lease: None,
        });
        let errand = |job| Errand { job, priority: 0, code: Arc::clone(&code), chunk: Chunk::one(7u8) };
        let mut core = Core::new(Rules::new(1), 1);
        core.take_in(errand(1));
        assert!(core.has_work() && core.has_queue());
        core.give_up(PoolError::from(crate::error::PoolKind::Terminated));
        core.take_in(errand(2));
        assert!(!core.has_work() && !core.has_queue());
    }
}
