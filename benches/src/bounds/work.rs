//! Processes and work, with nothing around them.

use std::env;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::io::{read, write};
use rustix::pipe::pipe;

use crate::busy::{Task, tasks};
use crate::clock::{of_times, rate_each, time_each};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::kernel::Fork;
use crate::rows::wordcount;

/// Starts an empty Rust program and waits for it.
pub(super) fn command(job: &Job) -> Result<Answer, Failure> {
    let empty = env::current_exe()?.with_file_name("empty");
    time_each(Mode::Free, job.budget, |_| {
        let status = Command::new(&empty).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err("the empty program failed".into()) }
    })
}

/// Forks and waits.
pub(super) fn fork(job: &Job) -> Result<Answer, Failure> {
    time_each(Mode::Free, job.budget, |_| Ok(Fork::run(|| {})?.join()?))
}

/// Asks a small process to fork, which waits for the child and answers.
pub(super) fn zygote(job: &Job) -> Result<Answer, Failure> {
    let (asked, ask) = pipe()?;
    let (answered, answer) = pipe()?;
    let mut asking = Some(ask);
    let mut answers = Some(answered);
    let zygote = Fork::run(|| {
        (asking, answers) = (None, None);
        while matches!(read(&asked, &mut [0u8]), Ok(1)) {
            Fork::run(|| {}).and_then(Fork::join).expect("a child of the zygote");
            write(&answer, &[1]).expect("somebody asked");
        }
    })?;
    drop(asked);
    let (ask, answered) = (asking.ok_or("no pipe")?, answers.ok_or("no pipe")?);
    let times = time_each(Mode::Free, job.budget, |_| {
        write(&ask, &[1])?;
        read(&answered, &mut [0u8])?;
        Ok(())
    })?;
    drop(ask);
    zygote.join()?;
    Ok(times)
}

/// Two processes that do half of the tasks each, without asking for them.
pub(super) fn two_processes(job: &Job) -> Result<Answer, Failure> {
    let task = Task::of(job.number);
    let count = tasks(job);
    rate_each(job.budget, || {
        let half = || (0..count / 2).for_each(|seed| _ = task.run(seed as u64));
        let processes = [Fork::run(half)?, Fork::run(half)?];
        processes.into_iter().try_for_each(Fork::join)?;
        Ok(count)
    })
}

/// The same counting in one process.
pub(super) fn wordcount_serial(_job: &Job) -> Result<Answer, Failure> {
    let begin = Instant::now();
    let check = wordcount::count(&["--serial"])?;
    let mut times = [begin.elapsed().as_secs_f64()];
    Ok(Answer { check: Some(check), ..of_times(&mut times) })
}
