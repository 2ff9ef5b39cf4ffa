//! Threads of one process, by `rayon` and `crossbeam`: what there is to gain without
//! another process.

use std::process::ExitCode;
use std::thread;

use benches::busy::{Task, tasks};
use benches::clock::{pin, rate_each, time_each};
use benches::contest::{Answer, Failure, Job};
use benches::payload::{FIRST, check, message, set_number};
use crossbeam_channel::unbounded;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rivals::{right, square};

const MEGABYTES: u64 = 32;

fn main() -> ExitCode {
    rivals::main(|what, job| match (what, job.question.as_str()) {
        ("crossbeam", "roundtrip") => Some(roundtrip(job)),
        ("rayon", "map") => Some(with_pool(|pool| map(job, pool))),
        ("rayon", "tasks") => Some(with_pool(|pool| busy(job, pool))),
        ("rayon", "megabyte") => Some(with_pool(|pool| megabytes(job, pool))),
        _ => None,
    })
}

fn roundtrip(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (there, received) = unbounded::<Vec<u8>>();
    let (back, answers) = unbounded::<Vec<u8>>();
    let peer = thread::spawn(move || {
        pin(other).expect("a processor");
        for bytes in received {
            let _ = check(&bytes);
            back.send(bytes).expect("whoever asked is there");
        }
    });
    pin(own)?;
    let mut bytes = Some(message(job.number));
    let answer = time_each(job.mode, job.budget, |turn| {
        let mut message = bytes.take().ok_or("no message")?;
        set_number(&mut message, FIRST + turn);
        there.send(message)?;
        let message = answers.recv()?;
        if check(&message) != FIRST + turn {
            return Err("another message came".into());
        }
        bytes = Some(message);
        Ok(())
    })?;
    drop(there);
    peer.join().map_err(|_| "the other thread panicked")?;
    Ok(answer)
}

fn with_pool(measure: impl FnOnce(&ThreadPool) -> Result<Answer, Failure>) -> Result<Answer, Failure> {
    measure(&ThreadPoolBuilder::new().num_threads(2).build()?)
}

fn map(job: &Job, pool: &ThreadPool) -> Result<Answer, Failure> {
    rate_each(job.budget, || {
        let values: Vec<u64> = pool.install(|| (0..job.number as u64).into_par_iter().map(square).collect());
        right(&values, job.number)
    })
}

fn busy(job: &Job, pool: &ThreadPool) -> Result<Answer, Failure> {
    let (task, count) = (Task::of(job.number), tasks(job));
    rate_each(job.budget, || {
        let run = || (0..count as u64).into_par_iter().map(|seed| task.run(seed)).collect::<Vec<u64>>();
        Ok(pool.install(run).len())
    })
}

fn megabytes(job: &Job, pool: &ThreadPool) -> Result<Answer, Failure> {
    let original = message(job.number);
    rate_each(job.budget, || {
        let through = |number: u64| {
            let mut bytes = original.clone();
            set_number(&mut bytes, number);
            let _ = check(&bytes);
            let mut answer = bytes.clone();
            set_number(&mut answer, number + 1);
            answer
        };
        let values: Vec<Vec<u8>> = pool.install(|| (0..MEGABYTES).into_par_iter().map(through).collect());
        let is_right = values.iter().zip(1..).all(|(bytes, number)| check(bytes) == number);
        if is_right { Ok(values.len()) } else { Err("another megabyte came".into()) }
    })
}
