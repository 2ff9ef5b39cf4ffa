//! What makes a pool go: whoever waits for a result gives out tasks, takes in
//! answers and replaces the dead.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipc_core::link::Outgoing;
use ipc_core::{EncodeError, Packet, SendError, Waitable, wait_deadline};
use mp_process::ProcessError;

use crate::chunks::Chunk;
use crate::core::{Code, Core, JobId, Reply, TaskId, What};
use crate::error::{Death, PoolError, PoolKind, TaskKind};
use crate::station::Station;
use crate::wire::{AnswerHead, TaskFrame, TaskHead, send_stop};

/// A pool's state and its workers, shared by all who use it.
#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<State>,
    cpus: usize,
    name: String,
}

#[derive(Debug)]
struct State {
    core: Core,
    stations: Vec<Option<Arc<Station>>>,
    /// Somebody sleeps for all.
    driven: bool,
    /// Jobs whose callers sleep until they are woken.
    sleepers: VecDeque<JobId>,
    /// When ends of workers were last looked for.
    looked: Instant,
}

/// A frame up to this size is sent to a worker that is busy; a larger one only to
/// one that waits for it, so that the two never wait for each other.
const SMALL_FRAME: usize = 32 << 10;
/// How long a worker may take to accept a large task.
const LARGE_FRAME_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a driver polls before it sleeps, where that pays.
const POLL_FOR: Duration = Duration::from_micros(20);
/// Ends of workers are looked for so often while answers keep coming.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long to wait before a worker is tried again that took nothing.
const STUCK_PAUSE: Duration = Duration::from_millis(100);
/// How long workers may take to end after they were asked to.
const END_GRACE: Duration = Duration::from_secs(1);

impl Driver {
    pub(crate) fn start(workers: usize, retries: u32) -> Result<Self, PoolError> {
        static POOLS: AtomicUsize = AtomicUsize::new(0);
        let driver = Self {
            state: Mutex::new(State {
                core: Core::new(workers, retries),
                stations: (0..workers).map(|_| None).collect(),
                driven: false,
                sleepers: VecDeque::new(),
                looked: Instant::now(),
            }),
            cpus: mp_process::cpu_count(),
            name: format!("Pool-{}", POOLS.fetch_add(1, Ordering::Relaxed) + 1),
        };
        let mut state = driver.lock();
        for place in 0..workers {
            driver.start_worker(&mut state, place)?;
        }
        drop(state);
        Ok(driver)
    }

    fn start_worker(&self, state: &mut State, place: usize) -> Result<(), PoolError> {
        let station = Station::start(&format!("{}-Worker-{}", self.name, place + 1))?;
        state.stations[place] = Some(Arc::new(station));
        state.core.started(place);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn workers(&self) -> usize {
        self.lock().stations.len()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.lock().stations.iter().flatten().map(|station| station.process().pid()).collect()
    }

    /// Opens a job, if the pool still takes work.
    pub(crate) fn open(&self) -> Result<JobId, PoolError> {
        let mut state = self.lock();
        Self::check(&state)?;
        if state.core.closed {
            return Err(PoolKind::Closed.into());
        }
        Ok(state.core.open_job())
    }

    fn check(state: &State) -> Result<(), PoolError> {
        state.core.broken.clone().map_or(Ok(()), Err)
    }

    /// An error once the pool does nothing any more.
    pub(crate) fn check_alive(&self) -> Result<(), PoolError> {
        Self::check(&self.lock())
    }

    /// How many tasks of a job are under way at the most.
    pub(crate) fn appetite(&self) -> usize {
        self.lock().core.appetite()
    }

    pub(crate) fn close_job(&self, job: JobId) {
        self.lock().core.close_job(job);
    }

    /// Whether more tasks of a job should come; without one under way, always.
    pub(crate) fn wants_more(&self, job: JobId) -> bool {
        let state = self.lock();
        let open = state.core.jobs.get(&job).map_or(0, |job| job.open + job.inbox.len());
        open < state.core.appetite() && state.core.broken.is_none()
    }

    /// Adds a task to a job.
    pub(crate) fn submit(&self, job: JobId, code: &Arc<Code>, chunk: Chunk) {
        let mut state = self.lock();
        match chunk {
            Chunk::Items { index, items, packet } => {
                state.core.submit(job, code, index, items, packet);
                self.dispatch(&mut state);
            }
            Chunk::Refused { index, error } => {
                let reply = Reply { index, items: 1, what: What::Failed(TaskKind::Argument(error)) };
                if let Some(job) = state.core.jobs.get_mut(&job) {
                    job.inbox.push_back(reply);
                }
            }
        }
    }

    /// Waits for news of a job; `None` when nothing of it is under way.
    pub(crate) fn replies(&self, job: JobId) -> Result<Option<VecDeque<Reply>>, PoolError> {
        let mut state = self.lock();
        loop {
            let Some(waiting) = state.core.jobs.get_mut(&job) else { return Ok(None) };
            if !waiting.inbox.is_empty() {
                let replies = std::mem::take(&mut waiting.inbox);
                Self::hand_over(&mut state);
                return Ok(Some(replies));
            }
            if waiting.open == 0 {
                Self::hand_over(&mut state);
                return Ok(None);
            }
            Self::check(&state)?;
            state = if state.driven { Self::sleep_until_woken(state, job) } else { self.drive(state) };
        }
    }

    /// Somebody else drives: sleep until there is news, or the wheel is free.
    fn sleep_until_woken<'a>(mut state: MutexGuard<'a, State>, job: JobId) -> MutexGuard<'a, State> {
        let Some(wake) = state.core.jobs.get(&job).map(|job| Arc::clone(&job.wake)) else { return state };
        state.sleepers.push_back(job);
        state = wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.sleepers.retain(|sleeper| *sleeper != job);
        state
    }

    /// Lets another caller drive, if one sleeps and nobody does.
    fn hand_over(state: &mut State) {
        if state.driven {
            return;
        }
        if let Some(job) = state.sleepers.front().and_then(|next| state.core.jobs.get(next)) {
            job.wake.notify_one();
        }
    }

    /// One turn: take in what has come, or sleep until something does.
    fn drive<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if self.pump(&mut state, false) {
            return state;
        }
        let deadline = state.core.try_stuck_again().then(|| Instant::now() + STUCK_PAUSE);
        let stations: Vec<Arc<Station>> = state.stations.iter().flatten().map(Arc::clone).collect();
        let poll = state.core.may_poll(self.cpus);
        state.driven = true;
        drop(state);
        let one_ended = !(poll && Self::poll(&stations)) && Self::sleep(&stations, deadline);
        drop(stations);
        let mut state = self.lock();
        state.driven = false;
        self.pump(&mut state, one_ended);
        state
    }

    /// Looks again and again for a short time: an answer that is about to come
    /// costs no wake-up.
    fn poll(stations: &[Arc<Station>]) -> bool {
        let until = Instant::now() + POLL_FOR;
        loop {
            for _ in 0..16 {
                if stations.iter().any(|station| station.link().is_ready() == Some(true)) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= until {
                return false;
            }
        }
    }

    /// Sleeps until a worker answers or ends; whether one has ended.
    fn sleep(stations: &[Arc<Station>], deadline: Option<Instant>) -> bool {
        let answers = stations.iter().map(|station| station.answers() as &dyn Waitable);
        let ends = stations.iter().map(|station| station.sentinel() as &dyn Waitable);
        let items: Vec<&dyn Waitable> = answers.chain(ends).collect();
        match wait_deadline(&items, deadline) {
            Ok(ready) => ready.last().is_some_and(|last| *last >= stations.len()),
            Err(_) => {
                // The kernel refuses, for want of memory: look at everything, but not at once.
                std::thread::sleep(Duration::from_millis(1));
                true
            }
        }
    }

    /// Takes in all answers and ends, and gives out tasks; whether anything came.
    /// Ends are looked for if one is known of, and now and then.
    fn pump(&self, state: &mut State, one_ended: bool) -> bool {
        let mut came = false;
        for place in 0..state.stations.len() {
            came |= self.take_answers(state, place);
        }
        if one_ended || state.looked.elapsed() > LOOK_EVERY {
            came |= self.bury(state);
            state.looked = Instant::now();
        }
        self.dispatch(state);
        came
    }

    fn take_answers(&self, state: &mut State, place: usize) -> bool {
        let Some(station) = state.stations[place].clone() else { return false };
        let mut came = false;
        while station.link().is_ready() != Some(false) {
            let mut packet = Packet::new();
            if station.link().recv(&mut packet, Some(Instant::now())).is_err() {
                break;
            }
            if let Ok(head) = packet.read_tail::<AnswerHead>() {
                came = true;
                let job = state.core.answer(place, head, packet);
                Self::notify(state, job);
            }
        }
        came
    }

    fn notify(state: &State, jobs: impl IntoIterator<Item = JobId>) {
        for id in jobs {
            if let Some(job) = state.core.jobs.get(&id) {
                job.wake.notify_one();
            }
        }
    }

    /// Replaces workers that have ended; whether there were any.
    fn bury(&self, state: &mut State) -> bool {
        let mut any = false;
        for place in 0..state.stations.len() {
            let ended = state.stations[place].as_ref().is_some_and(|station| !station.process().is_alive());
            if ended {
                any = true;
                // What it sent before it ended counts.
                self.take_answers(state, place);
                self.bury_one(state, place);
            }
        }
        any
    }

    fn bury_one(&self, state: &mut State, place: usize) {
        let Some(station) = state.stations[place].take() else { return };
        let death = Arc::new(Death {
            pid: station.process().pid(),
            error: station.process().join_timeout(Duration::ZERO).err(),
        });
        let why = TaskKind::WorkerDied(Arc::clone(&death));
        let concerned = state.core.died(place, |task| station.board().begun(task), &why);
        Self::notify(state, concerned);
        if death.error.as_ref().is_some_and(ProcessError::is_start_failure) {
            state.core.give_up(PoolKind::NoStart(death).into());
        } else if let Some(deaths) = state.core.is_hopeless() {
            state.core.give_up(PoolKind::Dying { deaths, last: death }.into());
        } else {
            self.replace(state, place);
        }
    }

    fn replace(&self, state: &mut State, place: usize) {
        if state.core.broken.is_some() || (state.core.closed && !state.core.has_work()) {
            return;
        }
        if let Err(error) = self.start_worker(state, place) {
            // The others go on; without any, nothing would ever come.
            if state.stations.iter().all(Option::is_none) {
                state.core.give_up(error);
            }
        }
    }

    /// Gives queued tasks to workers that should have one.
    fn dispatch(&self, state: &mut State) {
        while let Some(worker) = state.core.next_worker(false) {
            let Some(id) = state.core.next_task() else { return };
            let is_large =
                state.core.task_mut(id).is_some_and(|task| task.packet.bytes().len() > SMALL_FRAME);
            let worker = if is_large { state.core.next_worker(true) } else { Some(worker) };
            let Some(worker) = worker else {
                state.core.put_back(id);
                return;
            };
            self.give(state, worker, id, is_large);
        }
    }

    fn give(&self, state: &mut State, worker: usize, id: TaskId, is_large: bool) {
        let poll = state.core.may_poll(self.cpus);
        let Some(station) = state.stations[worker].clone() else {
            return state.core.refuse(worker, id);
        };
        let Some(task) = state.core.task_mut(id) else { return };
        let head = TaskHead { task: id, items: task.items, job_len: task.code.bytes.len() as u32, poll };
        let code = Arc::clone(&task.code);
        let deadline = Instant::now() + if is_large { LARGE_FRAME_TIMEOUT } else { Duration::ZERO };
        let mut frame = TaskFrame::new(head, &code.bytes, &mut task.packet);
        match station.link().send(&mut frame as &mut dyn Outgoing, Some(deadline)) {
            Ok(()) => state.core.give(worker, id),
            // Full, or dying: its end is noticed by other means.
            Err(SendError::Timeout | SendError::Closed) => state.core.refuse(worker, id),
            Err(SendError::Encode(error)) => self.refuse_task(state, id, error),
            Err(error) => self.refuse_task(state, id, EncodeError::new::<Packet>(error)),
        }
    }

    fn refuse_task(&self, state: &mut State, id: TaskId, error: EncodeError) {
        let job = state.core.fail(id, TaskKind::Argument(error));
        Self::notify(state, job);
    }

    /// Takes no new jobs.
    pub(crate) fn close(&self) {
        self.lock().core.closed = true;
    }

    /// Ends the workers once they have done what they hold.
    pub(crate) fn end_gently(&self) {
        let stations = self.take_stations(PoolKind::Closed.into());
        for station in &stations {
            send_stop(station.link());
        }
        let deadline = Instant::now() + END_GRACE;
        let slow = stations
            .into_iter()
            .filter(|station| !station.ended_within(deadline.saturating_duration_since(Instant::now())))
            .collect();
        end_now(slow);
    }

    /// Ends the workers, whatever they do.
    pub(crate) fn terminate(&self) {
        end_now(self.take_stations(PoolKind::Terminated.into()));
    }

    fn take_stations(&self, why: PoolError) -> Vec<Arc<Station>> {
        let mut state = self.lock();
        state.core.closed = true;
        state.core.give_up(why);
        state.stations.iter_mut().filter_map(Option::take).collect()
    }
}

/// Asks all to end, and after a grace kills those that have not.
fn end_now(stations: Vec<Arc<Station>>) {
    for station in &stations {
        let _ = station.process().terminate();
    }
    let deadline = Instant::now() + END_GRACE;
    for station in stations {
        if !station.ended_within(deadline.saturating_duration_since(Instant::now())) {
            let _ = station.process().kill();
            station.ended_within(END_GRACE);
        }
    }
}
