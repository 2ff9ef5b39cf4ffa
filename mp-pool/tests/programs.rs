//! Whole programs with a pool: what Ctrl-C, a kill and threads do to it.

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{env, thread};

use mp_pool::Pool;
use mp_process::{Process, StartMethod};
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
            "forks" => fork_amid(method),
            "begins" => begin_again(method),
            "loses" => lose_newcomers(method),
            "leaves" => leave_amid_tasks(method),
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
        each(
            "an_owner_killed_as_its_workers_come_leaves_none",
            an_owner_killed_as_its_workers_come_leaves_none,
        ),
        each("workers_killed_as_they_come_are_replaced", workers_killed_as_they_come_are_replaced),
        each("a_program_that_ends_amid_tasks_leaves_nothing", a_program_that_ends_amid_tasks_leaves_nothing),
        each("a_fork_leaves_its_parents_pool_alone", a_fork_leaves_its_parents_pool_alone),
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

/// Returns from `main` while pools that nothing drops are at work, and one replaces its workers.
fn leave_amid_tasks(method: StartMethod) {
    static POOLS: OnceLock<[Pool; 2]> = OnceLock::new();
    let build = |most: u32| {
        let builder = Pool::builder().processes(2).start_method(method);
        builder.max_tasks_per_child(most).build().unwrap()
    };
    let pools = POOLS.get_or_init(|| [build(1), build(1000)]);
    let nap = |millis: u64| thread::sleep(Duration::from_millis(millis));
    std::mem::forget(pools.each_ref().map(|pool| pool.map_async(nap, vec![3; 300])));
    std::mem::forget(pools[1].apply_async(nap, 600_000).on_done(|_| ()));
    pools[0].apply(nap, 1).unwrap();
    pools[1].close();
}

fn a_program_that_ends_amid_tasks_leaves_nothing(method: &'static str) {
    let before = Census::take();
    program("leaves", method).run(LIMIT).unwrap().expect_success();
    before.assert_level();
}

/// Has pools one after the other, each of which ends while its workers come up.
fn begin_again(method: StartMethod) {
    for round in 0u64.. {
        let pool = Pool::builder().processes(6).start_method(method).build().unwrap();
        if round == 1 {
            println!("started");
            std::io::stdout().flush().unwrap();
        }
        if round % 2 == 0 {
            assert_eq!(pool.apply(|x: u64| x + 1, round).unwrap(), round + 1);
        }
    }
}

fn an_owner_killed_as_its_workers_come_leaves_none(method: &'static str) {
    for turn in 0..8u32 {
        let before = Census::take();
        let mut running = program("begins", method).start().unwrap();
        running.wait_for_line("started", LIMIT).unwrap();
        thread::sleep(Duration::from_micros(700) * turn);
        running.kill().unwrap();
        running.wait(LIMIT).unwrap();
        drop(running);
        before.assert_level();
    }
}

/// Some of the workers are killed before they take a task.
fn lose_newcomers(method: StartMethod) {
    let begin = |every: u32| {
        if std::process::id().is_multiple_of(every) {
            let _ = chaos::kill(std::process::id());
        }
    };
    for _ in 0..10 {
        let pool = Pool::builder().processes(5).start_method(method).state(begin, 3).build().unwrap();
        let squares = pool.map(|x: u64| x * x, 0..200).unwrap();
        assert!(squares.into_iter().eq((0..200).map(|x| x * x)));
    }
}

fn workers_killed_as_they_come_are_replaced(method: &'static str) {
    let before = Census::take();
    program("loses", method).run(LIMIT).unwrap().expect_success();
    before.assert_level();
}

/// The library's threads are known by their names, which one that was just started on a busy
/// machine has yet to take.
fn await_names() {
    let main = std::fs::read_to_string("/proc/self/comm").unwrap();
    let is_nameless = |task: &std::path::Path| {
        let is_other = !task.ends_with(std::process::id().to_string());
        is_other && std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == main)
    };
    let begun = Instant::now();
    while std::fs::read_dir("/proc/self/task").unwrap().any(|task| is_nameless(&task.unwrap().path())) {
        assert!(begun.elapsed() < LIMIT / 2, "a thread of the program's");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Forks while tasks are handed in, queued and under way, and while the pool's own thread is
/// in the middle of anything.
fn fork_amid(method: StartMethod) {
    let pool = Arc::new(Pool::builder().processes(2).start_method(method).build().unwrap());
    let square = |x: u64| x * x;
    let mut results = Vec::new();
    for round in 0..20u64 {
        results.extend((0..500).map(|x| pool.apply_async(square, 1000 * round + x)));
        let (theirs, result) = (Arc::clone(&pool), pool.apply_async(square, 3));
        await_names();
        let child = Process::fork(move || {
            let told = theirs.apply(square, 5).unwrap_err().pool_error().unwrap().is_forked()
                && theirs.map(square, 0..9).unwrap_err().pool_error().unwrap().is_forked()
                && theirs.apply_async(square, 5).get().unwrap_err().to_string().contains("make one here")
                && theirs.imap(square, 0..9).next().unwrap().is_err()
                && theirs.resize(3).unwrap_err().is_forked()
                && theirs.share(&7).is_err()
                && result.ready()
                && result.get().is_err();
            theirs.close();
            theirs.terminate();
            (told, theirs.pids().len(), theirs.stats().workers.len())
        });
        await_names();
        // One of its own is as good as any.
        let own = Pool::builder().processes(1).start_method(StartMethod::Fork).build().unwrap();
        let squares: Vec<_> = (0..50).map(|x| own.apply_async(square, x)).collect();
        assert!(squares.into_iter().map(|square| square.get().unwrap()).eq((0..50).map(square)));
        assert_eq!(child.unwrap().join().unwrap(), (true, 0, 0));
    }
    for (at, result) in results.into_iter().enumerate() {
        let (round, x) = (at as u64 / 500, at as u64 % 500);
        assert_eq!(result.get().unwrap(), square(1000 * round + x));
    }
    assert_eq!((pool.apply(square, 4).unwrap(), pool.pids().len()), (16, 2));
}

fn a_fork_leaves_its_parents_pool_alone(method: &'static str) {
    program("forks", method).run(LIMIT).unwrap().expect_success();
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
