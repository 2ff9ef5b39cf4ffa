//! One who sleeps until it is called, by whoever changes what it sleeps for.
//!
//! One word. Bit 7 says that somebody sleeps, or is about to; who calls takes it away and wakes
//! in one step of the kernel, so that one who is stopped on its way to call keeps no other one
//! from calling. The bits below have the sleeper look again, and leave bit 7 as it is.

use std::sync::atomic::Ordering;

use ipc_core::raw::Change;

use super::words::{AtomicU32, change_and_wake, read_small, wake};
use crate::memory::shared_words;

/// The bits that newcomers and deaths change.
pub(crate) const LOOKS: u32 = 0x7f;
/// Somebody sleeps, or is about to.
const LISTENED_TO: u32 = 0x80;

shared_words! {
    /// A word for one sleeper at a time: who else would sleep queues before.
    pub(crate) struct Call {
        word: AtomicU32,
    }
}

impl Call {
    /// What is slept on.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Says that one sleeps, before it looks at what it sleeps for; the word as it is to be
    /// found for that.
    pub(crate) fn listen(&self) -> u32 {
        // ORDERING: this comes before the look, and who calls changes something before it
        // looks here.
        self.word.fetch_or(LISTENED_TO, Ordering::SeqCst) | LISTENED_TO
    }

    /// Says that nobody sleeps any more.
    pub(crate) fn leave(&self) {
        self.word.fetch_and(!LISTENED_TO, Ordering::SeqCst);
    }

    /// Whether somebody sleeps, or is about to.
    #[inline]
    pub(crate) fn is_listened_to(&self) -> bool {
        read_small(&self.word) & LISTENED_TO != 0
    }

    /// Wakes the one who sleeps. To be called after the change.
    #[inline]
    pub(crate) fn call(&self) {
        // ORDERING: see `listen`.
        if self.is_listened_to() {
            self.wake_up();
        }
    }

    #[cold]
    fn wake_up(&self) {
        // Who comes late finds the bit gone, and leaves it so, or set again, and wakes as well.
        if change_and_wake(&self.word, Change::Clear(LISTENED_TO as u16), u32::MAX).is_err() {
            self.announce();
        }
    }

    /// Has the one who sleeps look again whom to watch. To be called by those who will call,
    /// once they can be found and before they change anything.
    pub(crate) fn announce(&self) {
        let look_again = |old: u32| Some((old & !LOOKS) | (old.wrapping_add(1) & LOOKS));
        let _ = self.word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, look_again);
        wake(&self.word, u32::MAX);
    }
}

#[cfg(all(test, under_loom))]
impl Call {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }
}

#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;

    use loom::sync::Mutex;
    use loom::thread;

    use super::*;
    use crate::protocol::kernel::{self, Deaths};
    use crate::protocol::ledger::{Ledger, Step};
    use crate::protocol::sleeper::Sleeper;

    /// A semaphore, and the two processes that use it.
    struct Semaphore {
        call: Call,
        ledger: Ledger<2>,
        anteroom: Mutex<()>,
        deaths: Deaths,
        how: How,
    }

    /// How those who give and take do it: rightly, or not.
    #[derive(Clone, Copy)]
    struct How {
        call: fn(&Semaphore),
        announce: fn(&Call),
        listen: fn(&Call) -> u32,
        listens_last: bool,
        watches: bool,
    }

    const RIGHT: How = How {
        call: |semaphore| semaphore.call.call(),
        announce: Call::announce,
        listen: Call::listen,
        listens_last: false,
        watches: true,
    };

    const TAKER: u64 = 1;
    const GIVER: u64 = 2;

    impl Semaphore {
        fn attempt(&self, entry: usize) -> bool {
            self.ledger.change(entry, Step::Raise, |count| count.checked_sub(1)).is_some()
        }

        /// As [`Semaphore::acquire`](crate::Semaphore::acquire) does.
        fn take(&self) {
            let entry = self.ledger.claim(TAKER).unwrap();
            if self.attempt(entry) {
                return;
            }
            let _anteroom = self.anteroom.lock().unwrap();
            let mut sleeper = Sleeper::new(self.deaths.reported_in(LOOKS, true), self.call.word());
            loop {
                let mut seen = if self.how.listens_last { 0 } else { (self.how.listen)(&self.call) };
                let others = || self.ledger.owners().map(|(_, owner)| owner).filter(|owner| *owner != TAKER);
                if self.how.watches && !sleeper.watch(others) {
                    self.ledger.recover(1 - entry, GIVER, |count, held| count + held);
                    continue;
                }
                if self.attempt(entry) {
                    break;
                }
                if self.how.listens_last {
                    seen = (self.how.listen)(&self.call);
                }
                sleeper.sleep(seen, None);
            }
            self.call.leave();
        }

        fn change(&self, step: Step) {
            let entry = self.ledger.claim(GIVER).unwrap();
            self.ledger.change(entry, step, |count| Some(count + 1));
        }

        fn die(&self) {
            self.deaths.die(GIVER, self.call.word());
        }
    }

    /// One takes what is not there, and the other one does something: with bounded preemption, as
    /// there are many steps.
    fn one_takes(held: bool, how: How, other: fn(&Semaphore)) {
        let mut checker = loom::model::Builder::new();
        checker.preemption_bound = Some(3);
        checker.check(move || {
            kernel::boot();
            let (call, ledger) = (Call::new(), Ledger::empty());
            let (anteroom, deaths) = (Mutex::new(()), Deaths::new());
            let semaphore = Arc::new(Semaphore { call, ledger, anteroom, deaths, how });
            if held {
                semaphore.ledger.begin(1);
                let entry = semaphore.ledger.claim(GIVER).unwrap();
                assert!(semaphore.attempt(entry));
            }
            let giver = {
                let semaphore = Arc::clone(&semaphore);
                thread::spawn(move || other(&semaphore))
            };
            semaphore.take();
            giver.join().unwrap();
            assert!(semaphore.ledger.count() <= 1, "one was taken");
            assert!(!semaphore.call.is_listened_to(), "nobody is left to be called");
        });
    }

    fn gives(semaphore: &Semaphore) {
        semaphore.change(Step::Lower);
        (semaphore.how.call)(semaphore);
    }

    /// One is stopped for good where it had `begun` to call, and then another one gives.
    fn gives_beside_one_stopped(semaphore: &Semaphore, begun: fn(&Call)) {
        semaphore.change(Step::None);
        if semaphore.call.is_listened_to() {
            begun(&semaphore.call);
        }
        gives(semaphore);
    }

    fn dies_before_it_calls(semaphore: &Semaphore) {
        semaphore.change(Step::Lower);
        semaphore.die();
    }

    fn comes_and_dies_before_it_calls(semaphore: &Semaphore) {
        semaphore.ledger.claim(GIVER).unwrap();
        (semaphore.how.announce)(&semaphore.call);
        semaphore.change(Step::None);
        semaphore.die();
    }

    #[test]
    fn a_permit_given_back_wakes() {
        one_takes(true, RIGHT, gives);
    }

    #[test]
    fn one_who_is_stopped_before_it_calls_mutes_nobody() {
        one_takes(true, RIGHT, |semaphore| gives_beside_one_stopped(semaphore, |_| ()));
    }

    #[test]
    fn where_the_kernel_has_no_such_step_all_look_again() {
        let call = |semaphore: &Semaphore| {
            if semaphore.call.is_listened_to() {
                semaphore.call.announce();
            }
        };
        one_takes(true, How { call, ..RIGHT }, |semaphore| gives_beside_one_stopped(semaphore, |_| ()));
    }

    #[test]
    fn one_who_dies_before_it_calls_leaves_nobody_asleep() {
        one_takes(true, RIGHT, dies_before_it_calls);
    }

    #[test]
    fn a_dead_holders_permit_wakes() {
        one_takes(true, RIGHT, Semaphore::die);
    }

    #[test]
    fn a_newcomer_who_dies_before_it_calls_leaves_nobody_asleep() {
        one_takes(false, RIGHT, comes_and_dies_before_it_calls);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_does_not_call() {
        one_takes(true, How { call: |_| (), ..RIGHT }, gives);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_clears_before_it_wakes() {
        one_takes(true, RIGHT, |semaphore| {
            // Stopped between the two.
            gives_beside_one_stopped(semaphore, |call| {
                _ = call.word.fetch_and(!LISTENED_TO, Ordering::SeqCst)
            });
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_changes_the_word_before_it_wakes() {
        one_takes(true, RIGHT, |semaphore| {
            // Stopped between the two.
            gives_beside_one_stopped(semaphore, |call| {
                _ = call.word.fetch_add(LISTENED_TO, Ordering::SeqCst)
            });
        });
    }

    #[test]
    #[should_panic(expected = "nobody is left to be called")]
    fn mutant_that_turns_the_mark_over() {
        let call = |semaphore: &Semaphore| {
            if semaphore.call.is_listened_to() {
                let _ = change_and_wake(&semaphore.call.word, Change::Add(LISTENED_TO as u16), u32::MAX);
            }
        };
        one_takes(true, How { call, ..RIGHT }, gives);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_looks_for_the_sleeper_first() {
        one_takes(true, RIGHT, |semaphore| {
            let is_listened_to = semaphore.call.is_listened_to();
            semaphore.change(Step::Lower);
            if is_listened_to {
                semaphore.call.call();
            }
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_wakes_without_a_change() {
        let call = |semaphore: &Semaphore| wake(&semaphore.call.word, 1);
        one_takes(true, How { call, ..RIGHT }, gives);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_listens_after_it_looked() {
        one_takes(true, How { listens_last: true, ..RIGHT }, gives);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_does_not_say_that_it_listens() {
        one_takes(true, How { listen: |call| read_small(&call.word), ..RIGHT }, gives);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_watches_nobody() {
        one_takes(true, How { watches: false, ..RIGHT }, dies_before_it_calls);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_comes_without_saying_so() {
        one_takes(false, How { announce: |_| (), ..RIGHT }, comes_and_dies_before_it_calls);
    }
}
