//! Every order in which a worker and its pool can meet over a task: each item is run or
//! taken back, and none is both.
//!
//! `RUSTFLAGS="--cfg under_loom" cargo test --release -p mp-pool --test loom_claims`

#![cfg(under_loom)]

use std::sync::Arc;

use loom::thread;

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

    /// The checker has exchanges of others come behind a store whose value they did not find.
    pub(crate) fn set(word: &AtomicU64, value: u64) {
        word.swap(value, Ordering::Relaxed);
    }
}

#[path = "../src/worker/claims.rs"]
#[allow(dead_code, reason = "the dead have no model")]
mod claims;

use atomic::{AtomicU64, Ordering};
use claims::Begun;

/// Items of each task.
const ITEMS: u32 = 2;
const TASKS: u32 = 2;

struct Board {
    slots: [AtomicU64; TASKS as usize],
    word: AtomicU64,
    /// What has been run of each task.
    run: [AtomicU64; TASKS as usize],
}

/// What the pool does to a task.
type Recall = fn(&Board, u32) -> Begun;
/// How a worker begins an item.
type Claim = fn(&AtomicU64) -> bool;

fn recall(board: &Board, turn: u32) -> Begun {
    claims::recall(&board.slots[turn as usize - 1], &board.word, turn)
}

fn claim(word: &AtomicU64) -> bool {
    claims::claim(word, 1)
}

/// A worker runs its tasks while the pool takes back what it can of one of them.
fn run_or_taken_back(turn: u32, recall: Recall, claim: Claim) {
    loom::model(move || {
        let new = || AtomicU64::new(0);
        let board = Arc::new(Board { slots: [new(), new()], word: new(), run: [new(), new()] });
        let worker = {
            let board = Arc::clone(&board);
            thread::spawn(move || {
                for turn in 1..=TASKS {
                    if start(&board, turn) {
                        let run = (0..ITEMS).take_while(|_| claim(&board.word)).count();
                        board.run[turn as usize - 1].store(run as u64, Ordering::Relaxed);
                    }
                }
            })
        };
        let begun = match recall(&board, turn) {
            Begun::Nothing => 0,
            Begun::Items(items) => items.min(ITEMS),
        };
        worker.join().unwrap();
        for task in 1..=TASKS {
            let run = board.run[task as usize - 1].load(Ordering::Relaxed);
            let wanted = if task == turn { begun } else { ITEMS };
            assert_eq!(run, u64::from(wanted), "an item was run twice, or not at all");
        }
    });
}

fn start(board: &Board, turn: u32) -> bool {
    claims::start(&board.slots[turn as usize - 1], &[&board.word], turn)
}

#[test]
fn each_item_of_the_first_task_is_run_or_taken_back() {
    run_or_taken_back(1, recall, claim);
}

#[test]
fn each_item_of_the_second_task_is_run_or_taken_back() {
    run_or_taken_back(2, recall, claim);
}

#[test]
#[should_panic(expected = "run twice")]
fn mutant_that_looks_before_it_claims() {
    let look_and_claim = |word: &AtomicU64| {
        let is_recalled = word.load(Ordering::Relaxed) & (1 << 31) != 0;
        word.fetch_add(1, Ordering::Relaxed);
        !is_recalled
    };
    run_or_taken_back(1, recall, look_and_claim);
}

#[test]
#[should_panic(expected = "run twice")]
fn mutant_that_recalls_whatever_the_worker_is_at() {
    let recall_any = |board: &Board, turn: u32| {
        if claims::skip(&board.slots[turn as usize - 1], turn) {
            return Begun::Nothing;
        }
        Begun::Items(board.word.fetch_or(1 << 31, Ordering::Relaxed) as u32 & 0xff)
    };
    run_or_taken_back(1, recall_any, claim);
}

#[test]
#[should_panic(expected = "run twice")]
fn mutant_that_skips_what_may_have_begun() {
    let skip_blindly = |board: &Board, turn: u32| {
        board.slots[turn as usize - 1].swap(u64::from(turn) << 1 | 1, Ordering::AcqRel);
        Begun::Nothing
    };
    run_or_taken_back(1, skip_blindly, claim);
}
