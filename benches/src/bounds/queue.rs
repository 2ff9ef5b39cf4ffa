//! A queue of numbers: a ring in shared memory with a bare robust mutex for all, or with one for
//! those who put and another one for those who get.
//!
//! It has room for so many items and knows no types, lengths, handles or closing. Who finds it
//! full or empty polls for a while and then sleeps.

use std::hint::spin_loop;
use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::locks::{Bare, Robust};
use super::shared::{APART, Shared, sleep_on, wake};
use crate::contest::{Answer, Failure, Job};
use crate::kernel::Fork;

/// How many items there is room for.
const ITEMS: u32 = 1 << 16;
const PUTTING: usize = 0;
const GETTING: usize = APART;
/// How many were put and got, and whether somebody sleeps until there are more.
const PUTS: usize = 2 * APART;
const GETS: usize = 3 * APART;
const ARRIVED: usize = 4 * APART;
const SUM: usize = 5 * APART;
const RING: usize = 4096;

const POLL_FOR: Duration = Duration::from_micros(20);

struct Queue<'a> {
    shared: &'a Shared,
    putting: Robust<'a>,
    getting: Robust<'a>,
}

/// With one mutex or with two.
pub(super) fn measure(job: &Job, pairs: usize, mutexes: usize) -> Result<Answer, Failure> {
    let share = (job.budget.as_micros() / pairs as u128).max(16) as u64;
    let shared = Shared::new(RING + 8 * ITEMS as usize)?;
    let (putting, getting) = (Robust::at_offset(&shared, PUTTING)?, Robust::at_offset(&shared, GETTING)?);
    let getting = if mutexes == 1 { putting } else { getting };
    let queue = Queue { shared: &shared, putting, getting };
    let parties = 2 * pairs as u32 + 1;
    let work = |turn: usize| {
        meet(&shared, parties);
        if turn.is_multiple_of(2) {
            (0..share).for_each(|item| queue.put(item));
        } else {
            let sum = (0..share).map(|_| queue.get()).sum();
            shared.word(SUM).fetch_add(sum, SeqCst);
        }
    };
    let forks: io::Result<Vec<Fork>> = (0..2 * pairs).map(|turn| Fork::run(|| work(turn))).collect();
    let forks = forks?;
    while shared.small_word(ARRIVED).load(SeqCst) < parties - 1 {
        sleep(Duration::from_micros(100));
    }
    // Before they begin: afterwards this process may have to wait for a processor.
    let begin = Instant::now();
    meet(&shared, parties);
    forks.into_iter().try_for_each(Fork::join)?;
    let time = begin.elapsed();
    if shared.word(SUM).load(SeqCst) != pairs as u64 * share * (share - 1) / 2 {
        return Err("an item is lost".into());
    }
    Ok(Answer::of((pairs as u64 * share) as f64 / time.as_secs_f64()))
}

impl Queue<'_> {
    fn put(&self, item: u64) {
        let (puts, gets) = (self.shared.small_word(PUTS), self.shared.small_word(GETS));
        let has_room = |gets: u32| count(puts).wrapping_sub(gets) % COUNTS < ITEMS;
        self.lock_where(&self.putting, gets, has_room);
        self.place(count(puts)).store(item, Relaxed);
        raise(puts);
        self.putting.unlock();
    }

    fn get(&self) -> u64 {
        let (puts, gets) = (self.shared.small_word(PUTS), self.shared.small_word(GETS));
        self.lock_where(&self.getting, puts, |puts| puts != count(gets));
        let item = self.place(count(gets)).load(Relaxed);
        raise(gets);
        self.getting.unlock();
        item
    }

    /// Takes the mutex while a count is as wanted.
    fn lock_where(&self, mutex: &Robust<'_>, word: &AtomicU32, is_enough: impl Fn(u32) -> bool) {
        loop {
            mutex.lock();
            if is_enough(count(word)) {
                return;
            }
            mutex.unlock();
            await_change(word, &is_enough);
        }
    }

    fn place(&self, number: u32) -> &std::sync::atomic::AtomicU64 {
        self.shared.word(RING + 8 * (number % ITEMS) as usize)
    }
}

/// The low bit of a count: somebody sleeps.
const ASLEEP: u32 = 1;
const COUNTS: u32 = 1 << 31;

fn count(word: &AtomicU32) -> u32 {
    word.load(SeqCst) / 2
}

/// One more, and wakes who sleeps.
fn raise(word: &AtomicU32) {
    let old = word.load(Relaxed);
    if old & ASLEEP != 0 || word.compare_exchange(old, old.wrapping_add(2), SeqCst, SeqCst).is_err() {
        word.fetch_add(2 - ASLEEP, SeqCst);
        wake(word, i32::MAX as u32);
    }
}

fn await_change(word: &AtomicU32, is_enough: impl Fn(u32) -> bool) {
    if is_enough(count(word)) {
        return;
    }
    let until = Instant::now() + POLL_FOR;
    while Instant::now() < until {
        if (0..16).any(|_| {
            spin_loop();
            is_enough(count(word))
        }) {
            return;
        }
    }
    loop {
        let now = word.fetch_or(ASLEEP, SeqCst) | ASLEEP;
        if is_enough(now / 2) {
            return;
        }
        sleep_on(word, now);
    }
}

fn meet(shared: &Shared, parties: u32) {
    let arrived = shared.small_word(ARRIVED);
    if arrived.fetch_add(1, SeqCst) + 1 == parties {
        return wake(arrived, i32::MAX as u32);
    }
    loop {
        let now = arrived.load(SeqCst);
        if now >= parties {
            return;
        }
        sleep_on(arrived, now);
    }
}
