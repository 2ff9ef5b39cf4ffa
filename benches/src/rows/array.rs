//! How long does an array of 100 MB take to another process?
//!
//! The clock runs from the sending until the receiver has said that it has all of it; what
//! lies where it was built is then read where it lies. The receiver checks every item after
//! that, while the clock stands.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ipc_core::{Arena, Block, Receiver, Sender, pipe};
use mp_process::Process;

use super::{By, Row};
use crate::clock::{of_times, pin, time_prepared};
use crate::contest::{Answer, Failure, Job, Mode};
use crate::kernel::page_faults;

/// How many bytes.
const SIZE: usize = 100_000_000;

pub(super) fn rows() -> Vec<Row> {
    let row = |what: &str, question| Row::times(format!("ipc/array-100MB-{what}"), Mode::Hot, question, SIZE);
    let python = |what| By::Python("arrays.py", what);
    vec![
        // Into memory that the receiver kept.
        row("recycled", "array-recycled")
            .against("bound", By::Bound("ring"), 1.0 / 1.2)
            .beside("memcpy", By::Bound("memcpy"))
            .against("cpython", python("ndarray"), 18.0)
            .against("cpython-bytes", python("bytes"), 7.0)
            .against("cpython-shared", python("shared"), 1.0),
        // Into memory that is new each time.
        row("fresh", "array-fresh")
            .against("bound", By::Bound("memcpy-fresh"), 1.0 / 1.4)
            .against("cpython-shared", python("shared"), 2.0)
            .against("ipc-channel", By::Rival("ipc-channel", "shared"), 2.0),
        // Built in shared memory, of which both have had a block before; both slept before.
        Row::times("ipc/array-100MB-handle", Mode::Asleep, "array-handle", SIZE)
            .within(100)
            .against("bound", By::Bound("wake"), 1.0 / 1.3)
            .beside("cpython-shared", python("shared"))
            .against("ipc-channel", By::Rival("ipc-channel", "shared"), 1.5),
        // What was received lies in memory like any other.
        Row::times("ipc/array-100MB-read-in-place", Mode::OneCore, "array-read", SIZE).against(
            "own-memory",
            By::Bound("read"),
            0.9,
        ),
        Row::amounts("ipc/array-100MB-faults", "array-faults", SIZE).mode(Mode::Hot).of("faults").within(8),
    ]
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    match job.question.as_str() {
        "array-handle" => by_handle(job),
        "array-read" => read_in_place(job),
        "array-faults" => faults(job),
        question => by_value(job, question == "array-recycled"),
    }
}

/// The item at `place` of array number `turn`.
#[must_use]
pub fn expected(turn: u64, place: usize) -> f64 {
    (turn as usize ^ place) as f64
}

/// Gives an array its number: in a few places, so that filling it costs nothing.
pub fn set_number(items: &mut [f64], turn: u64) {
    for place in (0..items.len()).step_by(items.len() / 16) {
        items[place] = expected(turn, place);
    }
}

/// An array whose items follow from their places.
#[must_use]
pub fn array(size: usize) -> Vec<f64> {
    (0..size / 8).map(|place| expected(0, place)).collect()
}

/// Looks at each item.
///
/// # Panics
/// The array is not what was sent.
pub fn check(items: &[f64], turn: u64) {
    let step = items.len() / 16;
    for place in (0..items.len()).step_by(step) {
        assert_eq!(items[place], expected(turn, place), "another array came");
        let rest = &items[place + 1..(place + step).min(items.len())];
        let is_right = rest.iter().zip(place + 1..).all(|(item, place)| *item == expected(0, place));
        assert!(is_right, "an array came torn");
    }
}

fn by_value(job: &Job, recycled: bool) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (tx, theirs) = pipe::<Vec<f64>>()?;
    let (done, finished) = pipe::<u64>()?;
    let peer = Process::spawn(take_values, (theirs, done, other, recycled))?;
    pin(own)?;
    let items = RefCell::new(array(job.number));
    let answer = time_prepared(
        job.budget,
        |turn| {
            // It has checked the last one.
            finished.recv()?;
            set_number(&mut items.borrow_mut(), turn);
            Ok(())
        },
        || {
            tx.send(&items.borrow())?;
            finished.recv()?;
            Ok(())
        },
    );
    drop(tx);
    peer.join()?;
    answer
}

/// The sum of all items, in an order that a processor can hurry through.
#[must_use]
pub fn sum(items: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for part in items.chunks_exact(8) {
        sums.iter_mut().zip(part).for_each(|(sum, item)| *sum += item);
    }
    sums.iter().sum()
}

/// In a process of its own, in a block that came from this one.
fn read_in_place(job: &Job) -> Result<Answer, Failure> {
    let arena = Arena::new(2 * job.number)?;
    let block = arena.copy_of(&array(job.number))?;
    let peer = Process::spawn(read_again_and_again, (block, job.mode.processors()[1], job.budget))?;
    Ok(of_times(&mut peer.join()?))
}

fn read_again_and_again((block, processor, budget): (Block<f64>, Option<usize>, Duration)) -> Vec<f64> {
    pin(processor).expect("a processor");
    let (mut times, begun) = (Vec::new(), Instant::now());
    check(&block, 0);
    while begun.elapsed() < budget || times.len() < 5 {
        let start = Instant::now();
        black_box(sum(black_box(&block)));
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times
}

/// How many page faults a receiver has while a block comes and all of it is read, when it has
/// had one from the same arena.
fn faults(job: &Job) -> Result<Answer, Failure> {
    let (tx, theirs) = pipe::<Block<f64>>()?;
    let (counts, counted) = pipe::<u64>()?;
    let peer = Process::spawn(count_faults, (theirs, counts))?;
    let (arena, items) = (Arena::new(2 * job.number)?, array(job.number));
    let mut last = 0;
    for _ in 0..5 {
        let block = arena.copy_of(&items)?;
        tx.send(&block)?;
        last = counted.recv()?;
    }
    drop(tx);
    peer.join()?;
    // Nothing is less than can be seen.
    Ok(Answer::of(last.max(1) as f64))
}

fn count_faults((blocks, counts): (Receiver<Block<f64>>, Sender<u64>)) {
    loop {
        let before = page_faults();
        let Ok(block) = blocks.recv() else { return };
        black_box(sum(&block));
        drop(block);
        if counts.send(&(page_faults() - before)).is_err() {
            return;
        }
    }
}

type Receiving<T> = (Receiver<T>, Sender<u64>, Option<usize>);

fn take_values((arrays, done, processor, recycled): (Receiver<Vec<f64>>, Sender<u64>, Option<usize>, bool)) {
    pin(processor).expect("a processor");
    let mut kept = Vec::new();
    for turn in 0.. {
        if !recycled {
            kept = Vec::new();
        }
        let asked = done.send(&turn);
        if asked.is_err() || arrays.recv_into(&mut kept).is_err() || done.send(&turn).is_err() {
            return;
        }
        check(&kept, turn);
    }
}

fn by_handle(job: &Job) -> Result<Answer, Failure> {
    let [own, other] = job.mode.processors();
    let (tx, theirs) = pipe::<Block<f64>>()?;
    let (done, finished) = pipe::<u64>()?;
    let peer = Process::spawn(take_blocks, (theirs, done, other))?;
    pin(own)?;
    let arena = Arena::new(2 * job.number)?;
    let items = array(job.number);
    let next = RefCell::new(None);
    let answer = time_prepared(
        job.budget,
        |turn| {
            finished.recv()?;
            *next.borrow_mut() = None;
            let mut block = arena.alloc::<f64>(items.len())?;
            block.copy_from_slice(&items);
            set_number(&mut block, turn);
            *next.borrow_mut() = Some(block.share());
            Ok(())
        },
        || {
            tx.send(next.borrow().as_ref().ok_or("no block")?)?;
            finished.recv()?;
            Ok(())
        },
    );
    drop(tx);
    peer.join()?;
    answer
}

fn take_blocks((blocks, done, processor): Receiving<Block<f64>>) {
    pin(processor).expect("a processor");
    for turn in 0.. {
        if done.send(&turn).is_err() {
            return;
        }
        let Ok(block) = blocks.recv() else { return };
        if done.send(&turn).is_err() {
            return;
        }
        check(&block, turn);
    }
}
