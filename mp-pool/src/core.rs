//! The pool's state, and the rules by which it changes. Nothing here waits, sends
//! or receives.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar};

use ipc_core::Packet;

use crate::error::{PoolError, TaskKind};
use crate::wire::AnswerHead;

/// Numbers of tasks and of jobs; never given twice.
pub(crate) type TaskId = u64;
pub(crate) type JobId = u64;

/// Some items of a job, on their way through the pool together.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) job: JobId,
    /// The place in its job of the first item.
    pub(crate) index: usize,
    pub(crate) items: u32,
    /// Items that have an outcome already; their bytes are still in the packet.
    answered: u32,
    /// The items, each behind its length.
    pub(crate) packet: Packet,
    /// What the job runs.
    pub(crate) code: Arc<Code>,
    /// The item that was running when a worker died, and how often one did.
    suspect: Option<(usize, u32)>,
}

/// What a job runs, and on what.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) bytes: Vec<u8>,
    /// How many bytes each item takes, if that is the same for all.
    pub(crate) item_width: Option<usize>,
}

impl Code {
    /// Where item number `count` begins.
    fn skip(&self, bytes: &[u8], count: u32) -> usize {
        let count = count as usize;
        self.item_width.map_or_else(|| skip(bytes, count), |width| width * count)
    }
}

/// What a caller waits for.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) inbox: VecDeque<Reply>,
    /// Tasks that have not been answered in full.
    pub(crate) open: usize,
    /// Wakes the caller, if it sleeps.
    pub(crate) wake: Arc<Condvar>,
}

/// News for a job: of `items` items from `index` on.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) index: usize,
    pub(crate) items: u32,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The outcomes, to be decoded by whoever knows their type.
    Outcomes(Packet),
    /// All of them failed alike.
    Failed(TaskKind),
}

/// What the pool knows of one worker.
#[derive(Debug, Default)]
struct Hands {
    /// Tasks given to it, the one it works on first.
    held: VecDeque<TaskId>,
    /// Its link takes nothing more until it answers, or for a while.
    full: bool,
    /// It can be given tasks.
    alive: bool,
    /// When it was last given one, in counts of tasks.
    used: u64,
}

/// The state of a pool.
#[derive(Debug)]
pub(crate) struct Core {
    workers: Vec<Hands>,
    /// Tasks that no worker holds.
    queue: VecDeque<TaskId>,
    tasks: HashMap<TaskId, Task>,
    pub(crate) jobs: HashMap<JobId, Job>,
    /// Why the pool takes and does nothing any more.
    pub(crate) broken: Option<PoolError>,
    pub(crate) closed: bool,
    retries: u32,
    next_task: TaskId,
    next_job: JobId,
    /// What a task takes a worker, smoothed.
    task_nanos: Option<u64>,
    /// Workers that ended in a row and brought nothing forward.
    fruitless: u32,
}

/// A task that takes a worker longer than this is not given ahead.
const LONG_TASK: u64 = 5_000_000;
/// Tasks that take less are given ahead, so that the worker has this much to do.
const WORK_AHEAD: u64 = 200_000;
/// The most tasks that one worker holds.
const MOST_HELD: u64 = 32;

impl Core {
    pub(crate) fn new(workers: usize, retries: u32) -> Self {
        Self {
            workers: (0..workers).map(|_| Hands::default()).collect(),
            queue: VecDeque::new(),
            tasks: HashMap::new(),
            jobs: HashMap::new(),
            broken: None,
            closed: false,
            retries,
            next_task: 0,
            next_job: 0,
            task_nanos: None,
            fruitless: 0,
        }
    }

    pub(crate) fn open_job(&mut self) -> JobId {
        self.next_job += 1;
        self.jobs.insert(self.next_job, Job { inbox: VecDeque::new(), open: 0, wake: Arc::default() });
        self.next_job
    }

    /// Forgets a job; what its tasks answer from now on is dropped.
    pub(crate) fn close_job(&mut self, job: JobId) {
        self.jobs.remove(&job);
        let Self { queue, tasks, .. } = self;
        queue.retain(|id| {
            let keep = tasks.get(id).is_some_and(|task| task.job != job);
            if !keep {
                tasks.remove(id);
            }
            keep
        });
    }

    pub(crate) fn submit(&mut self, job: JobId, code: &Arc<Code>, index: usize, items: u32, packet: Packet) {
        let task = Task { job, index, items, answered: 0, packet, code: Arc::clone(code), suspect: None };
        if let Some(job) = self.jobs.get_mut(&job) {
            job.open += 1;
            let id = self.add(task);
            self.queue.push_back(id);
        }
    }

    fn add(&mut self, task: Task) -> TaskId {
        self.next_task += 1;
        self.tasks.insert(self.next_task, task);
        self.next_task
    }

    /// How many tasks of one job should be under way: enough to keep all workers
    /// busy, and no more.
    pub(crate) fn appetite(&self) -> usize {
        self.workers.len() * (self.window() + 1)
    }

    /// How many tasks a worker holds at the most.
    fn window(&self) -> usize {
        match self.task_nanos {
            None => 2,
            Some(nanos) if nanos > LONG_TASK => 1,
            Some(nanos) => (1 + (WORK_AHEAD / nanos.max(1))).clamp(2, MOST_HELD) as usize,
        }
    }

    /// The worker that should get the next task, if one should: the least loaded,
    /// and of equals the one used last, whose caches are warm.
    pub(crate) fn next_worker(&self, idle_only: bool) -> Option<usize> {
        let limit = if idle_only { 1 } else { self.window() };
        (0..self.workers.len())
            .filter(|place| {
                let hands = &self.workers[*place];
                hands.alive && !hands.full && hands.held.len() < limit
            })
            .min_by_key(|place| (self.workers[*place].held.len(), u64::MAX - self.workers[*place].used))
    }

    /// Takes the first task off the queue.
    pub(crate) fn next_task(&mut self) -> Option<TaskId> {
        self.queue.pop_front()
    }

    /// Puts a task back for which no worker is ready.
    pub(crate) fn put_back(&mut self, id: TaskId) {
        self.queue.push_front(id);
    }

    /// Lets workers be tried again that took nothing though they held nothing: one
    /// that was stopped may have been continued. Whether there were any.
    pub(crate) fn try_stuck_again(&mut self) -> bool {
        let stuck = self.workers.iter_mut().filter(|hands| hands.full && hands.held.is_empty());
        stuck.map(|hands| hands.full = false).count() > 0
    }

    pub(crate) fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(&id)
    }

    pub(crate) fn give(&mut self, worker: usize, id: TaskId) {
        let used = self.next_task + self.workers[worker].used;
        let hands = &mut self.workers[worker];
        hands.held.push_back(id);
        hands.used = used;
    }

    /// A worker's link took nothing more.
    pub(crate) fn refuse(&mut self, worker: usize, id: TaskId) {
        self.workers[worker].full = true;
        self.queue.push_front(id);
    }

    /// Whether fewer tasks are under way than there are CPUs, so that polling
    /// takes no CPU from any of them.
    pub(crate) fn may_poll(&self, cpus: usize) -> bool {
        self.workers.iter().map(|hands| hands.held.len()).sum::<usize>() < cpus
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
        hands.full = false;
        let nanos = head.busy_nanos * u64::from(task.items) / u64::from(head.items);
        self.task_nanos = Some(self.task_nanos.map_or(nanos, |known| (3 * known + nanos) / 4));
        let (job, done) = (task.job, task.answered == task.items);
        if done {
            hands.held.retain(|id| *id != head.task);
            self.tasks.remove(&head.task);
        }
        self.reply(job, Reply { index, items: head.items, what: What::Outcomes(packet) }, done)
    }

    /// Puts news into a job's inbox.
    fn reply(&mut self, id: JobId, reply: Reply, done: bool) -> Option<JobId> {
        let job = self.jobs.get_mut(&id)?;
        job.inbox.push_back(reply);
        job.open -= usize::from(done);
        Some(id)
    }

    /// Fails a task whole: it could not be sent.
    pub(crate) fn fail(&mut self, id: TaskId, why: TaskKind) -> Option<JobId> {
        let task = self.tasks.remove(&id)?;
        let (index, items) = (task.index + task.answered as usize, task.items - task.answered);
        self.reply(task.job, Reply { index, items, what: What::Failed(why) }, true)
    }

    /// A worker can be given tasks.
    pub(crate) fn started(&mut self, worker: usize) {
        self.workers[worker] = Hands { alive: true, ..Hands::default() };
    }

    /// A worker has ended. `begun` says how many items of a task it had begun,
    /// `why` is the error for those it was running. Returns the jobs concerned.
    pub(crate) fn died(
        &mut self,
        worker: usize,
        begun: impl Fn(TaskId) -> u32,
        why: &TaskKind,
    ) -> Vec<JobId> {
        let held = std::mem::take(&mut self.workers[worker]).held;
        self.fruitless += 1;
        let mut concerned = Vec::new();
        let mut back = Vec::new();
        for id in held {
            let Some(task) = self.tasks.remove(&id) else { continue };
            let begun = begun(id).clamp(task.answered, task.items);
            self.split(task, begun, why, &mut back, &mut concerned);
        }
        for task in back.into_iter().rev() {
            let id = self.add(task);
            self.queue.push_front(id);
        }
        concerned
    }

    /// Divides a dead worker's task into what failed and what is to be done (again).
    fn split(
        &mut self,
        task: Task,
        begun: u32,
        why: &TaskKind,
        back: &mut Vec<Task>,
        concerned: &mut Vec<JobId>,
    ) {
        let lost = begun - task.answered;
        let sent_for_good = task.packet.moves_ends();
        if !self.jobs.contains_key(&task.job) {
            return;
        }
        if sent_for_good {
            self.fail_range(&task, task.answered, task.items, true, why, concerned);
        } else if lost == 0 {
            back.push(task.rest(begun, None));
        } else if self.retries == 0 {
            let whole = begun == task.items;
            self.fail_range(&task, task.answered, begun, whole, why, concerned);
            if !whole {
                back.push(task.rest(begun, None));
            }
        } else {
            self.retry(task, begun, why, back, concerned);
        }
    }

    /// The item that was running is tried again, unless it has had its tries;
    /// those whose results were lost with the worker are.
    fn retry(
        &mut self,
        task: Task,
        begun: u32,
        why: &TaskKind,
        back: &mut Vec<Task>,
        concerned: &mut Vec<JobId>,
    ) {
        let running = task.index + begun as usize - 1;
        let tries = match task.suspect {
            Some((index, tries)) if index == running => tries + 1,
            _ => 1,
        };
        if tries <= self.retries {
            let from = task.answered;
            back.push(task.rest(from, Some((running, tries))));
            return;
        }
        let before = (begun - 1 > task.answered).then(|| task.range(task.answered, begun - 1));
        let after = (begun < task.items).then(|| task.range(begun, task.items));
        let parts = usize::from(before.is_some()) + usize::from(after.is_some());
        if let Some(job) = self.jobs.get_mut(&task.job) {
            job.open += parts;
        }
        self.fail_range(&task, begun - 1, begun, true, why, concerned);
        back.extend(before.into_iter().chain(after));
    }

    fn fail_range(
        &mut self,
        task: &Task,
        from: u32,
        to: u32,
        done: bool,
        why: &TaskKind,
        concerned: &mut Vec<JobId>,
    ) {
        // An item that failed for good is something brought forward.
        self.fruitless = 0;
        let reply =
            Reply { index: task.index + from as usize, items: to - from, what: What::Failed(why.clone()) };
        concerned.extend(self.reply(task.job, reply, done));
    }

    /// Workers that ended in a row for nothing: more than this and the pool gives up.
    pub(crate) fn is_hopeless(&self) -> Option<u32> {
        (self.fruitless > 16 + 2 * self.workers.len() as u32).then_some(self.fruitless)
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
        self.jobs.values().for_each(|job| job.wake.notify_all());
    }
}

impl Task {
    /// The items from number `from` on, as a task of their own.
    fn rest(self, from: u32, suspect: Option<(usize, u32)>) -> Self {
        if from == 0 {
            return Self { suspect, ..self };
        }
        Self { suspect, ..self.range(from, self.items) }
    }

    /// Items that are sent again lie in a packet of their own. They hold no
    /// handles: a task with handles has one item.
    fn range(&self, from: u32, to: u32) -> Self {
        let bytes = self.packet.bytes();
        let mut packet = Packet::new();
        packet.extend_bytes(&bytes[self.code.skip(bytes, from)..self.code.skip(bytes, to)]);
        Self {
            job: self.job,
            index: self.index + from as usize,
            items: to - from,
            answered: 0,
            packet,
            code: Arc::clone(&self.code),
            suspect: None,
        }
    }
}

/// Where item number `count` begins, of items behind their lengths.
fn skip(bytes: &[u8], count: usize) -> usize {
    (0..count).fold(0, |at, _| {
        let head = bytes.get(at..at + 4).and_then(|head| head.try_into().ok());
        at + 4 + head.map_or(0, u32::from_le_bytes) as usize
    })
}
