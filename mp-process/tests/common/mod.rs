//! Runs a list of tests under each start method.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use ipc_core::{Message, pipe};
use mp_process::{Builder, Process, ProcessError, StartMethod};
use mp_testkit::Program;
use mp_testkit::harness::{Suite, Trial, soak_time, variants};

pub(crate) type Test = (&'static str, fn(StartMethod));

/// Lists the tests, by their names.
macro_rules! tests {
    ($($function:ident),* $(,)?) => {
        const TESTS: &[$crate::common::Test] = &[$((stringify!($function), $function)),*];
    };
}

pub(crate) use tests;

/// Names the one test that this program is to run by itself.
const ALONE: &str = "MP_PROCESS_ALONE";

pub(crate) fn run(tests: &'static [Test]) -> ExitCode {
    if let Ok(name) = env::var(ALONE) {
        mp_process::init();
        let (_, function) = tests.iter().find(|(known, _)| *known == name).expect("a known test");
        function(StartMethod::Fork);
        return ExitCode::SUCCESS;
    }
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    let trials = tests.iter().flat_map(|(name, function)| {
        let mut trials = variants(name, methods, *function);
        trials.push(Trial::new(format!("{name}::fork"), || in_a_program_without_threads(name)));
        trials
    });
    Suite::new(trials.collect()).warm_up(start_library_threads).run()
}

/// Trials run under a watchdog, which is a thread, and then a process cannot be forked.
fn in_a_program_without_threads(name: &str) {
    let limit = Duration::from_secs(50) + soak_time();
    let program = Program::this().expect("this program").env(ALONE, name);
    program.run(limit).expect("an end").expect_success();
}

/// The threads and servers that serve the whole program keep a few handles for good.
fn start_library_threads() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        spawn(method, |()| (), ()).expect("a child").join().expect("its end");
        // One server for children with arguments of their own is kept, too.
        let other = builder(method).args(["other"]).spawn(|()| (), ());
        other.expect("a child").join().expect("its end");
    }
    let (_tx, rx) = pipe::<u8>().expect("a pipe");
    assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
}

pub(crate) fn builder(method: StartMethod) -> Builder {
    Process::builder().start_method(method)
}

pub(crate) fn spawn<A: Message, R: Message>(
    method: StartMethod,
    function: fn(A) -> R,
    arg: A,
) -> Result<Process<R>, ProcessError> {
    builder(method).spawn(function, arg)
}
