//! Whole programs with a pool: what Ctrl-C, a kill and threads do to it.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, thread};

use mp_pool::Pool;
use mp_process::StartMethod;
use mp_testkit::harness::{Suite, Trial};
use mp_testkit::{Census, Program, chaos};

/// Names what this program is to do.
const ROLE: &str = "MP_POOL_PROGRAM";
const LIMIT: Duration = Duration::from_secs(40);
const METHODS: [(&str, StartMethod); 3] =
    [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer), ("fork", StartMethod::Fork)];

fn main() -> ExitCode {
    if let Ok(role) = env::var(ROLE) {
        mp_process::init();
        let (role, method) = role.split_once(' ').unwrap();
        let method = METHODS.iter().find(|known| known.0 == method).unwrap().1;
        match role {
            "busy" => be_busy(method),
            _ => have_threads(method),
        }
        return ExitCode::SUCCESS;
    }
    let each = |name: &str, run: fn(&'static str)| {
        let trial = |(method, _): (&'static str, StartMethod)| {
            Trial::new(format!("{name}::{method}"), move || run(method))
        };
        METHODS.map(trial)
    };
    let trials = [
        each("ctrl_c_reaches_the_owner_alone", ctrl_c_reaches_the_owner_alone),
        each("workers_end_with_their_killed_owner", workers_end_with_their_killed_owner),
        each("a_program_with_threads_forks_none_of_them", a_program_with_threads_forks_none_of_them),
    ];
    Suite::new(trials.into_iter().flatten().collect()).run()
}

fn program(role: &str, method: &str) -> Program {
    Program::this().unwrap().env(ROLE, format!("{role} {method}"))
}

/// Has workers that wait, and one that is at a task.
fn be_busy(method: StartMethod) {
    let pool = Pool::builder().processes(3).start_method(method).build().unwrap();
    let nap = |()| {
        println!("started");
        std::io::stdout().flush().unwrap();
        thread::sleep(Duration::from_secs(600));
    };
    let _ = pool.apply(nap, ());
}

fn ctrl_c_reaches_the_owner_alone(method: &'static str) {
    let before = Census::take();
    let running = program("busy", method).start().unwrap();
    running.wait_for_line("started", LIMIT).unwrap();
    running.ctrl_c().unwrap();
    let finished = running.finish(LIMIT).unwrap();
    assert_eq!((finished.signal(), finished.stderr.as_str()), (Some(2), ""));
    before.assert_level();
}

fn workers_end_with_their_killed_owner(method: &'static str) {
    let before = Census::take();
    let mut running = program("busy", method).start().unwrap();
    running.wait_for_line("started", LIMIT).unwrap();
    running.kill().unwrap();
    running.wait(LIMIT).unwrap();
    let killed = Instant::now();
    while !before.diff().processes.is_empty() {
        assert!(killed.elapsed() < LIMIT, "still there: {:?}", before.diff().processes);
        thread::sleep(Duration::from_millis(2));
    }
}

/// A thread that holds what others need must not be copied half.
fn have_threads(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
    let thread = thread::Builder::new().name("busy".into());
    thread.spawn(|| thread::sleep(Duration::from_secs(600))).unwrap();
    let beside = Pool::builder().processes(2).start_method(method).build();
    if method == StartMethod::Fork {
        let error = beside.unwrap_err().to_string();
        assert!(error.contains("threads") && error.contains("busy"), "{error}");
    } else {
        assert_eq!(beside.unwrap().apply(|x: u32| x, 3).unwrap(), 3);
    }
    // One whose workers were forks before goes on, and replaces those that die.
    for _ in 0..3 {
        chaos::kill(pool.pids()[0]).unwrap();
        thread::sleep(Duration::from_millis(10));
        assert_eq!(pool.map(|x: u64| x * x, 0..100).unwrap()[9], 81);
    }
}

fn a_program_with_threads_forks_none_of_them(method: &'static str) {
    program("threads", method).run(LIMIT).unwrap().expect_success();
}
