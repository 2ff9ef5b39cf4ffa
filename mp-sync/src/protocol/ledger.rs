//! A count, and who holds how much of it, changed as one step.
//!
//! One word, `state`, holds the count and names the last operation: whose entry it
//! concerns, what it does to it, and a running number. An operation is done when
//! `state` has changed; its entry follows, written by whoever comes first: the one
//! who did it, or, if that one was killed in between, the next operation, which
//! completes its predecessor before it begins. So at every instant the entries,
//! with the last operation applied, add up to the count.
//!
//! | bits of `state` | |
//! |---|---|
//! | 0..24 | the count |
//! | 24..32 | the entry that the last operation concerns |
//! | 32..34 | what it does to it: a [`Step`] |
//! | 34..64 | its running number |
//!
//! An entry's word holds how much is held, and the number of the last operation
//! applied to it, which is how a second helper sees that there is nothing to do.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use super::words::AtomicU64;

/// The largest count.
pub(crate) const MAX_COUNT: u32 = (1 << 24) - 1;

/// How many processes a ledger keeps apart.
pub(crate) const PROCESSES: usize = 255;

/// The words: a count, and an entry for each process.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Ledger<const N: usize = PROCESSES> {
    state: AtomicU64,
    entries: [Entry; N],
}

#[repr(C)]
#[derive(Debug)]
struct Entry {
    /// Low half: how much is held. High half: the number of the last operation.
    held: AtomicU64,
    /// Which process it is of; zero is none.
    owner: AtomicU64,
}

/// What an operation does to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the operation concerns the count alone.
    None = 0,
    /// One more is held.
    Raise = 1,
    /// One less is held.
    Lower = 2,
    /// Nothing is held any more.
    Clear = 3,
}

/// `state`, taken apart.
#[derive(Debug, Clone, Copy)]
struct State {
    count: u32,
    entry: usize,
    step: Step,
    number: u32,
}

const NUMBERS: u32 = (1 << 30) - 1;

impl State {
    fn of(word: u64) -> Self {
        let step = match (word >> 32) & 3 {
            0 => Step::None,
            1 => Step::Raise,
            2 => Step::Lower,
            _ => Step::Clear,
        };
        Self {
            count: word as u32 & MAX_COUNT,
            entry: (word >> 24) as usize & 0xff,
            step,
            number: (word >> 34) as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.count)
            | (self.entry as u64) << 24
            | (self.step as u64) << 32
            | u64::from(self.number) << 34
    }
}

impl<const N: usize> Ledger<N> {
    /// Sets the first count, before anybody else sees the words.
    pub(crate) fn begin(&self, count: u32) {
        self.state.store(u64::from(count.min(MAX_COUNT)), Relaxed);
    }

    /// The count.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        State::of(self.state.load(SeqCst)).count
    }

    /// Changes the count by `with` and the entry by `step`, as one operation, unless
    /// `with` refuses; the new count.
    #[inline]
    pub(crate) fn change(&self, entry: usize, step: Step, with: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        self.operate(entry, step, |count, _held| with(count))
    }

    /// As [`change`](Self::change); `with` is also told what the entry holds.
    #[inline]
    fn operate(&self, entry: usize, step: Step, with: impl Fn(u32, u32) -> Option<u32>) -> Option<u32> {
        // ORDERING: sequentially consistent, as what follows looks for sleepers, who
        // announce themselves before they look at the count.
        let mut word = self.state.load(SeqCst);
        loop {
            let old = State::of(word);
            self.complete(word, old);
            // Nothing happens to the entry between here and the exchange, or that fails.
            let held = self.entries.get(entry)?.held.load(Acquire);
            let count = with(old.count, held as u32)?;
            let mut number = (old.number + 1) & NUMBERS;
            if number == (held >> 32) as u32 {
                // An entry untouched for a whole round of numbers must not look as if
                // this operation had been applied.
                number = (number + 1) & NUMBERS;
            }
            let new = State { count, entry, step, number };
            match self.state.compare_exchange_weak(word, new.word(), SeqCst, SeqCst) {
                Ok(_) => {
                    self.complete(new.word(), new);
                    return Some(count);
                }
                Err(now) => word = now,
            }
        }
    }

    /// Applies the last operation to its entry, if nobody has.
    #[inline]
    fn complete(&self, word: u64, state: State) {
        if state.step == Step::None {
            return;
        }
        let Some(entry) = self.entries.get(state.entry) else { return };
        loop {
            let old = entry.held.load(Acquire);
            if (old >> 32) as u32 == state.number {
                return;
            }
            // A later operation began, so this one was completed before; what was read
            // above may be of any age.
            if self.state.load(Acquire) != word {
                return;
            }
            let held = match state.step {
                Step::None => old as u32,
                Step::Raise => (old as u32).wrapping_add(1),
                Step::Lower => (old as u32).wrapping_sub(1),
                Step::Clear => 0,
            };
            let new = u64::from(held) | u64::from(state.number) << 32;
            if entry.held.compare_exchange(old, new, AcqRel, Acquire).is_ok() {
                return;
            }
        }
    }

    /// How much the entry holds.
    #[cfg(test)]
    pub(crate) fn held(&self, entry: usize) -> u32 {
        let word = self.state.load(SeqCst);
        self.complete(word, State::of(word));
        self.entries[entry].held.load(Acquire) as u32
    }

    /// The entry of process `owner`, an old or a new one; `None` if all are taken.
    pub(crate) fn claim(&self, owner: u64) -> Option<usize> {
        let is = |entry: &Entry, owner| entry.owner.load(Acquire) == owner;
        if let Some(known) = self.entries.iter().position(|entry| is(entry, owner)) {
            return Some(known);
        }
        self.entries.iter().position(|entry| entry.owner.compare_exchange(0, owner, AcqRel, Acquire).is_ok())
    }

    /// The processes that have entries.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let owners = self.entries.iter().map(|entry| entry.owner.load(Acquire)).enumerate();
        owners.filter(|(_, owner)| *owner != 0)
    }

    /// Takes what dead `owner` held out of its entry, puts it to the count by
    /// `with(count, held)`, and frees the entry. Whoever else does the same at the
    /// same time finds nothing left.
    pub(crate) fn recover(&self, entry: usize, owner: u64, with: impl Fn(u32, u32) -> u32) {
        let is_still_his = || self.entries[entry].owner.load(Acquire) == owner;
        self.operate(entry, Step::Clear, |count, held| {
            (held > 0 && is_still_his()).then(|| with(count, held).min(MAX_COUNT))
        });
        let _ = self.entries[entry].owner.compare_exchange(owner, 0, AcqRel, Acquire);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ledger(count: u32) -> Ledger<2> {
        let entry = || Entry { held: AtomicU64::new(0), owner: AtomicU64::new(0) };
        let ledger = Ledger { state: AtomicU64::new(0), entries: [entry(), entry()] };
        ledger.begin(count);
        ledger
    }

    fn take(ledger: &Ledger<2>, entry: usize) -> bool {
        ledger.change(entry, Step::Raise, |count| count.checked_sub(1)).is_some()
    }

    fn give(ledger: &Ledger<2>, entry: usize) {
        ledger.change(entry, Step::Lower, |count| Some(count + 1));
    }

    #[test]
    fn what_is_held_and_what_is_free_add_up() {
        let ledger = ledger(3);
        assert!(take(&ledger, 0) && take(&ledger, 1) && take(&ledger, 1) && !take(&ledger, 0));
        assert_eq!((ledger.count(), ledger.held(0), ledger.held(1)), (0, 1, 2));
        give(&ledger, 1);
        assert_eq!((ledger.count(), ledger.held(0), ledger.held(1)), (1, 1, 1));
    }

    #[test]
    fn an_operation_cut_off_before_its_entry_is_completed_by_the_next() {
        let ledger = ledger(1);
        // What one who is killed right after the exchange leaves behind.
        let cut_off = State { count: 0, entry: 1, step: Step::Raise, number: 1 };
        ledger.state.store(cut_off.word(), SeqCst);
        assert!(!take(&ledger, 0));
        ledger.change(0, Step::None, Some);
        assert_eq!((ledger.count(), ledger.held(1)), (0, 1));
        ledger.entries[1].owner.store(9, SeqCst);
        ledger.recover(1, 9, |count, held| count + held);
        assert_eq!((ledger.count(), ledger.held(1)), (1, 0));
        assert_eq!(ledger.claim(7), Some(0));
        assert_eq!(ledger.claim(8), Some(1));
        assert_eq!(ledger.claim(9), None);
    }

    #[test]
    fn threads_of_two_processes_lose_nothing() {
        let ledger = Arc::new(ledger(2));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let ledger = Arc::clone(&ledger);
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        if take(&ledger, thread % 2) {
                            give(&ledger, thread % 2);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((ledger.count(), ledger.held(0), ledger.held(1)), (2, 0, 0));
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p mp-sync --release --lib ledger`
#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    fn ledger(count: u32) -> Arc<Ledger<2>> {
        let entry = |owner| Entry { held: AtomicU64::new(0), owner: AtomicU64::new(owner) };
        let ledger = Ledger { state: AtomicU64::new(0), entries: [entry(1), entry(2)] };
        ledger.begin(count);
        Arc::new(ledger)
    }

    fn take(ledger: &Ledger<2>, entry: usize) -> bool {
        ledger.change(entry, Step::Raise, |count| count.checked_sub(1)).is_some()
    }

    fn give(ledger: &Ledger<2>, entry: usize) {
        ledger.change(entry, Step::Lower, |count| Some(count + 1));
    }

    fn recover(ledger: &Ledger<2>, entry: usize, owner: u64) {
        ledger.recover(entry, owner, |count, held| count + held);
    }

    /// What a process does that is killed as soon as `state` has changed.
    fn take_and_die(ledger: &Ledger<2>, entry: usize) {
        let word = ledger.state.load(SeqCst);
        let old = State::of(word);
        ledger.complete(word, old);
        if old.count > 0 {
            let new = State { count: old.count - 1, entry, step: Step::Raise, number: old.number + 1 };
            let _ = ledger.state.compare_exchange(word, new.word(), SeqCst, SeqCst);
        }
    }

    #[test]
    fn two_processes_lose_nothing() {
        loom::model(|| {
            let ledger = ledger(1);
            let other = {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || take(&ledger, 1).then(|| give(&ledger, 1)))
            };
            if take(&ledger, 0) {
                give(&ledger, 0);
            }
            other.join().unwrap();
            assert_eq!((ledger.count(), ledger.held(0), ledger.held(1)), (1, 0, 0));
        });
    }

    #[test]
    fn one_holds_at_a_time() {
        loom::model(|| {
            let ledger = ledger(1);
            let other = {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || take(&ledger, 1))
            };
            let (here, there) = (take(&ledger, 0), other.join().unwrap());
            assert!(here != there);
            assert_eq!((ledger.held(0), ledger.held(1)), (u32::from(here), u32::from(there)));
        });
    }

    #[test]
    fn what_one_who_was_cut_off_had_taken_comes_back_once() {
        loom::model(|| {
            let ledger = ledger(1);
            let other = {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || take(&ledger, 1).then(|| give(&ledger, 1)))
            };
            take_and_die(&ledger, 0);
            other.join().unwrap();
            recover(&ledger, 0, 1);
            assert_eq!((ledger.count(), ledger.held(0), ledger.held(1)), (1, 0, 0));
        });
    }

    #[test]
    fn two_who_recover_give_back_once() {
        loom::model(|| {
            let ledger = ledger(1);
            take_and_die(&ledger, 0);
            let other = {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || recover(&ledger, 0, 1))
            };
            recover(&ledger, 0, 1);
            other.join().unwrap();
            assert_eq!((ledger.count(), ledger.held(0)), (1, 0));
            assert_eq!(ledger.owners().count(), 1);
        });
    }
}
