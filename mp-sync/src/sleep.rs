//! Sleeping on a word while others who owe a wake-up may die.
//!
//! The first milliseconds cost nothing but the sleep. Who waits longer has the
//! deaths of the others reported on its word, so that nobody need look again and
//! again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{DeathNotice, ProcessId, ThreadId, cpu_count, current_cpu};

use crate::memory::{Slot, shared_words};
use crate::protocol::words::{self, wait_on};

/// How long a sleep goes on before deaths are watched for.
const BRIEFLY: Duration = Duration::from_millis(5);

/// Where deaths cannot be reported, for want of a descriptor, how often to look.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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

/// One wait, of possibly many sleeps.
#[derive(Debug)]
pub(crate) struct Sleeper<'a> {
    slot: &'a Slot,
    word: &'a words::AtomicU32,
    /// The bits of the word in which deaths are counted.
    mask: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Brief {
        until: Instant,
    },
    /// Held for the sake of its end: the notice is withdrawn then.
    Watching {
        _notice: DeathNotice,
    },
    Looking,
}

impl<'a> Sleeper<'a> {
    pub(crate) fn new(slot: &'a Slot, word: &'a words::AtomicU32, mask: u32) -> Self {
        Self { slot, word, mask, stage: Stage::Brief { until: Instant::now() + BRIEFLY } }
    }

    /// To be called after the word was read and before the condition is looked at.
    /// `false` if one of `others` is dead: then what it held is to be put right.
    pub(crate) fn watch<I>(&mut self, others: impl FnOnce() -> I) -> bool
    where
        I: Iterator<Item = u64>,
    {
        if let Stage::Brief { until } = self.stage
            && Instant::now() < until
        {
            return true;
        }
        let own = ProcessId::current().ok();
        let others: Vec<ProcessId> =
            others().filter_map(ProcessId::from_word).filter(|other| Some(*other) != own).collect();
        let (region, offset) = self.slot.offset_of(self.word);
        match DeathNotice::new(others.iter().copied(), region, offset, self.mask) {
            Ok(Some(notice)) => self.stage = Stage::Watching { _notice: notice },
            Ok(None) => return false,
            Err(_) => {
                self.stage = Stage::Looking;
                return others.iter().all(|other| other.is_alive());
            }
        }
        true
    }

    /// Sleeps while the word holds `expected`; returns for no reason at times.
    pub(crate) fn sleep(&self, expected: u32, deadline: Option<Instant>) {
        let limit = match &self.stage {
            Stage::Brief { until } => Some(*until),
            Stage::Watching { .. } => None,
            Stage::Looking => Some(Instant::now() + LOOK_EVERY),
        };
        let until = match (limit, deadline) {
            (Some(limit), Some(deadline)) => Some(limit.min(deadline)),
            (limit, deadline) => limit.or(deadline),
        };
        // An error of the kernel here means only that the caller looks again.
        let _ = wait_on(self.word, expected, until);
    }
}
