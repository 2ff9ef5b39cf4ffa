//! Whether others use the machine while something is measured.

use std::fmt;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::left;

/// So many processors' time of others is taken for quiet.
const QUIET: f64 = 0.15;
/// The kernel counts in ticks, so that short times are known only so well.
const TICK: f64 = 0.01;
const LOOK: Duration = Duration::from_millis(100);

/// Waits for quiet as long as its patience lasts, and keeps count.
pub(super) struct Quiet {
    patience: Duration,
    calm: u32,
    noisy: u32,
    /// The shortest and the longest look from processor to processor, in nanoseconds.
    looks: Option<(f64, f64)>,
}

impl Quiet {
    pub(super) fn with_patience(patience: Duration) -> Self {
        Self { patience, calm: 0, noisy: 0, looks: None }
    }

    /// Waits until nobody else works, or the patience is at an end.
    pub(super) fn wait(&mut self) {
        let begin = Instant::now();
        let until = begin + self.patience;
        while !left(until).is_zero() {
            let watch = Watch::start();
            thread::sleep(LOOK.min(left(until)));
            if watch.others(0.0) < QUIET {
                break;
            }
        }
        self.patience = self.patience.saturating_sub(begin.elapsed().saturating_sub(LOOK));
    }

    /// Whether to measure again, because others worked or the processors were moved, while there
    /// is patience.
    pub(super) fn is_disturbed(&self, others: f64, is_moved: bool) -> bool {
        (others >= QUIET || is_moved) && !self.patience.is_zero()
    }

    /// A measurement of that length is made again.
    pub(super) fn spend(&mut self, time: Duration) {
        self.patience = self.patience.saturating_sub(time);
    }

    /// Notes a measurement that is kept, and how far apart the processors were.
    pub(super) fn note(&mut self, others: f64, apart: Option<f64>) {
        if let Some(look) = apart {
            let (nearest, farthest) = self.looks.get_or_insert((look, look));
            (*nearest, *farthest) = (nearest.min(look), farthest.max(look));
        }
        if others < QUIET {
            self.calm += 1;
        } else {
            self.noisy += 1;
        }
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.calm + self.noisy;
        write!(f, "others worked during {} of {all} measurements", self.noisy)?;
        match self.looks {
            Some((nearest, farthest)) => {
                write!(f, "; from processor to processor {nearest:.0} to {farthest:.0} ns")
            }
            None => Ok(()),
        }
    }
}

/// Counts the machine's work from its start.
pub(super) struct Watch {
    begin: Instant,
    busy: f64,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self { begin: Instant::now(), busy: busy_seconds() }
    }

    /// How many processors others used, when what is measured used so many.
    pub(super) fn others(&self, own: f64) -> f64 {
        let time = self.begin.elapsed().as_secs_f64();
        let busy = busy_seconds() - self.busy;
        ((busy - 2.0 * TICK) / time - own).max(0.0)
    }
}

/// All processors' work since the machine's start, and what the hypervisor took.
fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index)).sum::<f64>();
    busy * TICK
}
