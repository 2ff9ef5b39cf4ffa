//! What does a worker that waits have in memory, and do many workers do as much as two?

use mp_pool::Pool;
use mp_process::StartMethod;

use super::{By, Row};
use crate::clock::rate_each;
use crate::contest::{Answer, Failure, Job, Mode};
use crate::crowd::private_memory;

/// So many workers are there in the rows of memory.
const WORKERS: usize = 8;
/// So many items make one batch.
const ITEMS: u64 = 5_000;

pub(super) fn rows() -> Vec<Row> {
    let idle = |method: &str, question, limit, script: &'static str, target| {
        Row::amounts(format!("pool/idle-worker-{method}"), question, WORKERS).within(limit).against(
            "cpython",
            By::Python("workers.py", script),
            target,
        )
    };
    let mut rows = vec![
        idle("spawn", "idle-worker", 500_000, "spawn", 19.0),
        idle("forkserver", "idle-worker-forkserver", 200_000, "forkserver", 40.0),
        idle("fork", "idle-worker-fork", 200_000, "fork", 8.0),
    ];
    for workers in [1, 2, 4, 16, 64] {
        let name = format!("pool/chunk1-by-{workers}");
        let row = Row::rates(name, Mode::Free, "by-workers", workers)
            .beside("cpython", By::Python("workers.py", "fork"))
            .beside("executor", By::Python("workers.py", "executor"))
            .beside("procspawn", By::Rival("procspawn", "pool"))
            .grows();
        let two = By::Ourselves("by-workers", 2);
        rows.push(if workers == 64 { row.against("ours-by-2", two, 0.8) } else { row });
    }
    rows
}

pub(super) fn ours(job: &Job) -> Option<Result<Answer, Failure>> {
    Some(match job.question.as_str() {
        "idle-worker" => idle(job, StartMethod::Spawn),
        "idle-worker-forkserver" => idle(job, StartMethod::ForkServer),
        "idle-worker-fork" => idle(job, StartMethod::Fork),
        "by-workers" => by_workers(job),
        _ => return None,
    })
}

fn square(x: u64) -> u64 {
    x.wrapping_mul(x)
}

/// The memory that a worker has for itself, in the middle of all.
fn idle(job: &Job, method: StartMethod) -> Result<Answer, Failure> {
    let pool = Pool::builder().processes(job.number).start_method(method).build()?;
    pool.map(square, 0..1000)?;
    let memory: Result<Vec<u64>, Failure> = pool.pids().into_iter().map(private_memory).collect();
    let mut memory = memory?;
    memory.sort_unstable();
    Ok(Answer::of(memory[memory.len() / 2] as f64))
}

/// Items one by one, to so many workers.
fn by_workers(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(job.number)?;
    rate_each(job.budget, || {
        let mut sum = 0u64;
        for value in pool.imap_unordered(square, 0..ITEMS).chunk_size(1) {
            sum = sum.wrapping_add(value?);
        }
        let expected = (0..ITEMS).fold(0u64, |sum, x| sum.wrapping_add(square(x)));
        if sum == expected { Ok(ITEMS as usize) } else { Err("wrong squares".into()) }
    })
}
