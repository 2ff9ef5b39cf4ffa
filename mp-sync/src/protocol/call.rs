//! One who sleeps until it is called, by whoever changes what it sleeps for.

use std::sync::atomic::Ordering;

use super::words::{AtomicU32, read_small, wake, write_small};
use crate::memory::shared_words;

shared_words! {
    /// Two words for one sleeper at a time: who else would sleep queues before.
    pub(crate) struct Call {
        /// What is slept on: changed by whoever calls, and by deaths.
        word: AtomicU32,
        /// Whether somebody sleeps, or is about to.
        sleeping: AtomicU32,
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
        write_small(&self.sleeping, 1);
        read_small(&self.word)
    }

    /// Says that nobody sleeps any more.
    pub(crate) fn leave(&self) {
        write_small(&self.sleeping, 0);
    }

    /// Whether somebody sleeps, or is about to.
    pub(crate) fn is_listened_to(&self) -> bool {
        read_small(&self.sleeping) != 0
    }

    /// Wakes the one who sleeps. To be called after the change.
    #[inline]
    pub(crate) fn call(&self) {
        // ORDERING: see `listen`.
        if self.is_listened_to() && self.sleeping.swap(0, Ordering::SeqCst) != 0 {
            self.word.fetch_add(1, Ordering::SeqCst);
            wake(&self.word, 1);
        }
    }

    /// Has the one who sleeps look again whom to watch. To be called by those who will call,
    /// once they can be found and before they change anything.
    pub(crate) fn announce(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        wake(&self.word, u32::MAX);
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
            let mut sleeper = Sleeper::new(self.deaths.reported_in(u32::MAX), self.call.word());
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

    /// One takes what is not there, and the other one does something.
    fn one_takes(held: bool, how: How, other: fn(&Semaphore)) {
        loom::model(move || {
            kernel::boot();
            let (word, sleeping) = (AtomicU32::new(0), AtomicU32::new(0));
            let (call, ledger) = (Call { word, sleeping }, Ledger::empty());
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
            assert_eq!(semaphore.ledger.count(), 0, "one was there, and one was taken");
        });
    }

    fn gives(semaphore: &Semaphore) {
        semaphore.change(Step::Lower);
        (semaphore.how.call)(semaphore);
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
