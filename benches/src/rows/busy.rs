//! How much of the machine do tasks of a given length get?
//!
//! The bound is two processes that do half of the tasks each without asking for them.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mp_pool::Pool;
use serde::{Deserialize, Serialize};

use super::{By, Row};
use crate::clock::rate_each;
use crate::contest::{Answer, Failure, Job, Mode};

pub(super) fn rows() -> Vec<Row> {
    let lengths = [("10us", 10, 0.90), ("100us", 100, 0.97), ("1ms", 1_000, 0.99), ("10ms", 10_000, 0.99)];
    let rows = lengths.map(|(what, length, target)| {
        Row::rates(format!("pool/tasks-{what}"), Mode::Free, "tasks", length)
            .against("bound", By::Bound("two-processes"), target)
            .beside("cpython", By::Python("pool.py", "pool"))
            .beside("rayon", By::Rival("threads", "rayon"))
    });
    rows.into()
}

/// Work of a known length that no compiler takes away.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Task {
    rounds: u64,
}

impl Task {
    /// One of about so many microseconds.
    #[must_use]
    pub fn of(microseconds: usize) -> Self {
        Self { rounds: rounds_per_microsecond() * microseconds as u64 }
    }

    /// Does the work.
    #[must_use]
    #[inline(never)]
    pub fn run(self, seed: u64) -> u64 {
        let mut state = seed | 1;
        for _ in 0..self.rounds {
            // A multiplication and an addition that wait for each other.
            state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
        state
    }
}

/// How many tasks make one batch: a tenth of a second of work for two, but enough for
/// both to end at about the same time.
#[must_use]
pub fn tasks(job: &Job) -> usize {
    (200_000 / job.number).clamp(20, 20_000)
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let (task, count) = (Task::of(job.number), tasks(job));
    rate_each(job.budget, || {
        let values =
            pool.map(|(task, seed): (Task, u64)| task.run(seed), (0..count as u64).map(|seed| (task, seed)))?;
        if values.len() == count && values[1] == task.run(1) { Ok(count) } else { Err("wrong values".into()) }
    })
}

/// Measured once, as the best of a few tries, which is what an undisturbed task takes.
fn rounds_per_microsecond() -> u64 {
    static ROUNDS: OnceLock<u64> = OnceLock::new();
    *ROUNDS.get_or_init(|| {
        let task = Task { rounds: 1_000_000 };
        let try_once = || {
            let begin = Instant::now();
            black_box(task.run(1));
            begin.elapsed()
        };
        let best = (0..5).map(|_| try_once()).min().unwrap_or(Duration::from_millis(1));
        (1_000_000.0 / (best.as_secs_f64() * 1e6)).max(1.0) as u64
    })
}
