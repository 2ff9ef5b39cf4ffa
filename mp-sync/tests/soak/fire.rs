//! Workers under fire: killed at random instants and replaced, until enough have died.

use std::time::{Duration, Instant};

use crate::common::{Child, Random, fork, pause};
use crate::progress::{Barren, Longest, Progress, Wait};

pub(crate) use crate::progress::{done, returned};

/// How many may be dying at a time.
const DYING: usize = 24;

/// How many workers a scenario has.
const WORKERS: usize = 6;

/// How long those who are left alone may do nothing.
pub(crate) const STALL: Duration = Duration::from_secs(1);

/// How long they may do nothing for want of a processor.
const STARVED: Duration = Duration::from_secs(60);

/// How long the system is not asked what they do.
const SOON: Duration = Duration::from_millis(2);

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
    pub(crate) steps: u64,
    pub(crate) longest: Longest,
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
    pub(crate) work: &'a dyn Fn(usize, &Progress),
    /// Run by the parent while it waits.
    pub(crate) tend: &'a dyn Fn(),
    /// Run when all workers are dead, with how many were killed and how many steps done.
    pub(crate) check: &'a dyn Fn(u64, u64),
}

struct Worker {
    child: Child,
    progress: Progress,
}

impl Scenario<'_> {
    /// Kills workers, one or several at the same time.
    pub(crate) fn run(&self, fire: &mut Fire<'_>) {
        let start = |number: usize, progress: &Progress| fork(|| (self.work)(number, progress));
        let mut workers: Vec<Worker> = (0..WORKERS)
            .map(|number| {
                let progress = Progress::new();
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
                self.await_each(&workers, &mut fire.longest);
            } else {
                self.await_any(&workers, before, &mut fire.longest);
            }
        }
        workers.iter().for_each(|worker| worker.child.signal());
        let (workers, progress): (Vec<_>, Vec<_>) =
            workers.into_iter().map(|worker| (worker.child, worker.progress)).unzip();
        dying.into_iter().chain(workers).for_each(|worker| fire.kill(worker));
        // Not before, as they go on until they are dead.
        fire.steps = progress.iter().map(Progress::steps).sum();
        (self.check)(fire.kills, fire.steps);
    }

    /// Waits until somebody has done something since. All asleep, and none even woken, is a
    /// stall; waiting for a processor is not.
    fn await_any(&self, workers: &[Worker], before: u64, longest: &mut Longest) {
        let begun = Instant::now();
        let mut watched: Option<Vec<Watched<'_>>> = None;
        while steps(workers) == before {
            (self.tend)();
            if begun.elapsed() > SOON {
                let watched = watched.get_or_insert_with(|| watch(workers));
                let asleep = watched.iter_mut().map(Watched::asleep).min().unwrap_or_default();
                longest.asleep = longest.asleep.max(asleep);
                if asleep > STALL || begun.elapsed() > STARVED {
                    stalled("every worker", begun);
                }
            }
            std::thread::yield_now();
        }
        let waits = watched.iter().flatten().map(|watched| watched.call.wait(watched.worker, workers));
        let of_one = waits.max_by_key(|wait| wait.starved).unwrap_or_default();
        longest.note(Wait { time: begun.elapsed(), overtaken: 0, ..of_one });
    }

    /// With nobody being killed, waits until each has done something since. One that sleeps
    /// all the time and is not even woken was forgotten.
    fn await_each(&self, workers: &[Worker], longest: &mut Longest) {
        let begun = Instant::now();
        let mut idle: Vec<_> = watch(workers).into_iter().enumerate().collect();
        while !idle.is_empty() {
            (self.tend)();
            idle.retain_mut(|(number, watched)| {
                watched.look(workers, longest);
                let asleep = watched.asleep();
                longest.asleep = longest.asleep.max(asleep);
                if asleep > STALL || begun.elapsed() > STARVED {
                    stalled(&format!("worker {number}"), begun);
                }
                watched.is_idle()
            });
            pause(Duration::from_micros(200));
        }
    }
}

fn steps(workers: &[Worker]) -> u64 {
    workers.iter().map(|worker| worker.progress.steps()).sum()
}

fn watch(workers: &[Worker]) -> Vec<Watched<'_>> {
    workers.iter().map(|worker| Watched::new(worker, workers)).collect()
}

/// A worker that is to do something.
struct Watched<'a> {
    worker: &'a Worker,
    begun: Instant,
    /// What it had done then, and how many of its calls had returned.
    steps: u64,
    calls: u64,
    call: Call,
    /// Since when it has not been woken, and how often it was before.
    still: (Instant, u64),
}

/// A call that a worker is in.
struct Call {
    number: u64,
    since: Instant,
    /// How long the worker had been without a processor.
    starved: Duration,
    /// What all workers had done.
    steps: u64,
}

impl<'a> Watched<'a> {
    fn new(worker: &'a Worker, all: &[Worker]) -> Self {
        let call = Call::new(worker, all);
        let (begun, calls) = (call.since, call.number);
        let still = (begun, worker.child.times_awoken());
        Self { worker, begun, steps: worker.progress.steps(), calls, call, still }
    }

    fn is_idle(&self) -> bool {
        self.worker.progress.steps() == self.steps
    }

    /// How long it has slept and was not even woken.
    fn asleep(&mut self) -> Duration {
        let awoken = self.worker.child.times_awoken();
        if awoken != self.still.1 || self.worker.child.is_runnable() {
            self.still = (Instant::now(), awoken);
        }
        self.still.0.elapsed()
    }

    /// Notes how long it has waited, in the call that it is in or was, and for a step.
    fn look(&mut self, all: &[Worker], longest: &mut Longest) {
        let calls = self.worker.progress.calls();
        longest.note(self.call.wait(self.worker, all));
        if self.is_idle() {
            longest.note_barren(Barren { time: self.begun.elapsed(), calls: calls - self.calls });
        }
        if calls != self.call.number {
            self.call = Call::new(self.worker, all);
        }
    }
}

impl Call {
    fn new(worker: &Worker, all: &[Worker]) -> Self {
        let (number, since) = (worker.progress.calls(), Instant::now());
        Self { number, since, starved: worker.child.starved(), steps: steps(all) }
    }

    fn wait(&self, worker: &Worker, all: &[Worker]) -> Wait {
        let time = self.since.elapsed();
        Wait {
            time,
            // It is counted when it ends, and may have begun before the call did.
            starved: worker.child.starved().saturating_sub(self.starved).min(time),
            overtaken: steps(all) - self.steps,
        }
    }
}

fn stalled(who: &str, since: Instant) -> ! {
    eprintln!("{who} has done nothing for {:?}", since.elapsed());
    if std::env::var_os("MP_SOAK_STOP").is_some() {
        eprintln!("stopped for a debugger: process {}", std::process::id());
        std::thread::sleep(Duration::from_secs(600));
    }
    std::process::exit(1)
}
