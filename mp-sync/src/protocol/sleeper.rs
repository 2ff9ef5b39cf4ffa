//! Sleeping on a word while others who owe a wake-up may die.
//!
//! The first milliseconds cost nothing but the sleep. Who waits longer has the
//! deaths of the others reported on its word, so that nobody need look again and
//! again.

use std::io;
use std::time::{Duration, Instant};

use super::words::{AtomicU32, wait_on, wait_on_for};

/// How long a sleep goes on before deaths are watched for, and the first one apart from the
/// others; the models have no clock.
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

    /// Whether that has not happened yet. It says no before the word is changed.
    fn lasts(&self, notice: &Self::Notice) -> bool;

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
    /// It has not slept yet. Most waits end with the first sleep, for which no clock is read.
    New,
    SleptOnce,
    Brief {
        until: Instant,
    },
    /// The notice is withdrawn when it is dropped.
    Watching {
        notice: N,
        others: Vec<u64>,
    },
    Looking,
}

impl<'a, D: Deaths> Sleeper<'a, D> {
    pub(crate) fn new(deaths: D, word: &'a AtomicU32) -> Self {
        // The models watch at once.
        let stage = if cfg!(under_loom) { Stage::Brief { until: Instant::now() } } else { Stage::New };
        Self { deaths, word, stage }
    }

    /// To be called after the word was read and before the condition is looked at.
    /// `false` if one of `others` is dead: then what it held is to be put right.
    pub(crate) fn watch<I>(&mut self, others: impl FnOnce() -> I) -> bool
    where
        I: Iterator<Item = u64>,
    {
        match self.stage {
            Stage::New => return true,
            Stage::SleptOnce => {
                self.stage = Stage::brief();
                return true;
            }
            Stage::Brief { until } if Instant::now() < until => return true,
            _ => {}
        }
        let others: Vec<u64> = others().collect();
        if let Stage::Watching { notice, others: watched } = &self.stage
            && *watched == others
            && self.deaths.lasts(notice)
        {
            return true;
        }
        match self.deaths.notice(self.word, &others) {
            Ok(Some(notice)) => self.stage = Stage::Watching { notice, others },
            Ok(None) => return false,
            Err(_) => {
                self.stage = Stage::Looking;
                return others.iter().all(|other| self.deaths.is_alive(*other));
            }
        }
        true
    }

    /// Sleeps while the word holds `expected`; returns for no reason at times.
    pub(crate) fn sleep(&mut self, expected: u32, deadline: Option<Instant>) {
        let limit = match &self.stage {
            Stage::New if deadline.is_none() => {
                self.stage = Stage::SleptOnce;
                // An error of the kernel here means only that the caller looks again.
                let _ = wait_on_for(self.word, expected, BRIEFLY);
                return;
            }
            Stage::New | Stage::SleptOnce => {
                self.stage = Stage::brief();
                Some(Instant::now() + BRIEFLY)
            }
            Stage::Brief { until } => Some(*until),
            Stage::Watching { .. } => None,
            Stage::Looking => Some(Instant::now() + LOOK_EVERY),
        };
        let until = match (limit, deadline) {
            (Some(limit), Some(deadline)) => Some(limit.min(deadline)),
            (limit, deadline) => limit.or(deadline),
        };
        // As above.
        let _ = wait_on(self.word, expected, until);
    }
}

impl<N> Stage<N> {
    fn brief() -> Self {
        Self::Brief { until: Instant::now() + BRIEFLY }
    }
}
