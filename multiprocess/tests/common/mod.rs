//! Runs a suite's tests: those that start processes under each start method.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use mp_testkit::Program;
use mp_testkit::harness::{Suite, Trial, variants};
use multiprocess::process::Builder;
use multiprocess::{Message, Process, ProcessError, Queue, Semaphore, StartMethod, pipe};

/// Short enough to wait for in vain.
#[allow(dead_code)]
pub(crate) const SHORT: Duration = Duration::from_millis(20);
/// Longer than anything takes that does happen.
#[allow(dead_code)]
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A test that starts processes.
pub(crate) type Test = (&'static str, fn(StartMethod));
/// A test within one process.
pub(crate) type Plain = (&'static str, fn());

/// Lists the tests, by their names, and runs them in `main`: `started` ones under each start
/// method, `plain` ones once.
macro_rules! suite {
    (started: [$($started:ident),* $(,)?], plain: [$($plain:ident),* $(,)?] $(,)?) => {
        fn main() -> std::process::ExitCode {
            const STARTED: &[$crate::common::Test] = &[$((stringify!($started), $started)),*];
            const PLAIN: &[$crate::common::Plain] = &[$((stringify!($plain), $plain)),*];
            $crate::common::run(STARTED, PLAIN)
        }
    };
}

pub(crate) use suite;

/// Names the one test that this program is to run by itself.
const ALONE: &str = "MULTIPROCESS_TEST_ALONE";

pub(crate) fn run(started: &'static [Test], plain: &'static [Plain]) -> ExitCode {
    if let Ok(name) = env::var(ALONE) {
        multiprocess::init();
        let (_, function) = started.iter().find(|(known, _)| *known == name).expect("a known test");
        function(StartMethod::Fork);
        return ExitCode::SUCCESS;
    }
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    let started = started.iter().flat_map(|(name, function)| {
        let mut trials = variants(name, methods, *function);
        trials.push(Trial::new(format!("{name}::fork"), || in_a_program_without_threads(name)));
        trials
    });
    let plain = plain.iter().map(|(name, function)| Trial::new(*name, *function));
    Suite::new(started.chain(plain).collect()).warm_up(start_library_threads).run()
}

/// Trials run under a watchdog, which is a thread, and then a process cannot be forked.
fn in_a_program_without_threads(name: &str) {
    let program = Program::this().expect("this program").env(ALONE, name);
    program.run(Duration::from_secs(50)).expect("an end").expect_success();
}

/// The threads, servers and memory that serve the whole program keep a few handles for good.
fn start_library_threads() {
    let queue = Queue::new().expect("memory");
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let put = |queue: Queue<u8>| queue.put(1).is_ok();
        assert!(spawn(method, put, queue.clone()).expect("a child").join().expect("its end"));
        // One server for children with arguments of their own is kept, too.
        let other = builder(method).args(["other"]).spawn(|()| (), ());
        other.expect("a child").join().expect("its end");
    }
    // Who waits longer than a moment has the ends of others told.
    assert!(Semaphore::new(0).expect("memory").acquire_timeout(SHORT).is_err());
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
