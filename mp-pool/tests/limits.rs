//! Limits of time and memory, and what workers do when they leave.

mod common;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, Tally};
use mp_pool::{Pool, task_deadline};
use mp_process::StartMethod;
use mp_testkit::chaos;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = &[
        ("a_task_ends_by_its_soft_limit", a_task_ends_by_its_soft_limit),
        ("the_nearer_limit_is_told", the_nearer_limit_is_told),
        ("too_large_a_task_is_out_of_memory", too_large_a_task_is_out_of_memory),
        ("a_task_that_grows_too_much_is_stopped", a_task_that_grows_too_much_is_stopped),
        ("a_worker_that_grew_is_replaced", a_worker_that_grew_is_replaced),
        ("workers_report_when_they_leave", workers_report_when_they_leave),
    ];
    let others = mp_testkit::trials![
        a_slow_initializer_is_no_part_of_a_tasks_time,
        without_a_limit_there_is_no_deadline,
        a_limit_of_no_time_is_an_error,
        each_of_several_items_has_its_own_time,
        an_abort_without_a_limit_is_no_want_of_memory,
        an_exit_function_with_a_channel_end_is_refused,
        killed_workers_do_not_say_farewell,
        an_exit_function_that_panics_harms_nobody,
    ];
    common::run(STARTED, others)
}

fn square(x: u64) -> u64 {
    x * x
}

fn without_a_limit_there_is_no_deadline() {
    assert!(task_deadline().is_none());
    let pool = Pool::new(1).unwrap();
    assert!(pool.apply(|()| task_deadline().is_none(), ()).unwrap());
}

/// Works until the deadline; how long it had.
fn until_the_deadline((): ()) -> Duration {
    let begun = Instant::now();
    let deadline = task_deadline().expect("a deadline");
    while Instant::now() < deadline {
        // Every thread of the worker is told.
        assert_eq!(thread::spawn(task_deadline).join().unwrap(), Some(deadline));
        thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed()
}

fn a_task_ends_by_its_soft_limit(method: StartMethod) {
    let builder = Pool::builder().processes(2).start_method(method);
    let pool = builder.soft_timeout(Duration::from_millis(400)).task_timeout(LONG).build().unwrap();
    let before = pool.pids();
    for outcome in pool.imap(until_the_deadline, [(); 4]) {
        // It may lose time to others between its beginning and that of its clock.
        assert!(outcome.unwrap() >= Duration::from_millis(100));
    }
    // One that overruns it may.
    assert_eq!(pool.apply(|()| thread::sleep(Duration::from_millis(600)), ()).ok(), Some(()));
    assert_eq!(pool.pids(), before, "nobody was killed");
}

fn the_nearer_limit_is_told(method: StartMethod) {
    let builder = Pool::builder().processes(1).start_method(method).task_timeout(LONG);
    let left = |()| task_deadline().unwrap() - Instant::now();
    let pool = builder.build().unwrap();
    assert!(pool.apply(left, ()).unwrap() <= LONG);
    let builder = Pool::builder().processes(1).start_method(method).task_timeout(LONG);
    let pool = builder.soft_timeout(10 * LONG).build().unwrap();
    assert!(pool.apply(left, ()).unwrap() <= LONG);
}

fn a_limit_of_no_time_is_an_error() {
    let error = Pool::builder().processes(1).task_timeout(Duration::ZERO).build().unwrap_err();
    assert!(error.to_string().contains("leave it out for no limit"), "{error}");
    // The shortest there is limits, and nothing hangs.
    let pool = Pool::builder().processes(1).task_timeout(Duration::from_nanos(1)).build().unwrap();
    let outcome = pool.apply(|()| thread::sleep(LONG), ());
    assert!(outcome.as_ref().is_err_and(mp_pool::TaskError::is_timed_out), "{outcome:?}");
    // To be told that there is no time left is no error.
    let pool = Pool::builder().processes(1).soft_timeout(Duration::ZERO).build().unwrap();
    let left = |()| task_deadline().unwrap().saturating_duration_since(Instant::now());
    assert_eq!(pool.apply(left, ()).unwrap(), Duration::ZERO);
}

fn each_of_several_items_has_its_own_time() {
    let pool = Pool::builder().processes(1).soft_timeout(Duration::from_millis(400)).build().unwrap();
    let had = pool.imap(until_the_deadline, [(); 3]).chunk_size(3);
    assert!(had.map(Result::unwrap).all(|had| had >= Duration::from_millis(100)));
}

fn fill(len: usize) -> usize {
    std::hint::black_box(vec![1u8; len]).len()
}

fn too_large_a_task_is_out_of_memory(method: StartMethod) {
    let builder = Pool::builder().processes(2).start_method(method).memory_limit(2 << 30);
    let pool = builder.build().unwrap();
    let sizes = [1000, 8 << 30, 2000, 1 << 20];
    for (len, outcome) in sizes.into_iter().zip(pool.imap(fill, sizes)) {
        match outcome {
            Ok(filled) => assert!(filled == len && len < 8 << 30),
            Err(error) => {
                assert!(error.is_out_of_memory() && error.is_worker_died() && len == 8 << 30, "{error}");
                assert!(error.to_string().contains("refused more memory"), "{error}");
            }
        }
    }
    assert_eq!(pool.map(fill, [5; 100]).unwrap(), [5; 100]);
    let killed = pool.apply(|()| chaos::kill(std::process::id()).is_ok(), ()).unwrap_err();
    assert!(!killed.is_out_of_memory(), "{killed}");
}

fn an_abort_without_a_limit_is_no_want_of_memory() {
    let pool = Pool::new(1).unwrap();
    let error = pool.apply::<(), ()>(|()| std::process::abort(), ()).unwrap_err();
    assert!(error.is_worker_died() && !error.is_out_of_memory(), "{error}");
}

/// Takes memory bit by bit, and holds it for a while.
fn grow(mebibytes: usize) -> usize {
    let held: Vec<_> = (0..mebibytes).map(|_| std::hint::black_box(vec![1u8; 1 << 20])).collect();
    match mebibytes {
        0..=50 => {}
        51..=150 => thread::sleep(Duration::from_millis(300)),
        // It is stopped long before.
        _ => thread::sleep(LONG),
    }
    held.len()
}

fn a_task_that_grows_too_much_is_stopped(method: StartMethod) {
    let builder = Pool::builder().processes(2).start_method(method).retries(3).task_memory_limit(150 << 20);
    // What a worker has by itself does not count.
    let pool = builder.state(|len: usize| vec![1u8; len], 300 << 20).build().unwrap();
    let sizes = [1, 400, 20, 2, 600, 100, 3];
    for (size, outcome) in sizes.into_iter().zip(pool.imap(grow, sizes)) {
        match outcome {
            Ok(grown) => assert!(grown == size && size < 150),
            Err(error) => {
                assert!(error.is_over_memory_limit() && size > 150 && error.worker().is_some(), "{error}")
            }
        }
    }
    let begun = Instant::now();
    while pool.stats().restarts() < 2 && begun.elapsed() < LONG {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(pool.stats().restarts(), 2, "one for each, and none is tried again");
    // Also if nobody waits, or asks.
    let workers = pool.pids();
    let hold = |()| {
        let held = std::hint::black_box(vec![1u8; 400 << 20]);
        thread::sleep(Duration::from_secs(600));
        held.len()
    };
    let later = pool.apply_async(hold, ());
    let begun = Instant::now();
    while workers.iter().all(|pid| chaos::state(*pid).is_some_and(|state| state != 'Z')) {
        assert!(begun.elapsed() < LONG, "nobody stops it");
        thread::sleep(Duration::from_millis(5));
    }
    let error = later.get().unwrap_err();
    assert!(error.is_over_memory_limit() && !error.is_worker_died(), "{error}");
    assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
}

fn a_worker_that_grew_is_replaced(method: StartMethod) {
    let builder = Pool::builder().processes(1).start_method(method).max_memory_per_child(64 << 20);
    let pool = builder.build().unwrap();
    let leak = |x: u64| {
        thread::sleep(Duration::from_millis(2));
        std::mem::forget(vec![x as u8 | 1; 24 << 20]);
        std::process::id()
    };
    // What a task needs for a moment may be more.
    let first = pool.pids();
    assert_eq!(pool.apply(fill, 200 << 20).unwrap(), 200 << 20);
    assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
    assert_eq!(pool.pids(), first);
    let mut workers = pool.map(leak, 0..12).unwrap();
    workers.dedup();
    assert!((3..=12).contains(&workers.len()), "{} workers for twelve leaks", workers.len());
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
    assert_eq!(pool.workers(), 1);
}

fn workers_report_when_they_leave(method: StartMethod) {
    let tally = Tally::new();
    let builder = Pool::builder().processes(3).start_method(method).max_tasks_per_child(40);
    let builder = builder.state(|()| 0u64, ());
    let report = |sum: &mut u64, tally: Tally| {
        tally.add(0, *sum);
        tally.add(1, 1);
    };
    let pool = builder.at_exit(report, tally.clone()).build().unwrap();
    pool.map_state(|sum: &mut u64, x: u64| *sum += x, 0..200).unwrap();
    pool.resize(1).unwrap();
    pool.join();
    assert_eq!(tally.get(0), (0..200).sum());
    assert!(tally.get(1) >= 5, "{} left", tally.get(1));
}

fn killed_workers_do_not_say_farewell() {
    let tally = Tally::new();
    let builder = Pool::builder().processes(1).state(|()| (), ());
    let farewell = |_: &mut (), tally: Tally| {
        tally.add(0, 1);
    };
    let pool = builder.at_exit(farewell, tally.clone()).build().unwrap();
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
    chaos::kill(pool.pids()[0]).unwrap();
    assert_eq!(pool.apply(square, 2).unwrap_or(4), 4);
    drop(pool);
    assert_eq!(tally.get(0), 0);
}

fn an_exit_function_with_a_channel_end_is_refused() {
    let (tx, _rx) = ipc_core::pipe::<u8>().unwrap();
    let builder = Pool::builder().processes(1).state(|()| (), ());
    let error = builder.at_exit(|(), _: ipc_core::Sender<u8>| (), tx).build().unwrap_err();
    assert!(error.to_string().contains("moves only once"), "{error}");
}

fn an_exit_function_that_panics_harms_nobody() {
    let builder = Pool::builder().processes(2).max_tasks_per_child(1).state(|()| (), ());
    let pool = builder.at_exit(|(), ()| panic!("no farewell"), ()).build().unwrap();
    assert_eq!(pool.map(square, 0..20).unwrap()[7], 49);
    pool.join();
}

fn a_slow_initializer_is_no_part_of_a_tasks_time() {
    let slowly = |()| std::thread::sleep(Duration::from_secs(2));
    let builder = Pool::builder().processes(2).task_timeout(Duration::from_secs(1));
    let pool = builder.initializer(slowly, ()).build().unwrap();
    let pids = pool.pids();
    assert_eq!(pool.apply(|x: u64| x * x, 3).unwrap(), 9);
    assert_eq!(pool.pids(), pids, "a worker was killed for its initializer");
    // The time of a task is limited all the same.
    let error = pool.apply(|()| std::thread::sleep(Duration::from_secs(600)), ()).unwrap_err();
    assert!(error.is_timed_out(), "{error}");
}
