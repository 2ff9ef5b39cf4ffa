//! A count in a word that the other side sleeps on: what queues are made of.
//!
//! Where somebody sleeps, the kernel changes the word and wakes in one step. The
//! word itself says that somebody sleeps, so that whoever changes it sees that in
//! the same step.

use std::sync::atomic::Ordering;
use std::time::Instant;

use ipc_core::raw::Change;

use super::words::{AtomicU32, change_and_wake, wait_on, wake};

/// Somebody sleeps on the word, or did.
pub(crate) const ASLEEP: u32 = 1;
/// It does not rise any more.
pub(crate) const CLOSED: u32 = 2;
/// One more.
const ONE: u32 = 4;

/// The largest difference of two counts at which more and less can be told apart.
pub(crate) const FAR: u32 = u32::MAX / ONE / 2;

pub(crate) fn count(word: u32) -> u32 {
    word / ONE
}

/// How many steps lead from one count to the other.
pub(crate) fn between(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & (u32::MAX / ONE)
}

/// Raises a count that only its mutex's holder raises, and wakes up to so many who
/// sleep on it.
pub(crate) fn raise(word: &AtomicU32, sleepers: u32) {
    let mut old = word.load(Ordering::SeqCst);
    while old & ASLEEP == 0 {
        match word.compare_exchange_weak(old, old.wrapping_add(ONE), Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
    // The flag goes with the wake-up, so that the next ones need no system call while
    // the sleeper gets up. Nobody else takes it away: whoever raises holds the mutex.
    let step = ONE - ASLEEP;
    if change_and_wake(word, Change::Add(step as u16), sleepers).is_err() {
        word.fetch_add(step, Ordering::SeqCst);
        wake(word, sleepers);
    }
}

/// Says for good that the count does not rise any more, to all who sleep.
pub(crate) fn close(word: &AtomicU32) {
    if change_and_wake(word, Change::Or(CLOSED as u16), u32::MAX).is_err() {
        word.fetch_or(CLOSED, Ordering::SeqCst);
        wake(word, u32::MAX);
    }
}

/// Sleeps if the word is as seen, until it changes; returns for no reason at times.
pub(crate) fn sleep(word: &AtomicU32, seen: u32, deadline: Option<Instant>) {
    let sleeping = seen | ASLEEP;
    let swap = || word.compare_exchange(seen, sleeping, Ordering::SeqCst, Ordering::Relaxed);
    if seen == sleeping || swap().is_ok() {
        // An error of the kernel here means only that the caller looks again.
        let _ = wait_on(word, sleeping, deadline);
    }
}

#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;

    use loom::cell::UnsafeCell;
    use loom::thread;

    use super::*;
    use crate::protocol::kernel;

    /// Waits until the count is past `from`; `false` if it is closed.
    fn await_past(word: &AtomicU32, from: u32) -> bool {
        loop {
            let seen = word.load(Ordering::SeqCst);
            if count(seen) != from {
                return true;
            }
            if seen & CLOSED != 0 {
                return false;
            }
            sleep(word, seen, None);
        }
    }

    /// A queue with room for one item; the checker fails where two touch it at a time.
    #[derive(Default)]
    struct Queue {
        puts: AtomicU32,
        gets: AtomicU32,
        item: UnsafeCell<u32>,
    }

    fn items_go_through(raise: fn(&AtomicU32)) {
        loom::model(move || {
            kernel::boot();
            let queue = Arc::new(Queue::default());
            let consumer = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    for n in 0..2 {
                        assert!(await_past(&queue.puts, n));
                        queue.item.with(|item| assert_eq!(read(item), n));
                        raise(&queue.gets);
                    }
                })
            };
            for n in 0..2 {
                assert!(n == 0 || await_past(&queue.gets, n - 1));
                queue.item.with_mut(|item| write(item, n));
                raise(&queue.puts);
            }
            consumer.join().unwrap();
        });
    }

    #[allow(unsafe_code)]
    fn read(item: *const u32) -> u32 {
        // SAFETY: the checker lends the cell to one who writes or many who read.
        unsafe { *item }
    }

    #[allow(unsafe_code)]
    fn write(item: *mut u32, n: u32) {
        // SAFETY: as above.
        unsafe { *item = n }
    }

    /// One gets and two listen, and then it ends by `end`.
    fn listeners_are_woken(end: fn(&AtomicU32), is_more: bool) {
        loom::model(move || {
            kernel::boot();
            let puts = Arc::new(AtomicU32::new(0));
            let listeners = [(); 2].map(|()| {
                let puts = Arc::clone(&puts);
                thread::spawn(move || assert_eq!(await_past(&puts, 0), is_more))
            });
            end(&puts);
            listeners.into_iter().for_each(|listener| listener.join().unwrap());
        });
    }

    #[test]
    fn nobody_sleeps_beside_an_item_or_room() {
        items_go_through(|word| raise(word, 1));
    }

    #[test]
    fn all_who_listen_are_woken() {
        listeners_are_woken(|word| raise(word, u32::MAX), true);
    }

    #[test]
    fn closing_wakes_all() {
        listeners_are_woken(close, false);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_looks_for_sleepers_first() {
        items_go_through(|word| {
            let is_asleep = word.load(Ordering::SeqCst) & ASLEEP != 0;
            word.fetch_add(ONE, Ordering::SeqCst);
            if is_asleep {
                wake(word, 1);
            }
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_wakes_one_of_many() {
        listeners_are_woken(|word| raise(word, 1), true);
    }
}
