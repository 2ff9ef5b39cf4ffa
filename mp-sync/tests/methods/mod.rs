//! Tests that run under each start method.

#![allow(dead_code)]

use std::process::{ExitCode, Termination};
use std::time::Duration;

use ipc_core::Message;
use mp_process::{Process, StartMethod};
use mp_sync::Lock;
use mp_testkit::harness::Outcome;
use mp_testkit::{Program, Suite, Trial, variants};

/// How long one test may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Names the one test that this program is to run by itself.
const ALONE: &str = "MP_SYNC_TEST_ALONE";

const OF_CLEAN_PROGRAMS: [(&str, StartMethod); 2] =
    [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];

/// A test that starts processes, by its name.
pub(crate) type Started<T> = (&'static str, fn(StartMethod) -> T);

/// A child, killed when dropped.
pub(crate) fn start<A: Message, R: Message>(
    method: StartMethod,
    function: fn(A) -> R,
    given: A,
) -> Process<R> {
    let builder = Process::builder().start_method(method).kill_on_drop(true);
    builder.spawn(function, given).expect("a child")
}

/// Runs each test under each start method.
pub(crate) fn run<T: Outcome + Termination + 'static>(tests: &[Started<T>]) -> ExitCode {
    if let Ok(name) = std::env::var(ALONE) {
        mp_process::init();
        let (_, test) = tests.iter().find(|(known, _)| *known == name).expect("a known test");
        return test(StartMethod::Fork).report();
    }
    let trials = tests.iter().flat_map(|(name, test)| {
        let mut trials = variants(name, OF_CLEAN_PROGRAMS, *test);
        trials.push(Trial::new(format!("{name}::fork"), || in_a_program_without_threads(name)));
        trials
    });
    Suite::new(trials.collect()).timeout(LIMIT).warm_up(warm_up).run()
}

/// Trials run under a watchdog, which is a thread, and then a process cannot be forked.
fn in_a_program_without_threads(name: &'static str) {
    let program = Program::this().expect("this program").env(ALONE, name);
    program.run(LIMIT - LIMIT / 6).expect("an end").expect_success();
}

/// The library's threads and the fork server keep a few handles for good, and a process the slab
/// from which its next objects are cut.
fn warm_up() {
    drop(Lock::new().unwrap());
    OF_CLEAN_PROGRAMS.iter().for_each(|(_, method)| start(*method, |()| (), ()).join().unwrap());
}

/// The tests of a suite, by their names.
macro_rules! tests {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn(mp_process::StartMethod) -> _)),*] };
}

pub(crate) use tests;
