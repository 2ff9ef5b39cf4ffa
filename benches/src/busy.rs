//! Work of a known length, for those who share it out.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contest::Job;

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
    (200_000 / job.number).clamp(40, 20_000)
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
