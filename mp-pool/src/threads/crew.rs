//! The threads and their queue.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::record::{Phase, Record};
use crate::error::{PoolError, PoolKind};

/// Something to do, which catches its own panics.
pub(super) struct Task {
    /// Which items of their call it runs.
    pub(super) index: usize,
    pub(super) items: usize,
    pub(super) run: Box<dyn FnOnce() + Send>,
}

/// What the threads of a pool share.
#[derive(Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    /// Wakes a thread: there is a task, or it may go.
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    closed: bool,
    /// Why nothing is done any more.
    over: Option<PoolError>,
    /// Threads end once the queue is empty.
    leaving: bool,
}

impl Crew {
    /// What a thread does.
    pub(super) fn work(&self, record: &Record, initialize: impl FnOnce()) {
        if let Err(panic) = mp_process::catch_panic(initialize) {
            return self.end(PoolKind::ThreadInitializer(panic).into());
        }
        record.turn_to(Phase::Waiting);
        while let Some(Task { index, items, run }) = self.next() {
            record.turn_to(Phase::Busy);
            // What the caller gave drops here as well, and may panic.
            let _ = mp_process::catch_panic(run);
            record.end_task(index, items);
        }
        record.turn_to(Phase::Over);
    }

    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.queue.pop_front() {
                return Some(task);
            }
            if state.leaving {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Queues a task; to a closed pool, one of a job that was begun before.
    ///
    /// # Errors
    /// The reason and the task, if nothing is done any more.
    pub(super) fn submit(&self, task: Task) -> Result<(), (PoolError, Task)> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Err((error.clone(), task));
        }
        state.queue.push_back(task);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// An error if the pool takes no jobs.
    pub(super) fn check(&self) -> Result<(), PoolError> {
        let state = self.lock();
        let closed = || state.closed.then(|| PoolKind::Closed.into());
        state.over.clone().or_else(closed).map_or(Ok(()), Err)
    }

    /// Takes no more jobs.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Takes no more tasks, and lets the threads go when the last is done.
    pub(super) fn finish(&self) {
        self.close();
        self.lock().leaving = true;
        self.work.notify_all();
    }

    /// Drops what has not been begun, and lets the threads go.
    pub(super) fn end(&self, why: PoolError) {
        let mut state = self.lock();
        state.over.get_or_insert(why);
        state.leaving = true;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        self.work.notify_all();
        // Without the lock: it runs anybody's code.
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
