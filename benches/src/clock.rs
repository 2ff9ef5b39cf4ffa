//! What contestants measure with: times, processor time, and where they run.

use std::fs;
use std::hint;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, Pid, sched_setaffinity};

use crate::contest::{Answer, Failure, Mode, NAP};
use crate::stats::percentile;

/// Repeats a short operation and gives its times as microseconds.
///
/// In [`Mode::Asleep`] it stays away from the other party before each one. The
/// operation is given how often it ran before.
///
/// # Errors
/// The operation's.
pub fn time_each(
    mode: Mode,
    budget: Duration,
    mut operation: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<Answer, Failure> {
    let mut times = Vec::with_capacity(1 << 16);
    let mut turn = 0;
    let warm = Instant::now();
    while warm.elapsed() < budget / 8 || turn < 3 {
        operation(turn)?;
        turn += 1;
    }
    let begin = Instant::now();
    while begin.elapsed() < budget || times.len() < 5 {
        if mode == Mode::Asleep {
            stay_away();
        }
        let start = Instant::now();
        operation(turn)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        turn += 1;
    }
    Ok(of_times(&mut times))
}

/// Repeats a long operation, each time after a preparation that is not timed and is
/// given how often it ran before; gives its times as microseconds.
///
/// # Errors
/// Those of the two.
pub fn time_prepared(
    budget: Duration,
    mut prepare: impl FnMut(u64) -> Result<(), Failure>,
    mut operation: impl FnMut() -> Result<(), Failure>,
) -> Result<Answer, Failure> {
    let mut times = Vec::new();
    let begin = Instant::now();
    let mut turn = 0;
    // The first two meet new memory everywhere.
    while turn < 7 || begin.elapsed() < budget {
        prepare(turn)?;
        let start = Instant::now();
        operation()?;
        if turn >= 2 {
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        turn += 1;
    }
    Ok(of_times(&mut times))
}

/// Repeats an operation on a batch, and gives how many of its things there were for
/// each second, in the median batch.
///
/// # Errors
/// The operation's.
pub fn rate_each(
    budget: Duration,
    mut batch: impl FnMut() -> Result<usize, Failure>,
) -> Result<Answer, Failure> {
    batch()?;
    let mut rates = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < budget || rates.is_empty() {
        let start = Instant::now();
        let count = batch()?;
        rates.push(count as f64 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    Ok(Answer::of(percentile(&rates, 0.5)))
}

/// Repeats an operation too short for the clock, and gives the time of one as
/// nanoseconds.
pub fn ns_per_turn(budget: Duration, mut turn: impl FnMut()) -> Answer {
    const TURNS: u32 = 10_000;
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < budget || times.len() < 3 {
        let start = Instant::now();
        (0..TURNS).for_each(|_| turn());
        times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS));
    }
    times.sort_by(f64::total_cmp);
    Answer::of(percentile(&times, 0.5))
}

/// The middle and the tail of times, which are put in order.
pub fn of_times(times: &mut [f64]) -> Answer {
    times.sort_by(f64::total_cmp);
    let tail = |share: f64, least: usize| (times.len() >= least).then(|| percentile(times, share));
    Answer {
        value: percentile(times, 0.5),
        p99: tail(0.99, 100),
        p999: tail(0.999, 1000),
        max: times.last().copied(),
        ..Answer::default()
    }
}

/// Keeps this thread, and those it starts, on one processor.
///
/// # Errors
/// There is no such processor.
pub fn pin(processor: Option<usize>) -> Result<(), Failure> {
    if let Some(processor) = processor {
        let set = set_of(&[processor]);
        sched_setaffinity(None::<Pid>, &set).map_err(|error| format!("processor {processor}: {error}"))?;
    }
    Ok(())
}

/// Makes workers, and keeps them where the other party is to run and all threads of
/// this process where its own party is to run.
///
/// Where these are two processors the workers are made before, and must have begun to
/// work, because a process that sees one processor only may wait in another way.
///
/// # Errors
/// The maker's, or there is no such processor.
pub fn apart<W>(mode: Mode, make: impl FnOnce() -> Result<W, Failure>) -> Result<W, Failure> {
    let [Some(own), Some(other)] = mode.processors() else { return make() };
    if own == other {
        pin_all(Path::new("/proc/self/task"), &set_of(&[own]))?;
        return make();
    }
    pin_all(Path::new("/proc/self/task"), &set_of(&[own, other]))?;
    let workers = make()?;
    for thread in fs::read_dir("/proc/self/task")? {
        let children = fs::read_to_string(thread?.path().join("children"))?;
        for child in children.split_whitespace() {
            pin_all(&Path::new("/proc").join(child).join("task"), &set_of(&[other]))?;
        }
    }
    pin_all(Path::new("/proc/self/task"), &set_of(&[own]))?;
    Ok(workers)
}

fn set_of(processors: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    processors.iter().for_each(|processor| set.set(*processor));
    set
}

fn pin_all(threads: &Path, set: &CpuSet) -> Result<(), Failure> {
    for thread in fs::read_dir(threads)? {
        let id = thread?.file_name().to_string_lossy().parse()?;
        // A thread that has just ended need not be moved.
        let _ = sched_setaffinity(Pid::from_raw(id), set);
    }
    Ok(())
}

/// Works until the other party has gone to sleep.
pub fn stay_away() {
    let begin = Instant::now();
    while begin.elapsed() < NAP {
        hint::spin_loop();
    }
}
