//! What makes a pool go: whoever waits for a result gives out tasks, takes in
//! answers and replaces the dead.
//!
//! One caller at a time sleeps for all, outside the state's mutex, until a worker
//! answers or ends; the others sleep until it has news for them or hands over.
//! For asynchronous jobs a thread does that whenever no caller does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use ipc_core::raw::fork_generation;
use ipc_core::{EncodeError, Packet, RecvError};

use self::arrivals::{Arrival, Refusal};
use self::bell::Bell;
use self::inbox::Inbox;
use self::locked::{Leftovers, Locked};
use self::supervisor::Supervisor;
use crate::budget::{self, Seats};
use crate::chunks::Chunk;
use crate::core::{Advice, Code, Core, Errand, JobId, Lease, Reply};
use crate::error::{PoolError, PoolKind, TaskError, TaskKind};
use crate::rules::Rules;
use crate::station::Station;
use crate::wire::{AnswerHead, ShareId};

mod arrivals;
mod bell;
mod burial;
mod cancel;
mod dispatch;
mod inbox;
mod locked;
mod memory;
mod stats;
mod supervisor;
mod turns;

mod atomic {
    pub(super) use std::sync::Mutex;
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

pub(crate) use supervisor::{run_another, run_elsewhere, runs_callbacks};

/// A pool's state and its workers, shared by all who use it.
#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<State>,
    /// In which process, counted by forks, it was made.
    home: u32,
    /// The state of a pool that has ended, for a process that got this one by a fork: the
    /// other's lock may be held by a thread that was not forked.
    abroad: OnceLock<Mutex<State>>,
    /// Jobs of one item that were handed in without the state's lock.
    inbox: Inbox<Errand>,
    /// The pool takes jobs; changed under the state's lock.
    is_open: AtomicBool,
    next_job: AtomicU64,
    /// For the threads that drive for asynchronous jobs, and meet workers.
    this: Weak<Self>,
    /// Wakes the thread that drives for asynchronous jobs.
    supervise: Condvar,
    /// Wakes who waits for workers that are on their way.
    arrived: Condvar,
    /// Wakes who sleeps for all.
    bell: Bell,
    /// Which one of this process it is, for the names of its workers.
    number: u32,
    /// How many workers were started with the pool: as forks, if it is one of forks.
    forks: u64,
}

#[derive(Debug)]
struct State {
    core: Core,
    stations: Vec<Option<Arc<Station>>>,
    /// Since when workers run whose link is closed: nothing comes from them any more.
    mute: Vec<Option<Instant>>,
    /// Workers that were asked to end and are not waited for yet.
    leaving: Vec<Arc<Station>>,
    /// Workers that come over a transport, and are not there yet.
    arrivals: Vec<Arrival>,
    /// Why the last of those did not come.
    refusal: Option<Refusal>,
    /// Somebody sleeps for all.
    driven: bool,
    /// Whose answers wake him.
    listened: Vec<bool>,
    /// He will look in time whether things wait in workers for nothing.
    watches: bool,
    /// Jobs whose callers sleep until they are woken.
    sleepers: VecDeque<JobId>,
    supervised: bool,
    /// What the thread for asynchronous jobs does, if there is one.
    supervisor: Supervisor,
    /// When ends of workers were last looked for.
    looked: Instant,
    /// When the memory of workers was last measured.
    measured: Instant,
    /// Workers in a row whose initializer failed.
    setup_failures: u32,
    started: u64,
    /// Its part of the budget of the pool whose task made it; or how many it has.
    seats: Option<Seats>,
    leftovers: Leftovers,
    /// Where the head of a task is written that is being sent.
    head: Packet,
    /// An empty list, to be exchanged for the inbox's.
    emptied: Vec<Errand>,
    /// Errands that were taken in and not set to work.
    taken_in: usize,
    /// Errands that were set to work since answers were looked for.
    unpumped: usize,
    /// How often answers were looked for.
    pumps: u64,
}

/// Of jobs that are handed in while others wait in the queue, answers are looked for once in
/// so many.
const PUMP_EVERY: usize = 16;
/// Ends of workers are looked for so often while answers keep coming.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a worker may take to end once its link is closed.
const MUTE_GRACE: Duration = Duration::from_secs(1);

impl Driver {
    pub(crate) fn start(mut rules: Rules, cpus: usize) -> Result<Arc<Self>, PoolError> {
        let seats = Self::seat(&mut rules, cpus);
        let driver = Self::without_workers(rules, cpus, seats)?;
        let mut state = driver.lock();
        if state.core.rules.wires.is_some() {
            let started = driver.send_for_all(&mut state);
            if let Err(error) = started.and_then(|()| driver.await_arrivals(state)) {
                driver.terminate();
                return Err(error);
            }
            state = driver.lock();
        } else {
            driver.start_all(&mut state)?;
        }
        driver.watch_over(&mut state);
        drop(state);
        Ok(driver)
    }

    fn without_workers(rules: Rules, cpus: usize, seats: Seats) -> Result<Arc<Self>, PoolError> {
        static POOLS: AtomicU32 = AtomicU32::new(0);
        let bell = Bell::new()?;
        let forks = rules.processes as u64;
        Ok(Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            inbox: Inbox::new(),
            is_open: AtomicBool::new(true),
            next_job: AtomicU64::new(0),
            state: Mutex::new(State::new(rules, cpus, Some(seats))),
            home: fork_generation(),
            abroad: OnceLock::new(),
            supervise: Condvar::new(),
            arrived: Condvar::new(),
            bell,
            number: POOLS.fetch_add(1, Ordering::Relaxed) + 1,
            forks,
        }))
    }

    /// Takes seats for the workers, of which there are as many as seats in a task of another
    /// pool, and says how many the pools in this one's tasks may have.
    fn seat(rules: &mut Rules, cpus: usize) -> Seats {
        if !budget::is_limited() {
            let usual = if budget::is_free() { usize::MAX } else { cpus };
            rules.budget.get_or_insert(usual.max(rules.processes));
            return Seats::take(rules.processes);
        }
        let seats = Seats::take(rules.budget.unwrap_or(0).max(rules.processes));
        rules.processes = rules.processes.min(seats.count());
        rules.budget = Some(seats.count());
        seats
    }

    fn lock(&self) -> Locked<'_> {
        Locked::new(self)
    }

    /// Whether this process is a fork of the one that has the pool.
    fn is_abroad(&self) -> bool {
        self.home != fork_generation()
    }

    /// The pool's state; in a fork of its process, one that says so.
    fn state(&self) -> &Mutex<State> {
        if !self.is_abroad() {
            return &self.state;
        }
        self.abroad.get_or_init(|| {
            let mut state = State::new(Rules::new(0), 1, None);
            state.core.closed = true;
            state.give_up(PoolKind::Forked.into());
            Mutex::new(state)
        })
    }

    /// Takes in what was handed in; done right after the lock was taken.
    fn take_in(&self, state: &mut State) {
        if self.is_abroad() {
            return;
        }
        self.inbox.taken();
        if self.inbox.has_any() {
            let mut errands = std::mem::take(&mut state.emptied);
            self.inbox.take(&mut errands);
            state.taken_in += errands.len();
            errands.drain(..).for_each(|errand| state.core.take_in(errand));
            state.emptied = errands;
        }
    }

    /// Sets to work what was taken in; done right before the lock is let go of.
    fn set_to_work(&self, state: &mut State) {
        let taken_in = std::mem::take(&mut state.taken_in);
        if taken_in == 0 || state.core.broken.is_some() {
            return;
        }
        self.dispatch(state);
        state.unpumped += taken_in;
        if state.unpumped >= PUMP_EVERY && state.core.has_queue() && !state.driven {
            // Who gives out many tasks takes in answers on the way.
            self.pump(state, false);
        }
        self.watch_over(state);
    }

    /// Opens a job of one item that nobody need wait for, if the pool still takes work.
    pub(crate) fn hand_in(&self, code: Arc<Code>, chunk: Chunk, priority: i32) -> Result<JobId, PoolError> {
        if !self.is_open.load(Ordering::Relaxed) || self.is_abroad() {
            // Says why.
            Self::check(&self.lock())?;
            return Err(PoolKind::Closed.into());
        }
        let job = self.next_job();
        self.inbox.put(Errand { job, priority, code, chunk });
        // What is taken in is set to work when it is dropped.
        drop(Locked::for_inbox(self));
        Ok(job)
    }

    fn next_job(&self) -> JobId {
        self.next_job.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.lock().stations.iter().flatten().map(|station| station.process().pid()).collect()
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.lock().core.rules.processes
    }

    /// How many items a task of a map of `items` should have that are all given at once.
    pub(crate) fn chunk_size(&self, items: usize) -> usize {
        let state = self.lock();
        state.core.rules.chunk_size(items.div_ceil(4 * state.core.rules.processes).max(1))
    }

    /// How many items a task may have, of those that are asked for.
    pub(crate) fn most_per_task(&self, items: usize) -> usize {
        self.lock().core.rules.chunk_size(items)
    }

    /// Opens a job, if the pool still takes work.
    pub(crate) fn open(&self, priority: i32) -> Result<JobId, PoolError> {
        let mut state = self.lock();
        Self::check(&state)?;
        if state.core.closed {
            return Err(PoolKind::Closed.into());
        }
        let job = self.next_job();
        state.core.open_job(job, priority);
        Ok(job)
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
        let mut state = self.lock();
        if let Some(closed) = state.core.close_job(job) {
            state.leftovers.keep(closed);
        }
    }

    /// Whether another task of a job should come, and what is known of its items. If the input `may_wait` for what its last items
    /// do, those are to be with workers first: while it waits, nobody gives them out.
    pub(crate) fn wants_more(&self, job: JobId, may_wait: bool) -> Option<Advice> {
        let state = self.lock();
        let open = state.core.jobs.get(job).map_or(0, |job| job.open + job.inbox.len());
        let is_behind = may_wait && open > 0 && state.core.has_queue();
        let wants = open < state.core.appetite() && !is_behind && state.core.broken.is_none();
        wants.then(|| state.core.advice(job))
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
                let reply = Reply::refused(index, error);
                state.core.jobs.change(job, |job| job.inbox.push_back(reply));
            }
        }
    }

    /// Has a value that tasks may look at, which `order` makes workers keep.
    pub(crate) fn share(
        &self,
        order: impl FnOnce(ShareId, bool) -> Result<Packet, EncodeError>,
    ) -> Result<Arc<Lease>, TaskError> {
        let (id, by_memory) = {
            let core = &mut self.lock().core;
            (core.shares.next_id(), core.rules.wires.is_none())
        };
        // Users' code runs here, without the lock.
        let order = order(id, by_memory).map_err(TaskKind::Argument)?;
        let mut state = self.lock();
        Self::check(&state)?;
        Ok(state.core.shares.add(id, order))
    }

    /// Has workers drop shared values that nobody needs any more, if there are any.
    pub(crate) fn tidy(&self) {
        self.drop_unwanted(&mut self.lock());
    }

    /// Takes in all answers and ends, and gives out tasks; whether anything came.
    /// Ends are looked for if one is known of, and now and then.
    fn pump(&self, state: &mut State, one_ended: bool) -> bool {
        let mut came = false;
        state.pumps += 1;
        state.unpumped = 0;
        state.flush();
        let looks_at_all = one_ended || state.looked.elapsed() > LOOK_EVERY;
        for place in 0..state.stations.len() {
            if looks_at_all || state.core.may_speak(place) {
                came |= self.take_answers(state, place);
            }
        }
        if looks_at_all {
            came |= self.bury(state);
            state.looked = Instant::now();
        }
        came |= self.stop_overdue(state);
        came |= self.stop_overgrown(state);
        Self::stop_mute(state);
        self.retire(state);
        self.drop_unwanted(state);
        self.dispatch(state);
        if state.supervised {
            self.call_back(state);
        }
        came
    }

    fn take_answers(&self, state: &mut State, place: usize) -> bool {
        let Some(station) = state.stations[place].clone() else { return false };
        let mut came = false;
        while station.link().is_ready() != Some(false) {
            let mut packet = Packet::new();
            match station.link().recv(&mut packet, Some(Instant::now())) {
                Ok(()) => {}
                Err(RecvError::Timeout) => break,
                Err(_) => {
                    state.mute[place].get_or_insert_with(Instant::now);
                    break;
                }
            }
            if station.is_foreign() {
                packet.mark_trusted();
            }
            if let Ok(head) = packet.read_tail::<AnswerHead>() {
                came = true;
                state.setup_failures = 0;
                if state.core.rules.memory_per_child.is_some_and(|most| station.board().memory() > most) {
                    state.core.retire(place);
                }
                let job = state.core.answer(place, head, packet);
                Self::notify(state, job);
            }
        }
        came
    }

    /// Kills workers that have closed their link and do not end: their tasks would
    /// never be answered.
    fn stop_mute(state: &mut State) {
        for (station, mute) in state.stations.iter().zip(&mut state.mute) {
            if let (Some(station), Some(since)) = (station, mute)
                && since.elapsed() >= MUTE_GRACE
            {
                let _ = station.process().kill();
                *since = Instant::now();
            }
        }
    }

    /// Wakes the callers of jobs for which there is news.
    fn notify(state: &mut State, jobs: impl IntoIterator<Item = JobId>) {
        for id in jobs {
            let waker = state.core.jobs.change(id, |job| {
                // To wake nobody is a system call as well.
                if job.sleepers > 0 {
                    job.wake_one();
                }
                if job.open == 0 { job.waker.take() } else { None }
            });
            state.leftovers.wakers.extend(waker.flatten());
        }
    }

    /// Takes no new jobs.
    pub(crate) fn close(&self) {
        self.shut(&mut self.lock());
    }

    /// No job is taken any more.
    fn shut(&self, state: &mut State) {
        state.core.closed = true;
        self.is_open.store(false, Ordering::Relaxed);
    }
}

impl State {
    fn new(rules: Rules, cpus: usize, seats: Option<Seats>) -> Self {
        let workers = rules.processes;
        Self {
            core: Core::new(rules, cpus),
            stations: (0..workers).map(|_| None).collect(),
            mute: vec![None; workers],
            leaving: Vec::new(),
            arrivals: Vec::new(),
            refusal: None,
            driven: false,
            listened: vec![false; workers],
            watches: false,
            sleepers: VecDeque::new(),
            supervised: false,
            supervisor: Supervisor::Awake,
            looked: Instant::now(),
            measured: Instant::now(),
            setup_failures: 0,
            started: 0,
            seats,
            leftovers: Leftovers::default(),
            head: Packet::new(),
            emptied: Vec::new(),
            taken_in: 0,
            unpumped: 0,
            pumps: 0,
        }
    }

    /// Whether a user's link has begun a message and not finished it.
    fn is_cut(&self) -> bool {
        self.core.rules.wires.is_some() && self.stations.iter().flatten().any(|station| station.is_cut())
    }

    /// Goes on with messages that users' links have begun; whether there are any still.
    fn flush(&self) -> bool {
        if self.core.rules.wires.is_none() {
            return false;
        }
        self.stations.iter().flatten().filter(|station| station.flush()).count() > 0
    }
}
