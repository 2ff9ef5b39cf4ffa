//! Workers under fire: killed at random instants and replaced, until enough have died.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mp_sync::SharedAtomicU64;

use crate::common::{Child, Random, fork, pause};

/// How many may be dying at a time.
const DYING: usize = 24;

/// How many workers a scenario has.
const WORKERS: usize = 6;

/// How long those who are left alone may do nothing.
pub(crate) const STALL: Duration = Duration::from_secs(1);

/// How long they may do nothing for want of a processor.
const STARVED: Duration = Duration::from_secs(60);

/// How long the system is not asked what they do.
const SOON: Duration = Duration::from_millis(100);

/// How many times the killing goes on before those who are left are left alone.
const ROUNDS: u32 = 50;

/// How much is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Share {
    Kills(u64),
    Until(Instant),
}

impl Share {
    fn is_done(self, kills: u64) -> bool {
        match self {
            Self::Kills(share) => kills >= share,
            Self::Until(end) => Instant::now() >= end,
        }
    }
}

/// What is killed with which chance, and what came of it.
pub(crate) struct Fire<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) share: Share,
    pub(crate) kills: u64,
    /// The longest time in which one did nothing, also for want of a processor.
    pub(crate) longest: Duration,
    /// The longest of that in which it slept, and was not even woken.
    pub(crate) asleep: Duration,
    pub(crate) steps: u64,
}

impl Fire<'_> {
    pub(crate) fn goes_on(&self) -> bool {
        !self.share.is_done(self.kills)
    }

    /// Kills one that has nothing to end for by itself.
    pub(crate) fn kill(&mut self, victim: Child) {
        self.kills += u64::from(victim.kill());
    }
}

/// A kind of object under fire.
pub(crate) struct Scenario<'a> {
    /// What worker number `usize` does, for ever, counting what it has done.
    pub(crate) work: &'a dyn Fn(usize, &SharedAtomicU64),
    /// Run by the parent while it waits.
    pub(crate) tend: &'a dyn Fn(),
    /// Run when all workers are dead, with how many were killed and how many steps done.
    pub(crate) check: &'a dyn Fn(u64, u64),
}

struct Worker {
    child: Child,
    progress: SharedAtomicU64,
}

impl Scenario<'_> {
    /// Kills workers, one or several at the same time.
    pub(crate) fn run(&self, fire: &mut Fire<'_>) {
        let start = |number: usize, progress: &SharedAtomicU64| fork(|| (self.work)(number, progress));
        let mut workers: Vec<Worker> = (0..WORKERS)
            .map(|number| {
                let progress = SharedAtomicU64::new(0).unwrap();
                Worker { child: start(number, &progress), progress }
            })
            .collect();
        let mut rounds = 0;
        let mut dying = Vec::new();
        while fire.goes_on() {
            let before = steps(&workers);
            pause(Duration::from_micros(fire.random.below(300)));
            let victims = fire.random.below(1 << WORKERS);
            let victims = (0..WORKERS).filter(|number| victims & (1 << number) != 0);
            for number in victims {
                let worker = &mut workers[number];
                worker.child.signal();
                dying.push(std::mem::replace(&mut worker.child, start(number, &worker.progress)));
            }
            let is_over = |victim: &mut Child| victim.has_ended();
            dying.extract_if(.., is_over).for_each(|victim| fire.kill(victim));
            if dying.len() > DYING {
                dying.drain(..).for_each(|victim| fire.kill(victim));
            }
            rounds += 1;
            if rounds % ROUNDS == 0 {
                let before: Vec<u64> = workers.iter().map(Worker::steps).collect();
                self.await_progress(&workers, &before, fire);
            } else {
                fire.longest = fire.longest.max(self.await_any(&workers, before));
            }
        }
        workers.iter().for_each(|worker| worker.child.signal());
        let (workers, progress): (Vec<_>, Vec<_>) =
            workers.into_iter().map(|worker| (worker.child, worker.progress)).unzip();
        dying.into_iter().chain(workers).for_each(|worker| fire.kill(worker));
        // Not before, as they go on until they are dead.
        fire.steps = progress.iter().map(|progress| progress.load(SeqCst)).sum();
        (self.check)(fire.kills, fire.steps);
    }

    /// Waits until somebody has done something since. All asleep, and none even woken, is a
    /// stall; waiting for a processor is not.
    fn await_any(&self, workers: &[Worker], before: u64) -> Duration {
        let begun = Instant::now();
        let mut still = (begun, u64::MAX);
        while steps(workers) == before {
            (self.tend)();
            if begun.elapsed() > SOON {
                let awoken = workers.iter().map(|worker| worker.child.times_awoken()).sum();
                if awoken != still.1 || workers.iter().any(|worker| worker.child.is_runnable()) {
                    still = (Instant::now(), awoken);
                }
                if still.0.elapsed() > STALL || begun.elapsed() > STARVED {
                    stalled("every worker", begun);
                }
            }
            std::thread::yield_now();
        }
        begun.elapsed()
    }

    /// With nobody being killed, waits until each has done something since. One that sleeps
    /// all the time and is not even woken was forgotten.
    fn await_progress(&self, workers: &[Worker], before: &[u64], fire: &mut Fire<'_>) {
        let begun = Instant::now();
        for (number, worker) in workers.iter().enumerate() {
            let mut still = (Instant::now(), worker.child.times_awoken());
            while worker.steps() == before[number] {
                (self.tend)();
                let awoken = worker.child.times_awoken();
                if awoken != still.1 || worker.child.is_runnable() {
                    still = (Instant::now(), awoken);
                }
                fire.asleep = fire.asleep.max(still.0.elapsed());
                if still.0.elapsed() > STALL || begun.elapsed() > STARVED {
                    stalled(&format!("worker {number}"), begun);
                }
                pause(Duration::from_micros(200));
            }
            fire.longest = fire.longest.max(begun.elapsed());
        }
    }
}

impl Worker {
    fn steps(&self) -> u64 {
        self.progress.load(SeqCst)
    }
}

fn steps(workers: &[Worker]) -> u64 {
    workers.iter().map(Worker::steps).sum()
}

fn stalled(who: &str, since: Instant) -> ! {
    eprintln!("{who} has done nothing for {:?}", since.elapsed());
    if std::env::var_os("MP_SOAK_STOP").is_some() {
        eprintln!("stopped for a debugger: process {}", std::process::id());
        std::thread::sleep(Duration::from_secs(600));
    }
    std::process::exit(1)
}

/// One step more.
pub(crate) fn done(progress: &SharedAtomicU64) {
    progress.fetch_add(1, SeqCst);
}
