//! What several suites need.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::{SharedMemory, pipe};
use mp_pool::{Builder, Pool};
use mp_process::{Process, StartMethod};
use mp_testkit::harness::{Suite, Trial, variants};
use mp_testkit::{Program, chaos};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longer than anything takes that does happen.
#[allow(dead_code)]
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The library's threads and the fork server keep a few handles for good.
pub(crate) fn start_library_threads() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        Process::builder().start_method(method).spawn(|()| (), ()).unwrap().join().unwrap();
    }
    let (_tx, rx) = pipe::<u8>().unwrap();
    assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
}

/// A test that is run under each start method.
#[allow(dead_code)]
pub(crate) type Started = (&'static str, fn(StartMethod));

/// A pool of workers that are started so.
#[allow(dead_code)]
pub(crate) fn pool_of(processes: usize, method: StartMethod) -> Pool {
    builder(method).processes(processes).build().unwrap()
}

/// Of pools whose workers are started so.
#[allow(dead_code)]
pub(crate) fn builder(method: StartMethod) -> Builder {
    Pool::builder().start_method(method)
}

/// Tests that are run under each start method, by their names.
#[allow(unused_macros)]
macro_rules! started {
    ($($function:ident),+ $(,)?) => { &[$((stringify!($function), $function)),+] };
}
#[allow(unused_imports)]
pub(crate) use started;

/// Names the one test that this program is to run by itself.
const ALONE: &str = "MP_POOL_TEST_ALONE";

/// How long a test may take that runs in a program of its own.
const USUAL: Duration = Duration::from_secs(50);

/// Runs a suite of tests for every start method, and others.
#[allow(dead_code)]
pub(crate) fn run(started: &'static [Started], others: Vec<Trial>) -> ExitCode {
    run_for(started, others, USUAL)
}

/// As [`run`], where each may take so long.
#[allow(dead_code)]
pub(crate) fn run_for(started: &'static [Started], others: Vec<Trial>, limit: Duration) -> ExitCode {
    if let Ok(name) = std::env::var(ALONE) {
        mp_process::init();
        let (_, function) = started.iter().find(|(known, _)| *known == name).expect("a known test");
        function(StartMethod::Fork);
        return ExitCode::SUCCESS;
    }
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    let started = started.iter().flat_map(move |(name, function)| {
        let mut trials = variants(name, methods, *function);
        trials.push(Trial::new(format!("{name}::fork"), move || in_a_program_without_threads(name, limit)));
        trials
    });
    let suite = Suite::new(started.chain(others).collect()).warm_up(start_library_threads);
    if limit > USUAL { suite.timeout(limit + USUAL).run() } else { suite.run() }
}

/// Trials run under a watchdog, which is a thread, and then a process cannot be forked.
fn in_a_program_without_threads(name: &str, limit: Duration) {
    let program = Program::this().expect("this program").env(ALONE, name);
    print!("{}", program.run(limit).expect("an end").expect_success().stdout);
}

/// Numbers that all processes see which have a clone.
#[derive(Debug, Clone)]
pub(crate) struct Tally(Arc<SharedMemory>);

#[allow(dead_code)]
impl Tally {
    pub(crate) fn new() -> Self {
        Self(Arc::new(SharedMemory::anonymous(64).unwrap()))
    }

    /// Adds to one of eight numbers; what it was.
    pub(crate) fn add(&self, place: usize, number: u64) -> u64 {
        self.0.atomic_u64(8 * place).fetch_add(number, Ordering::SeqCst)
    }

    pub(crate) fn get(&self, place: usize) -> u64 {
        self.0.atomic_u64(8 * place).load(Ordering::SeqCst)
    }

    /// Waits until a number is at least `least`.
    pub(crate) fn await_at_least(&self, place: usize, least: u64) {
        let begun = Instant::now();
        while self.get(place) < least {
            assert!(begun.elapsed() < LONG, "number {place} is only {}", self.get(place));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SharedMemory::deserialize(deserializer).map(|memory| Self(Arc::new(memory)))
    }
}

/// The usual quick task.
#[allow(dead_code)]
pub(crate) fn square(x: u64) -> u64 {
    x * x
}

/// Panics at odd numbers.
#[allow(dead_code)]
pub(crate) fn odd_panics(x: u32) -> u32 {
    if x % 2 == 1 { panic!("{x} is odd") } else { x }
}

/// Kills its worker at five.
#[allow(dead_code)]
pub(crate) fn die_at_five(x: u64) -> u64 {
    if x == 5 {
        chaos::kill(std::process::id()).unwrap();
    }
    x
}

/// Kills its worker at the first try of each third; a folder remembers.
#[allow(dead_code)]
pub(crate) fn die_once((path, x): (String, u32)) -> u32 {
    let mark = std::path::Path::new(&path).join(x.to_string());
    if x % 3 == 0 && std::fs::create_dir(mark).is_ok() {
        chaos::kill(std::process::id()).unwrap();
    }
    x
}
