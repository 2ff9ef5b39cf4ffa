//! A mutex whose lock has a deadline, for one direction of a link.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Threads take turns.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    is_taken: Mutex<bool>,
    given_back: Condvar,
}

/// It passes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Guard<'a>(&'a Turn);

impl Turn {
    /// `None` at the deadline.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Option<Guard<'_>> {
        let mut is_taken = lock(&self.is_taken);
        while *is_taken {
            is_taken = wait(&self.given_back, is_taken, deadline)?;
        }
        *is_taken = true;
        Some(Guard(self))
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        *lock(&self.0.is_taken) = false;
        self.0.given_back.notify_one();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a change; `None` if the deadline has passed.
pub(crate) fn wait<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> Option<MutexGuard<'a, T>> {
    let Some(deadline) = deadline else {
        return Some(changed.wait(guard).unwrap_or_else(PoisonError::into_inner));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return None;
    }
    Some(changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0)
}
