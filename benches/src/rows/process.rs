//! How long do the start and the end of a process take that does nothing?
//!
//! Also from a parent that has a gigabyte in memory, which a fork must not copy; and how
//! soon is it known that a process was killed?

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::wait;
use mp_process::{Process, StartMethod};

use super::{By, Row};
use crate::clock::{of_times, time_each};
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
    [
        row("spawn", SPAWN)
            .against("bound", By::Bound("command"), 1.0 / 1.25)
            .against("cpython", By::Python("process.py", "spawn"), 30.0)
            .against("procspawn", By::Rival("procspawn", "spawn"), 1.05),
        row("forkserver", FORK_SERVER)
            .against("bound", By::Bound("zygote"), 1.0 / 1.5)
            .against("cpython", By::Python("process.py", "forkserver"), 40.0)
            .against("cpython-fork", By::Python("process.py", "fork"), 5.0),
        row("fork", FORK)
            .against("bound", By::Bound("fork"), 1.0 / 1.5)
            .beside("bound-with-value", By::Bound("fork-with-value"))
            .beside("bound-with-duties", By::Bound("fork-with-duties"))
            .against("cpython", By::Python("process.py", "fork"), 8.0),
        large("spawn", SPAWN).beside("ours-small", By::Ourselves("process", SPAWN)),
        large("forkserver", FORK_SERVER)
            .against("ours-small", By::Ourselves("process", FORK_SERVER), 0.9)
            .against("cpython-fork", By::Python("process.py", "fork"), 70.0),
        Row::times("process/end-noticed", Mode::Free, "end", 0)
            .beside("bound", By::Bound("pidfd"))
            .beside("cpython", By::Python("process.py", "fork")),
    ]
    .into_iter()
    .chain(super::ends::rows())
    .map(Row::small)
    .collect()
}

pub(super) fn ours(job: &Job) -> Option<Result<Answer, Failure>> {
    Some(match job.question.as_str() {
        "process" | LARGE => start_and_join(job),
        "end" => end(job),
        _ => return super::ends::ours(job),
    })
}

fn start_and_join(job: &Job) -> Result<Answer, Failure> {
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

/// From the kill of a process to the knowledge of its end.
fn end(job: &Job) -> Result<Answer, Failure> {
    time_ends(job.budget, || {
        let process = Process::spawn(sleep, ())?;
        Ok(move || {
            process.kill()?;
            wait(&[&process.sentinel()], None)?;
            let begun = Instant::now();
            let _ = process.join();
            Ok(begun)
        })
    })
}

fn sleep((): ()) {
    thread::sleep(Duration::from_secs(1000));
}

/// Makes things that take a while to begin, and times their ends, which say when they
/// were over.
///
/// # Errors
/// Those of the beginnings and ends.
pub(crate) fn time_ends<E: FnOnce() -> Result<Instant, Failure>>(
    budget: Duration,
    begin: impl Fn() -> Result<E, Failure>,
) -> Result<Answer, Failure> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < budget || times.len() < 5 {
        let end = begin()?;
        // By now it is asleep.
        thread::sleep(Duration::from_millis(2));
        let begun = Instant::now();
        times.push((end()? - begun).as_secs_f64() * 1e6);
    }
    Ok(of_times(&mut times))
}
