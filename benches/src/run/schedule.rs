//! How the time of a run is shared out among its rows, so that all of them have their turn.

use std::time::{Duration, Instant};

use crate::rows::{By, Row};

/// The whole run.
pub(super) struct Schedule {
    begun: Instant,
    at_most: Duration,
    /// Measurements for one round of all rows, and of those that are done.
    all: usize,
    done: usize,
}

/// What one row may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share(Duration);

impl Share {
    /// When it ends: so many rounds are done, and so many are planned. Those that are planned may
    /// end a little later than those beyond.
    pub(super) fn after(self, rounds: usize, planned: usize) -> Duration {
        if rounds < planned { self.0.mul_f64(1.25) } else { self.0 }
    }
}

impl Schedule {
    pub(super) fn new(rows: &[Row], at_most: Duration) -> Self {
        Self { begun: Instant::now(), at_most, all: rows.iter().map(weight).sum(), done: 0 }
    }

    /// Nothing more may begin.
    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() > self.at_most
    }

    /// Of the time that is left, by the measurements that are left.
    pub(super) fn share(&self, row: &Row) -> Share {
        let left = self.at_most.saturating_sub(self.begun.elapsed());
        Share(left.mul_f64(weight(row) as f64 / (self.all - self.done).max(1) as f64))
    }

    pub(super) fn finish(&mut self, row: &Row) {
        self.done += weight(row);
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// In words, if the rest goes as what is done went.
    pub(super) fn left(&self) -> String {
        let pace = self.begun.elapsed().as_secs_f64() / self.done.max(1) as f64;
        let left = pace * (self.all - self.done) as f64;
        let left = left.min(self.at_most.saturating_sub(self.begun.elapsed()).as_secs_f64());
        match left {
            90.0.. => format!("{:.0} min left", left / 60.0),
            _ => format!("{left:.0} s left"),
        }
    }
}

/// How many measurements a round of a row is.
fn weight(row: &Row) -> usize {
    1 + row.systems.iter().filter(|system| !matches!(system.by, By::Limit(_))).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::Mode;

    #[test]
    fn a_run_whose_rows_take_all_that_they_may_ends_in_time() {
        let row = Row::times("ipc/a", Mode::Hot, "a", 8).beside("bound", By::Bound("spin")).within(5);
        let rows = vec![row; 200];
        let mut schedule = Schedule::new(&rows, Duration::from_secs(1000));
        let mut used = Duration::ZERO;
        for row in &rows {
            // As if that time had gone by.
            schedule.begun = Instant::now() - used;
            assert!(!schedule.is_over());
            used += schedule.share(row).after(0, 7);
            schedule.finish(row);
        }
        assert!(used < Duration::from_secs(1010), "{used:?}");
        assert!(schedule.left().ends_with("s left"));
    }

    #[test]
    fn a_limit_is_not_measured() {
        let row = Row::times("ipc/a", Mode::Hot, "a", 8).within(5);
        assert_eq!(weight(&row), 1);
    }
}
