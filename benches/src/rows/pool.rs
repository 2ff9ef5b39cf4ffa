//! What does a pool of two add to the work itself?

use std::hint::black_box;

use ipc_core::{Arena, Block};
use mp_pool::{AsyncResult, Pool};
use mp_process::StartMethod;
use rustix::process::{Pid, Signal, kill_process};

use super::{By, Row};
use crate::busy::{run_skewed, skewed_task};
use crate::clock::{apart, rate_each, time_each};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::payload::{check, message, set_number};

/// Of a megabyte.
const MEGABYTE: usize = 1_000_000;
/// As many of them make one batch.
const MEGABYTES: usize = 32;

pub(super) fn rows() -> Vec<Row> {
    let pool = By::Python("pool.py", "pool");
    let executor = By::Python("pool.py", "executor");
    let procspawn = By::Rival("procspawn", "pool");
    let loky = By::Python("pool.py", "loky");
    let mpire = By::Python("pool.py", "mpire");
    let rayon = By::Rival("threads", "rayon");
    let rates =
        |what: &str, question, number| Row::rates(format!("pool/{what}"), Mode::Free, question, number);
    let mut rows = vec![
        Row::times("pool/apply", Mode::Hot, "apply", 0)
            .within(3)
            .beside("ring", By::Bound("hybrid"))
            .against("cpython", pool, 60.0)
            .beside("executor", executor)
            .against("procspawn", procspawn, 30.0),
        Row::times("pool/apply", Mode::Asleep, "apply", 0)
            .against("bound", By::Bound("futex"), 1.0 / 1.2)
            .beside("cpython", pool)
            .beside("procspawn", procspawn),
        Row::times("pool/apply", Mode::OneCore, "apply", 0)
            .beside("ring", By::Bound("futex"))
            .beside("cpython", pool)
            .beside("procspawn", procspawn),
        rates("map-1e6", "map", 1_000_000)
            .within(100_000_000)
            .against("bound", By::Bound("rings"), 0.4)
            .beside("claims", By::Bound("claims"))
            .against("cpython", pool, 20.0)
            .beside("executor", executor)
            .beside("loky", loky)
            .against("procspawn", procspawn, 2.5)
            .beside("rayon", rayon),
        rates("chunk1", "chunk1", 5_000)
            .within(5_000_000)
            .beside("bound", By::Bound("claims"))
            .against("cpython", pool, 70.0)
            .beside("executor", executor)
            .beside("loky", loky)
            .beside("mpire", mpire)
            .against("procspawn", procspawn, 45.0),
        rates("chunk1-text", "chunk1-text", 5_000)
            .within(1_000_000)
            .against("cpython", pool, 15.0)
            .beside("executor", executor)
            .against("procspawn", procspawn, 45.0),
        rates("imap", "imap", 5_000)
            .against("bound", By::Bound("rings"), 0.4)
            .against("cpython", pool, 12.0)
            .against("executor", executor, 70.0)
            .beside("loky", loky)
            .beside("mpire", mpire),
        rates("imap-unordered", "imap-unordered", 5_000)
            .against("bound", By::Bound("rings"), 0.4)
            .against("cpython", pool, 12.0)
            .against("executor", executor, 70.0)
            .beside("mpire", mpire),
        rates("apply-async", "apply-async", 5_000)
            .against("bound", By::Bound("rings"), 0.4)
            .against("cpython", pool, 12.0)
            .against("executor", executor, 70.0)
            .beside("loky", loky)
            .beside("mpire", mpire)
            .beside("procspawn", procspawn),
        rates("skewed", "skewed", 400)
            .beside("bound", By::Bound("two-processes"))
            .beside("ours-equal-chunks", By::Ourselves("skewed-equal-chunks", 400))
            .beside("cpython", pool),
        rates("1MB", "megabyte", MEGABYTE)
            .against("bound", By::Bound("rings"), 0.75)
            .against("cpython", pool, 12.0)
            .beside("executor", executor)
            .beside("loky", loky)
            .against("mpire", mpire, 4.4)
            .against("procspawn", procspawn, 5.0)
            .beside("rayon", rayon),
        // The worker gets a handle and gives one back, whatever lies there.
        rates("1MB-in-place", "in-place", MEGABYTE).against(
            "ours-of-64kB",
            By::Ourselves("in-place", 64_000),
            0.8,
        ),
        Row::times("pool/up-task-down", Mode::Free, "up", 2)
            .against("bound", By::Bound("commands"), 1.0 / 1.5)
            .against("cpython-spawn", By::Python("pool.py", "spawn"), 14.0)
            .beside("cpython-fork", pool)
            .against("procspawn", procspawn, 1.2),
        Row::times("pool/up-task-down-forkserver", Mode::Free, "up-forkserver", 2)
            .against("cpython-fork", pool, 2.5)
            .against("cpython-spawn", By::Python("pool.py", "spawn"), 10.0),
        Row::times("pool/up-task-down-fork", Mode::Free, "up-fork", 2)
            .against("bound", By::Bound("forks"), 1.0 / 3.0)
            .beside("bound-with-rings", By::Bound("rings"))
            .against("cpython-fork", pool, 8.0),
        Row::times("pool/replaced", Mode::Free, "replaced-forkserver", 1)
            .within(5_000)
            .beside("ours-spawned", By::Ourselves("replaced", 1)),
    ];
    for (what, count) in
        [("map-1e3", 1_000), ("map-1e4", 10_000), ("map-1e5", 100_000), ("map-1e7", 10_000_000)]
    {
        let row = rates(what, "map", count)
            .beside("bound", By::Bound("rings"))
            .beside("cpython", pool)
            .beside("procspawn", procspawn)
            .beside("rayon", rayon);
        // A million takes mpire seven seconds.
        rows.push(if count <= 100_000 { row.beside("mpire", mpire) } else { row }.grows());
    }
    for (what, workers) in [("up-1", 1), ("up-4", 4), ("up-16", 16), ("up-64", 64)] {
        let row = Row::times(format!("pool/{what}"), Mode::Free, "up", workers);
        let row = row
            .beside("bound", By::Bound("commands"))
            .beside("cpython-fork", pool)
            .beside("procspawn", procspawn);
        // In time that grows with the number, and not faster.
        let sixteen = By::Ourselves("up", 16);
        rows.push(if workers == 64 { row.against("ours-of-16", sixteen, 0.2) } else { row }.grows());
    }
    let fork = Row::times("pool/up-64-fork", Mode::Free, "up-fork", 64);
    rows.push(
        fork.against("bound", By::Bound("forks"), 1.0 / 1.3)
            .beside("bound-with-rings", By::Bound("rings"))
            .against("cpython-fork", pool, 3.0)
            .grows(),
    );
    rows
}

pub(super) fn ours(job: &Job) -> Option<Result<Answer, Failure>> {
    Some(match job.question.as_str() {
        "apply" => apply(job),
        "map" => map(job),
        "chunk1" | "imap-unordered" => unordered(job),
        "chunk1-text" => texts(job),
        "imap" => imap(job),
        "megabyte" => megabytes(job),
        "in-place" => in_place(job),
        "skewed" => skewed(job, None),
        "skewed-equal-chunks" => skewed(job, Some(job.number / 8)),
        "apply-async" => apply_async(job),
        "up" => up(job, StartMethod::Spawn),
        "up-fork" => up(job, StartMethod::Fork),
        "up-forkserver" => up(job, StartMethod::ForkServer),
        "replaced" => replaced(job, StartMethod::Spawn),
        "replaced-forkserver" => replaced(job, StartMethod::ForkServer),
        _ => return None,
    })
}

fn square(x: u64) -> u64 {
    x.wrapping_mul(x)
}

fn apply(job: &Job) -> Result<Answer, Failure> {
    let pool = apart(job.mode, || {
        let pool = Pool::new(2)?;
        pool.map(square, 0..1000)?;
        Ok(pool)
    })?;
    time_each(job.mode, job.budget, |turn| {
        if pool.apply(square, turn)? == square(turn) { Ok(()) } else { Err("a wrong square".into()) }
    })
}

fn map(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let count = job.number as u64;
    rate_each(job.budget, || right(pool.map(square, 0..count)?, count))
}

fn unordered(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let count = job.number as u64;
    rate_each(job.budget, || {
        let mut sum = 0u64;
        for value in pool.imap_unordered(square, 0..count) {
            sum = sum.wrapping_add(value?);
        }
        let expected = (0..count).fold(0u64, |sum, x| sum.wrapping_add(square(x)));
        if sum == expected { Ok(count as usize) } else { Err("wrong squares".into()) }
    })
}

fn texts(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let texts: Vec<String> = (0..job.number).map(|number| format!("{number} is the number")).collect();
    rate_each(job.budget, || {
        let mut bytes = 0;
        for value in pool.imap_unordered(|text: String| text.to_uppercase(), texts.iter().cloned()) {
            bytes += value?.len();
        }
        let expected: usize = texts.iter().map(String::len).sum();
        if bytes == expected { Ok(texts.len()) } else { Err("wrong texts".into()) }
    })
}

fn imap(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let count = job.number as u64;
    rate_each(job.budget, || {
        let values: Result<Vec<u64>, _> = pool.imap(square, 0..count).collect();
        right(values?, count)
    })
}

fn megabytes(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let original = message(job.number);
    rate_each(job.budget, || {
        let items = (0..MEGABYTES as u64).map(|number| {
            let mut bytes = original.clone();
            set_number(&mut bytes, number);
            bytes
        });
        for (number, value) in pool.imap(through, items).enumerate() {
            if check(&value?) != number as u64 + 1 {
                return Err("another megabyte came".into());
            }
        }
        Ok(MEGABYTES)
    })
}

/// Messages that are built where both see them, and of which only handles go there and back.
fn in_place(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let arena = Arena::new(2 * MEGABYTES * job.number.next_multiple_of(4096))?;
    let original = message(job.number);
    let blocks: Result<Vec<Block<u8>>, _> = (0..MEGABYTES).map(|_| arena.copy_of(&original)).collect();
    let blocks = blocks?;
    rate_each(job.budget, || {
        let mut count = 0;
        for value in pool.imap_unordered(first_and_back, blocks.iter().cloned()) {
            count += usize::from(value?.len() == job.number);
        }
        if count == MEGABYTES { Ok(count) } else { Err("another block came".into()) }
    })
}

/// Looks at what was built, and gives it back.
fn first_and_back(block: Block<u8>) -> Block<u8> {
    let _ = black_box(block[..8].iter().map(|byte| u64::from(*byte)).sum::<u64>());
    block
}

/// Reads all of a message and sends it back with the next number.
fn through(mut bytes: Vec<u8>) -> Vec<u8> {
    let number = check(&bytes);
    set_number(&mut bytes, number + 1);
    bytes
}

/// Tasks of which the last ones take longer.
fn skewed(job: &Job, chunk: Option<usize>) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let task = skewed_task();
    let items = || (0..job.number as u64).map(|seed| (task, seed, job.number as u64));
    rate_each(job.budget, || {
        let values = match chunk {
            None => pool.map(run_skewed, items())?,
            Some(chunk) => pool.imap(run_skewed, items()).chunk_size(chunk).collect::<Result<_, _>>()?,
        };
        if values.len() == job.number { Ok(job.number) } else { Err("values are missing".into()) }
    })
}

fn apply_async(job: &Job) -> Result<Answer, Failure> {
    let pool = Pool::new(2)?;
    let count = job.number as u64;
    rate_each(job.budget, || {
        let later: Vec<_> = (0..count).map(|x| pool.apply_async(square, x)).collect();
        let values: Result<Vec<u64>, _> = later.into_iter().map(AsyncResult::get).collect();
        right(values?, count)
    })
}

/// From the death of the only worker to the first value of the one in its place.
fn replaced(job: &Job, method: StartMethod) -> Result<Answer, Failure> {
    let pool = Pool::builder().processes(job.number).start_method(method).build()?;
    time_each(job.mode, job.budget, |turn| {
        for pid in pool.pids() {
            let pid = Pid::from_raw(pid as i32).ok_or("a worker without an id")?;
            kill_process(pid, Signal::KILL)?;
        }
        if pool.apply(square, turn)? == square(turn) { Ok(()) } else { Err("a wrong square".into()) }
    })
}

fn up(job: &Job, method: StartMethod) -> Result<Answer, Failure> {
    time_each(job.mode, job.budget, |turn| {
        let pool = Pool::builder().processes(job.number).start_method(method).build()?;
        if pool.apply(square, turn)? == square(turn) { Ok(()) } else { Err("a wrong square".into()) }
    })
}

fn right(values: Vec<u64>, count: u64) -> Result<usize, Failure> {
    let is_right =
        values.len() as u64 == count && values.iter().zip(0..).all(|(value, x)| *value == square(x));
    if is_right { Ok(values.len()) } else { Err("wrong squares".into()) }
}
