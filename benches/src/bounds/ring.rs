//! A ring of bytes in shared memory, with one writer and one reader: the least that
//! a message through memory can cost.

use std::hint;
use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use super::shared::{APART, Shared, sleep_on, wake};

/// How a party waits for the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Looks again and again.
    Spin,
    /// Looks a thousand times, then sleeps.
    Hybrid,
    /// Sleeps at once.
    Futex,
}

const CAPACITY: usize = 256 << 10;
/// Large messages are copied in pieces, so that both sides copy at once.
const PIECE: usize = 64 << 10;

const HEAD: usize = 0;
const TAIL: usize = APART;
const READER_SLEEPS: usize = 2 * APART;
const WRITER_SLEEPS: usize = 3 * APART;
const DATA: usize = 4096;

/// One direction.
pub(super) struct Ring {
    shared: Shared,
    wait: Wait,
}

impl Ring {
    pub(super) fn new(wait: Wait) -> io::Result<Self> {
        Ok(Self { shared: Shared::new(DATA + CAPACITY)?, wait })
    }

    /// One that sleeps at once, and for which no memory is there before it is touched.
    pub(super) fn untouched() -> io::Result<Self> {
        Ok(Self { shared: Shared::untouched(DATA + CAPACITY)?, wait: Wait::Futex })
    }

    pub(super) fn write(&self, bytes: &[u8]) {
        let (head, tail) = (self.shared.word(HEAD), self.shared.word(TAIL));
        let mut at = head.load(Relaxed);
        for piece in bytes.chunks(PIECE) {
            let has_room = |tail: u64| CAPACITY as u64 - (at - tail) >= piece.len() as u64;
            self.until(tail, WRITER_SLEEPS, has_room);
            let start = at as usize % CAPACITY;
            let (first, rest) = piece.split_at(piece.len().min(CAPACITY - start));
            self.shared.write(DATA + start, first);
            self.shared.write(DATA, rest);
            at += piece.len() as u64;
            self.commit(head, at, READER_SLEEPS);
        }
    }

    pub(super) fn read(&self, bytes: &mut [u8]) {
        let (head, tail) = (self.shared.word(HEAD), self.shared.word(TAIL));
        let mut at = tail.load(Relaxed);
        for piece in bytes.chunks_mut(PIECE) {
            let is_there = |head: u64| head - at >= piece.len() as u64;
            self.until(head, READER_SLEEPS, is_there);
            let start = at as usize % CAPACITY;
            let len = piece.len();
            let (first, rest) = piece.split_at_mut(len.min(CAPACITY - start));
            self.shared.read(DATA + start, first);
            self.shared.read(DATA, rest);
            at += len as u64;
            self.commit(tail, at, WRITER_SLEEPS);
        }
    }

    fn until(&self, word: &AtomicU64, sleeps: usize, enough: impl Fn(u64) -> bool) {
        let polls = match self.wait {
            Wait::Spin => u64::MAX,
            Wait::Hybrid => 1000,
            Wait::Futex => 1,
        };
        loop {
            for _ in 0..polls {
                // ORDERING: with the release in `commit`: what was copied is seen.
                if enough(word.load(Acquire)) {
                    return;
                }
                hint::spin_loop();
            }
            sleep(self.shared.small_word(sleeps), || enough(word.load(SeqCst)));
        }
    }

    fn commit(&self, word: &AtomicU64, at: u64, sleeps: usize) {
        // ORDERING: the copy is done before the counter says so.
        word.store(at, Release);
        if self.wait == Wait::Spin {
            return;
        }
        // ORDERING: either the sleeper sees the counter, or its mark is seen here.
        fence(SeqCst);
        let sleeper = self.shared.small_word(sleeps);
        if sleeper.load(Relaxed) == 1 && sleeper.swap(0, SeqCst) == 1 {
            wake(sleeper, 1);
        }
    }
}

fn sleep(mark: &AtomicU32, is_over: impl Fn() -> bool) {
    mark.store(1, SeqCst);
    // ORDERING: the other half of the fence in `commit`.
    fence(SeqCst);
    if !is_over() {
        sleep_on(mark, 1);
    }
    mark.store(0, Relaxed);
}
