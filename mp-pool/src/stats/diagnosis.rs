//! What would make a pool faster, as far as its figures tell.

use std::fmt;
use std::time::Duration;

use super::PoolStats;

/// Where the time of a pool's workers went, and what would help; from
/// [`PoolStats::diagnosis`]. Its text is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    text: String,
    chunk_size: Option<usize>,
    workers: Option<usize>,
}

/// A share of the time that is worth a word.
const MUCH: f64 = 0.2;
/// The share that is as good as all.
const NEARLY_ALL: f64 = 0.9;
/// What travels together should take about this long.
const WORTH_A_TRIP: Duration = Duration::from_micros(50);
/// What takes longer by itself gains nothing by company.
const LONG_TRIP: Duration = Duration::from_micros(20);
const LARGEST_CHUNK: f64 = 10_000.0;

impl Diagnosis {
    /// How many items should travel together, if more would help: for
    /// [`chunk_size`](crate::Imap::chunk_size), or the length of what goes into one item.
    #[must_use]
    pub fn chunk_size(&self) -> Option<usize> {
        self.chunk_size
    }

    /// How many workers there should be, if another number would help.
    #[must_use]
    pub fn workers(&self) -> Option<usize> {
        self.workers
    }

    pub(super) fn of(stats: &PoolStats) -> Self {
        let mut found = Self { text: String::new(), chunk_size: None, workers: None };
        let times = stats.times();
        let (tasks, total) = (stats.tasks(), times.total().as_secs_f64());
        let workers = stats.workers.iter().filter(|worker| !worker.times.total().is_zero()).count();
        if tasks == 0 || total == 0.0 {
            found.text = "nothing has been run".to_owned();
            return found;
        }
        let share = |part: Duration| part.as_secs_f64() / total;
        let item = (times.busy + times.serialising).div_f64(tasks as f64);
        let advice = found.advise(stats, workers, item);
        let percent = |part: Duration| (100.0 * share(part)).round();
        found.text = format!(
            "{workers} {}: {} % busy, {} % serialising, {} % waiting, {} % starting; {tasks} items of {item:.1?}: \
             {advice}",
            if workers == 1 { "worker" } else { "workers" },
            percent(times.busy),
            percent(times.serialising),
            percent(times.waiting),
            percent(times.starting),
        );
        found
    }

    fn advise(&mut self, stats: &PoolStats, workers: usize, item: Duration) -> String {
        let times = stats.times();
        let total = times.total();
        let share = |part: Duration| part.as_secs_f64() / total.as_secs_f64();
        let work = times.busy + times.serialising;
        if share(times.starting) > MUCH {
            return "a pool that lives longer, or workers from the fork server, would help".to_owned();
        }
        if times.serialising > work.mul_f64(MUCH) && share(times.serialising) > MUCH / 2.0 {
            return "sending less would help: a path, a handle or a shared value in the place of data"
                .to_owned();
        }
        if share(times.waiting) <= MUCH {
            return self.advise_the_busy(workers, stats.cpus, share(work));
        }
        let together = stats.tasks() as f64 / stats.answers.max(1) as f64;
        let size = (WORTH_A_TRIP.as_secs_f64() / item.as_secs_f64()).ceil().clamp(1.0, LARGEST_CHUNK);
        if item.mul_f64(together) < LONG_TRIP && size > 2.0 * together {
            self.chunk_size = Some(size as usize);
            return format!("a chunk size of {size} would help, as {together:.1} travelled together");
        }
        let each = total / workers as u32;
        if let Some(slow) = stats.slowest.first().filter(|slow| slow.time > each / 2 && slow.time <= each) {
            return format!("to begin with item {}, or to divide it, would help", slow.index);
        }
        let enough = (workers as f64 * share(work)).ceil().max(1.0) as usize;
        if enough < workers {
            self.workers = Some(enough);
            return format!("{enough} would have done as much");
        }
        "more to do would keep them busy".to_owned()
    }

    fn advise_the_busy(&mut self, workers: usize, cpus: usize, work: f64) -> String {
        if work > NEARLY_ALL && workers < cpus {
            self.workers = Some(cpus);
            return format!("{cpus} workers, as many as there are CPUs, would help");
        }
        "nothing simple would help".to_owned()
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SlowInput, Times, WorkerStats};
    use super::*;

    /// Two workers whose time together went where it says, in milliseconds.
    fn stats(tasks: u64, answers: u64, [busy, serialising, waiting, starting]: [u64; 4]) -> PoolStats {
        let half = |millis| Duration::from_millis(millis) / 2;
        let times = Times {
            busy: half(busy),
            serialising: half(serialising),
            waiting: half(waiting),
            starting: half(starting),
        };
        let worker = WorkerStats { name: String::new(), pid: None, restarts: 0, tasks: tasks / 2, times };
        PoolStats { workers: vec![worker.clone(), worker], slowest: Vec::new(), cpus: 2, answers }
    }

    #[test]
    fn the_shares_are_said_and_what_would_help() {
        let quick = stats(100_000, 100_000, [300, 0, 700, 0]).diagnosis();
        assert_eq!(quick.chunk_size(), Some(17), "{quick}");
        assert!(
            quick.to_string().starts_with("2 workers: 30 % busy, 0 % serialising, 70 % waiting"),
            "{quick}"
        );
        assert_eq!(quick.to_string().lines().count(), 1);
        let idle = stats(100, 100, [400, 0, 1600, 0]).diagnosis();
        assert_eq!((idle.chunk_size(), idle.workers()), (None, Some(1)), "{idle}");
        let heavy = stats(100, 100, [400, 400, 200, 0]).diagnosis().to_string();
        assert!(heavy.contains("sending less"), "{heavy}");
        let short = stats(10, 10, [10, 0, 10, 50]).diagnosis().to_string();
        assert!(short.contains("fork server"), "{short}");
        let full = stats(1000, 1000, [990, 0, 10, 0]);
        assert_eq!(full.diagnosis().workers(), None);
        assert_eq!(PoolStats { cpus: 8, ..full }.diagnosis().workers(), Some(8));
        let slow = SlowInput { index: 99, items: 1, time: Duration::from_millis(450), worker: String::new() };
        let tail = PoolStats { slowest: vec![slow], ..stats(100, 100, [600, 0, 400, 0]) }.diagnosis();
        assert!(tail.to_string().contains("begin with item 99"), "{tail}");
        assert_eq!(stats(0, 0, [0; 4]).diagnosis().to_string(), "nothing has been run");
    }
}
