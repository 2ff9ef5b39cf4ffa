//! Waiting for others: to look for a while before one sleeps, and to be told of deaths.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{DeathNotice, ProcessId, Roll, ThreadId, cpu_count, current_cpu};

use crate::memory::{Slot, shared_words};
use crate::protocol::sleeper::{Deaths, Sleeper};
use crate::protocol::words;

/// How long to look for what may come at once, before one goes to sleep: about as long
/// as it takes to fall asleep and to be woken.
const LOOK_FOR: Duration = Duration::from_micros(20);

/// How long to look for the answer of one who may have to be woken first.
const LOOK_FOR_AN_ANSWER: Duration = Duration::from_micros(50);

/// Looks for a while; whether it was there in time.
pub(crate) fn look(is_there: impl Fn() -> bool) -> bool {
    look_until(Instant::now() + LOOK_FOR, is_there)
}

fn look_until(until: Instant, is_there: impl Fn() -> bool) -> bool {
    while !is_there() {
        if Instant::now() >= until {
            return false;
        }
        (0..16).for_each(|_| std::hint::spin_loop());
    }
    true
}

/// Whether to look at all: where it was in vain, as beside others that keep the processors
/// busy, it is tried again after one wait, then after three, and so on.
#[derive(Debug, Default)]
pub(crate) struct Eagerness {
    /// How many waits go without a look.
    left: AtomicU32,
    /// How many they were in the beginning.
    pause: AtomicU32,
}

/// The longest pause.
const PAUSE: u32 = 127;

impl Eagerness {
    /// Looks for a while, if that is likely to pay.
    pub(crate) fn look(&self, is_there: impl Fn() -> bool) {
        self.look_until(Instant::now() + LOOK_FOR, is_there);
    }

    /// As [`look`](Self::look), for what others change who are `there`.
    pub(crate) fn look_to(
        &self,
        there: &Whereabouts,
        deadline: Option<Instant>,
        is_there: impl Fn() -> bool,
    ) {
        if !is_there() && there.is_elsewhere() {
            let until = Instant::now() + LOOK_FOR_AN_ANSWER;
            self.look_until(deadline.map_or(until, |deadline| deadline.min(until)), is_there);
        }
    }

    fn look_until(&self, until: Instant, is_there: impl Fn() -> bool) {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            return self.left.store(left - 1, Ordering::Relaxed);
        }
        let was_there = look_until(until, is_there);
        let pause = if was_there { 0 } else { (2 * self.pause.load(Ordering::Relaxed) + 1).min(PAUSE) };
        self.pause.store(pause, Ordering::Relaxed);
        self.left.store(pause, Ordering::Relaxed);
    }
}

shared_words! {
    /// Who changed something last, and on which CPU: a thread, and the last one but it. To look
    /// for what must come from the very CPU that one looks on only keeps it from coming.
    pub(crate) struct Whereabouts {
        last: AtomicU64,
        before: AtomicU64,
    }
}

/// The thread stands above; below is one more than the CPU, and zero if that is not known.
const CPU: u64 = 0xffff_ffff;

impl Whereabouts {
    /// Something is about to be changed here.
    #[inline]
    pub(crate) fn note(&self) {
        let last = self.last.load(Ordering::Relaxed);
        let here = here();
        // Written seldom, so that those who look keep it in their caches.
        if last != here {
            if (last ^ here) > CPU {
                self.before.store(last, Ordering::Relaxed);
            }
            self.last.store(here, Ordering::Relaxed);
        }
    }

    /// Whether another thread may change it while this one goes on.
    fn is_elsewhere(&self) -> bool {
        let here = here();
        let last = self.last.load(Ordering::Relaxed);
        let other = if (last ^ here) > CPU { last } else { self.before.load(Ordering::Relaxed) };
        if other & CPU == 0 || here & CPU == 0 { cpu_count() > 1 } else { (other ^ here) & CPU != 0 }
    }
}

#[inline]
fn here() -> u64 {
    u64::from(ThreadId::current().thread()) << 32 | current_cpu().map_or(0, |cpu| u64::from(cpu) + 1)
}

/// The system's reports of deaths, in some bits of a word of `slot`.
#[derive(Debug)]
pub(crate) struct Reports<'a> {
    slot: &'a Slot,
    mask: u32,
}

/// One wait on a word of `slot`, in whose bits `mask` deaths are counted.
pub(crate) fn sleeper<'a>(slot: &'a Slot, word: &'a words::AtomicU32, mask: u32) -> Sleeper<'a, Reports<'a>> {
    Sleeper::new(Reports { slot, mask }, word)
}

impl Deaths for Reports<'_> {
    type Notice = DeathNotice;

    fn notice(&self, word: &words::AtomicU32, processes: &[u64]) -> io::Result<Option<DeathNotice>> {
        let own = ProcessId::current().ok();
        let processes = processes.iter().copied().filter_map(ProcessId::from_word);
        let (region, offset) = self.slot.offset_of(word);
        DeathNotice::new(processes.filter(|process| Some(*process) != own), region, offset, self.mask)
    }

    fn lasts(&self, notice: &DeathNotice) -> bool {
        notice.lasts()
    }

    fn is_alive(&self, process: u64) -> bool {
        ProcessId::from_word(process).is_none_or(ProcessId::is_alive)
    }
}

/// Finds the dead among those who hold something, again and again.
#[derive(Debug, Default)]
pub(crate) struct Coroner(Mutex<Roll>);

impl Coroner {
    /// Those of some entries, and whose they are, that belong to the dead.
    pub(crate) fn dead(&self, entries: impl Iterator<Item = (usize, u64)>) -> Vec<(usize, u64)> {
        let own = ProcessId::current().map_or(0, ProcessId::to_word);
        let mut entries: Vec<(usize, u64)> = entries.filter(|(_, owner)| *owner != own).collect();
        if entries.is_empty() {
            return entries;
        }
        let processes = entries.iter().filter_map(|(_, owner)| ProcessId::from_word(*owner));
        // Another thread asks, or did when this process was forked.
        let ended = match self.0.try_lock() {
            Ok(mut roll) => roll.ended(processes),
            Err(_) => Roll::default().ended(processes),
        };
        entries.retain(|(_, owner)| ended.iter().any(|ended| ended.to_word() == *owner));
        entries
    }
}
