//! How much of the machine do tasks of a given length get?
//!
//! The bound is two processes that do half of the tasks each without asking for them.

use mp_pool::Pool;

use super::{By, Row};
use crate::busy::{Task, tasks};
use crate::clock::rate_each;
use crate::contest::{Answer, Failure, Job, Mode};

pub(super) fn rows() -> Vec<Row> {
    let lengths = [("10us", 10, 0.90), ("100us", 100, 0.97), ("1ms", 1_000, 0.99), ("10ms", 10_000, 0.99)];
    let rows = lengths.map(|(what, length, target)| {
        Row::rates(format!("pool/tasks-{what}"), Mode::Free, "tasks", length)
            .against("bound", By::Bound("two-processes"), target)
            .beside("cpython", By::Python("pool.py", "pool"))
            .beside("loky", By::Python("pool.py", "loky"))
            .beside("mpire", By::Python("pool.py", "mpire"))
            .beside("rayon", By::Rival("threads", "rayon"))
    });
    rows.into()
}

/// Long tasks are best given out one by one, and short ones in chunks.
const LONG: usize = 1_000;

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let (task, count) = (Task::of(job.number), tasks(job));
    let items = || (0..count as u64).map(|seed| (task, seed));
    let expected = (0..count as u64).map(|seed| task.run(seed)).fold(0, u64::wrapping_add);
    rate_each(job.budget, || {
        let values = if job.number >= LONG {
            pool.imap_unordered(run, items()).collect::<Result<Vec<u64>, _>>()?
        } else {
            pool.map(run, items())?
        };
        let is_right = values.into_iter().fold(0, u64::wrapping_add) == expected;
        if is_right { Ok(count) } else { Err("wrong values".into()) }
    })
}

fn run((task, seed): (Task, u64)) -> u64 {
    task.run(seed)
}
