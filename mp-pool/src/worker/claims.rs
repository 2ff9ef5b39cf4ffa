//! Which tasks a worker begins, which of their items, and what its pool takes back: over
//! borrowed words.
//!
//! Nothing here knows where the words lie, so that the model checker runs these very lines
//! (`tests/loom_claims.rs`).

use super::atomic::{AtomicU64, Ordering, set};

/// What a worker has begun of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It has not, and will not.
    Nothing,
    /// At the most so many items.
    Items(u32),
}

/// The task in a word of items: the first is 1. The items that are begun stand below, and
/// whether the rest is [`RECALLED`].
pub(super) fn mark(turn: u32) -> u64 {
    u64::from(turn) << 32
}

/// What is left of the task is not to be begun.
const RECALLED: u64 = 1 << 31;
/// How many items are begun.
const ITEMS: u64 = RECALLED - 1;
/// In a slot: the task is not started, and is not to be.
const SKIPPED: u64 = 1;

/// In a slot: the task is started.
pub(super) fn started(turn: u32) -> u64 {
    u64::from(turn) << 1
}

fn skipped(turn: u32) -> u64 {
    started(turn) | SKIPPED
}

/// Task number `turn` begins, whose slot it is, and its items are counted in `words` from
/// now on; `false` if it is to be skipped.
pub(super) fn start(slot: &AtomicU64, words: &[&AtomicU64], turn: u32) -> bool {
    words.iter().for_each(|word| set(word, mark(turn)));
    // ORDERING: whoever sees that it has started sees the words too.
    slot.swap(started(turn), Ordering::AcqRel) != skipped(turn)
}

/// So many more items begin of the task that was started last; `false` if what is left of
/// it has been recalled.
pub(super) fn claim(word: &AtomicU64, items: u32) -> bool {
    // One word says both how many are begun and whether they are the last ones.
    word.fetch_add(u64::from(items), Ordering::Relaxed) & RECALLED == 0
}

/// Has the worker not begin a task; `false` if it has begun it.
pub(super) fn skip(slot: &AtomicU64, turn: u32) -> bool {
    // ORDERING: see `start`.
    let order = slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
        let is_started = word & SKIPPED == 0 && !is_before((word >> 1) as u32, turn);
        (!is_started).then_some(skipped(turn))
    });
    order.is_ok()
}

/// Has the worker begin nothing more of a task, whose items are counted in `word`; what it
/// has begun.
pub(super) fn recall(slot: &AtomicU64, word: &AtomicU64, turn: u32) -> Begun {
    if skip(slot, turn) {
        return Begun::Nothing;
    }
    let recalled = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
        (word >> 32 == u64::from(turn)).then_some(word | RECALLED)
    });
    // If it is at another task by now, it has done all of this one.
    Begun::Items(recalled.map_or(ALL_DONE, |word| (word & ITEMS) as u32))
}

/// Of a task that a worker has left behind: it has begun all items, however many there are.
pub(crate) const ALL_DONE: u32 = u32::MAX;

/// How many items of a task have been begun by a worker that has ended.
pub(super) fn begun(word: u64, turn: u32) -> u32 {
    match (word >> 32) as u32 {
        at if at == turn => (word & ITEMS) as u32,
        at if is_before(at, turn) => 0,
        _ => ALL_DONE,
    }
}

/// Whether one task is given before another. Turns may pass their largest value.
fn is_before(turn: u32, other: u32) -> bool {
    (turn.wrapping_sub(other) as i32) < 0
}
