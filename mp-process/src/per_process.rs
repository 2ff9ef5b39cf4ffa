//! State that belongs to one process, and not to its forks.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// A `T` that begins anew in a process that was forked: what the parent had there
/// is left alone, neither used nor dropped.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(Mutex<Option<(u32, T)>>);

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn with<U>(&self, run: impl FnOnce(&mut T) -> U) -> U {
        run(own(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// As [`with`](Self::with), for exit handlers: `exit` may have been called where
    /// the lock is held.
    pub(crate) fn try_with<U>(&self, patience: Duration, run: impl FnOnce(&mut T) -> U) -> Option<U> {
        let mut deadline = None;
        loop {
            match self.0.try_lock() {
                Ok(mut guard) => return Some(run(own(&mut guard))),
                Err(TryLockError::Poisoned(poisoned)) => return Some(run(own(&mut poisoned.into_inner()))),
                Err(TryLockError::WouldBlock) => {}
            }
            if Instant::now() >= *deadline.get_or_insert_with(|| Instant::now() + patience) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What a forked process finds of its parent's, once, before anything else is asked.
    pub(crate) fn inherited<U>(&self, run: impl FnOnce(&mut T) -> U) -> Option<U> {
        let mut guard: MutexGuard<'_, _> = self.0.try_lock().ok()?;
        guard.as_mut().filter(|(owner, _)| *owner != std::process::id()).map(|(_, value)| run(value))
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let slot = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|(owner, _)| *owner != std::process::id()) {
            std::mem::forget(slot.take());
        }
    }
}

fn own<T: Default>(slot: &mut Option<(u32, T)>) -> &mut T {
    let me = std::process::id();
    if slot.as_ref().is_some_and(|(owner, _)| *owner != me) {
        std::mem::forget(slot.take());
    }
    &mut slot.get_or_insert_with(|| (me, T::default())).1
}
