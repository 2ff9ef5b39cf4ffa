//! What do locks and semaphores cost, alone and when others want them?

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ipc_core::Message;
use mp_process::{Function, Process};
use mp_sync::{Barrier, Lock, RLock, Semaphore, SharedAtomicU64, Value};

use super::{By, Row};
use crate::clock::{ns_per_turn, pin};
use crate::contest::{Answer, Failure, Job, Mode};

pub(super) fn rows() -> Vec<Row> {
    let alone =
        |what: &str, question| Row::times(format!("sync/{what}"), Mode::OneCore, question, 1).unit("ns");
    let mut rows = vec![
        alone("lock", "lock")
            .against("bound", By::Bound("robust"), 1.0 / 1.1)
            .against("cpython", By::Python("sync.py", "Lock"), 2.0)
            .against("cpython-with", By::Python("sync.py", "with Lock"), 10.0),
        alone("rlock", "rlock")
            .against("bound", By::Bound("robust"), 1.0 / 1.1)
            .against("cpython", By::Python("sync.py", "RLock"), 2.0)
            .against("cpython-with", By::Python("sync.py", "with RLock"), 10.0),
        alone("semaphore", "semaphore").against("bound", By::Bound("sem"), 1.0 / 1.1).against(
            "cpython",
            By::Python("sync.py", "Semaphore"),
            1.7,
        ),
    ];
    for (parties, target) in [(2, Some(5.0)), (4, Some(3.0)), (8, None), (16, None), (64, None)] {
        let row = Row::times(format!("sync/lock-by-{parties}"), Mode::Free, "contended", parties).unit("ns");
        let row = row
            .against("bound", By::Bound("robust"), 1.0 / 1.3)
            .against("futex-mutex", By::Bound("futex"), 1.0 / 1.25)
            .against("sem", By::Bound("sem"), 1.3)
            .against("cpython", By::Python("sync.py", "Lock"), target.unwrap_or(3.0));
        rows.push(if target.is_some() { row } else { row.grows() });
    }
    // Of the process that has the fewest turns to the one that has the most.
    for parties in [2, 4, 8, 16, 64] {
        let row = Row::rates(format!("sync/lock-share-by-{parties}"), Mode::Free, "share", parties);
        rows.push(row.of("share").unit("%").within(40));
    }
    rows.push(
        Row::times("sync/semaphore-by-2", Mode::Free, "contended-semaphore", 2)
            .unit("ns")
            .against("bound", By::Bound("sem"), 1.0 / 0.6)
            .against("cpython", By::Python("sync.py", "Semaphore"), 4.0),
    );
    rows
}

pub(super) fn uncontended(job: &Job) -> Result<Answer, Failure> {
    pin(job.mode.processors()[0])?;
    match job.question.as_str() {
        "lock" => {
            let lock = Lock::new()?;
            Ok(ns_per_turn(job.budget, || drop(lock.lock().expect("nobody died"))))
        }
        "rlock" => {
            let lock = RLock::new()?;
            Ok(ns_per_turn(job.budget, || drop(lock.lock().expect("nobody died"))))
        }
        _ => {
            let semaphore = Semaphore::new(1)?;
            Ok(ns_per_turn(job.budget, || drop(semaphore.acquire().expect("nobody died"))))
        }
    }
}

/// Each process counts up one number under its lock; nothing may be lost.
pub(super) fn contended(job: &Job) -> Result<Answer, Failure> {
    let counter = Value::<u64>::new(0)?;
    let job = &if job.question == "share" { long_enough(job) } else { job.clone() };
    let turns = all_at_once(job, counter.clone(), |(counter, budget)| {
        take_turns(budget, || *counter.lock().expect("nobody died") += 1)
    })?;
    if job.question == "share" {
        let counts = || turns.iter().map(|(count, _)| *count as f64);
        let least = counts().fold(f64::INFINITY, f64::min);
        return Ok(Answer::of(100.0 * least / counts().fold(1.0, f64::max)));
    }
    let counted = *counter.lock().expect("nobody died");
    of_turns(&turns, counted)
}

/// Each process gets a processor several times, whatever the lock does.
fn long_enough(job: &Job) -> Job {
    let least = Duration::from_millis(40) * job.number as u32;
    Job { budget: job.budget.max(least), ..job.clone() }
}

/// The same under a permit; the counter is then a bare one.
pub(super) fn contended_semaphore(job: &Job) -> Result<Answer, Failure> {
    let (semaphore, counter) = (Semaphore::new(1)?, SharedAtomicU64::new(0)?);
    let turns = all_at_once(job, (semaphore, counter.clone()), |((semaphore, counter), budget)| {
        take_turns(budget, || {
            let permit = semaphore.acquire().expect("nobody died");
            counter.store(counter.load(Relaxed) + 1, Relaxed);
            drop(permit);
        })
    })?;
    of_turns(&turns, counter.load(Relaxed))
}

/// How many turns a process took, and in which time.
type Turns = (u64, Duration);
/// What a process needs: the start, the work, its argument, its time.
type Task<A> = (Barrier, Function<(A, Duration), Turns>, A, Duration);

/// Runs a function in as many processes, from the same moment.
fn all_at_once<A: Message + Clone>(
    job: &Job,
    argument: A,
    work: fn((A, Duration)) -> Turns,
) -> Result<Vec<Turns>, Failure> {
    let start = Barrier::new(u32::try_from(job.number)?)?;
    let mut processes = Vec::new();
    for _ in 0..job.number {
        let task: Task<A> = (start.clone(), Function::new(work), argument.clone(), job.budget);
        processes.push(Process::spawn(begin_with_all, task)?);
    }
    let mut turns = Vec::new();
    for process in processes {
        turns.push(process.join()?);
    }
    Ok(turns)
}

fn begin_with_all<A: Message>((start, work, argument, budget): Task<A>) -> Turns {
    start.wait().expect("nobody died");
    work((argument, budget))
}

/// The time of one turn, all parties together.
///
/// # Errors
/// The counter is not the sum of the turns.
pub(crate) fn of_turns(turns: &[Turns], counted: u64) -> Result<Answer, Failure> {
    let sum: u64 = turns.iter().map(|(count, _)| count).sum();
    if sum != counted {
        return Err(format!("{sum} turns, but {counted} were counted").into());
    }
    let time: Duration = turns.iter().map(|(_, time)| time).sum();
    let mean = time.as_secs_f64() / turns.len() as f64;
    Ok(Answer::of(mean * 1e9 / sum as f64))
}

/// Takes turns for so long, and says how many they were in which time.
pub(crate) fn take_turns(budget: Duration, mut turn: impl FnMut()) -> Turns {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < budget {
        (0..256).for_each(|_| turn());
        count += 256;
    }
    (count, begin.elapsed())
}
