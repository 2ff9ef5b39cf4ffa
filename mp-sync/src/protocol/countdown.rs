//! A count that goes down to zero once, in one word, and is waited for.

use std::sync::atomic::Ordering;
use std::time::Instant;

use ipc_core::raw::Change;

use super::words::{AtomicU32, change_and_wake, wait_on, wake};
use crate::timeout;

/// Somebody sleeps on the word, or did: opening goes through the kernel.
const WAITED_FOR: u32 = 1;
/// One more to go.
const ONE: u32 = 2;

/// The word for a count; `None` if it does not fit.
pub(crate) fn word_of(count: u32) -> Option<u32> {
    count.checked_mul(ONE)
}

/// How many are still to go.
pub(crate) fn count(word: &AtomicU32) -> u32 {
    word.load(Ordering::Acquire) / ONE
}

/// One less to go; nothing happens at zero.
pub(crate) fn count_down(word: &AtomicU32) {
    let mut old = word.load(Ordering::Relaxed);
    loop {
        if old < ONE {
            return;
        }
        if old == (ONE | WAITED_FOR) {
            // Open and wake together, so that nobody sleeps on if this process dies here.
            if change_and_wake(word, Change::Set(WAITED_FOR as u16), u32::MAX).is_err() {
                word.store(WAITED_FOR, Ordering::SeqCst);
                wake(word, u32::MAX);
            }
            return;
        }
        // ORDERING: what each has done before is seen by those who find the count at zero.
        match word.compare_exchange_weak(old, old - ONE, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// Waits until the count is zero; `false` at the deadline.
pub(crate) fn wait(word: &AtomicU32, deadline: Option<Instant>) -> bool {
    loop {
        let now = word.fetch_or(WAITED_FOR, Ordering::SeqCst) | WAITED_FOR;
        if now < ONE {
            return true;
        }
        if timeout::expired(deadline) {
            return false;
        }
        // It sleeps through counts that wake nobody, and finds the last one by the wake.
        let _ = wait_on(word, now, deadline);
    }
}

#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::protocol::kernel;

    type Step = fn(&AtomicU32);

    /// Two have something to do each, and one waits for both.
    fn both_are_waited_for(count_down: Step) {
        loom::model(move || {
            kernel::boot();
            let latch = Arc::new((AtomicU32::new(word_of(2).unwrap()), [(); 2].map(|()| AtomicU32::new(0))));
            let doers = [0, 1].map(|number| {
                let latch = Arc::clone(&latch);
                thread::spawn(move || {
                    latch.1[number].store(1, Ordering::Relaxed);
                    count_down(&latch.0);
                })
            });
            assert!(wait(&latch.0, None));
            assert!(latch.1.iter().all(|done| done.load(Ordering::Relaxed) == 1), "what was done is seen");
            doers.into_iter().for_each(|doer| doer.join().unwrap());
        });
    }

    /// As the protocol does, without waiters.
    fn lower(word: &AtomicU32, success: Ordering) -> u32 {
        word.fetch_update(success, Ordering::Relaxed, |old| Some(old - ONE)).unwrap() - ONE
    }

    #[test]
    fn the_last_one_wakes() {
        both_are_waited_for(count_down);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_opens_without_waking() {
        both_are_waited_for(|word| _ = lower(word, Ordering::SeqCst));
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_looks_for_waiters_first() {
        both_are_waited_for(|word| {
            let is_waited_for = word.load(Ordering::SeqCst) & WAITED_FOR != 0;
            if lower(word, Ordering::SeqCst) < ONE && is_waited_for {
                wake(word, u32::MAX);
            }
        });
    }

    #[test]
    #[should_panic(expected = "what was done is seen")]
    fn mutant_that_counts_without_releasing() {
        both_are_waited_for(|word| {
            if lower(word, Ordering::Relaxed) < ONE {
                wake(word, u32::MAX);
            }
        });
    }
}
