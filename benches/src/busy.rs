//! Work of a known length, for those who share it out.

use std::env;
use std::hint::black_box;
use std::io;
use std::process::{self, Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::pin;
use crate::contest::{Failure, Job};

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

/// Measures beside two processes that work all the time, one on each of the first two
/// processors.
///
/// # Errors
/// Those of the measurement, or a process cannot be made.
pub fn beside_two<T>(measure: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let _busy = [Busy::on(0)?, Busy::on(1)?];
    measure()
}

/// The command of this program that works until its input ends.
pub const BUSY: &str = "busy";

/// Works until the input ends.
///
/// # Errors
/// There is no such processor.
pub fn work_on(processor: &str) -> Result<(), Failure> {
    pin(Some(processor.parse()?))?;
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    loop {
        let _ = black_box(Task { rounds: 1_000_000 }.run(1));
    }
}

/// A process that works; it ends with this one, or when this is dropped.
struct Busy(Child);

impl Busy {
    fn on(processor: usize) -> Result<Self, Failure> {
        let mut command = Command::new(env::current_exe()?);
        command.args([BUSY, &processor.to_string()]).stdin(Stdio::piped());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many tasks make one batch: a tenth of a second of work for two, but enough for
/// both to end at about the same time.
#[must_use]
pub fn tasks(job: &Job) -> usize {
    (200_000 / job.number).clamp(40, 20_000)
}

/// What the quick ones of skewed tasks do: fifty microseconds.
#[must_use]
pub fn skewed_task() -> Task {
    Task::of(50)
}

/// One of so many skewed tasks: the last eighth of them takes twenty times as long.
#[must_use]
pub fn run_skewed((task, seed, count): (Task, u64, u64)) -> u64 {
    let times = if seed >= count - count / 8 { 20 } else { 1 };
    (0..times).map(|time| task.run(seed + time)).fold(0, u64::wrapping_add)
}

/// Tells a contestant how much work a microsecond is, so that all have the same.
pub const ROUNDS: &str = "BENCH_ROUNDS_PER_MICROSECOND";

/// What the environment says; else measured once, as the best of a few tries, which is what an
/// undisturbed task takes.
#[must_use]
pub fn rounds_per_microsecond() -> u64 {
    static ROUNDS_HERE: OnceLock<u64> = OnceLock::new();
    *ROUNDS_HERE.get_or_init(|| {
        if let Some(told) = env::var(ROUNDS).ok().and_then(|told| told.parse().ok()) {
            return told;
        }
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
