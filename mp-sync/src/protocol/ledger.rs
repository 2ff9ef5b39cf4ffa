//! A count, and who holds how much of it, changed as one step.
//!
//! One word, `state`, holds the count, and beside it what one process, the one of
//! the last operation, holds. An operation is one exchange of that word: it is done
//! or not, whenever its process is killed. What the other processes hold stands in
//! their entries: before an operation puts another process beside the count, it
//! writes what the last one holds into that one's entry, and if it is killed in
//! between, the next operation does the same again.
//!
//! | bits of `state` | |
//! |---|---|
//! | 0..20 | the count |
//! | 20..34 | how much the process of the last operation holds |
//! | 34..42 | that process's entry |
//! | 42..64 | the operation's running number |
//!
//! An entry's word holds how much is held, and the number of the operation it was
//! written for, which is how a second writer sees that there is nothing to do.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

use super::words::{AtomicU64, read};

/// The largest count.
pub(crate) const MAX_COUNT: u32 = (1 << 20) - 1;

/// How much one process may hold.
pub(crate) const MAX_HELD: u32 = (1 << 14) - 1;

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
    /// Low half: how much is held. High half: the number of the operation it is of.
    held: AtomicU64,
    /// Which process it is of; zero is none.
    owner: AtomicU64,
}

/// What an operation does to what its process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the operation concerns the count alone.
    None,
    /// One more is held.
    Raise,
    /// One less is held.
    Lower,
}

/// `state`, taken apart.
#[derive(Debug, Clone, Copy)]
struct State {
    count: u32,
    held: u32,
    entry: usize,
    number: u32,
}

const NUMBERS: u32 = (1 << 22) - 1;

impl State {
    #[inline]
    fn of(word: u64) -> Self {
        Self {
            count: word as u32 & MAX_COUNT,
            held: (word >> 20) as u32 & MAX_HELD,
            entry: (word >> 34) as usize & 0xff,
            number: (word >> 42) as u32,
        }
    }

    #[inline]
    fn word(self) -> u64 {
        u64::from(self.count)
            | u64::from(self.held) << 20
            | (self.entry as u64) << 34
            | u64::from(self.number) << 42
    }

    /// As it stands in its entry.
    #[inline]
    fn entry_word(self) -> u64 {
        u64::from(self.held) | u64::from(self.number) << 32
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
        State::of(read(&self.state)).count
    }

    /// Changes the count by `with` and what the entry's process holds by `step`, as one
    /// operation; the new count. `None` if `with` refuses, or one process would hold too much.
    #[inline]
    pub(crate) fn change(&self, entry: usize, step: Step, with: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        self.operate(entry, |count, held| {
            let held = match step {
                Step::None => held,
                Step::Raise => held + 1,
                Step::Lower => held.saturating_sub(1),
            };
            (held <= MAX_HELD).then_some(())?;
            Some((with(count)?, held))
        })
    }

    /// Changes the count and what the entry's process holds, as one operation.
    #[inline]
    fn operate(&self, entry: usize, with: impl Fn(u32, u32) -> Option<(u32, u32)>) -> Option<u32> {
        let place = &self.entries.get(entry)?.held;
        // ORDERING: sequentially consistent, as what follows looks for sleepers, who
        // announce themselves before they look at the count.
        let mut word = read(&self.state);
        loop {
            let old = State::of(word);
            if old.entry != entry {
                self.write_down(word, old);
            }
            // Nobody writes this entry from here to the exchange, or the exchange fails.
            let written = place.load(Acquire);
            let held = if old.entry == entry { old.held } else { written as u32 };
            let (count, held) = with(old.count, held)?;
            let mut number = (old.number + 1) & NUMBERS;
            if number == (written >> 32) as u32 {
                // Else, a whole round of numbers later, the entry would look up to date.
                number = (number + 1) & NUMBERS;
            }
            let new = State { count, held, entry, number };
            match self.state.compare_exchange_weak(word, new.word(), SeqCst, SeqCst) {
                Ok(_) => return Some(count),
                Err(now) => word = now,
            }
        }
    }

    /// Writes into its entry what the process of the last operation holds.
    #[inline]
    fn write_down(&self, word: u64, state: State) {
        let Some(Entry { held: place, .. }) = self.entries.get(state.entry) else { return };
        loop {
            let old = place.load(Acquire);
            // If a later operation began, what was read above may be of any age. One that
            // writes late all the same finds the entry changed, or its process still
            // beside the count, which is what counts then.
            if (old >> 32) as u32 == state.number || self.state.load(Acquire) != word {
                return;
            }
            if place.compare_exchange(old, state.entry_word(), AcqRel, Acquire).is_ok() {
                return;
            }
        }
    }

    /// The processes that hold something, and how much. Of one that does no more operations
    /// what it holds is found whatever others do meanwhile.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (usize, u64, u32)> + '_ {
        // What stood beside the count then stands in its entry before another one does.
        let last = State::of(read(&self.state));
        let held = move |entry| match last.entry == entry {
            true => last.held,
            false => self.entries[entry].held.load(Acquire) as u32,
        };
        self.owners().map(move |(entry, owner)| (entry, owner, held(entry))).filter(|(.., held)| *held > 0)
    }

    /// How much the entry's process holds.
    pub(crate) fn held(&self, entry: usize) -> u32 {
        let state = State::of(self.state.load(SeqCst));
        if state.entry == entry { state.held } else { self.entries[entry].held.load(Acquire) as u32 }
    }

    /// One of which nobody has used anything.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        let entry = |_| Entry { held: AtomicU64::new(0), owner: AtomicU64::new(0) };
        Self { state: AtomicU64::new(0), entries: std::array::from_fn(entry) }
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
        self.operate(entry, |count, held| {
            (held > 0 && is_still_his()).then(|| (with(count, held).min(MAX_COUNT), 0))
        });
        let _ = self.entries[entry].owner.compare_exchange(owner, 0, AcqRel, Acquire);
    }
}

#[cfg(all(test, not(under_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ledger(count: u32) -> Ledger<2> {
        let ledger = Ledger::empty();
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
        assert_eq!((ledger.claim(8), ledger.claim(9)), (Some(0), Some(1)));
        assert_eq!(ledger.holders().collect::<Vec<_>>(), [(0, 8, 1), (1, 9, 1)]);
        give(&ledger, 0);
        assert_eq!(ledger.holders().collect::<Vec<_>>(), [(1, 9, 1)]);
    }

    #[test]
    fn what_the_dead_held_comes_back_and_their_entry_goes_to_others() {
        let ledger = ledger(3);
        assert_eq!((ledger.claim(8), ledger.claim(9), ledger.claim(7)), (Some(0), Some(1), None));
        assert!(take(&ledger, 1) && take(&ledger, 1));
        ledger.recover(1, 9, |count, held| count + held);
        assert_eq!((ledger.count(), ledger.held(1)), (3, 0));
        ledger.recover(1, 9, |count, held| count + held);
        assert_eq!((ledger.count(), ledger.claim(7)), (3, Some(1)));
    }

    #[test]
    fn numbers_that_have_gone_round_do_not_hide_what_is_held() {
        let ledger = ledger(5);
        assert!(take(&ledger, 0) && take(&ledger, 1));
        for _ in 0..=NUMBERS / 2 {
            assert!(take(&ledger, 0));
            give(&ledger, 0);
        }
        assert!(take(&ledger, 0) && take(&ledger, 1));
        assert_eq!((ledger.count(), ledger.held(0), ledger.held(1)), (1, 2, 2));
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

/// `RUSTFLAGS="--cfg under_loom" cargo test -p mp-sync --release --lib ledger`
#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;

    use loom::thread;

    use super::*;

    fn ledger(count: u32) -> Arc<Ledger<2>> {
        let ledger = Ledger::empty();
        ledger.begin(count);
        assert_eq!((ledger.claim(1), ledger.claim(2)), (Some(0), Some(1)));
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

    /// What a process does that is killed between writing down and its exchange.
    fn write_down_and_die(ledger: &Ledger<2>) {
        let word = ledger.state.load(SeqCst);
        ledger.write_down(word, State::of(word));
    }

    fn two_processes(give: fn(&Ledger<2>, usize)) {
        loom::model(move || {
            let ledger = ledger(1);
            let other = {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || take(&ledger, 1).then(|| give(&ledger, 1)))
            };
            if take(&ledger, 0) {
                give(&ledger, 0);
            }
            other.join().unwrap();
            let found = (ledger.count(), ledger.held(0), ledger.held(1));
            assert_eq!(found, (1, 0, 0), "what is held and what is free");
        });
    }

    #[test]
    fn two_processes_lose_nothing() {
        two_processes(give);
    }

    /// Changes the count, and puts its process beside it with what it holds then.
    fn exchange(ledger: &Ledger<2>, entry: usize, writes_down: bool) {
        let mut word = read(&ledger.state);
        loop {
            let old = State::of(word);
            if writes_down && old.entry != entry {
                ledger.write_down(word, old);
            }
            let held = ledger.held(entry).saturating_sub(1);
            let new = State { count: old.count + 1, held, entry, number: old.number + 1 };
            match ledger.state.compare_exchange(word, new.word(), SeqCst, SeqCst) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    #[test]
    fn the_mutants_exchange_is_right_where_it_writes_down() {
        two_processes(|ledger, entry| exchange(ledger, entry, true));
    }

    #[test]
    #[should_panic(expected = "holds what it took")]
    fn mutant_that_does_not_write_down() {
        loom::model(|| {
            let ledger = ledger(2);
            assert!(take(&ledger, 0) && take(&ledger, 1));
            // Process one takes the place beside the count from process two.
            exchange(&ledger, 0, false);
            assert_eq!(ledger.held(1), 1, "holds what it took");
        });
    }

    #[test]
    #[should_panic(expected = "what is held and what is free")]
    fn mutant_that_changes_without_an_exchange() {
        two_processes(|ledger, entry| {
            let word = read(&ledger.state);
            let old = State::of(word);
            if old.entry != entry {
                ledger.write_down(word, old);
            }
            let held = ledger.held(entry).saturating_sub(1);
            let new = State { count: old.count + 1, held, entry, number: old.number + 1 };
            ledger.state.store(new.word(), SeqCst);
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
    fn one_who_dies_half_way_changes_nothing() {
        loom::model(|| {
            let ledger = ledger(2);
            take(&ledger, 0);
            let other = {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || write_down_and_die(&ledger))
            };
            take(&ledger, 0);
            give(&ledger, 0);
            give(&ledger, 1);
            other.join().unwrap();
            recover(&ledger, 0, 1);
            assert_eq!((ledger.count(), ledger.held(0), ledger.held(1)), (3, 0, 0));
        });
    }

    fn two_recover(recover: fn(&Ledger<2>, usize, u64)) {
        loom::model(move || {
            let ledger = ledger(2);
            take(&ledger, 0);
            take(&ledger, 1);
            let other = {
                let ledger = Arc::clone(&ledger);
                thread::spawn(move || recover(&ledger, 0, 1))
            };
            recover(&ledger, 0, 1);
            other.join().unwrap();
            let found = (ledger.count(), ledger.held(0), ledger.held(1));
            assert_eq!(found, (1, 0, 1), "given back once");
            assert_eq!(ledger.owners().count(), 1);
        });
    }

    #[test]
    fn two_who_recover_give_back_once() {
        two_recover(recover);
    }

    #[test]
    #[should_panic(expected = "given back once")]
    fn mutant_that_gives_back_what_it_saw_before() {
        two_recover(|ledger, entry, owner| {
            let held = ledger.held(entry);
            ledger.operate(entry, |count, _| Some((count + held, 0)));
            let _ = ledger.entries[entry].owner.compare_exchange(owner, 0, AcqRel, Acquire);
        });
    }
}
