//! The threads and their queue.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::record::{Phase, Record};
use crate::error::{PoolError, PoolKind};

/// What a thread does with its state.
type Run = Box<dyn FnOnce(&mut dyn Any) + Send>;

/// Something to do, which catches its own panics.
pub(super) struct Task {
    /// Which items of their call it runs.
    pub(super) index: usize,
    pub(super) items: usize,
    /// Gets the state of the thread that runs it.
    pub(super) run: Run,
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
    /// By priority; none of the lists is empty.
    queue: BTreeMap<i32, VecDeque<Task>>,
    /// How many threads there should be, and how many have been started and are not about to leave.
    wanted: usize,
    staying: usize,
    closed: bool,
    /// Why nothing is done any more.
    over: Option<PoolError>,
    /// Threads end once the queue is empty.
    leaving: bool,
}

impl Crew {
    /// What a thread does.
    pub(super) fn work(&self, record: &Record, initialize: impl FnOnce() -> Box<dyn Any>) {
        let mut state = match mp_process::catch_panic(initialize) {
            Ok(state) => state,
            Err(panic) => return self.end(PoolKind::ThreadInitializer(panic).into()),
        };
        record.turn_to(Phase::Waiting);
        while let Some(Task { index, items, run }) = self.next() {
            record.turn_to(Phase::Busy);
            // What the caller gave drops here as well, and may panic.
            let _ = mp_process::catch_panic(|| run(&mut *state));
            record.end_task(index, items);
        }
        record.turn_to(Phase::Over);
        let _ = mp_process::catch_panic(|| drop(state));
    }

    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.staying > state.wanted {
                state.staying -= 1;
                return None;
            }
            if let Some(task) = state.pop() {
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
    pub(super) fn submit(&self, priority: i32, task: Task) -> Result<(), (PoolError, Task)> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Err((error.clone(), task));
        }
        state.queue.entry(priority).or_default().push_back(task);
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

    /// How many threads there should be.
    pub(super) fn wanted(&self) -> usize {
        self.lock().wanted
    }

    /// Sets how many threads there should be; those that are too many leave when they have done
    /// what they do.
    ///
    /// # Errors
    /// If nothing is done any more.
    pub(super) fn want(&self, threads: usize) -> Result<(), PoolError> {
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Err(error.clone());
        }
        if state.leaving {
            return Err(PoolKind::Closed.into());
        }
        state.wanted = threads;
        drop(state);
        self.work.notify_all();
        Ok(())
    }

    /// Whether there are fewer threads than there should be.
    pub(super) fn is_short(&self) -> bool {
        let state = self.lock();
        state.staying < state.wanted
    }

    /// A thread has been started.
    pub(super) fn count_one_more(&self) {
        let mut state = self.lock();
        state.staying += 1;
        // Fewer may be wanted by now, and those who could leave have looked.
        if state.staying > state.wanted {
            self.work.notify_all();
        }
    }

    /// No more threads could be started: there should be as many as there are.
    pub(super) fn do_with_those_there_are(&self) {
        let mut state = self.lock();
        state.wanted = state.wanted.min(state.staying);
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

impl State {
    /// The first of those with the highest priority.
    fn pop(&mut self) -> Option<Task> {
        let mut list = self.queue.last_entry()?;
        let task = list.get_mut().pop_front();
        if list.get().is_empty() {
            list.remove();
        }
        task
    }
}
