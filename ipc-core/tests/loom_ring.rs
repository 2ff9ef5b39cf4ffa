//! Every order in which two sides of a ring can meet: no wake is lost, and no
//! byte is read before it was written.
//!
//! `RUSTFLAGS="--cfg under_loom" cargo test --release -p ipc-core --test loom_ring`
//!
//! # Safety
//! The cells are the model checker's own: it fails where two accesses race.

#![cfg(under_loom)]
#![allow(unsafe_code)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::thread::{self, Thread};
use std::sync::{Arc, Mutex};

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};
}

#[path = "../src/link/ring/handshake.rs"]
#[allow(dead_code, reason = "the bell is a socket's matter")]
mod handshake;

use atomic::{AtomicU32, Ordering, fence};

/// A word that can be slept on, as the kernel does it.
struct Futex {
    word: AtomicU32,
    // The checker changes threads only at its own operations, so that what
    // happens between two of them is one step.
    sleeper: Mutex<Option<Thread>>,
}

impl Futex {
    fn new() -> Self {
        Self { word: AtomicU32::new(0), sleeper: Mutex::new(None) }
    }

    fn wait(&self, expected: u32) {
        let me = thread::current();
        // As an exchange, which never sees an old value.
        if self.word.fetch_or(0, Ordering::Relaxed) == expected {
            *self.sleeper.lock().unwrap() = Some(me);
            thread::park();
        }
    }

    fn wake(&self) {
        let sleeper = self.sleeper.lock().unwrap().take();
        if let Some(sleeper) = sleeper {
            sleeper.unpark();
        }
    }
}

/// A ring with room for one message.
struct Ring {
    head: AtomicU64,
    tail: AtomicU64,
    slot: UnsafeCell<u64>,
    producer: Futex,
    consumer: Futex,
    gone: AtomicU32,
}

impl Ring {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            slot: UnsafeCell::new(0),
            producer: Futex::new(),
            consumer: Futex::new(),
            gone: AtomicU32::new(0),
        })
    }

    fn wait(own: &Futex, ready: impl Fn() -> bool) {
        while !ready() {
            handshake::sleep_unless(&own.word, &ready, |flags| own.wait(flags));
        }
    }

    fn wake(other: &Futex) {
        if handshake::wake(&other.word) & handshake::ASLEEP_ON_WORD != 0 {
            other.wake();
        }
    }

    fn send(&self, number: u64, commit: Ordering) {
        let head = self.head.load(Ordering::Relaxed);
        Self::wait(&self.producer, || self.tail.load(Ordering::Acquire) == head);
        // SAFETY: the consumer has freed the slot; the model checks that.
        self.slot.with_mut(|slot| unsafe { *slot = number });
        self.head.store(head + 1, commit);
        Self::wake(&self.consumer);
    }

    fn recv(&self) -> Option<u64> {
        let tail = self.tail.load(Ordering::Relaxed);
        let arrived = || self.head.load(Ordering::Acquire) != tail;
        Self::wait(&self.consumer, || arrived() || self.gone.load(Ordering::Acquire) != 0);
        if !arrived() {
            return None;
        }
        // SAFETY: the producer has written the slot; the model checks that.
        let number = self.slot.with(|slot| unsafe { *slot });
        self.tail.store(tail + 1, Ordering::Release);
        Self::wake(&self.producer);
        Some(number)
    }
}

#[test]
fn each_side_wakes_the_other() {
    let mut checker = loom::model::Builder::new();
    // Every order would take half a minute; what goes wrong does so in fewer changes.
    checker.preemption_bound = Some(4);
    checker.check(|| {
        let ring = Ring::new();
        let sender = Arc::clone(&ring);
        let sender = thread::spawn(move || (1..=2).for_each(|number| sender.send(number, Ordering::Release)));
        assert_eq!(ring.recv(), Some(1));
        assert_eq!(ring.recv(), Some(2));
        sender.join().unwrap();
    });
}

#[test]
fn a_death_that_is_told_wakes_the_sleeper_and_loses_nothing() {
    loom::model(|| {
        let ring = Ring::new();
        let watch = Arc::clone(&ring);
        let watch = thread::spawn(move || {
            watch.send(1, Ordering::Release);
            watch.gone.store(1, Ordering::SeqCst);
            handshake::disturb(&watch.consumer.word, || watch.consumer.wake());
        });
        assert_eq!(ring.recv(), Some(1));
        assert_eq!(ring.recv(), None);
        watch.join().unwrap();
    });
}

#[test]
fn a_peer_killed_between_the_flag_and_the_wake_is_told_of() {
    loom::model(|| {
        let ring = Ring::new();
        let watch = Arc::clone(&ring);
        let watch = thread::spawn(move || {
            // All that the peer still did: it took the flag, for a message it had not begun.
            handshake::wake(&watch.consumer.word);
            watch.gone.store(1, Ordering::SeqCst);
            handshake::disturb(&watch.consumer.word, || watch.consumer.wake());
        });
        assert_eq!(ring.recv(), None);
        watch.join().unwrap();
    });
}

/// What the checker must find, or it checks nothing.
mod mutants {
    use super::*;

    fn one_message(wait: fn(&Ring), wake: fn(&Futex), commit: Ordering) {
        loom::model(move || {
            let ring = Ring::new();
            let sender = Arc::clone(&ring);
            let sender = thread::spawn(move || {
                // SAFETY: as in `Ring::send`.
                sender.slot.with_mut(|slot| unsafe { *slot = 1 });
                sender.head.store(1, commit);
                wake(&sender.consumer);
            });
            wait(&ring);
            // SAFETY: as in `Ring::recv`.
            assert_eq!(ring.slot.with(|slot| unsafe { *slot }), 1);
            sender.join().unwrap();
        });
    }

    fn arrived(ring: &Ring) -> bool {
        ring.head.load(Ordering::Acquire) != 0
    }

    fn wait(ring: &Ring) {
        Ring::wait(&ring.consumer, || arrived(ring));
    }

    #[test]
    fn none() {
        one_message(wait, Ring::wake, Ordering::Release);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn no_fence_before_the_look_at_the_flag() {
        fn wake(other: &Futex) {
            if other.word.load(Ordering::Relaxed) != 0 {
                other.word.swap(0, Ordering::SeqCst);
                other.wake();
            }
        }
        one_message(wait, wake, Ordering::Release);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn the_last_look_before_the_flag() {
        fn wait(ring: &Ring) {
            while !arrived(ring) {
                let flags = ring.consumer.word.fetch_or(1, Ordering::SeqCst) | 1;
                fence(Ordering::SeqCst);
                ring.consumer.wait(flags);
            }
        }
        one_message(wait, Ring::wake, Ordering::Release);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_wake_that_leaves_the_word_as_it_was() {
        fn wake(other: &Futex) {
            fence(Ordering::SeqCst);
            if other.word.load(Ordering::Relaxed) != 0 {
                other.wake();
            }
        }
        one_message(wait, wake, Ordering::Release);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_death_told_only_to_those_whose_flag_is_still_there() {
        loom::model(|| {
            let ring = Ring::new();
            let watch = Arc::clone(&ring);
            let watch = thread::spawn(move || {
                handshake::wake(&watch.consumer.word);
                watch.gone.store(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if watch.consumer.word.swap(0, Ordering::SeqCst) != 0 {
                    watch.consumer.wake();
                }
            });
            assert_eq!(ring.recv(), None);
            watch.join().unwrap();
        });
    }

    #[test]
    #[should_panic]
    fn a_commit_that_publishes_nothing() {
        one_message(wait, |_| {}, Ordering::Relaxed);
    }
}
