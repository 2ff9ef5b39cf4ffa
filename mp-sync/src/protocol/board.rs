//! A board on which those who wait write for what and for whom, so that a circle of them
//! is found.
//!
//! Who waits writes who holds what it waits for, looks again every so often, and counts
//! that. One who finds a circle that leads back to itself remembers it; if it finds the same
//! one again, and each of those in it has looked meanwhile, from its beginning to its end,
//! and seen the same holder, it has been there all along: who waits cannot let go of
//! anything. What the dead have left on the board does not count, as they do not look.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::words::{AtomicU64, read};

/// How many holders of one thing, such as readers of a lock, are written down.
pub(crate) const HOLDERS: usize = if cfg!(under_loom) { 1 } else { 8 };

/// How many words a name has: its length, and its bytes.
pub(crate) const NAME: usize = if cfg!(under_loom) { 1 } else { 8 };

/// Room for so many that wait at a time.
#[repr(C)]
pub(crate) struct Board<const N: usize = 256> {
    /// The number of the last wait.
    waits: AtomicU64,
    entries: [Entry; N],
}

#[repr(C)]
struct Entry {
    /// Who waits; zero is nobody.
    thread: AtomicU64,
    /// The number of the wait; zero if the rest means nothing.
    wait: AtomicU64,
    /// How often the one who waits has looked who holds it.
    looks: AtomicU64,
    /// Who held it then; zero is nobody.
    holders: [AtomicU64; HOLDERS],
    /// What is waited for.
    name: [AtomicU64; NAME],
}

/// One who waits, for as long as it does.
pub(crate) struct Waiting<'a> {
    entry: &'a Entry,
    thread: u64,
}

/// One who waits, as another one reads it, and the holder that leads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) thread: u64,
    pub(crate) holder: u64,
    /// The entry's place, for its name.
    pub(crate) place: usize,
    wait: u64,
    looks: u64,
}

impl<const N: usize> Board<N> {
    /// Takes an entry for `thread`, of nobody or of one who is dead; `None` if there is none.
    pub(crate) fn begin<'a>(
        &'a self,
        thread: u64,
        name: &[u64; NAME],
        is_alive: impl Fn(u64) -> bool,
    ) -> Option<Waiting<'a>> {
        let claim =
            |entry: &&Entry, old: u64| entry.thread.compare_exchange(old, thread, SeqCst, Relaxed).is_ok();
        let dead = |entry: &&Entry| {
            let old = entry.thread.load(SeqCst);
            old != 0 && (old == thread || !is_alive(old)) && claim(entry, old)
        };
        let entry = self.entries.iter().find(|entry| claim(entry, 0));
        let entry = entry.or_else(|| self.entries.iter().find(dead))?;
        entry.wait.store(0, SeqCst);
        for (to, from) in entry.name.iter().zip(name) {
            to.store(*from, SeqCst);
        }
        entry.holders.iter().for_each(|holder| holder.store(0, SeqCst));
        // ORDERING: whoever finds the number finds what was written before.
        entry.wait.store(self.waits.fetch_add(1, SeqCst) + 1, SeqCst);
        Some(Waiting { entry, thread })
    }

    /// The circle that leads from one who waits back to itself.
    pub(crate) fn circle(&self, waiting: &Waiting<'_>) -> Option<Vec<Seen>> {
        let (mut path, mut known) = (Vec::new(), Vec::new());
        self.leads_back(waiting.thread, waiting.thread, &mut path, &mut known).then_some(path)
    }

    /// Whether what `thread` waits for leads to `goal`; `path` is how. Those that lead
    /// nowhere are `known` afterwards.
    fn leads_back(&self, thread: u64, goal: u64, path: &mut Vec<Seen>, known: &mut Vec<u64>) -> bool {
        if known.contains(&thread) {
            return false;
        }
        known.push(thread);
        let waits = self.entries.iter().enumerate().filter(|(_, entry)| read(&entry.thread) == thread);
        for (place, entry) in waits {
            let (wait, looks) = (read(&entry.wait), read(&entry.looks));
            if wait == 0 {
                continue;
            }
            for holder in entry.holders.iter().map(read).filter(|holder| *holder != 0) {
                path.push(Seen { thread, holder, place, wait, looks });
                let leads_back = holder == goal || self.leads_back(holder, goal, path, known);
                if leads_back && read(&entry.wait) == wait {
                    return true;
                }
                path.pop();
            }
        }
        false
    }

    /// Whether a circle that was seen before, and is seen now, was there all the time.
    pub(crate) fn lasts(before: &[Seen], now: &[Seen]) -> bool {
        // Each has begun to look, and has finished, between the two.
        let looked = |(old, new): (&Seen, &Seen)| new.looks.wrapping_sub(old.looks) >= 2;
        Self::are_same(before, now) && before.iter().zip(now).all(looked)
    }

    /// Whether the same wait for the same, whether or not they have looked since.
    pub(crate) fn are_same(before: &[Seen], now: &[Seen]) -> bool {
        let same = |(old, new): (&Seen, &Seen)| (old.wait, old.holder) == (new.wait, new.holder);
        before.len() == now.len() && before.iter().zip(now).all(same)
    }

    /// Whether the first in the circle is the one that is told.
    pub(crate) fn is_told(circle: &[Seen]) -> bool {
        circle.iter().map(|seen| seen.thread).max() == circle.first().map(|seen| seen.thread)
    }

    /// The name at a place.
    pub(crate) fn name(&self, place: usize) -> [u64; NAME] {
        std::array::from_fn(|word| self.entries[place].name[word].load(SeqCst))
    }

    /// Those who wait now: the thread, the first holder, and the place.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (u64, u64, usize)> + '_ {
        let all = self.entries.iter().enumerate();
        let waiting = all.filter(|(_, entry)| entry.wait.load(SeqCst) != 0);
        waiting.map(|(place, entry)| (entry.thread.load(SeqCst), entry.holders[0].load(SeqCst), place))
    }
}

impl Waiting<'_> {
    /// Writes down who holds it now.
    pub(crate) fn look(&self, holders: impl Iterator<Item = u64>) {
        let mut holders = holders.filter(|holder| *holder != 0);
        for place in &self.entry.holders {
            place.store(holders.next().unwrap_or(0), SeqCst);
        }
        self.entry.looks.fetch_add(1, SeqCst);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.entry.wait.store(0, SeqCst);
        self.entry.thread.store(0, SeqCst);
    }
}

#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;

    use loom::thread;

    use super::*;

    type Board = super::Board<2>;
    type Lasts = fn(&[Seen], &[Seen]) -> bool;

    /// Two locks, and a board.
    struct World {
        board: Board,
        holders: [AtomicU64; 2],
    }

    fn world() -> Arc<World> {
        let word = || AtomicU64::new(0);
        let entry =
            || Entry { thread: word(), wait: word(), looks: word(), holders: [word()], name: [word()] };
        let board = Board { waits: word(), entries: [entry(), entry()] };
        // Thread one holds the first lock, thread two the second one.
        Arc::new(World { board, holders: [AtomicU64::new(1), AtomicU64::new(2)] })
    }

    impl World {
        /// Waits for a lock and looks so often; whether it is told of a circle.
        fn wait(&self, thread: u64, lock: usize, looks: usize, lasts: Lasts) -> bool {
            let waiting = self.board.begin(thread, &[0], |_| true).unwrap();
            let mut before: Option<Vec<Seen>> = None;
            (0..looks).any(|_| {
                waiting.look(std::iter::once(read(&self.holders[lock])));
                let now = self.board.circle(&waiting);
                let is_told = matches!((&before, &now), (Some(before), Some(now)) if lasts(before, now));
                if !matches!((&before, &now), (Some(before), Some(now)) if Board::are_same(before, now)) {
                    before = now;
                }
                is_told
            })
        }
    }

    fn bounded() -> loom::model::Builder {
        let mut builder = loom::model::Builder::new();
        // What the mutants fail by takes three.
        builder.preemption_bound = Some(3);
        builder
    }

    /// The first thread lets go of its lock, and then waits for that of the second one, which
    /// waited for the first one's before: there is never a circle.
    fn nobody_is_told_of_what_is_past(lasts: Lasts) {
        bounded().check(move || {
            let world = world();
            let other = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let waiting = world.board.begin(2, &[0], |_| true).unwrap();
                    for _ in 0..2 {
                        waiting.look(std::iter::once(read(&world.holders[0])));
                    }
                })
            };
            world.holders[0].store(0, SeqCst);
            assert!(!world.wait(1, 1, 2, lasts), "told of what is past");
            other.join().unwrap();
        });
    }

    #[test]
    fn what_is_past_is_no_circle() {
        nobody_is_told_of_what_is_past(Board::lasts);
    }

    #[test]
    #[should_panic(expected = "told of what is past")]
    fn mutant_that_believes_what_it_sees_twice() {
        nobody_is_told_of_what_is_past(Board::are_same);
    }

    #[test]
    #[should_panic(expected = "told of what is past")]
    fn mutant_that_believes_one_look() {
        nobody_is_told_of_what_is_past(|before, now| {
            let looked = |(old, new): (&Seen, &Seen)| new.looks > old.looks;
            Board::are_same(before, now) && before.iter().zip(now).all(looked)
        });
    }
}
