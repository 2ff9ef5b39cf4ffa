//! What a pool's workers have done, and what their time went into.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

mod diagnosis;

pub use diagnosis::Diagnosis;

/// What a pool's workers have done since it was made; from
/// [`TaskPool::stats`](crate::TaskPool::stats).
///
/// What one part of a program makes of a pool is the difference between two of them:
/// [`since`](Self::since). Its text is a table of the workers with the
/// [diagnosis](Self::diagnosis) below.
///
/// # Examples
/// ```
/// # mp_process::init();
/// let pool = mp_pool::Pool::new(2)?;
/// let before = pool.stats();
/// pool.map(|millis| std::thread::sleep(std::time::Duration::from_millis(millis)), 1..11)?;
/// let stats = pool.stats().since(&before);
/// assert_eq!((stats.tasks(), stats.workers.len()), (10, 2));
/// assert!(stats.times().busy >= std::time::Duration::from_millis(55));
/// println!("{}", stats.diagnosis()); // 2 workers: 87 % busy, …
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolStats {
    /// One for each place that a worker can have, in no order of meaning.
    pub workers: Vec<WorkerStats>,
    /// The inputs that took longest, the slowest first: five of them, or fewer.
    ///
    /// They are those of the pool's whole life, also in what [`since`](Self::since) gives.
    pub slowest: Vec<SlowInput>,
    /// How many CPUs this process may use.
    pub(crate) cpus: usize,
    /// How many times workers have sent outcomes; several may come together.
    pub(crate) answers: u64,
}

/// What the workers of one place have done: the one that is there, and those before it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerStats {
    /// The name of the last one.
    pub name: String,
    /// Its process id, while it runs; a thread has none.
    pub pid: Option<u32>,
    /// How often another one has taken the place: because the last one died, had done its
    /// share, was too large, or had left.
    pub restarts: u32,
    /// How many items they have run, those that failed by themselves included.
    pub tasks: u64,
    /// What their time went into.
    pub times: Times,
}

/// What workers' time went into; the four are all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Times {
    /// Running tasks.
    pub busy: Duration,
    /// Decoding arguments and encoding values: of items that are quick, as some of them
    /// show. Numbers by themselves are only copied, which counts as busy.
    pub serialising: Duration,
    /// Waiting for a task, or for the link to take a value; also while nothing was asked of
    /// the pool.
    pub waiting: Duration,
    /// From the start of the process until it took tasks, its initializer included.
    pub starting: Duration,
}

/// An input that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowInput {
    /// Its place among those of its call, counted from 0.
    pub index: usize,
    /// How many inputs, from that one on, took so long together: 1 but for the first slow
    /// one behind inputs that were too quick to be timed one by one.
    pub items: usize,
    /// How long it took, with its decoding and encoding.
    pub time: Duration,
    /// The name of the worker that ran it.
    pub worker: String,
}

impl PoolStats {
    /// How many items have been run.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.workers.iter().map(|worker| worker.tasks).sum()
    }

    /// How often a worker has taken another one's place.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.workers.iter().map(|worker| worker.restarts).sum()
    }

    /// What the time of all workers went into.
    #[must_use]
    pub fn times(&self) -> Times {
        self.workers.iter().map(|worker| worker.times).fold(Times::default(), Times::add)
    }

    /// What has been done since `earlier`, which is of the same pool.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut stats = self.clone();
        stats.answers = self.answers.saturating_sub(earlier.answers);
        for (now, then) in stats.workers.iter_mut().zip(&earlier.workers) {
            now.restarts = now.restarts.saturating_sub(then.restarts);
            now.tasks = now.tasks.saturating_sub(then.tasks);
            now.times = now.times - then.times;
        }
        stats
    }

    /// What share of the workers' time went where, and what would help: in one line.
    #[must_use]
    pub fn diagnosis(&self) -> Diagnosis {
        Diagnosis::of(self)
    }
}

impl Times {
    /// All of it.
    #[must_use]
    pub fn total(self) -> Duration {
        self.busy + self.serialising + self.waiting + self.starting
    }

    /// Of a worker that has been there for so long: what is in none of the parts yet belongs
    /// to what it is at.
    pub(crate) fn up_to(mut self, total: Duration, is_at_work: bool) -> Self {
        let rest = total.saturating_sub(self.total());
        *(if is_at_work { &mut self.busy } else { &mut self.waiting }) += rest;
        self
    }

    fn zip(self, other: Self, each: impl Fn(Duration, Duration) -> Duration) -> Self {
        Self {
            busy: each(self.busy, other.busy),
            serialising: each(self.serialising, other.serialising),
            waiting: each(self.waiting, other.waiting),
            starting: each(self.starting, other.starting),
        }
    }
}

impl Add for Times {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(other, Duration::saturating_add)
    }
}

/// Nothing is less than zero.
impl Sub for Times {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.zip(other, Duration::saturating_sub)
    }
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:24} {:>10} {:>8} {:>11} {:>11} {:>11} {:>11}",
            "worker", "tasks", "restarts", "busy", "serialising", "waiting", "starting"
        )?;
        for WorkerStats { name, restarts, tasks, times, .. } in &self.workers {
            let Times { busy, serialising, waiting, starting } = times;
            writeln!(
                f,
                "{name:24} {tasks:>10} {restarts:>8} {busy:>11.1?} {serialising:>11.1?} {waiting:>11.1?} {starting:>11.1?}"
            )?;
        }
        for SlowInput { index, items, time, worker } in &self.slowest {
            match items {
                1 => writeln!(f, "item {index} took {time:.1?} ({worker})")?,
                _ => writeln!(f, "items {index} to {} took {time:.1?} ({worker})", index + items - 1)?,
            }
        }
        self.diagnosis().fmt(f)
    }
}
