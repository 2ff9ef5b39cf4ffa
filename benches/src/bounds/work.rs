//! Processes and work, with nothing around them.

use std::env;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{read, write};
use rustix::pipe::{PipeFlags, pipe, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

use crate::busy::{Task, run_skewed, skewed_task, tasks};
use crate::clock::{of_times, rate_each, time_each};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::kernel::Fork;
use crate::rows::{time_ends, wordcount};

/// Starts an empty Rust program and waits for it.
pub(super) fn command(job: &Job) -> Result<Answer, Failure> {
    let empty = env::current_exe()?.with_file_name("empty");
    time_each(Mode::Free, job.budget, |_| {
        let status = Command::new(&empty).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err("the empty program failed".into()) }
    })
}

/// Starts so many empty programs, and then waits for all of them.
pub(super) fn commands_up(job: &Job) -> Result<Answer, Failure> {
    let empty = env::current_exe()?.with_file_name("empty");
    time_each(Mode::Free, job.budget, |_| {
        let start = || Command::new(&empty).stdin(Stdio::null()).spawn();
        let started: Result<Vec<_>, _> = (0..job.number).map(|_| start()).collect();
        for mut child in started? {
            if !child.wait()?.success() {
                return Err("the empty program failed".into());
            }
        }
        Ok(())
    })
}

/// Forks so many workers, asks one of them something, and lets them all go.
pub(super) fn forks_up(job: &Job) -> Result<Answer, Failure> {
    time_each(Mode::Free, job.budget, |_| {
        let (asked, ask) = pipe()?;
        let (answered, answer) = pipe()?;
        let mut asking = Some(ask);
        let work = |asking: &mut Option<_>| {
            *asking = None;
            while matches!(read(&asked, &mut [0u8]), Ok(1)) {
                write(&answer, &[1]).expect("somebody asked");
            }
        };
        let forks: Result<Vec<Fork>, _> = (0..job.number).map(|_| Fork::run(|| work(&mut asking))).collect();
        let forks = forks?;
        let ask = asking.ok_or("no pipe")?;
        write(&ask, &[1])?;
        read(&answered, &mut [0u8])?;
        drop(ask);
        Ok(forks.into_iter().try_for_each(Fork::join)?)
    })
}

/// Forks and waits.
pub(super) fn fork(job: &Job) -> Result<Answer, Failure> {
    time_each(Mode::Free, job.budget, |_| Ok(Fork::run(|| {})?.join()?))
}

/// Forks and waits as whoever wants a value has to: the child says a number into a pipe of its own, and its
/// end is waited for at its descriptor, which no other process has.
pub(super) fn fork_with_value(job: &Job) -> Result<Answer, Failure> {
    time_each(Mode::Free, job.budget, |turn| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let fork = Fork::run(|| {
            write(&writer, &turn.to_ne_bytes()).expect("a reader");
        })?;
        drop(writer);
        let end = fork.descriptor()?;
        poll(&mut [PollFd::new(&end, PollFlags::IN)], None)?;
        fork.join()?;
        let mut value = [0; 8];
        if read(&reader, &mut value)? == 8 && u64::from_ne_bytes(value) == turn {
            Ok(())
        } else {
            Err("the value is another one".into())
        }
    })
}

/// Kills a fork and waits for its end at its descriptor.
pub(super) fn end(job: &Job) -> Result<Answer, Failure> {
    time_ends(job.budget, || {
        let fork = Fork::run(|| thread::sleep(Duration::from_secs(1000)))?;
        let end = fork.descriptor()?;
        Ok(move || {
            pidfd_send_signal(&end, Signal::KILL)?;
            poll(&mut [PollFd::new(&end, PollFlags::IN)], None)?;
            let over = Instant::now();
            fork.kill();
            Ok(over)
        })
    })
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

/// Two processes that share out the skewed tasks evenly, because they know them.
pub(super) fn two_processes_skewed(job: &Job) -> Result<Answer, Failure> {
    let (task, count) = (skewed_task(), job.number as u64);
    rate_each(job.budget, || {
        let every_other = |from: u64| {
            (from..count).step_by(2).for_each(|seed| _ = run_skewed((task, seed, count)));
        };
        let processes = [Fork::run(|| every_other(0))?, Fork::run(|| every_other(1))?];
        processes.into_iter().try_for_each(Fork::join)?;
        Ok(job.number)
    })
}

/// The same counting in one process.
pub(super) fn wordcount_serial(_job: &Job) -> Result<Answer, Failure> {
    let begin = Instant::now();
    let check = wordcount::count(&["--serial"])?;
    let mut times = [begin.elapsed().as_secs_f64()];
    Ok(Answer { check: Some(check), ..of_times(&mut times) })
}
