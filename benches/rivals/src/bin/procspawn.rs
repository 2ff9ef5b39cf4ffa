//! `procspawn`: processes, and its pool of two.
//!
//! Not more megabytes are under way than there are workers: with more, its pool
//! waits for itself for ever.

use std::collections::VecDeque;
use std::process::ExitCode;

use benches::clock::{apart, rate_each, time_each};
use benches::contest::{Answer, Failure, Job};
use benches::payload::{check, message, set_number};
use procspawn::Pool;
use rivals::{right, square};

const WORKERS: usize = 2;
const MEGABYTES: usize = 32;
/// Items, where it is the workers that grow.
const MANY: usize = 5_000;

fn main() -> ExitCode {
    procspawn::init();
    rivals::main(|_, job| match job.question.as_str() {
        "process" => Some(time_each(job.mode, job.budget, |_| Ok(procspawn::spawn((), |()| ()).join()?))),
        "up" => Some(up(job)),
        "apply" => Some(apply(job)),
        "map" => Some(with_pool(|pool| chunked(job, pool, job.number.div_ceil(4 * WORKERS)))),
        "apply-async" => Some(with_pool(|pool| apply_async(job, pool))),
        "chunk1" => Some(with_pool(|pool| chunked(job, pool, 1))),
        "by-workers" => Some(with_workers(job.number, |pool| {
            chunked(&Job { number: MANY, ..job.clone() }, pool, 1)
        })),
        "chunk1-text" => Some(with_pool(|pool| texts(job, pool))),
        "megabyte" => Some(with_pool(|pool| megabytes(job, pool))),
        _ => None,
    })
}

fn with_pool(measure: impl FnOnce(&Pool) -> Result<Answer, Failure>) -> Result<Answer, Failure> {
    with_workers(WORKERS, measure)
}

fn with_workers(
    workers: usize,
    measure: impl FnOnce(&Pool) -> Result<Answer, Failure>,
) -> Result<Answer, Failure> {
    let pool = Pool::new(workers)?;
    let answer = measure(&pool)?;
    pool.shutdown();
    Ok(answer)
}

fn up(job: &Job) -> Result<Answer, Failure> {
    time_each(job.mode, job.budget, |turn| {
        let pool = Pool::new(job.number)?;
        let value = pool.spawn(turn, square).join()?;
        pool.shutdown();
        if value == square(turn) { Ok(()) } else { Err("a wrong square".into()) }
    })
}

fn apply(job: &Job) -> Result<Answer, Failure> {
    let pool = apart(job.mode, || {
        let pool = Pool::new(WORKERS)?;
        let _ = pool.spawn(1, square).join()?;
        Ok(pool)
    })?;
    let answer = time_each(job.mode, job.budget, |turn| {
        if pool.spawn(turn, square).join()? == square(turn) { Ok(()) } else { Err("a wrong square".into()) }
    })?;
    pool.shutdown();
    Ok(answer)
}

/// No more are under way than it has descriptors for.
fn apply_async(job: &Job, pool: &Pool) -> Result<Answer, Failure> {
    const UNDER_WAY: usize = 128;
    rate_each(job.budget, || {
        let mut numbers = 0..job.number as u64;
        let mut under_way: VecDeque<_> =
            numbers.by_ref().take(UNDER_WAY).map(|x| pool.spawn(x, square)).collect();
        let mut values = Vec::with_capacity(job.number);
        while let Some(handle) = under_way.pop_front() {
            values.push(handle.join()?);
            under_way.extend(numbers.next().map(|x| pool.spawn(x, square)));
        }
        right(&values, job.number)
    })
}

/// It has no map: chunks are made by hand, and no more are under way than it has
/// descriptors for.
fn chunked(job: &Job, pool: &Pool, size: usize) -> Result<Answer, Failure> {
    const UNDER_WAY: usize = 128;
    rate_each(job.budget, || {
        let numbers: Vec<u64> = (0..job.number as u64).collect();
        let mut chunks = numbers.chunks(size);
        let spawn = |chunk: &[u64]| pool.spawn(chunk.to_vec(), squares);
        let mut under_way: VecDeque<_> = chunks.by_ref().take(UNDER_WAY).map(spawn).collect();
        let mut values = Vec::with_capacity(job.number);
        while let Some(handle) = under_way.pop_front() {
            values.extend(handle.join()?);
            under_way.extend(chunks.next().map(spawn));
        }
        right(&values, job.number)
    })
}

fn texts(job: &Job, pool: &Pool) -> Result<Answer, Failure> {
    const UNDER_WAY: usize = 128;
    let texts: Vec<String> = (0..job.number).map(|number| format!("{number} is the number")).collect();
    rate_each(job.budget, || {
        let spawn = |text: &String| pool.spawn(text.clone(), |text: String| text.to_uppercase());
        let mut rest = texts.iter();
        let mut under_way: VecDeque<_> = rest.by_ref().take(UNDER_WAY).map(spawn).collect();
        let mut bytes = 0;
        while let Some(handle) = under_way.pop_front() {
            bytes += handle.join()?.len();
            under_way.extend(rest.next().map(spawn));
        }
        let expected: usize = texts.iter().map(String::len).sum();
        if bytes == expected { Ok(texts.len()) } else { Err("wrong texts".into()) }
    })
}

fn squares(numbers: Vec<u64>) -> Vec<u64> {
    numbers.into_iter().map(square).collect()
}

fn megabytes(job: &Job, pool: &Pool) -> Result<Answer, Failure> {
    let original = message(job.number);
    rate_each(job.budget, || {
        let mut numbers = 0..MEGABYTES as u64;
        let spawn = |number: u64| {
            let mut bytes = original.clone();
            set_number(&mut bytes, number);
            (number, pool.spawn(bytes, through))
        };
        let mut under_way: Vec<_> = numbers.by_ref().take(WORKERS).map(spawn).collect();
        while !under_way.is_empty() {
            let (number, handle) = under_way.remove(0);
            if check(&handle.join()?) != number + 1 {
                return Err("another megabyte came".into());
            }
            under_way.extend(numbers.next().map(spawn));
        }
        Ok(MEGABYTES)
    })
}

/// Reads all of a message and sends it back with the next number.
fn through(mut bytes: Vec<u8>) -> Vec<u8> {
    let number = check(&bytes);
    set_number(&mut bytes, number + 1);
    bytes
}
