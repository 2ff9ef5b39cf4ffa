//! The kernel's part in sleeping and waking, played under the model checker.
//!
//! The checker changes threads only at its own operations. What comes between two
//! of them is one step, as it is one step under the lock of the kernel: to compare and
//! to fall asleep, and to change a word and to take sleepers off the list.

use std::cell::RefCell;
use std::io;
use std::time::Instant;

use ipc_core::raw::Change;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread::{self, Thread};

thread_local! {
    // All threads of a model are one of the system's.
    static SLEEPERS: RefCell<Vec<(usize, Thread)>> = const { RefCell::new(Vec::new()) };
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

/// Sleeps while `word` holds `expected`; deadlines never come.
pub(crate) fn wait_on(word: &AtomicU32, expected: u32, _deadline: Option<Instant>) -> io::Result<()> {
    let own = thread::current();
    // As an exchange, which never finds an old value.
    if word.fetch_or(0, Ordering::SeqCst) == expected {
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.push((address(word), own)));
        thread::park();
    }
    Ok(())
}

/// Wakes up to `count` sleepers.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    word.fetch_or(0, Ordering::SeqCst);
    take(word, count).iter().for_each(Thread::unpark);
}

/// Changes `word` and wakes up to `count` sleepers, as one step.
pub(crate) fn change_and_wake(word: &AtomicU32, change: Change, count: u32) -> io::Result<()> {
    match change {
        Change::Add(more) => word.fetch_add(more.into(), Ordering::SeqCst),
        Change::Or(bits) => word.fetch_or(bits.into(), Ordering::SeqCst),
        Change::Set(value) => word.swap(value.into(), Ordering::SeqCst),
    };
    take(word, count).iter().for_each(Thread::unpark);
    Ok(())
}

fn take(word: &AtomicU32, count: u32) -> Vec<Thread> {
    SLEEPERS.with_borrow_mut(|sleepers| {
        let mut left = count;
        let is_woken = |(at, _): &mut (usize, Thread)| {
            let is_woken = *at == address(word) && left > 0;
            left -= u32::from(is_woken);
            is_woken
        };
        sleepers.extract_if(.., is_woken).map(|(_, thread)| thread).collect()
    })
}

/// Empties the list, which a model that failed before has left behind.
#[cfg(test)]
pub(crate) fn boot() {
    SLEEPERS.take();
}
