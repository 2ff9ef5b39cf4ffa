//! What the bare kernel and the bare memory cost: nothing is typed, framed or safe here.
//!
//! Each bound is asked the same questions as the contestants, by its name.

mod array;
mod claims;
mod duties;
mod locks;
mod messages;
mod queue;
mod ring;
mod rings;
mod server;
mod shared;
mod work;

use crate::busy;
use crate::contest::{Answer, Failure, Job};

/// So many items of a map are in one message, if there are many.
const CHUNK: usize = 4096;

/// The answer of the bound `name`, if it knows the question.
pub fn measure(name: &str, job: &Job) -> Option<Result<Answer, Failure>> {
    let answer = match (job.question.as_str(), name) {
        ("roundtrip", _) => messages::roundtrip(name, job),
        ("stream", _) => messages::stream(name, job),
        ("roundtrip-pipe", "pipe") | ("roundtrip-socket", "socket") => messages::roundtrip(name, job),
        ("roundtrip-busy", _) => busy::beside_two(|| messages::roundtrip(name, job)),
        ("array-recycled" | "array-fresh" | "array-handle" | "array-read", _) => array::measure(name, job),
        ("tasks", "two-processes") => work::two_processes(job),
        ("skewed", "two-processes") => work::two_processes_skewed(job),
        ("wordcount", "serial") => work::wordcount_serial(job),
        ("lock" | "rlock" | "semaphore", _) => locks::uncontended(name, job),
        ("contended" | "contended-semaphore", _) => locks::contended(name, job),
        ("event" | "condition", "futex") => locks::event(job),
        ("map", "rings") => rings::squares(job, CHUNK.min(job.number.div_ceil(8))),
        ("imap" | "imap-unordered" | "apply-async", "rings") => rings::squares(job, 1),
        ("megabyte", "rings") => rings::megabytes(job),
        ("up-fork", "rings") => rings::up(job),
        ("map", "claims") => claims::map(job, job.number.div_ceil(8)),
        ("chunk1", "claims") => claims::map(job, 1),
        ("apply", _) => messages::roundtrip(name, &Job { number: 8, ..job.clone() }),
        (
            "get" | "set" | "method" | "pipelined" | "connect" | "idle" | "get-by-socket",
            "echo" | "echo-threads",
        ) => server::measure(name, job),
        ("barrier", "futex") => locks::barrier(job),
        ("queue", "lock-and-ring") if job.number == 8 => queue::measure(job, 1, 1),
        ("queue", "two-locks") if job.number == 8 => queue::measure(job, 1, 2),
        ("queue-many", "lock-and-ring") => queue::measure(job, job.number, 1),
        ("queue-many", "two-locks") => queue::measure(job, job.number, 2),
        _ => return about_processes(name, job),
    };
    Some(answer)
}

/// As [`measure`], for the questions about processes.
pub fn about_processes(name: &str, job: &Job) -> Option<Result<Answer, Failure>> {
    Some(match (job.question.as_str(), name) {
        ("end", "pidfd") => work::end(job),
        ("up", "commands") => work::commands_up(job),
        ("up-fork", "forks") => work::forks_up(job),
        ("process", "command") => work::command(job),
        ("process", "fork") => work::fork(job),
        ("process", "fork-with-value") => work::fork_with_value(job),
        ("process", "fork-with-duties") => duties::fork(job),
        ("process", "zygote") => work::zygote(job),
        _ => return None,
    })
}
