//! Sleeping on a word while others who owe a wake-up may die.
//!
//! The first milliseconds cost nothing but the sleep. Who waits longer has the
//! deaths of the others reported on its word, so that nobody need look again and
//! again.

use std::io;
use std::time::{Duration, Instant};

use super::words::{AtomicU32, wait_on};

/// How long a sleep goes on before deaths are watched for; the models have no clock.
const BRIEFLY: Duration = if cfg!(under_loom) { Duration::ZERO } else { Duration::from_millis(5) };

/// Where deaths cannot be reported, for want of a descriptor, how often to look.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who tells of deaths: the system, or in the models one that is played.
pub(crate) trait Deaths {
    /// A request, which ends with it.
    type Notice;

    /// Has `word` changed, and those who sleep on it woken, once one of `processes` has
    /// ended. `None` if one has already.
    fn notice(&self, word: &AtomicU32, processes: &[u64]) -> io::Result<Option<Self::Notice>>;

    fn is_alive(&self, process: u64) -> bool;
}

/// One wait, of possibly many sleeps.
#[derive(Debug)]
pub(crate) struct Sleeper<'a, D: Deaths> {
    deaths: D,
    word: &'a AtomicU32,
    stage: Stage<D::Notice>,
}

#[derive(Debug)]
enum Stage<N> {
    Brief {
        until: Instant,
    },
    /// Held for the sake of its end: the notice is withdrawn then.
    Watching {
        _notice: N,
    },
    Looking,
}

impl<'a, D: Deaths> Sleeper<'a, D> {
    pub(crate) fn new(deaths: D, word: &'a AtomicU32) -> Self {
        Self { deaths, word, stage: Stage::Brief { until: Instant::now() + BRIEFLY } }
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
        let others: Vec<u64> = others().collect();
        match self.deaths.notice(self.word, &others) {
            Ok(Some(notice)) => self.stage = Stage::Watching { _notice: notice },
            Ok(None) => return false,
            Err(_) => {
                self.stage = Stage::Looking;
                return others.iter().all(|other| self.deaths.is_alive(*other));
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
