//! The state's lock, and what is done right after it is let go.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use super::State;
use crate::core::Job;

/// What must not be done under the lock, because it runs users' code, which may
/// use the pool: waking tasks of an async runtime, and dropping wakers and
/// callbacks.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) wakers: Vec<Waker>,
    pub(super) jobs: Vec<Job>,
}

/// The state under its lock. When it is let go, the leftovers are seen to.
pub(super) struct Locked<'a> {
    mutex: &'a Mutex<State>,
    guard: Option<MutexGuard<'a, State>>,
}

impl<'a> Locked<'a> {
    pub(super) fn new(mutex: &'a Mutex<State>) -> Self {
        let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        Self { mutex, guard: Some(guard) }
    }

    /// Lets go, sleeps until woken or the deadline, and locks again; may return for
    /// no reason.
    pub(super) fn wait(mut self, condvar: &Condvar, deadline: Option<Instant>) -> Self {
        let mutex = self.mutex;
        if !self.leftovers.is_empty() {
            // Seen to first: nobody sleeps over them.
            drop(self);
            return Self::new(mutex);
        }
        let guard = self.guard.take().map(|guard| match deadline {
            None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
            }
        });
        self.guard = guard;
        self
    }
}

impl Leftovers {
    fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.jobs.is_empty()
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.guard.as_deref().expect("held until dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.guard.as_deref_mut().expect("held until dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.guard.take() else { return };
        let leftovers = std::mem::take(&mut state.leftovers);
        drop(state);
        leftovers.wakers.into_iter().for_each(Waker::wake);
    }
}
