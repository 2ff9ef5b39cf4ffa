//! One budget of processes for pools and the pools that their tasks make.
//!
//! Each worker is told how many processes the pools in its tasks may have together, its
//! share of its pool's budget. Nothing is shared between processes, so that none that
//! dies can keep a seat; and each pool gets one, so that none waits for another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many processes the pools of this process may have together.
static ALLOWANCE: AtomicUsize = AtomicUsize::new(usize::MAX);
/// It is a worker, whose pool's budget has no end.
static IS_FREE: AtomicBool = AtomicBool::new(false);
/// How many they have.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// This process is a worker, whose tasks may have so many.
pub(crate) fn begin_worker(allowance: usize) {
    ALLOWANCE.store(allowance, Ordering::Relaxed);
    IS_FREE.store(allowance == usize::MAX, Ordering::Relaxed);
    // A fork has none of its parent's.
    TAKEN.store(0, Ordering::Relaxed);
}

/// Whether this process is a worker, with a share of somebody's budget.
pub(crate) fn is_limited() -> bool {
    ALLOWANCE.load(Ordering::Relaxed) != usize::MAX
}

/// Whether this process is a worker without a limit.
pub(crate) fn is_free() -> bool {
    IS_FREE.load(Ordering::Relaxed)
}

/// The part of a budget for tasks of the worker at `place` of so many.
pub(crate) fn share(budget: usize, workers: usize, place: usize) -> usize {
    let workers = workers.max(1);
    let rest = usize::from(place % workers < budget % workers);
    (budget / workers + rest).max(1)
}

/// Processes that a pool may have, until this is dropped.
#[derive(Debug)]
pub(crate) struct Seats(usize);

impl Seats {
    /// As many as are asked for, or as are left, but at least one.
    pub(crate) fn take(asked: usize) -> Self {
        let mut seats = Self(0);
        seats.resize(asked);
        seats
    }

    pub(crate) fn count(&self) -> usize {
        self.0
    }

    /// Takes more, or gives some back.
    pub(crate) fn resize(&mut self, asked: usize) {
        let allowance = ALLOWANCE.load(Ordering::Relaxed);
        let mut granted = asked;
        if !is_limited() {
            self.0 = granted;
            return;
        }
        let _ = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            let others = taken.saturating_sub(self.0);
            granted = asked.min(allowance.saturating_sub(others)).max(1);
            Some(others.saturating_add(granted))
        });
        self.0 = granted;
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        let _ = TAKEN
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| Some(taken.saturating_sub(self.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_budget() {
        for (budget, workers) in [(8, 3), (6, 3), (5, 2), (1, 1)] {
            assert_eq!((0..workers).map(|place| share(budget, workers, place)).sum::<usize>(), budget);
        }
        assert_eq!(share(2, 5, 4), 1);
    }

    #[test]
    fn seats_come_back() {
        begin_worker(5);
        let mut first = Seats::take(3);
        let second = Seats::take(4);
        let third = Seats::take(4);
        assert_eq!((first.count(), second.count(), third.count()), (3, 2, 1));
        drop((second, third));
        first.resize(9);
        assert_eq!(first.count(), 5);
        first.resize(1);
        assert_eq!(Seats::take(9).count(), 4);
        drop(first);
        assert_eq!(Seats::take(9).count(), 5);
        begin_worker(usize::MAX);
        let all = Seats::take(usize::MAX);
        assert_eq!((all.count(), Seats::take(7).count()), (usize::MAX, 7));
    }
}
