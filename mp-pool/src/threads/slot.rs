//! Where the result of a thread's task is put.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::driver::run_elsewhere;
use crate::error::{PoolKind, TaskError, TaskKind};
use crate::scope::End;
use crate::values::Values;

/// A result, or who is to be told of it.
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
    set: Condvar,
}

enum State<T> {
    Open {
        /// A thread runs the task: it cannot be cancelled any more.
        begun: bool,
        waker: Option<Waker>,
        callback: Option<Callback<T>>,
    },
    Set(Result<T, TaskError>),
    /// Nobody wants it, or it has been taken.
    Over,
}

type Callback<T> = Box<dyn FnOnce(Result<T, TaskError>) + Send>;

impl<T> Slot<T> {
    fn new() -> Self {
        let open = State::Open { begun: false, waker: None, callback: None };
        Self { state: Mutex::new(open), set: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Here is the result, unless there is one.
    pub(crate) fn set(&self, result: Result<T, TaskError>) {
        self.set_under(self.lock(), result);
    }

    fn set_under(&self, mut state: MutexGuard<'_, State<T>>, result: Result<T, TaskError>) {
        if !matches!(*state, State::Open { .. }) {
            drop(state);
            return drop(result);
        }
        // Nothing of the callers' runs under the lock.
        let State::Open { waker, callback, .. } = mem::replace(&mut *state, State::Over) else { return };
        let Some(callback) = callback else {
            *state = State::Set(result);
            drop(state);
            self.set.notify_all();
            waker.into_iter().for_each(Waker::wake);
            return;
        };
        drop(state);
        self.set.notify_all();
        // First, because a waker may panic.
        callback(result);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Marks the task as begun; whether anybody wants it.
    fn begin(&self) -> bool {
        match &mut *self.lock() {
            State::Open { begun, .. } => {
                *begun = true;
                true
            }
            _ => false,
        }
    }

    fn is_open(&self) -> bool {
        matches!(*self.lock(), State::Open { .. })
    }

    pub(crate) fn cancel(&self) {
        let state = self.lock();
        if matches!(*state, State::Open { begun: false, .. }) {
            self.set_under(state, Err(TaskKind::Cancelled.into()));
        }
    }

    /// Nobody will ask for the result.
    pub(crate) fn forget(&self) {
        let old = mem::replace(&mut *self.lock(), State::Over);
        drop(old);
    }

    /// Waits for the result; whether there is one by the deadline.
    pub(crate) fn await_end(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        while matches!(*state, State::Open { .. }) {
            state = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.set.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return false,
                Some(left) => self.set.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        true
    }

    /// Whether there is a result; if not, `waker` is woken when there is.
    pub(crate) fn poll_end(&self, waker: Option<&Waker>) -> bool {
        // To clone a waker and to drop one may run anything, so both are done without the lock.
        let mut waker = waker.cloned();
        match &mut *self.lock() {
            State::Open { waker: place, .. } if waker.is_some() => mem::swap(place, &mut waker),
            State::Open { .. } => {}
            _ => return true,
        }
        false
    }

    pub(crate) fn take(&self) -> Result<T, TaskError> {
        match mem::replace(&mut *self.lock(), State::Over) {
            State::Set(result) => result,
            _ => Err(TaskKind::Taken.into()),
        }
    }
}

impl<T: Send + 'static> Slot<T> {
    /// Has `callback` run with the result once there is one.
    pub(crate) fn on_end(&self, callback: Callback<T>) {
        let call: Callback<T> = Box::new(|result| run_elsewhere(Box::new(|| callback(result))));
        let mut state = self.lock();
        match &mut *state {
            State::Open { callback: place, .. } => *place = Some(call),
            _ => {
                drop(state);
                call(self.take());
            }
        }
    }
}

impl<T: Send + 'static> End for Arc<Slot<T>> {
    fn wait(&self) {
        self.await_end(None);
    }

    fn is_over(&self) -> bool {
        self.poll_end(None)
    }

    fn take_error(&self) -> Option<TaskError> {
        self.take().err()
    }
}

/// Held by a task: a result will be set, an error if the task is dropped.
pub(super) struct Promise<T>(Arc<Slot<T>>);

impl<T> Promise<T> {
    pub(super) fn new() -> (Arc<Slot<T>>, Self) {
        let slot = Arc::new(Slot::new());
        (Arc::clone(&slot), Self(slot))
    }

    pub(super) fn begin(&self) -> bool {
        self.0.begin()
    }

    pub(super) fn keep(self, result: Result<T, TaskError>) {
        self.0.set(result);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.set(Err(dropped()));
    }
}

/// The error of a task that was never run.
pub(super) fn dropped() -> TaskError {
    TaskKind::Pool(PoolKind::Terminated.into()).into()
}

/// The result of a map, to which several tasks contribute.
pub(super) struct Many<R> {
    slot: Arc<Slot<Vec<R>>>,
    parts: Arc<Mutex<Parts<R>>>,
}

struct Parts<R> {
    values: Values<R>,
    first_error: Option<TaskError>,
    missing: usize,
}

impl<R> Many<R> {
    pub(super) fn new(items: usize) -> Self {
        let parts = Parts { values: Values::new(items), first_error: None, missing: items };
        let many = Self { slot: Arc::new(Slot::new()), parts: Arc::new(Mutex::new(parts)) };
        if items == 0 {
            many.slot.set(Ok(Vec::new()));
        }
        many
    }

    pub(super) fn slot(&self) -> &Arc<Slot<Vec<R>>> {
        &self.slot
    }

    /// For the task that runs `items` items from `index` on.
    pub(super) fn share(&self, index: usize, items: usize) -> Share<R> {
        Share { slot: Arc::clone(&self.slot), parts: Arc::clone(&self.parts), index, items }
    }
}

/// One task's part of a map.
pub(super) struct Share<R> {
    slot: Arc<Slot<Vec<R>>>,
    parts: Arc<Mutex<Parts<R>>>,
    index: usize,
    items: usize,
}

impl<R> Share<R> {
    /// Runs the items, unless nobody wants the map any more.
    pub(super) fn run<A>(mut self, items: Vec<A>, each: impl FnMut(A) -> Result<R, TaskError>) {
        if self.slot.is_open() {
            let outcomes = items.into_iter().map(each).collect();
            self.deliver(outcomes);
        }
    }

    fn deliver(&mut self, outcomes: Vec<Result<R, TaskError>>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let Parts { values, first_error, missing } = &mut *parts;
        *missing -= mem::take(&mut self.items);
        let run = values.begin(self.index, outcomes.len());
        for (outcome, index) in outcomes.into_iter().zip(self.index..) {
            match outcome {
                Ok(value) => run.push(value),
                Err(error) if first_error.as_ref().is_none_or(|first| Some(index) < first.index()) => {
                    *first_error = Some(error.at(index));
                }
                Err(_) => {}
            }
        }
        if *missing == 0 {
            let (values, error) = (mem::replace(values, Values::new(0)), first_error.take());
            drop(parts);
            match error {
                None => self.slot.set(Ok(values.into_vec())),
                // Before the values are dropped, of which each may panic.
                Some(error) => self.slot.set(Err(error)),
            }
        }
    }
}

impl<R> Drop for Share<R> {
    fn drop(&mut self) {
        if self.items > 0 {
            self.slot.set(Err(dropped()));
        }
    }
}
