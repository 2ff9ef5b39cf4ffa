//! How many items go through a queue in a second?
//!
//! Half of the processes put and half get. The clock runs from when all are there to
//! when all items are out.

use std::thread::sleep;
use std::time::{Duration, Instant};

use mp_process::Process;
use mp_sync::{Barrier, Queue};

use super::{By, Row};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::payload::{check, message, set_number};

pub(super) fn rows() -> Vec<Row> {
    let rates =
        |what: &str, question, number| Row::rates(format!("sync/queue-{what}"), Mode::Free, question, number);
    let queue = By::Python("sync.py", "Queue");
    let simple = By::Python("sync.py", "SimpleQueue");
    let (bound, two_locks) = (By::Bound("lock-and-ring"), By::Bound("two-locks"));
    vec![
        rates("8B", "queue", 8)
            .against("bound", bound, 0.6)
            .beside("two-locks", two_locks)
            .against("cpython", queue, 15.0)
            .against("cpython-simple", simple, 15.0),
        rates("1MiB", "queue", 1 << 20).against("cpython", queue, 10.0).against(
            "cpython-simple",
            simple,
            10.0,
        ),
        rates("8B-by-4-and-4", "queue-many", 4)
            .against("ours-1-and-1", By::Ourselves("queue", 8), 0.7)
            .against("bound", bound, 0.6)
            .beside("two-locks", two_locks)
            .against("cpython", queue, 12.0)
            .against("cpython-simple", simple, 8.0),
    ]
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    match (job.question.as_str(), job.number) {
        ("queue", 8) => words(job, 1),
        ("queue", _) => bytes(job),
        (_, pairs) => words(job, pairs),
    }
}

/// How many items each one puts, so that the whole takes about as long as it may.
fn share(job: &Job, per_second: u128, parties: usize) -> u64 {
    (job.budget.as_micros() * per_second / 1_000_000 / parties as u128).max(16) as u64
}

fn words(job: &Job, pairs: usize) -> Result<Answer, Failure> {
    let queue = Queue::<u64>::new()?;
    let share = share(job, 1_000_000, pairs);
    let start = Barrier::new(2 * pairs as u32 + 1)?;
    let task = || (queue.clone(), start.clone(), share);
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        producers.push(Process::spawn(put_words, task())?);
        consumers.push(Process::spawn(get_words, task())?);
    }
    let begin = begin_with_all(&start)?;
    let sums: Result<Vec<u64>, _> = consumers.into_iter().map(Process::join).collect();
    let time = begin.elapsed();
    producers.into_iter().try_for_each(Process::join)?;
    let expected = pairs as u64 * share * (share - 1) / 2;
    if sums?.iter().sum::<u64>() != expected {
        return Err("an item is lost".into());
    }
    Ok(Answer::of((pairs as u64 * share) as f64 / time.as_secs_f64()))
}

/// Lets all begin; the moment before that, as afterwards this process may have to wait for a
/// processor.
fn begin_with_all(start: &Barrier) -> Result<Instant, Failure> {
    while start.n_waiting() + 1 < start.parties() {
        sleep(Duration::from_micros(100));
    }
    let begin = Instant::now();
    start.wait()?;
    Ok(begin)
}

fn put_words((queue, start, share): (Queue<u64>, Barrier, u64)) {
    start.wait().expect("nobody died");
    (0..share).for_each(|item| queue.put(item).expect("the queue is open"));
}

fn get_words((queue, start, share): (Queue<u64>, Barrier, u64)) -> u64 {
    start.wait().expect("nobody died");
    (0..share).map(|_| queue.get().expect("the queue is open")).sum()
}

fn bytes(job: &Job) -> Result<Answer, Failure> {
    let queue = Queue::<Vec<u8>>::new()?;
    let start = Barrier::new(2)?;
    let share = share(job, 4_000_000_000 / job.number as u128, 1);
    let consumer = Process::spawn(get_bytes, (queue.clone(), start.clone(), share))?;
    let item = message(job.number);
    let begin = begin_with_all(&start)?;
    for number in 0..share {
        let mut bytes = item.clone();
        set_number(&mut bytes, number);
        queue.put(bytes).map_err(|error| error.to_string())?;
    }
    consumer.join()?;
    Ok(Answer::of(share as f64 / begin.elapsed().as_secs_f64()))
}

fn get_bytes((queue, start, share): (Queue<Vec<u8>>, Barrier, u64)) {
    start.wait().expect("nobody died");
    for number in 0..share {
        assert_eq!(check(&queue.get().expect("the queue is open")), number, "an item is missing");
    }
}
