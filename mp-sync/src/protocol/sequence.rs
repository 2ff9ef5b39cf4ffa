//! A word that changes with each notification, for those who wait for one.

use std::sync::atomic::Ordering;

use ipc_core::raw::Change;

use super::words::{AtomicU32, change_and_wake, wake};

/// Somebody has slept on the word: notifying goes through the kernel.
const WAITED_FOR: u32 = 1;
/// One notification.
const ONE: u32 = 2;

/// Says that one waits; the word to sleep on. To be called under the lock, under which
/// what is waited for changes.
pub(crate) fn announce(word: &AtomicU32) -> u32 {
    word.fetch_or(WAITED_FOR, Ordering::SeqCst) | WAITED_FOR
}

/// Wakes up to `count` of those that wait now.
pub(crate) fn notify(word: &AtomicU32, count: u32) {
    // ORDERING: a waiter says so before it lets go of the lock, under which the
    // notifier has changed something, so it is seen here.
    if count == 0 || word.load(Ordering::Acquire) & WAITED_FOR == 0 {
        return;
    }
    if change_and_wake(word, Change::Add(ONE as u16), count).is_err() {
        word.fetch_add(ONE, Ordering::SeqCst);
        wake(word, count);
    }
}

#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;

    use loom::sync::Mutex;
    use loom::thread;

    use super::*;
    use crate::protocol::kernel;
    use crate::protocol::words::wait_on;

    struct Condition {
        word: AtomicU32,
        is_done: Mutex<bool>,
    }

    /// Waits as [`Condition::wait`](crate::Condition::wait) does.
    fn wait(condition: &Condition) {
        let mut guard = condition.is_done.lock().unwrap();
        while !*guard {
            let seen = announce(&condition.word);
            drop(guard);
            wait_on(&condition.word, seen, None).unwrap();
            guard = condition.is_done.lock().unwrap();
        }
    }

    fn change(condition: &Condition) {
        *condition.is_done.lock().unwrap() = true;
    }

    fn waiters_go_on(count: usize, wait: fn(&Condition), finish: fn(&Condition)) {
        loom::model(move || {
            kernel::boot();
            let (word, is_done) = (AtomicU32::new(0), Mutex::new(false));
            let condition = Arc::new(Condition { word, is_done });
            let waiters: Vec<_> = (0..count)
                .map(|_| {
                    let condition = Arc::clone(&condition);
                    thread::spawn(move || wait(&condition))
                })
                .collect();
            finish(&condition);
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
    }

    #[test]
    fn one_is_woken() {
        waiters_go_on(1, wait, |condition| {
            change(condition);
            notify(&condition.word, 1);
        });
    }

    #[test]
    fn all_are_woken() {
        waiters_go_on(2, wait, |condition| {
            change(condition);
            notify(&condition.word, u32::MAX);
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_says_too_late_that_it_waits() {
        let wait = |condition: &Condition| {
            let mut guard = condition.is_done.lock().unwrap();
            while !*guard {
                drop(guard);
                let seen = announce(&condition.word);
                wait_on(&condition.word, seen, None).unwrap();
                guard = condition.is_done.lock().unwrap();
            }
        };
        waiters_go_on(1, wait, |condition| {
            change(condition);
            notify(&condition.word, 1);
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_wakes_without_a_change() {
        waiters_go_on(1, wait, |condition| {
            change(condition);
            wake(&condition.word, 1);
        });
    }
}
