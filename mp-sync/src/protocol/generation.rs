//! A word that says which generation it is, for those who wait for its end, and how
//! the last ones ended.
//!
//! The generation stands from bit 8 on. Bit 7 says that somebody sleeps, so that whoever
//! ends a generation sees that in the same step; the bits below have sleepers look again
//! while it lasts.

use std::sync::atomic::Ordering;

use ipc_core::raw::Change;

use super::words::{AtomicU32, AtomicU64, change_and_wake, wake};

/// The bits that calls change.
pub(crate) const CALLS: u32 = 0x7f;
/// Somebody sleeps on the word, or did in this generation.
const ASLEEP: u32 = 0x80;
const GENERATION: u32 = 0x100;

/// How a generation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Open,
    Broken,
}

/// The generation in what was read from the word.
pub(crate) fn of(seen: u32) -> u32 {
    seen / GENERATION
}

/// Ends the generation as open; whether somebody sleeps, who is to be woken then. To be called
/// under the mutex, by one whose death those who sleep would see: it may come before the wake.
#[must_use]
pub(crate) fn open(word: &AtomicU32, endings: &AtomicU64) -> bool {
    // ORDERING: who finds that the generation is over also finds how it ended.
    endings.fetch_and(!bit_of(of(word.load(Ordering::SeqCst))), Ordering::SeqCst);
    let mut old = word.load(Ordering::SeqCst);
    loop {
        let next = (old & !ASLEEP).wrapping_add(GENERATION);
        match word.compare_exchange_weak(old, next, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return old & ASLEEP != 0,
            Err(now) => old = now,
        }
    }
}

/// Ends the generation as broken, for all at once. To be called under the mutex.
pub(crate) fn end_broken(word: &AtomicU32, endings: &AtomicU64) {
    // ORDERING: see `open`.
    endings.fetch_or(bit_of(of(word.load(Ordering::SeqCst))), Ordering::SeqCst);
    let mut old = word.load(Ordering::SeqCst);
    while old & ASLEEP == 0 {
        let next = old.wrapping_add(GENERATION);
        match word.compare_exchange_weak(old, next, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
    // Ended and woken in one step, so that nobody sleeps on if this process dies here. Only
    // the mutex's holder takes the flag away.
    let step = GENERATION - ASLEEP;
    if change_and_wake(word, Change::Add(step as u16), u32::MAX).is_err() {
        word.fetch_add(step, Ordering::SeqCst);
        wake(word, u32::MAX);
    }
}

/// Says that one is about to sleep: the word to sleep on, if it is still as `seen`.
pub(crate) fn announce(word: &AtomicU32, seen: u32) -> Option<u32> {
    let asleep = seen | ASLEEP;
    let swap = || word.compare_exchange(seen, asleep, Ordering::SeqCst, Ordering::Relaxed);
    (seen == asleep || swap().is_ok()).then_some(asleep)
}

/// How one of the last 64 generations ended.
pub(crate) fn ending(endings: &AtomicU64, generation: u32) -> Ending {
    let is_broken = endings.load(Ordering::SeqCst) & bit_of(generation) != 0;
    if is_broken { Ending::Broken } else { Ending::Open }
}

/// Has all who sleep look again.
pub(crate) fn call(word: &AtomicU32) {
    let call = |old: u32| Some((old & !CALLS) | (old.wrapping_add(1) & CALLS));
    let _ = word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, call);
    wake(word, u32::MAX);
}

fn bit_of(generation: u32) -> u64 {
    1 << (generation % 64)
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

    /// Opens or breaks it, and wakes.
    type End = fn(&AtomicU32, &AtomicU64, Ending);

    fn end(word: &AtomicU32, endings: &AtomicU64, ending: Ending) {
        if ending == Ending::Broken {
            end_broken(word, endings);
        } else if open(word, endings) {
            wake(word, u32::MAX);
        }
    }

    /// A barrier of two.
    struct Barrier {
        word: AtomicU32,
        endings: AtomicU64,
        arrived: Mutex<u32>,
        end: End,
    }

    impl Barrier {
        fn new(end: End) -> Arc<Self> {
            kernel::boot();
            let (word, endings) = (AtomicU32::new(0), AtomicU64::new(0));
            Arc::new(Self { word, endings, arrived: Mutex::new(0), end })
        }

        fn wait(&self) -> Ending {
            let mut arrived = self.arrived.lock().unwrap();
            let generation = of(self.word.load(Ordering::SeqCst));
            *arrived += 1;
            if *arrived == 2 {
                *arrived = 0;
                (self.end)(&self.word, &self.endings, Ending::Open);
                return Ending::Open;
            }
            drop(arrived);
            loop {
                let seen = self.word.load(Ordering::SeqCst);
                if of(seen) != generation {
                    return ending(&self.endings, generation);
                }
                if let Some(asleep) = announce(&self.word, seen) {
                    wait_on(&self.word, asleep, None).unwrap();
                }
            }
        }

        /// Breaks the generation if one waits; whether it did.
        fn abort(&self) -> bool {
            let mut arrived = self.arrived.lock().unwrap();
            let is_waited = std::mem::take(&mut *arrived) > 0;
            if is_waited {
                (self.end)(&self.word, &self.endings, Ending::Broken);
            }
            is_waited
        }
    }

    fn two_meet_twice(end: End) {
        loom::model(move || {
            let barrier = Barrier::new(end);
            let other = {
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || [barrier.wait(), barrier.wait()])
            };
            assert_eq!([barrier.wait(), barrier.wait()], [Ending::Open; 2]);
            assert_eq!(other.join().unwrap(), [Ending::Open; 2]);
        });
    }

    fn all_see_how_it_ended(end: End) {
        loom::model(move || {
            let barrier = Barrier::new(end);
            let other = {
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || barrier.wait())
            };
            call(&barrier.word);
            if barrier.abort() {
                assert_eq!(other.join().unwrap(), Ending::Broken, "as it ended");
            } else {
                assert_eq!(barrier.wait(), Ending::Open);
                assert_eq!(other.join().unwrap(), Ending::Open, "as it ended");
            }
        });
    }

    #[test]
    fn the_last_one_wakes_the_first() {
        two_meet_twice(end);
    }

    #[test]
    fn a_broken_generation_is_broken_for_all() {
        all_see_how_it_ended(end);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_ends_without_waking() {
        two_meet_twice(|word, _, _| _ = word.fetch_add(GENERATION, Ordering::SeqCst));
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_looks_for_sleepers_first() {
        two_meet_twice(|word, _, _| {
            let is_asleep = word.load(Ordering::SeqCst) & ASLEEP != 0;
            word.fetch_add(GENERATION, Ordering::SeqCst);
            if is_asleep {
                wake(word, u32::MAX);
            }
        });
    }

    #[test]
    #[should_panic(expected = "as it ended")]
    fn mutant_that_says_too_late_how_it_ended() {
        all_see_how_it_ended(|word, endings, ending| {
            word.fetch_add(GENERATION, Ordering::SeqCst);
            if ending == Ending::Broken {
                endings.fetch_or(1, Ordering::SeqCst);
            }
            wake(word, u32::MAX);
        });
    }
}
