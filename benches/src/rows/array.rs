//! How long does an array of 100 MB take to another process?
//!
//! The clock runs from the sending until the receiver has said that it has all of it; what
//! lies where it was built is then read where it lies. The receiver checks every item after
//! that, while the clock stands.

use std::cell::RefCell;

use ipc_core::{Arena, Block, Receiver, Sender, pipe};
use mp_process::Process;

use super::{By, Row};
use crate::clock::{pin, time_prepared};
use crate::contest::{Answer, Failure, Job, Mode};

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
        row("fresh", "array-fresh").against("bound", By::Bound("memcpy-fresh"), 1.0 / 1.4).against(
            "cpython-shared",
            python("shared"),
            2.0,
        ),
        // Built in shared memory, of which both have had a block before.
        row("handle", "array-handle")
            .beside("bound", By::Bound("wake"))
            .beside("cpython-shared", python("shared")),
    ]
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    match job.question.as_str() {
        "array-handle" => by_handle(job),
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
