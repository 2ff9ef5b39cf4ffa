//! A bare pool: two processes that claim items from shared memory. It knows no
//! function but one, no types, no errors and no dead workers.

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::shared::{APART, Shared, sleep_on, wake};
use crate::clock::rate_each;
use crate::contest::{Answer, Failure, Job};
use crate::kernel::Fork;

const WORKERS: usize = 2;

/// Which batch is to be done, and how many items it has: zero ends the workers. A futex word.
const BATCH: usize = 0;
/// The first item that nobody has claimed.
const CURSOR: usize = APART;
/// Items that are done.
const DONE: usize = 2 * APART;
/// How many batches are done, a futex word.
const FINISHED: usize = 3 * APART;
const HEAD: usize = 4 * APART;

/// Squares of `job.number` items, claimed `chunk` at a time.
pub(super) fn map(job: &Job, chunk: usize) -> Result<Answer, Failure> {
    let table = Table { shared: Shared::new(HEAD + 16 * job.number)?, items: job.number, chunk };
    let forks: io::Result<Vec<Fork>> = (0..WORKERS).map(|_| Fork::run(|| table.work())).collect();
    let mut batch = 0;
    let answer = rate_each(job.budget, || {
        batch += 1;
        let values = table.map(batch);
        let is_right = values.iter().zip(0u64..).all(|(value, x)| *value == x.wrapping_mul(x));
        if is_right { Ok(values.len()) } else { Err("wrong squares".into()) }
    });
    table.announce(u32::MAX);
    forks?.into_iter().try_for_each(Fork::join)?;
    answer
}

struct Table {
    shared: Shared,
    items: usize,
    chunk: usize,
}

impl Table {
    fn map(&self, batch: u32) -> Vec<u64> {
        for x in 0..self.items {
            self.shared.word(self.argument(x)).store(x as u64, Relaxed);
        }
        self.shared.word(DONE).store(0, Relaxed);
        // ORDERING: a worker that is late to leave the batch before claims from this one as
        // soon as it may.
        self.shared.word(CURSOR).store(0, Release);
        self.announce(batch);
        let finished = self.shared.small_word(FINISHED);
        while finished.load(Acquire) != batch {
            sleep_on(finished, batch - 1);
        }
        (0..self.items).map(|x| self.shared.word(self.value(x)).load(Relaxed)).collect()
    }

    fn announce(&self, batch: u32) {
        let word = self.shared.small_word(BATCH);
        word.store(batch, Release);
        wake(word, WORKERS as u32);
    }

    fn work(&self) {
        let word = self.shared.small_word(BATCH);
        let mut seen = 0;
        loop {
            while word.load(Acquire) == seen {
                sleep_on(word, seen);
            }
            seen = word.load(Acquire);
            if seen == u32::MAX {
                return;
            }
            self.claim();
        }
    }

    fn claim(&self) {
        let mut mine = 0;
        loop {
            let start = self.shared.word(CURSOR).fetch_add(self.chunk as u64, Acquire) as usize;
            let end = (start + self.chunk).min(self.items);
            if start >= self.items {
                break;
            }
            for x in start..end {
                let argument = self.shared.word(self.argument(x)).load(Relaxed);
                self.shared.word(self.value(x)).store(argument.wrapping_mul(argument), Relaxed);
            }
            mine += end - start;
        }
        // ORDERING: whoever is last has seen the others' values.
        if self.shared.word(DONE).fetch_add(mine as u64, AcqRel) as usize + mine == self.items && mine > 0 {
            let finished = self.shared.small_word(FINISHED);
            finished.fetch_add(1, Release);
            wake(finished, 1);
        }
    }

    fn argument(&self, item: usize) -> usize {
        HEAD + 8 * item
    }

    fn value(&self, item: usize) -> usize {
        HEAD + 8 * (self.items + item)
    }
}
