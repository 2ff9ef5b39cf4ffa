//! The questions: which rows each has, who else is asked, and our own answer.

pub mod array;
mod busy;
mod ends;
mod event;
pub mod goals;
mod idle;
mod lock;
mod manager;
mod pool;
mod process;
mod queue;
mod roundtrip;
mod row;
mod stream;
pub mod wordcount;
mod workers;

pub(crate) use lock::{of_turns, take_turns};
pub(crate) use process::time_ends;
pub use row::{Better, By, Row, System};

use crate::contest::{Answer, Failure, Job};

/// All rows, in the order of the report.
#[must_use]
pub fn all() -> Vec<Row> {
    let questions = [
        roundtrip::rows(),
        stream::rows(),
        array::rows(),
        idle::rows(),
        process::rows(),
        lock::rows(),
        event::rows(),
        queue::rows(),
        pool::rows(),
        busy::rows(),
        workers::rows(),
        manager::rows(),
        wordcount::rows(),
    ];
    questions.into_iter().flatten().collect()
}

/// Our answer, if we know the question.
pub fn ours(job: &Job) -> Option<Result<Answer, Failure>> {
    let answer = match job.question.as_str() {
        "roundtrip" | "roundtrip-pipe" | "roundtrip-socket" => roundtrip::ours(job),
        "roundtrip-busy" => roundtrip::beside_busy(job),
        "stream" => stream::ours(job),
        "array-recycled" | "array-fresh" | "array-handle" | "array-read" | "array-faults" => array::ours(job),
        "idle-wait" => idle::ours(job),
        "lock" | "rlock" | "semaphore" => lock::uncontended(job),
        "contended" | "share" => lock::contended(job),
        "contended-semaphore" => lock::contended_semaphore(job),
        "event" => event::event(job),
        "is-set" | "set-clear" => event::alone(job),
        "condition" => event::condition(job),
        "barrier" => event::barrier(job),
        "queue" | "queue-many" => queue::ours(job),
        "tasks" => busy::ours(job),
        "wordcount" => wordcount::ours(job),
        _ => {
            let answer = pool::ours(job).or_else(|| workers::ours(job)).or_else(|| manager::ours(job));
            return answer.or_else(|| about_processes(job));
        }
    };
    Some(answer)
}

/// As [`ours`], for the questions about processes.
pub fn about_processes(job: &Job) -> Option<Result<Answer, Failure>> {
    process::ours(job)
}
