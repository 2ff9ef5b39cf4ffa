//! State that belongs to one process, and not to its forks.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use ipc_core::raw;

/// A `T` that begins anew in a process that was forked: what the parent had there is left alone,
/// neither used nor dropped, also if a thread of the parent had it locked.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(raw::PerProcess<Mutex<Option<T>>>);

impl<T: Default + Send> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(raw::PerProcess::new(Mutex::new(None), |_| Mutex::new(None)))
    }

    pub(crate) fn with<U>(&self, run: impl FnOnce(&mut T) -> U) -> U {
        run(self.0.here().lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
    }

    /// As [`with`](Self::with), for exit handlers: `exit` may have been called where
    /// the lock is held.
    pub(crate) fn try_with<U>(&self, patience: Duration, run: impl FnOnce(&mut T) -> U) -> Option<U> {
        let mut deadline = None;
        loop {
            if let Some(mut value) = free(self.0.here()) {
                return Some(run(value.get_or_insert_default()));
            }
            if Instant::now() >= *deadline.get_or_insert_with(|| Instant::now() + patience) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What a forked process finds of its parent's, if no thread was in the middle of a change.
    pub(crate) fn inherited<U>(&self, run: impl FnOnce(&mut T) -> U) -> Option<U> {
        free(self.0.inherited()?)?.as_mut().map(run)
    }
}

fn free<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(value) => Some(value),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
