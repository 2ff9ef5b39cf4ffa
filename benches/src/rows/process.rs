//! How long do the start and the end of a process take that does nothing?
//!
//! Also from a parent that has a gigabyte in memory, which a fork must not copy.

use std::hint::black_box;

use mp_process::{Process, StartMethod};

use super::{By, Row};
use crate::clock::time_each;
use crate::contest::{Answer, Failure, Job, Mode};

/// The start methods by the job's number.
const SPAWN: usize = 0;
const FORK_SERVER: usize = 1;
const FORK: usize = 2;

const LARGE: &str = "process-large";

pub(super) fn rows() -> Vec<Row> {
    let row = |what: &str, number| Row::times(format!("process/{what}"), Mode::Free, "process", number);
    let large =
        |what: &str, number| Row::times(format!("process/{what}-1GB"), Mode::Free, LARGE, number).grows();
    vec![
        row("spawn", SPAWN)
            .against("bound", By::Bound("command"), 1.0 / 1.25)
            .against("cpython", By::Python("process.py", "spawn"), 30.0)
            .against("procspawn", By::Rival("procspawn", "spawn"), 1.05),
        row("forkserver", FORK_SERVER)
            .against("bound", By::Bound("zygote"), 1.0 / 1.5)
            .against("cpython", By::Python("process.py", "forkserver"), 40.0)
            .against("cpython-fork", By::Python("process.py", "fork"), 5.0),
        row("fork", FORK).against("bound", By::Bound("fork"), 1.0 / 1.5).against(
            "cpython",
            By::Python("process.py", "fork"),
            8.0,
        ),
        large("spawn", SPAWN).beside("ours-small", By::Ourselves("process", SPAWN)),
        large("forkserver", FORK_SERVER).against("ours-small", By::Ourselves("process", FORK_SERVER), 0.9),
    ]
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    let method = match job.number {
        FORK_SERVER => StartMethod::ForkServer,
        FORK => StartMethod::Fork,
        _ => StartMethod::Spawn,
    };
    let ballast = vec![1u8; if job.question == LARGE { 1 << 30 } else { 0 }];
    let answer = time_each(job.mode, job.budget, |_| {
        Ok(Process::builder().start_method(method).spawn(nothing, ())?.join()?)
    });
    drop(black_box(ballast));
    answer
}

fn nothing((): ()) {}
