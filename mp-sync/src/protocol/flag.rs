//! A flag that is waited for, in one word.

use std::sync::atomic::Ordering;
use std::time::Instant;

use ipc_core::raw::Change;

use super::words::{AtomicU32, change_and_wake, wait_on, wake};
use crate::timeout;

/// It is set.
const SET: u32 = 1;
/// Somebody sleeps on the word, or did: setting it goes through the kernel. Only
/// clearing takes this away, as nobody sleeps while it is set.
const WAITED_FOR: u32 = 2;
/// One clearing: who slept through setting and clearing sees that the number of
/// clearings has changed.
const CLEARED: u32 = 4;

pub(crate) fn is_set(word: &AtomicU32) -> bool {
    word.load(Ordering::Acquire) & SET != 0
}

/// Sets it: all who wait go on, also if it is cleared at once.
pub(crate) fn set(word: &AtomicU32) {
    let mut old = word.load(Ordering::Relaxed);
    loop {
        if old & SET != 0 {
            return;
        }
        if old & WAITED_FOR != 0 {
            break;
        }
        // ORDERING: what was done before is seen by those who find it set.
        match word.compare_exchange_weak(old, old | SET, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
    // Set and wake together, so that nobody sleeps on if this process dies here.
    if change_and_wake(word, Change::Or(SET as u16), u32::MAX).is_err() {
        word.fetch_or(SET, Ordering::SeqCst);
        wake(word, u32::MAX);
    }
}

/// Takes the setting back.
pub(crate) fn clear(word: &AtomicU32) {
    let cleared = |old: u32| (old & SET != 0).then(|| (old & !(SET | WAITED_FOR)).wrapping_add(CLEARED));
    let _ = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, cleared);
}

/// What one who begins to wait remembers.
pub(crate) fn begin(word: &AtomicU32) -> u32 {
    word.load(Ordering::Acquire)
}

/// Whether it is set, or has been since the word was as at `begun`.
pub(crate) fn is_over(word: &AtomicU32, begun: u32) -> bool {
    is_past(word.load(Ordering::Acquire), begun)
}

fn is_past(now: u32, begun: u32) -> bool {
    now & SET != 0 || now / CLEARED != begun / CLEARED
}

/// Waits until it is set, or has been since the word was as at `begun`; `false` at the deadline.
pub(crate) fn wait(word: &AtomicU32, begun: u32, deadline: Option<Instant>) -> bool {
    loop {
        let now = word.load(Ordering::Acquire);
        if is_past(now, begun) {
            return true;
        }
        if timeout::expired(deadline) {
            return false;
        }
        let waiting = now | WAITED_FOR;
        let announced = now == waiting
            || word.compare_exchange(now, waiting, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if announced {
            // An error of the kernel here means only that the loop looks again.
            let _ = wait_on(word, waiting, deadline);
        }
    }
}

/// `RUSTFLAGS="--cfg under_loom" cargo test -p mp-sync --release --lib models`
#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::protocol::kernel;

    /// One waits, another one does something first, and sets.
    fn set_seen_by_one_who_waits(set: fn(&AtomicU32)) {
        loom::model(move || {
            kernel::boot();
            let flag = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
            let waiter = {
                let flag = Arc::clone(&flag);
                thread::spawn(move || {
                    assert!(wait(&flag.0, begin(&flag.0), None));
                    assert_eq!(flag.1.load(Ordering::Relaxed), 1, "what was done before is seen");
                })
            };
            flag.1.store(1, Ordering::Relaxed);
            set(&flag.0);
            waiter.join().unwrap();
        });
    }

    /// Two wait that have begun, and it is set and cleared at once.
    fn nobody_sleeps_through(clear: fn(&AtomicU32)) {
        loom::model(move || {
            kernel::boot();
            let flag = Arc::new(AtomicU32::new(0));
            let begun = begin(&flag);
            let waiters = [(); 2].map(|()| {
                let flag = Arc::clone(&flag);
                thread::spawn(move || assert!(wait(&flag, begun, None)))
            });
            set(&flag);
            clear(&flag);
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
    }

    #[test]
    fn setting_wakes() {
        set_seen_by_one_who_waits(set);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_sets_without_waking() {
        set_seen_by_one_who_waits(|word| _ = word.fetch_or(SET, Ordering::SeqCst));
    }

    #[test]
    #[should_panic(expected = "what was done before is seen")]
    fn mutant_that_sets_without_releasing() {
        set_seen_by_one_who_waits(|word| {
            if word.compare_exchange(0, SET, Ordering::Relaxed, Ordering::Relaxed).is_err() {
                set(word);
            }
        });
    }

    #[test]
    fn clearing_at_once_loses_nobody() {
        nobody_sleeps_through(clear);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_does_not_count_clearings() {
        nobody_sleeps_through(|word| _ = word.fetch_and(!(SET | WAITED_FOR), Ordering::SeqCst));
    }
}
