//! How soon is it known that one of a thousand processes has ended, and how?
//!
//! A third of them was started by each start method, and one after the other ends, in turn by every means.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::process::{abort, exit};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::raw::{Region, wait_on, wake};
use ipc_core::{Waitable, wait};
use mp_process::{Process, ProcessError, StartMethod};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::Row;
use crate::clock::of_times;
use crate::contest::{Answer, Failure, Job, Mode};

const QUESTION: &str = "end-in-crowd";

/// How many they are, and which of the times of their ends is told.
const CROWD: usize = 1000;
const MEDIAN: usize = 0;
const LATEST: usize = 1;

pub(super) fn rows() -> [Row; 2] {
    let row = |name: &str, number, most| Row::times(name, Mode::Free, QUESTION, number).within(most);
    [
        row("process/end-noticed-of-1000", MEDIAN, 1000),
        row("process/end-noticed-of-1000-latest", LATEST, 5000),
    ]
}

pub(super) fn ours(job: &Job) -> Option<Result<Answer, Failure>> {
    (job.question == QUESTION).then(|| end_in_crowd(job))
}

fn end_in_crowd(job: &Job) -> Result<Answer, Failure> {
    thread_local! {
        // They sleep on between two questions.
        static ALL: RefCell<Option<Crowd>> = const { RefCell::new(None) };
    }
    ALL.with_borrow_mut(|all| {
        let crowd = match all {
            Some(crowd) => crowd,
            None => all.insert(Crowd::start()?),
        };
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < job.budget || times.len() < METHODS.len() * MEANS.len() {
            let (method, turn) = (times.len() % METHODS.len(), times.len() / METHODS.len());
            let at = turn * 35 % (CROWD / METHODS.len()) * METHODS.len() + method;
            times.push(crowd.end_one(at, MEANS[turn % MEANS.len()])?);
        }
        let answer = of_times(&mut times);
        Ok(match (job.number, answer.max) {
            (LATEST, Some(max)) => Answer { value: max, ..answer },
            _ => answer,
        })
    })
}

/// Those of the processes, by turns.
const METHODS: [StartMethod; 3] = [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork];

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Value,
    Exit,
    Panic,
    Abort,
    Kill,
    Terminate,
}

const MEANS: [Means; 6] =
    [Means::Value, Means::Exit, Means::Panic, Means::Abort, Means::Kill, Means::Terminate];

impl Means {
    /// Whether this is what is told of the process `number`.
    fn explains(self, number: u32, result: &Result<u32, ProcessError>) -> bool {
        match (self, result) {
            (Self::Value, Ok(value)) => *value == number,
            (Self::Exit, Err(error)) => error.exit_code() == Some(3),
            (Self::Panic, Err(error)) => error.panic().is_some_and(|panic| panic.message() == "at the end"),
            (Self::Abort, Err(error)) => error.signal() == Some(libc::SIGABRT),
            (Self::Kill, Err(error)) => error.signal() == Some(libc::SIGKILL),
            (Self::Terminate, Err(error)) => error.signal() == Some(libc::SIGTERM),
            _ => false,
        }
    }
}

/// In the words of each child: it is not there yet, or it waits for a word; else by which of the means it is
/// to end, behind these.
const ABSENT: u32 = 0;
const WAITS: u32 = 1;
const FIRST: u32 = 2;

/// What all share: a word for each child, and when it has begun to end.
#[derive(Debug, Clone)]
struct Words(Region);

impl Words {
    fn word(&self, number: u32) -> &AtomicU32 {
        self.0.atomic_u32(Region::HEAD + 16 * number as usize)
    }

    fn moment(&self, number: u32) -> &AtomicU64 {
        self.0.atomic_u64(Region::HEAD + 16 * number as usize + 8)
    }

    fn say(&self, number: u32, word: u32) {
        self.word(number).store(word, Ordering::SeqCst);
        wake(self.word(number), 1);
    }

    /// Waits until the word of `number` is no longer `word`.
    fn wait_while(&self, number: u32, word: u32) -> Result<u32, Failure> {
        loop {
            let now = self.word(number).load(Ordering::SeqCst);
            if now != word {
                return Ok(now);
            }
            wait_on(self.word(number), word, None)?;
        }
    }
}

struct Crowd {
    words: Words,
    all: Vec<Process<u32>>,
}

impl Crowd {
    fn start() -> Result<Self, Failure> {
        raise_handles()?;
        let words = Words(Region::create(Region::HEAD + 16 * CROWD)?);
        let mut crowd = Self { words, all: Vec::new() };
        for number in 0..CROWD {
            let child = crowd.start_one(number)?;
            crowd.all.push(child);
        }
        Ok(crowd)
    }

    /// Starts the child `number`, which sleeps when this returns, or is about to.
    fn start_one(&self, number: usize) -> Result<Process<u32>, Failure> {
        let method = METHODS[number % METHODS.len()];
        let number = u32::try_from(number)?;
        self.words.word(number).store(ABSENT, Ordering::SeqCst);
        let builder = Process::builder().start_method(method).join_at_exit(Duration::ZERO);
        // What is dumped is written before the end is told to anybody.
        let builder = builder.limit(mp_process::Resource::CoreSize, 0);
        let child = builder.spawn(live, (self.words.0.clone(), number))?;
        self.words.wait_while(number, ABSENT)?;
        Ok(child)
    }

    /// From the end of a process, or the signal for it, to the knowledge of which of them has ended.
    fn end_one(&mut self, at: usize, means: Means) -> Result<f64, Failure> {
        let number = u32::try_from(at)?;
        let sentinels: Vec<_> = self.all.iter().map(Process::sentinel).collect();
        let items: Vec<&dyn Waitable> = sentinels.iter().map(|sentinel| sentinel as &dyn Waitable).collect();
        self.words.moment(number).store(now(), Ordering::SeqCst);
        match means {
            Means::Kill => self.all[at].kill()?,
            Means::Terminate => self.all[at].terminate()?,
            _ => self.words.say(number, FIRST + means as u32),
        }
        let ended = wait(&items, None)?;
        let time = now() - self.words.moment(number).load(Ordering::SeqCst);
        if ended != [at] {
            return Err(format!("{ended:?} ended, and not {at}").into());
        }
        let next = self.start_one(at)?;
        let result = std::mem::replace(&mut self.all[at], next).join();
        if !means.explains(number, &result) {
            return Err(format!("{result:?} is told of an end by {means:?}").into());
        }
        Ok(time as f64 / 1e3)
    }
}

/// A child: waits until it is told to end, and by what means.
fn live((region, number): (Region, u32)) -> u32 {
    let words = Words(region);
    words.say(number, WAITS);
    let word = words.wait_while(number, WAITS).expect("a word in shared memory");
    words.moment(number).store(now(), Ordering::SeqCst);
    match MEANS[(word - FIRST) as usize] {
        Means::Value => number,
        Means::Exit => exit(3),
        // Without the backtrace, which the child would make before its end.
        Means::Panic => resume_unwind(Box::new("at the end")),
        Means::Abort => abort(),
        // By its parent.
        Means::Kill | Means::Terminate => loop {
            thread::park();
        },
    }
}

/// Nanoseconds of the clock that all processes have in common.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A thousand processes take two thousand handles, and as a rule a process may have fewer.
fn raise_handles() -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}
