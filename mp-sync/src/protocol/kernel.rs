//! The kernel's part in sleeping, waking and dying, played under the model checker.
//!
//! The checker changes threads only at its own operations. What comes between two
//! of them is one step, as it is one step under the lock of the kernel: to compare and
//! to fall asleep, and to change a word and to take sleepers off the list.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ipc_core::raw::{Change, LockFailure};
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread::{self, Thread};

use super::seats::{Chairs, SeatWords};
use super::sleeper;

thread_local! {
    // All threads of a model are one of the system's.
    static SLEEPERS: RefCell<Vec<(usize, Thread)>> = const { RefCell::new(Vec::new()) };
}

fn address(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

/// Sleeps while `word` holds `expected`; deadlines never come.
pub(crate) fn wait_on(word: &AtomicU32, expected: u32, _deadline: Option<Instant>) -> io::Result<()> {
    let own = thread::current();
    // As an exchange, which never finds an old value.
    if word.fetch_or(0, Ordering::SeqCst) == expected {
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.push((address(word), own)));
        thread::park();
    }
    Ok(())
}

/// As [`wait_on`]: the time is never over.
pub(crate) fn wait_on_for(word: &AtomicU32, expected: u32, _time: Duration) -> io::Result<()> {
    wait_on(word, expected, None)
}

/// Wakes up to `count` sleepers.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    word.fetch_or(0, Ordering::SeqCst);
    take(word, count).iter().for_each(Thread::unpark);
}

/// Changes `word` and wakes up to `count` sleepers, as one step.
pub(crate) fn change_and_wake(word: &AtomicU32, change: Change, count: u32) -> io::Result<()> {
    match change {
        Change::Add(more) => word.fetch_add(more.into(), Ordering::SeqCst),
        Change::Or(bits) => word.fetch_or(bits.into(), Ordering::SeqCst),
        Change::Clear(bits) => word.fetch_and(!u32::from(bits), Ordering::SeqCst),
        Change::Set(value) => word.swap(value.into(), Ordering::SeqCst),
    };
    take(word, count).iter().for_each(Thread::unpark);
    Ok(())
}

fn take(word: &AtomicU32, count: u32) -> Vec<Thread> {
    SLEEPERS.with_borrow_mut(|sleepers| {
        let mut left = count;
        let is_woken = |(at, _): &mut (usize, Thread)| {
            let is_woken = *at == address(word) && left > 0;
            left -= u32::from(is_woken);
            is_woken
        };
        sleepers.extract_if(.., is_woken).map(|(_, thread)| thread).collect()
    })
}

/// Empties the list, which a model that failed before has left behind.
#[cfg(test)]
pub(crate) fn boot() {
    SLEEPERS.take();
}

/// The processes of a model that have died, and who is to be told of which.
pub(crate) struct Deaths {
    /// A bit for each.
    dead: AtomicU64,
    notices: Notices,
}

type Notices = Rc<RefCell<Vec<(u64, Request)>>>;

/// The word, the bits of it that are changed, and the processes.
#[derive(Clone, Copy)]
struct Request {
    word: usize,
    mask: u32,
    processes: u64,
}

/// Those deaths as they are reported in some bits of a word.
pub(crate) struct Reports<'a> {
    deaths: &'a Deaths,
    mask: u32,
    /// Whether a notice ends when it has come, or, in a mutant, never.
    ends: bool,
}

/// A request, until it is dropped.
pub(crate) struct Notice {
    id: u64,
    all: Notices,
}

impl Deaths {
    pub(crate) fn new() -> Self {
        Self { dead: AtomicU64::new(0), notices: Rc::default() }
    }

    pub(crate) fn reported_in(&self, mask: u32, ends: bool) -> Reports<'_> {
        Reports { deaths: self, mask, ends }
    }

    /// A process dies; whoever asked for that on `word` is told.
    pub(crate) fn die(&self, process: u64, word: &AtomicU32) {
        self.dead.fetch_or(1 << process, Ordering::SeqCst);
        let is_told = |(_, request): &mut (u64, Request)| {
            request.word == address(word) && request.processes & (1 << process) != 0
        };
        let told: Vec<(u64, Request)> = self.notices.borrow_mut().extract_if(.., is_told).collect();
        for (_, Request { mask, .. }) in told {
            let raise = |old: u32| Some((old & !mask) | (old.wrapping_add(1) & mask));
            let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, raise);
            take(word, u32::MAX).iter().for_each(Thread::unpark);
        }
    }
}

impl sleeper::Deaths for Reports<'_> {
    type Notice = Notice;

    fn notice(&self, word: &AtomicU32, processes: &[u64]) -> io::Result<Option<Notice>> {
        thread_local!(static NEXT: Cell<u64> = const { Cell::new(0) });
        let processes = processes.iter().filter(|process| **process != 0);
        let processes = processes.fold(0, |all, process| all | 1 << process);
        if self.deaths.dead.fetch_or(0, Ordering::SeqCst) & processes != 0 {
            return Ok(None);
        }
        let (id, all) = (NEXT.replace(NEXT.get() + 1), Rc::clone(&self.deaths.notices));
        all.borrow_mut().push((id, Request { word: address(word), mask: self.mask, processes }));
        Ok(Some(Notice { id, all }))
    }

    fn lasts(&self, notice: &Notice) -> bool {
        !self.ends || notice.all.borrow().iter().any(|(id, _)| *id == notice.id)
    }

    fn is_alive(&self, process: u64) -> bool {
        self.deaths.dead.fetch_or(0, Ordering::SeqCst) & (1 << process) == 0
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        self.all.borrow_mut().retain(|(id, _)| *id != self.id);
    }
}

/// Seats with mutexes that the kernel marks when their holders die.
pub(crate) struct PlayedChairs<const N: usize> {
    pub(crate) words: [SeatWords; N],
    /// Who holds it; zero is nobody.
    mutexes: [AtomicU32; N],
}

/// In the place of the holder: it has died.
const DIED: u32 = u32::MAX;

/// The seats as one process has them.
pub(crate) struct ChairsOf<'a, const N: usize> {
    pub(crate) chairs: &'a PlayedChairs<N>,
    pub(crate) process: u32,
}

impl<const N: usize> PlayedChairs<N> {
    pub(crate) fn new() -> Self {
        let mutexes = std::array::from_fn(|_| AtomicU32::new(0));
        Self { words: std::array::from_fn(|_| SeatWords::empty()), mutexes }
    }

    /// The kernel's walk along what a dead process held.
    pub(crate) fn release_dead(&self, process: u32) {
        for mutex in &self.mutexes {
            let _ = mutex.compare_exchange(process, DIED, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

impl<const N: usize> Chairs for ChairsOf<'_, N> {
    fn count(&self) -> usize {
        N
    }

    fn first(&self) -> usize {
        self.process as usize % N
    }

    fn words(&self, seat: usize) -> &SeatWords {
        &self.chairs.words[seat]
    }

    fn try_lock(&self, seat: usize) -> Result<(), LockFailure> {
        let take = |old: u32| (old == 0 || old == DIED).then_some(self.process);
        match self.chairs.mutexes[seat].fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(holder) if holder == self.process => Err(LockFailure::Deadlock),
            Err(_) => Err(LockFailure::Timeout),
        }
    }

    fn lock(&self, seat: usize, _deadline: Instant) -> Result<(), LockFailure> {
        self.try_lock(seat)
    }

    fn unlock(&self, seat: usize) {
        self.chairs.mutexes[seat].swap(0, Ordering::SeqCst);
    }
}
