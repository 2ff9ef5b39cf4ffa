//! What an `RwLock` is made of, put together: a gate, a call, and a ledger of readers.
//!
//! A reader passes the gate, is counted, and leaves the gate again; a writer holds the gate and
//! sleeps until the count is zero. The gate is a robust mutex, which the kernel unlocks when its
//! holder dies.

// The checker's own counts, and cannot do that any more once a model has failed.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::sync::Mutex;
use loom::thread;

use super::call::{Call, LOOKS};
use super::kernel::{self, Deaths};
use super::ledger::{Ledger, Step};
use super::sleeper::Sleeper;
use super::words::AtomicU32;

struct RwLock {
    gate: Mutex<()>,
    call: Call,
    ledger: Ledger<2>,
    deaths: Deaths,
    /// How many are where no writer may be beside them.
    inside: AtomicU32,
    how: How,
}

/// How those who read and write do it: rightly, or not.
#[derive(Clone, Copy)]
struct How {
    /// A reader is counted inside the gate.
    passes_the_gate: bool,
    /// A reader leaves first, and looks then whether a writer sleeps.
    leaves_first: bool,
    calls: bool,
    /// A writer watches over those who read.
    watches: bool,
    /// A writer waits for those who read.
    waits: bool,
}

const RIGHT: How = How { passes_the_gate: true, leaves_first: true, calls: true, watches: true, waits: true };

/// Where a reader is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    BeforeTheGate,
    InTheGate,
    Reading,
    BeforeItCalls,
    Never,
}

const READER: u64 = 1;

impl RwLock {
    /// As [`RwLock::read`](crate::RwLock::read) does, and the end of it.
    fn read(&self, killed: Killed) {
        let entry = self.ledger.claim(READER).unwrap();
        self.call.announce();
        if killed == Killed::BeforeTheGate {
            return self.die();
        }
        let gate = self.how.passes_the_gate.then(|| self.gate.lock().unwrap());
        self.ledger.change(entry, Step::Raise, |count| Some(count + 1));
        drop(gate);
        // Inside or outside of the gate is all the same: the kernel has unlocked it by then.
        if matches!(killed, Killed::InTheGate | Killed::Reading) {
            return self.die();
        }
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.end_read(entry, killed);
    }

    fn end_read(&self, entry: usize, killed: Killed) {
        let was_listened_to = self.call.is_listened_to();
        self.ledger.change(entry, Step::Lower, |count| count.checked_sub(1));
        if killed == Killed::BeforeItCalls {
            return self.die();
        }
        let is_listened_to = if self.how.leaves_first { self.call.is_listened_to() } else { was_listened_to };
        if self.how.calls && is_listened_to && self.ledger.count() == 0 {
            self.call.call();
        }
    }

    /// As [`RwLock::write`](crate::RwLock::write) does.
    fn write(&self) {
        let _gate = self.gate.lock().unwrap();
        if self.how.waits && self.ledger.count() != 0 {
            self.sleep_until_none_reads();
            self.call.leave();
        }
        assert_eq!(self.inside.fetch_or(0, Ordering::SeqCst), 0, "beside a reader");
        thread::yield_now();
        assert_eq!(self.inside.fetch_or(0, Ordering::SeqCst), 0, "beside a reader");
    }

    fn sleep_until_none_reads(&self) {
        let mut sleeper = Sleeper::new(self.deaths.reported_in(LOOKS, true), self.call.word());
        loop {
            let seen = self.call.listen();
            if self.how.watches && !sleeper.watch(|| self.ledger.owners().map(|(_, owner)| owner)) {
                self.ledger.recover(0, READER, |count, held| count.saturating_sub(held));
                continue;
            }
            if self.ledger.count() == 0 {
                return;
            }
            sleeper.sleep(seen, None);
        }
    }

    fn die(&self) {
        self.deaths.die(READER, self.call.word());
    }
}

/// One writes, and the other one does something.
fn one_writes(how: How, reads_already: bool, other: impl Fn(&RwLock) + Copy + Send + Sync + 'static) {
    let mut checker = loom::model::Builder::new();
    checker.preemption_bound = Some(3);
    checker.check(move || {
        kernel::boot();
        let (gate, call, ledger) = (Mutex::new(()), Call::new(), Ledger::empty());
        let (deaths, inside) = (Deaths::new(), AtomicU32::new(0));
        let lock = Arc::new(RwLock { gate, call, ledger, deaths, inside, how });
        if reads_already {
            let entry = lock.ledger.claim(READER).unwrap();
            lock.ledger.change(entry, Step::Raise, |count| Some(count + 1));
        }
        let reader = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || other(&lock))
        };
        lock.write();
        reader.join().unwrap();
    });
}

#[test]
fn a_writer_is_never_beside_a_reader() {
    one_writes(RIGHT, false, |lock| lock.read(Killed::Never));
}

#[test]
fn the_last_reader_wakes_the_writer() {
    one_writes(RIGHT, true, |lock| lock.end_read(0, Killed::Never));
}

#[test]
fn a_reader_that_dies_leaves_no_writer_asleep() {
    for killed in [Killed::BeforeTheGate, Killed::InTheGate] {
        one_writes(RIGHT, false, move |lock| lock.read(killed));
    }
    one_writes(RIGHT, true, RwLock::die);
    one_writes(RIGHT, true, |lock| lock.end_read(0, Killed::BeforeItCalls));
}

#[test]
fn a_second_reader_is_waited_for_too() {
    one_writes(RIGHT, true, |lock| {
        lock.end_read(0, Killed::Never);
        lock.read(Killed::Reading);
    });
}

#[test]
#[should_panic(expected = "beside a reader")]
fn mutant_that_does_not_pass_the_gate() {
    one_writes(How { passes_the_gate: false, ..RIGHT }, false, |lock| lock.read(Killed::Never));
}

#[test]
#[should_panic(expected = "beside a reader")]
fn mutant_that_does_not_wait_for_readers() {
    one_writes(How { waits: false, ..RIGHT }, false, |lock| lock.read(Killed::Never));
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_that_leaves_without_calling() {
    one_writes(How { calls: false, ..RIGHT }, true, |lock| lock.end_read(0, Killed::Never));
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_that_looks_for_the_writer_first() {
    one_writes(How { leaves_first: false, ..RIGHT }, true, |lock| lock.end_read(0, Killed::Never));
}

#[test]
#[should_panic(expected = "deadlock")]
fn mutant_that_watches_nobody() {
    one_writes(How { watches: false, ..RIGHT }, true, |lock| lock.end_read(0, Killed::BeforeItCalls));
}
