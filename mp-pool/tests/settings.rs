//! What a pool can be asked for when it is made, under every start method.

mod common;

use std::process::ExitCode;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use common::{Tally, square};
use ipc_core::{Handle, pipe};
use mp_pool::Pool;
use mp_process::StartMethod;
use mp_testkit::chaos;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = &[
        ("tasks_run", tasks_run),
        ("state_stays_with_its_worker", state_stays_with_its_worker),
        ("an_initializer_runs_in_each_worker", an_initializer_runs_in_each_worker),
        ("a_replacement_is_set_up_like_the_first", a_replacement_is_set_up_like_the_first),
        ("only_the_first_workers_can_be_forks", only_the_first_workers_can_be_forks),
        ("a_failing_initializer_fails_the_pool", a_failing_initializer_fails_the_pool),
        (
            "an_initializer_that_ends_its_worker_fails_the_pool",
            an_initializer_that_ends_its_worker_fails_the_pool,
        ),
        ("workers_are_replaced_after_their_tasks", workers_are_replaced_after_their_tasks),
        ("a_backlog_outlives_its_workers_replacement", a_backlog_outlives_its_workers_replacement),
        ("a_task_out_of_time_is_stopped", a_task_out_of_time_is_stopped),
        ("a_killed_worker_is_replaced", a_killed_worker_is_replaced),
    ];
    let others = mp_testkit::trials![
        a_state_argument_may_hold_handles,
        a_state_argument_must_not_move,
        no_tasks_for_a_worker_is_an_error,
        try_map_ends_with_the_first_error,
        a_state_lost_with_its_worker_is_made_again,
    ];
    common::run(STARTED, others)
}

fn tasks_run(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
    assert_eq!(pool.map(square, 0..10_000).unwrap()[99], 9801);
    assert_eq!(pool.imap(square, 0..100).map(Result::unwrap).sum::<u64>(), 328_350);
    pool.join();
}

fn state_stays_with_its_worker(method: StartMethod) {
    let make = |start: u64| (start, std::process::id());
    let pool = Pool::builder().processes(2).start_method(method).state(make, 100).build().unwrap();
    let count = |state: &mut (u64, u32), step: u64| {
        assert_eq!(state.1, std::process::id());
        state.0 += step;
        *state
    };
    let counts = pool.map_state(count, vec![1; 50]).unwrap();
    let mut last_of_each = std::collections::HashMap::new();
    counts.into_iter().for_each(|(count, pid)| {
        let last = last_of_each.entry(pid).or_insert(100);
        *last = count.max(*last);
    });
    assert_eq!(last_of_each.values().map(|last| last - 100).sum::<u64>(), 50);
    assert!(pool.apply_state(count, 0).unwrap().0 > 100);
}

fn an_initializer_runs_in_each_worker(method: StartMethod) {
    static SEEN: OnceLock<String> = OnceLock::new();
    let remember = |text: String| SEEN.set(text).unwrap();
    let builder = Pool::builder().processes(3).start_method(method);
    let pool = builder.initializer(remember, "from the parent".to_owned()).build().unwrap();
    let seen = pool.map(|_: u8| SEEN.get().cloned(), 0..60).unwrap();
    assert!(seen.iter().all(|seen| seen.as_deref() == Some("from the parent")));
}

/// Whether it was killed, had done its tasks or is one more: with the argument, and what
/// that has of handles.
fn a_replacement_is_set_up_like_the_first(method: StartMethod) {
    static SEEN: OnceLock<String> = OnceLock::new();
    let (tally, text) = (Tally::new(), "from the parent".repeat(10_000));
    let make = |(tally, text): (Tally, String)| {
        tally.add(0, 1);
        SEEN.set(text.clone()).unwrap();
        (tally, text)
    };
    let builder = Pool::builder().processes(2).start_method(method).retries(1).max_tasks_per_child(30);
    let pool = builder.state(make, (tally.clone(), text.clone())).build().unwrap();
    let look = |(tally, text): &mut (Tally, String), (): ()| {
        tally.add(1, 1);
        (std::process::id(), SEEN.get() == Some(text), text.len())
    };
    for round in 0..6 {
        if round % 2 == 0 {
            pool.pids().into_iter().for_each(|pid| drop(chaos::kill(pid)));
        }
        pool.resize(2 + round).unwrap();
        let workers = pool.map_state(look, [(); 60]).unwrap();
        assert!(
            workers
                .iter()
                .all(|(pid, is_seen, len)| { *is_seen && *len == text.len() && *pid != std::process::id() })
        );
    }
    assert!(tally.get(0) >= 12, "{} workers were set up", tally.get(0));
    assert!(tally.get(1) >= 360, "{} tasks found the handle", tally.get(1));
}

/// What this process had in its memory is there in its forks, and not in what replaces them.
fn only_the_first_workers_can_be_forks(method: StartMethod) {
    static WORD: OnceLock<u32> = OnceLock::new();
    WORD.get_or_init(|| 7);
    let pool = Pool::builder().processes(2).start_method(method).retries(1).build().unwrap();
    let words = |pool: &Pool| pool.map(|(): ()| WORD.get().copied(), [(); 40]).unwrap();
    let first = (method == StartMethod::Fork).then_some(7);
    assert!(words(&pool).into_iter().all(|word| word == first));
    let workers = pool.pids();
    workers.iter().for_each(|pid| chaos::kill(*pid).unwrap());
    while pool.pids().iter().any(|pid| workers.contains(pid)) {
        pool.apply(square, 1).unwrap();
    }
    assert!(words(&pool).into_iter().all(|word| word.is_none()));
}

fn a_failing_initializer_fails_the_pool(method: StartMethod) {
    let starts = Tally::new();
    let fail = |(starts, why): (Tally, String)| {
        starts.add(0, 1);
        panic!("cannot begin: {why}")
    };
    let builder = Pool::builder().processes(2).start_method(method);
    let pool = builder.initializer(fail, (starts.clone(), "no licence".to_owned())).build().unwrap();
    let waiting = pool.apply_async(square, 3);
    let error = pool.map(square, 0..100).unwrap_err();
    assert!(error.pool_error().unwrap().is_broken(), "{error}");
    assert!(error.to_string().contains("no licence"), "{error}");
    assert!(waiting.get().unwrap_err().pool_error().unwrap().is_broken());
    assert!(pool.apply(square, 3).unwrap_err().pool_error().unwrap().is_broken());
    pool.terminate();
    // Three that fail are enough, and the other place may have had one on its way.
    assert!((3..=4).contains(&starts.get(0)), "{} workers were started", starts.get(0));
}

/// It has no panic to tell of, and the pool gives up all the same.
fn an_initializer_that_ends_its_worker_fails_the_pool(method: StartMethod) {
    let ends: [fn(Tally); 3] = [
        |starts| {
            starts.add(0, 1);
            std::process::exit(3)
        },
        |starts| {
            starts.add(0, 1);
            std::process::abort()
        },
        |starts| {
            starts.add(0, 1);
            chaos::kill(std::process::id()).unwrap();
        },
    ];
    for (end, how) in ends.into_iter().zip(["3", "SIGABRT", "SIGKILL"]) {
        let starts = Tally::new();
        let builder = Pool::builder().processes(2).start_method(method).retries(1000);
        let pool = builder.initializer(end, starts.clone()).build().unwrap();
        let waiting = pool.apply_async(square, 3);
        let error = pool.map(square, 0..100).unwrap_err();
        assert!(error.pool_error().is_some_and(|error| error.is_broken()), "{error}");
        assert!(error.to_string().contains(how), "{error}");
        assert!(waiting.get().unwrap_err().pool_error().unwrap().is_broken());
        pool.terminate();
        assert!((1..50).contains(&starts.get(0)), "{} workers were started", starts.get(0));
    }
}

fn workers_are_replaced_after_their_tasks(method: StartMethod) {
    let builder = Pool::builder().processes(2).start_method(method);
    let pool = builder.max_tasks_per_child(3).build().unwrap();
    let pids = pool.map(|_: u8| std::process::id(), 0..30).unwrap();
    let mut counts = std::collections::HashMap::new();
    pids.iter().for_each(|pid| *counts.entry(*pid).or_insert(0) += 1);
    assert!(counts.values().all(|count| *count <= 3), "{counts:?}");
    assert!(counts.len() >= 10);
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
    // Quick items that could travel together do not overrun it either.
    let builder = Pool::builder().processes(1).start_method(method);
    let pool = builder.max_tasks_per_child(40).build().unwrap();
    let mut counts = std::collections::HashMap::new();
    pool.imap(|_: u8| std::process::id(), [0; 400])
        .for_each(|pid| *counts.entry(pid.unwrap()).or_insert(0) += 1);
    assert!(counts.values().all(|count| *count <= 40), "{counts:?}");
    // Nor do the tasks of a map, which have as many items as fit.
    for items in [400, 90, 41] {
        let pids = pool.map(|x: u32| (std::process::id(), x), 0..items).unwrap();
        assert!(pids.iter().map(|(_, x)| *x).eq(0..items));
        pids.iter().for_each(|(pid, _)| *counts.entry(*pid).or_insert(0) += 1);
    }
    assert!(counts.values().all(|count| *count <= 40), "{counts:?}");
}

/// Nobody waits, each worker runs one task, and the pool is joined, dropped or terminated amid.
fn a_backlog_outlives_its_workers_replacement(method: StartMethod) {
    let one_each = || {
        let builder = Pool::builder().processes(2).start_method(method);
        builder.max_tasks_per_child(1).build().unwrap()
    };
    let pool = one_each();
    let results: Vec<_> = (0..30).map(|x| pool.apply_async(square, x)).collect();
    pool.join();
    assert!(results.into_iter().map(|result| result.get().unwrap()).eq((0..30).map(square)));
    for ends_by_drop in [true, false] {
        let pool = one_each();
        let results: Vec<_> = (0..30).map(|x| pool.apply_async(square, x)).collect();
        assert!(results[0].wait_timeout(Duration::from_secs(20)));
        if ends_by_drop {
            drop(pool);
        } else {
            pool.terminate();
        }
        for (x, result) in (0..).zip(results) {
            match result.get() {
                Ok(value) => assert_eq!(value, square(x)),
                Err(error) => assert!(error.pool_error().is_some_and(|error| error.is_closed()), "{error}"),
            }
        }
    }
}

fn a_task_out_of_time_is_stopped(method: StartMethod) {
    let builder = Pool::builder().processes(2).start_method(method);
    let pool = builder.task_timeout(Duration::from_millis(1500)).build().unwrap();
    let nap = |millis: u64| thread::sleep(Duration::from_millis(millis));
    let outcomes: Vec<_> = pool.imap(nap, [1, 600_000, 2, 3, 600_000, 4]).collect();
    let late: Vec<usize> = (0..6).filter(|i| outcomes[*i].is_err()).collect();
    assert_eq!(late, [1, 4]);
    assert!(outcomes[1].as_ref().unwrap_err().is_timed_out());
    assert!(pool.apply_async(nap, 600_000).get().unwrap_err().is_timed_out());
    assert_eq!(pool.map(square, 0..10).unwrap()[3], 9);
}

fn a_killed_worker_is_replaced(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).retries(1).build().unwrap();
    for _ in 0..10 {
        chaos::kill(pool.pids()[0]).unwrap();
        assert_eq!(pool.map(square, 0..1000).unwrap()[9], 81);
    }
}

fn a_state_argument_may_hold_handles() {
    let file = Handle::from(std::os::fd::OwnedFd::from(std::fs::File::open("/proc/version").unwrap()));
    let pool = Pool::builder().processes(3).state(|file: Handle| file, file).build().unwrap();
    let readable = |file: &mut Handle, _: u8| {
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(file.try_clone().unwrap()));
        file.metadata().is_ok()
    };
    assert!(pool.map_state(readable, 0..20).unwrap().into_iter().all(|ok| ok));
}

fn a_state_argument_must_not_move() {
    let (tx, _rx) = pipe::<u8>().unwrap();
    let error = Pool::builder().state(|_: ipc_core::Sender<u8>| (), tx).build().unwrap_err();
    assert!(error.to_string().contains("moves only once"), "{error}");
}

fn try_map_ends_with_the_first_error() {
    let pool = Pool::new(2).unwrap();
    let check = |x: u64| if x == 500 { Err(format!("{x} is wrong")) } else { Ok(x) };
    assert_eq!(pool.try_map(check, 0..).unwrap().unwrap_err(), "500 is wrong");
    assert_eq!(pool.try_map(check, 0..500).unwrap().unwrap().len(), 500);
    assert_eq!(pool.map(square, 0..10).unwrap()[3], 9);
}

fn a_state_lost_with_its_worker_is_made_again() {
    let pool = Pool::builder().processes(1).retries(1).state(|()| 0u32, ()).build().unwrap();
    let count = |seen: &mut u32, _: u8| {
        *seen += 1;
        *seen
    };
    assert_eq!(pool.map_state(count, 0..3).unwrap(), [1, 2, 3]);
    chaos::kill(pool.pids()[0]).unwrap();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(pool.map_state(count, 0..3).unwrap(), [1, 2, 3]);
}

fn no_tasks_for_a_worker_is_an_error() {
    let error = Pool::builder().processes(1).max_tasks_per_child(0).build().unwrap_err();
    assert!(error.to_string().contains("max_tasks_per_child"), "{error}");
    assert!(!error.is_broken() && !error.is_closed(), "{error}");
}
