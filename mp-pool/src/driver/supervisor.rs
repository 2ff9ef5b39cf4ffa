//! The thread that drives for asynchronous jobs while no caller does, and the one
//! that runs callbacks. Both start when first needed and end with the pool.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use ipc_core::raw::start_thread;

use super::locked::Locked;
use super::{Driver, State};
use crate::chunks::Chunk;
use crate::core::{Callback, Code, JobId, Reply};
use crate::error::PoolError;

/// What the thread for asynchronous jobs does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Supervisor {
    /// It drives, or looks whether it is to.
    Awake,
    /// It looks again by itself, soon.
    Naps,
    /// It waits until it is needed.
    Sleeps,
}

/// How long it naps, and at the most while others take in answers.
const NAP: Duration = Duration::from_micros(50);
const LONGEST_NAP: Duration = Duration::from_micros(400);

pub(crate) type Call = Box<dyn FnOnce() + Send>;

impl Driver {
    /// Gives the pool all tasks of a job that nobody need wait for.
    pub(crate) fn submit_async(
        self: &Arc<Self>,
        job: JobId,
        code: &Arc<Code>,
        chunks: impl Iterator<Item = Chunk>,
    ) {
        for chunk in chunks {
            self.submit(job, code, chunk);
        }
        let mut state = self.lock();
        state.core.jobs.change(job, |job| job.is_async = true);
        if state.core.has_queue() && !state.driven {
            // Who gives out many tasks takes in answers on the way.
            self.pump(&mut state, false);
        }
        self.watch_over(&mut state);
    }

    /// Runs `callback` with all replies of a job once there are no more to come.
    pub(crate) fn on_end(
        self: &Arc<Self>,
        job: JobId,
        callback: impl FnOnce(VecDeque<Reply>, Option<PoolError>) + Send + 'static,
    ) {
        let mut state = self.lock();
        let mut callback = Some(Callback(Box::new(callback)));
        state.core.jobs.change(job, |job| job.callback = callback.take());
        if let Some(Callback(callback)) = callback {
            // The job is another process's, of which this one is a fork.
            let error = state.core.broken.clone();
            return run_elsewhere(Box::new(move || callback(VecDeque::new(), error)));
        }
        self.watch_over(&mut state);
        self.call_back(&mut state);
    }

    /// Whether a job is over; if not, `waker` is woken when it is.
    pub(crate) fn poll_end(self: &Arc<Self>, job: JobId, waker: Option<&Waker>) -> bool {
        // To clone a waker and to drop one may run anything, so both are done without the lock.
        let mut waker = waker.cloned();
        let mut state = self.lock();
        if !state.driven {
            self.pump(&mut state, false);
        }
        if state.core.broken.is_some() {
            return true;
        }
        if state.core.jobs.get(job).is_none_or(|job| job.open == 0) {
            return true;
        }
        if waker.is_some() {
            state.core.jobs.change(job, |job| std::mem::swap(&mut job.waker, &mut waker));
        }
        self.watch_over(&mut state);
        false
    }

    /// Waits until a job is over, and leaves its replies; whether it is by the deadline.
    pub(crate) fn await_end(&self, job: JobId, deadline: Option<Instant>) -> bool {
        self.await_end_with(self.lock(), job, deadline).1
    }

    fn await_end_with<'a>(
        &'a self,
        mut state: Locked<'a>,
        job: JobId,
        deadline: Option<Instant>,
    ) -> (Locked<'a>, bool) {
        let (mut late, mut in_vain) = (false, false);
        loop {
            let open = state.core.jobs.get(job).map_or(0, |job| job.open);
            if open == 0 || state.core.broken.is_some() || late {
                self.hand_over(&mut state);
                return (state, !late || open == 0);
            }
            late = deadline.is_some_and(|at| Instant::now() >= at);
            if state.driven || !state.core.has_queue() || !state.core.may_nap() {
                state = self.turn(state, job, deadline);
            } else if self.pump(&mut state, false) {
                in_vain = false;
            } else if in_vain {
                state = self.turn(state, job, deadline);
            } else {
                // As the thread does, which need not be woken for this.
                let nap = Instant::now() + NAP;
                state = Self::sleep_until_woken(state, job, Some(deadline.map_or(nap, |at| at.min(nap))));
                in_vain = true;
            }
        }
    }

    /// Waits until a job is over, and takes its replies.
    pub(crate) fn end_and_take(&self, job: JobId) -> Result<VecDeque<Reply>, PoolError> {
        let (state, _) = self.await_end_with(self.lock(), job, None);
        Self::take_replies_from(state, job)
    }

    /// The replies of a job that is over.
    pub(crate) fn take_replies(&self, job: JobId) -> Result<VecDeque<Reply>, PoolError> {
        Self::take_replies_from(self.lock(), job)
    }

    fn take_replies_from(mut state: Locked<'_>, job: JobId) -> Result<VecDeque<Reply>, PoolError> {
        let Some(mut job) = state.core.jobs.remove(job) else { return Ok(VecDeque::new()) };
        let inbox = std::mem::take(&mut job.inbox);
        let is_over = job.open == 0;
        state.leftovers.keep(job);
        if !is_over {
            Self::check(&state)?;
        }
        Ok(inbox)
    }

    /// Sees to it that somebody drives for asynchronous jobs.
    pub(super) fn watch_over(&self, state: &mut State) {
        if !state.core.needs_supervision() && state.core.next_leave().is_none() {
            return;
        }
        if !state.supervised {
            let driver = self.this.upgrade();
            let thread = std::thread::Builder::new().name("mp-pool".into()).stack_size(256 << 10);
            // Without a thread, callers that wait drive all the same.
            state.supervised =
                driver.is_some_and(|driver| start_thread(thread, move || driver.supervise()).is_ok());
        }
        self.wake_supervisor(state);
    }

    pub(super) fn wake_supervisor(&self, state: &mut State) {
        let hears = match state.supervisor {
            Supervisor::Awake => false,
            Supervisor::Naps => state.core.is_urgent() && !state.core.may_nap(),
            Supervisor::Sleeps => state.core.needs_supervision() || state.core.next_leave().is_some(),
        };
        if hears && !state.driven {
            // Once is enough.
            state.supervisor = Supervisor::Awake;
            self.supervise.notify_one();
        }
    }

    fn supervise(&self) {
        let mut state = self.lock();
        let (mut nap, mut pumps) = (NAP, state.pumps);
        while state.core.broken.is_none() {
            if state.driven || !state.core.needs_supervision() {
                let leave = state.core.next_leave();
                state = self.doze(state, Supervisor::Sleeps, leave);
                if !state.driven && leave.is_some_and(|at| Instant::now() >= at) {
                    self.pump(&mut state, true);
                }
                continue;
            }
            let others_do = state.pumps != pumps;
            let came = self.pump(&mut state, false);
            pumps = state.pumps;
            if !state.core.is_urgent() {
                if let Some(again) = self.take_back(&mut state) {
                    state = self.doze(state, Supervisor::Naps, Some(again));
                }
            } else if (came || others_do) && state.core.may_nap() {
                // To be woken by each answer would cost more than the quick tasks do.
                nap = if others_do { (2 * nap).min(LONGEST_NAP) } else { NAP };
                state = self.doze(state, Supervisor::Naps, Some(Instant::now() + nap));
            } else {
                state = self.drive(state, None);
            }
        }
    }

    /// Lets go of the wheel for a while.
    fn doze<'a>(&'a self, mut state: Locked<'a>, how: Supervisor, until: Option<Instant>) -> Locked<'a> {
        // A caller may have gone to sleep because this thread drove.
        self.hand_over(&mut state);
        state.supervisor = how;
        state = state.wait(&self.supervise, until);
        state.supervisor = Supervisor::Awake;
        state
    }

    /// Has the callbacks run of jobs that are over.
    pub(super) fn call_back(&self, state: &mut State) {
        for call in state.core.take_callbacks() {
            run_elsewhere(call);
        }
    }
}

/// Runs callbacks one after the other on a thread of their own, so that a slow one
/// holds up no pool. A panic in one is caught where it was made.
pub(crate) fn run_elsewhere(call: Call) {
    static CALLS: LazyLock<Calls> = LazyLock::new(Calls::new);
    let sender = CALLS.sender.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = sender.send(call);
    if CALLS.unserved().is_some() {
        let serve = || {
            let queue = CALLS.unserved().take();
            queue.into_iter().for_each(run_all);
        };
        // Where no thread can be had now, the next callback tries again, and the queue is kept.
        let _ = std::thread::Builder::new().name("mp-callbacks".into()).spawn(serve);
    }
}

/// Callbacks on their way to the thread that runs them.
struct Calls {
    sender: Mutex<Sender<Call>>,
    /// Until a thread has taken it.
    queue: Mutex<Option<Receiver<Call>>>,
}

impl Calls {
    fn new() -> Self {
        let (sender, queue) = channel();
        Self { sender: Mutex::new(sender), queue: Mutex::new(Some(queue)) }
    }

    fn unserved(&self) -> MutexGuard<'_, Option<Receiver<Call>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// Of the thread that runs callbacks: those that are to be run.
    static QUEUE: RefCell<Option<Rc<Receiver<Call>>>> = const { RefCell::new(None) };
}

/// Whether this is the thread that runs callbacks.
pub(crate) fn runs_callbacks() -> bool {
    QUEUE.with_borrow(Option::is_some)
}

/// How long a callback that waits for another one looks for the next, before it looks whether
/// that one will never be called.
const NEXT_CALL: Duration = Duration::from_millis(20);

/// On the thread that runs callbacks: runs the next one, if one comes soon. One that waits for
/// another would wait for ever if that one had to wait for its end.
pub(crate) fn run_another() {
    let Some(queue) = QUEUE.with_borrow(Option::clone) else { return };
    if let Ok(call) = queue.recv_timeout(NEXT_CALL) {
        run_call(call);
    }
}

fn run_all(queue: Receiver<Call>) {
    let queue = Rc::new(queue);
    QUEUE.set(Some(Rc::clone(&queue)));
    queue.iter().for_each(run_call);
}

fn run_call(call: Call) {
    // What a callback throws may panic again when it is dropped.
    let _ = mp_process::catch_panic(call);
}
