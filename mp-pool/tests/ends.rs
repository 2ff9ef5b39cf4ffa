//! How a pool ends, and pools of many kinds.

mod common;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{LONG, pool_of, square};
use mp_pool::{Pool, TaskError};
use mp_process::StartMethod;
use mp_testkit::chaos;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = common::started![
        close_refuses_and_join_ends,
        what_is_handed_in_while_it_closes_is_done_or_refused,
        terminate_frees_waiting_callers,
        a_terminated_pool_brings_no_value_in_anothers_place,
        dropping_a_busy_pool_ends_it,
        a_stopped_worker_does_not_outlast_its_pool,
        a_cancel_before_the_end_is_no_hindrance,
        deaths_and_an_end_amid_large_tasks,
        a_callback_may_end_the_pool,
        pools_in_tasks,
        many_pools_leave_nothing,
    ];
    common::run(STARTED, mp_testkit::trials![no_workers_is_an_error])
}

fn close_refuses_and_join_ends(method: StartMethod) {
    let pool = pool_of(2, method);
    let pids = pool.pids();
    pool.close();
    let error = pool.apply(square, 1).unwrap_err();
    assert!(error.pool_error().unwrap().is_closed(), "{error}");
    pool.join();
    assert!(pids.iter().all(|pid| chaos::state(*pid).is_none()));
}

/// By threads that do not wait for whoever closes it.
fn what_is_handed_in_while_it_closes_is_done_or_refused(method: StartMethod) {
    for round in 0..40 {
        let pool = pool_of(2, method);
        let results = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for part in 0..3 {
                let (pool, results) = (&pool, &results);
                scope.spawn(move || {
                    loop {
                        let result = pool.apply_async(square, part);
                        let is_refused = result.ready() && pool.apply(square, 1).is_err();
                        results.lock().unwrap().push((part, result));
                        if is_refused {
                            return;
                        }
                    }
                });
            }
            thread::sleep(Duration::from_micros(100 * round));
            if round % 4 == 0 { pool.terminate() } else { pool.close() }
        });
        pool.join();
        for (part, result) in results.into_inner().unwrap() {
            assert!(result.wait_timeout(LONG), "one was forgotten");
            match result.get() {
                Ok(value) => assert_eq!(value, square(part)),
                Err(error) => assert!(error.pool_error().is_some_and(|error| error.is_closed()), "{error}"),
            }
        }
    }
}

fn a_terminated_pool_brings_no_value_in_anothers_place(method: StartMethod) {
    let pool = pool_of(2, method);
    let stuck = |x: u64| {
        if x == 3 {
            thread::sleep(Duration::from_secs(600));
        }
        x
    };
    thread::scope(|scope| {
        let mut values = pool.imap(stuck, 0..1000);
        assert!((0..3).all(|x| values.next().unwrap().unwrap() == x));
        // Those behind the third wait for it, and never get their turn.
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            pool.terminate();
        });
        assert!(values.next().unwrap().unwrap_err().pool_error().is_some());
        assert!(values.next().is_none());
    });
}

fn terminate_frees_waiting_callers(method: StartMethod) {
    let pool = pool_of(2, method);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.apply(|()| thread::sleep(Duration::from_secs(600)), ()));
        let also = scope.spawn(|| pool.map(|_: u8| thread::sleep(Duration::from_secs(600)), 0..10));
        thread::sleep(Duration::from_millis(100));
        pool.terminate();
        assert!(waiting.join().unwrap().unwrap_err().pool_error().is_some());
        assert!(also.join().unwrap().unwrap_err().pool_error().is_some());
    });
}

fn dropping_a_busy_pool_ends_it(method: StartMethod) {
    let pool = pool_of(2, method);
    let pids = pool.pids();
    let mut slow = pool.imap(|_: u8| thread::sleep(Duration::from_millis(50)), 0..100);
    slow.next().unwrap().unwrap();
    drop(slow);
    drop(pool);
    assert!(pids.iter().all(|pid| chaos::state(*pid).is_none()));
}

/// It hears of nothing, busy or idle, and is killed.
fn a_stopped_worker_does_not_outlast_its_pool(method: StartMethod) {
    for is_dropped in [true, false] {
        let pool = pool_of(3, method);
        let pids = pool.pids();
        let waiting = pool.apply_async(|()| thread::sleep(Duration::from_secs(600)), ());
        assert!(!waiting.wait_timeout(Duration::from_millis(50)));
        pids.iter().for_each(|pid| chaos::stop(*pid).unwrap());
        if is_dropped {
            drop(pool)
        } else {
            pool.terminate()
        }
        assert!(pids.iter().all(|pid| chaos::state(*pid).is_none()));
        assert!(waiting.get().unwrap_err().pool_error().is_some_and(|error| error.is_closed()));
    }
}

/// Running and queued ones, right before the pool is joined, closed or terminated.
fn a_cancel_before_the_end_is_no_hindrance(method: StartMethod) {
    for round in 0..12 {
        let pool = pool_of(2, method);
        let nap = |millis: u64| {
            thread::sleep(Duration::from_millis(millis));
            millis
        };
        let results: Vec<_> =
            (0..20).map(|at| pool.apply_async(nap, if at % 2 == 0 { 1 } else { 600_000 })).collect();
        thread::sleep(Duration::from_millis(round));
        results.iter().skip(1).step_by(2).for_each(|result| result.cancel());
        match round % 3 {
            0 => pool.join(),
            1 => pool.close(),
            _ => pool.terminate(),
        }
        for (at, result) in results.into_iter().enumerate() {
            match result.get() {
                Ok(millis) => assert_eq!((millis, at % 2), (1, 0)),
                Err(error) if at % 2 == 1 => {
                    assert!(error.is_cancelled() || error.pool_error().is_some(), "{error}")
                }
                Err(error) => assert!(round % 3 == 2 && error.pool_error().is_some(), "{error}"),
            }
        }
    }
}

/// Large arguments and results on their way each way, workers that are killed amid them, and an
/// end that waits for none of it.
fn deaths_and_an_end_amid_large_tasks(method: StartMethod) {
    for round in 0..8 {
        let pool = pool_of(2, method);
        let echo = |bytes: Vec<u8>| bytes;
        let large = |byte: u8| vec![byte; 6 << 20];
        let results: Vec<_> = (0..4).map(|byte| pool.apply_async(echo, large(byte))).collect();
        thread::sleep(Duration::from_millis(2 * round));
        pool.pids().into_iter().for_each(|pid| drop(chaos::kill(pid)));
        for (byte, result) in (0..).zip(results) {
            match result.get() {
                Ok(bytes) => assert!(bytes == large(byte)),
                Err(error) => assert!(error.is_worker_died(), "{error}"),
            }
        }
        let (results, pids): (Vec<_>, _) =
            ((0..4).map(|byte| pool.apply_async(echo, large(byte))).collect(), pool.pids());
        results[3].cancel();
        thread::sleep(Duration::from_millis(2 * round));
        pool.terminate();
        for result in results {
            let is_an_end = |error: &TaskError| error.pool_error().is_some() || error.is_cancelled();
            assert!(result.get().as_ref().err().is_none_or(is_an_end));
        }
        assert!(pids.iter().all(|pid| chaos::state(*pid).is_none()));
    }
}

fn a_callback_may_end_the_pool(method: StartMethod) {
    // A program with a thread for callbacks is not forked any more.
    let (pool, another) = (Arc::new(pool_of(2, method)), Arc::new(pool_of(1, method)));
    let pids = pool.pids();
    let waiting = pool.apply_async(|()| thread::sleep(Duration::from_secs(600)), ());
    let own = Arc::clone(&pool);
    let ended = pool.apply_async(square, 3).on_done(move |result| {
        assert_eq!(result.unwrap(), 9);
        own.terminate();
    });
    ended.join().unwrap();
    assert!(waiting.get().unwrap_err().pool_error().is_some_and(|error| error.is_closed()));
    assert!(pids.iter().all(|pid| chaos::state(*pid).is_none()));
    // The last handle may go with a callback as well.
    let own = Arc::clone(&another);
    let ended = another.apply_async(square, 4).on_done(move |_| drop(own));
    drop(another);
    ended.join().unwrap();
}

fn pools_in_tasks(method: StartMethod) {
    fn sum(n: u64) -> u64 {
        Pool::new(2).unwrap().map(square, 0..n).unwrap().iter().sum()
    }
    let pool = pool_of(2, method);
    assert_eq!(pool.map(sum, [10, 100]).unwrap(), [285, 328_350]);
}

fn many_pools_leave_nothing(method: StartMethod) {
    for _ in 0..20 {
        let pool = pool_of(2, method);
        assert_eq!(pool.apply(square, 5).unwrap(), 25);
    }
}

fn no_workers_is_an_error() {
    assert!(Pool::new(0).unwrap_err().to_string().contains("at least one"));
}
