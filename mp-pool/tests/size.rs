//! How many workers there are, and which tasks come first.

mod common;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, Tally, start_library_threads};
use mp_pool::{Pool, as_completed};
use mp_process::{Process, Resource, StartMethod};
use mp_testkit::chaos;
use mp_testkit::harness::{Suite, variants};

fn main() -> ExitCode {
    let mut trials = mp_testkit::trials![
        more_workers_than_the_system_allows_are_refused_at_once,
        resizing_to_nothing_is_an_error,
        a_terminated_pool_is_not_resized,
        a_sleeping_caller_hears_of_new_workers,
        workers_that_are_to_leave_finish_what_they_hold,
        idle_workers_leave_and_come_back,
        some_workers_stay_though_idle,
        a_busy_worker_does_not_leave,
        an_idle_worker_that_is_killed_is_not_missed,
        urgent_tasks_come_first,
        a_view_of_a_pool_does_not_end_it,
        retried_tasks_keep_their_priority,
        threads_use_a_pool_whose_workers_come_and_go,
    ];
    let methods = [("spawn", StartMethod::Spawn), ("forkserver", StartMethod::ForkServer)];
    trials.extend(variants("workers_are_killed_while_the_pool_is_resized", methods, kill_and_resize));
    trials.extend(variants("a_pool_grows_and_shrinks_while_it_works", methods, grow_and_shrink));
    Suite::new(trials).warm_up(start_library_threads).run()
}

fn square(x: u64) -> u64 {
    x * x
}

fn nap(millis: u64) -> u64 {
    thread::sleep(Duration::from_millis(millis));
    millis
}

/// Waits until the pool has so many workers.
fn await_workers<S: 'static>(pool: &Pool<S>, count: usize) {
    let begun = Instant::now();
    while pool.pids().len() != count {
        assert!(begun.elapsed() < LONG, "{} workers, not {count}", pool.pids().len());
        thread::sleep(Duration::from_millis(1));
    }
}

fn resizing_to_nothing_is_an_error() {
    let pool = Pool::new(1).unwrap();
    assert!(pool.resize(0).unwrap_err().to_string().contains("at least one"));
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
}

fn a_terminated_pool_is_not_resized() {
    let pool = Pool::new(1).unwrap();
    pool.terminate();
    assert!(pool.resize(2).unwrap_err().is_closed());
    assert!(pool.pids().is_empty());
}

fn grow_and_shrink(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
    let tally = Tally::new();
    let work = |(tally, x): (Tally, u64)| {
        tally.add(0, 1);
        x
    };
    thread::scope(|scope| {
        let (pool, sizes) = (&pool, [5, 1, 3, 2, 8, 1, 4]);
        let mapped = scope.spawn(|| pool.map(work, (0..30_000).map(|x| (tally.clone(), x))).unwrap());
        let results = as_completed((0..500).map(|x| pool.apply_async(work, (tally.clone(), x))));
        for size in sizes.into_iter().cycle().take(28) {
            pool.resize(size).unwrap();
            assert_eq!(pool.workers(), size);
            thread::sleep(Duration::from_millis(2));
        }
        assert!(results.map(|(place, x)| (place as u64, x.unwrap())).all(|(place, x)| place == x));
        assert!(mapped.join().unwrap().into_iter().eq(0..30_000));
    });
    assert_eq!(tally.get(0), 30_500, "each was run exactly once");
    await_workers(&pool, 4);
    assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
}

fn a_sleeping_caller_hears_of_new_workers() {
    let pool = Pool::new(1).unwrap();
    let stuck = pool.apply_async(nap, 600_000);
    let tally = Tally::new();
    thread::scope(|scope| {
        let quick = scope.spawn(|| {
            tally.add(0, 1);
            pool.map(square, 0..10).unwrap()
        });
        tally.await_at_least(0, 1);
        thread::sleep(Duration::from_millis(20));
        // The only worker is busy, and the caller sleeps.
        pool.resize(2).unwrap();
        assert_eq!(quick.join().unwrap()[9], 81);
    });
    drop(stuck);
}

fn workers_that_are_to_leave_finish_what_they_hold() {
    let pool = Pool::new(4).unwrap();
    let tally = Tally::new();
    let begin = |(tally, x): (Tally, u64)| {
        tally.add(0, 1);
        nap(50) + x
    };
    let results: Vec<_> = (0..12).map(|x| pool.apply_async(begin, (tally.clone(), x))).collect();
    tally.await_at_least(0, 4);
    let before: BTreeSet<u32> = pool.pids().into_iter().collect();
    pool.resize(1).unwrap();
    let values: Vec<u64> = results.into_iter().map(|result| result.get().unwrap()).collect();
    assert_eq!(values, (50..62).collect::<Vec<_>>());
    await_workers(&pool, 1);
    assert!(pool.pids().iter().all(|pid| before.contains(pid)), "the one that stays is no new one");
    assert_eq!(tally.get(0), 12);
}

fn idle_workers_leave_and_come_back() {
    let pool = Pool::builder().processes(3).idle_timeout(Duration::from_millis(20)).build().unwrap();
    for _ in 0..3 {
        await_workers(&pool, 0);
        assert_eq!(pool.apply(square, 4).unwrap(), 16);
        // It may have left again.
        assert!(pool.pids().len() <= 1, "one task needs one worker");
        assert_eq!(pool.map(nap, [30; 3]).unwrap().len(), 3);
        let later: Vec<_> = (0..3).map(|_| pool.apply_async(nap, 30)).collect();
        assert!(later.into_iter().all(|nap| nap.get().is_ok()));
    }
    await_workers(&pool, 0);
    // One that nobody waits for is begun by a new worker too.
    let tally = Tally::new();
    drop(
        pool.apply_async(|tally: Tally| tally.add(0, 1), tally.clone())
            .on_done(|result| assert!(result.is_ok())),
    );
    tally.await_at_least(0, 1);
    await_workers(&pool, 0);
    pool.join();
}

fn some_workers_stay_though_idle() {
    let builder = Pool::builder().processes(4).idle_timeout(Duration::from_millis(5));
    let pool = builder.min_processes(2).build().unwrap();
    await_workers(&pool, 2);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(pool.pids().len(), 2);
    let staying = pool.pids();
    assert_eq!(pool.apply(square, 4).unwrap(), 16);
    assert_eq!(pool.pids(), staying);
}

fn a_busy_worker_does_not_leave() {
    let pool = Pool::builder().processes(2).idle_timeout(Duration::from_millis(5)).build().unwrap();
    assert_eq!(pool.apply(nap, 100).unwrap(), 100);
    assert_eq!(pool.map(nap, [60, 1, 60, 1]).unwrap(), [60, 1, 60, 1]);
}

fn an_idle_worker_that_is_killed_is_not_missed() {
    let builder = Pool::builder().processes(2).idle_timeout(Duration::from_millis(30));
    let pool = builder.min_processes(1).build().unwrap();
    for _ in 0..5 {
        // One that is idle may just be leaving.
        pool.pids().into_iter().for_each(|pid| drop(chaos::kill(pid)));
        assert_eq!(pool.map(square, 0..20).unwrap()[3], 9);
    }
    await_workers(&pool, 1);
}

/// Holds the only worker until the tally's second number says so.
fn hold(tally: Tally) {
    tally.add(0, 1);
    tally.await_at_least(1, 1);
}

/// Every call ends, and then the pool is as large as it was last asked to be.
fn kill_and_resize(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).retries(1000).build().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                pool.pids().into_iter().take(2).for_each(|pid| drop(chaos::kill(pid)));
                thread::sleep(Duration::from_millis(15));
            }
        });
        let mapping = scope.spawn(|| {
            for _ in 0..10 {
                assert_eq!(pool.map(square, 0..2000).unwrap()[9], 81);
                assert_eq!(pool.apply(nap, 1).unwrap(), 1);
            }
        });
        for processes in [5, 1, 3, 2, 6, 1, 4].into_iter().cycle().take(28) {
            pool.resize(processes).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
        let mapped = mapping.join();
        is_over.store(true, Ordering::Relaxed);
        mapped.unwrap();
    });
    pool.resize(3).unwrap();
    let begun = Instant::now();
    while pool.pids().len() != 3 {
        assert!(begun.elapsed() < LONG, "{} workers", pool.pids().len());
        assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
    }
}

fn urgent_tasks_come_first() {
    let pool = Pool::new(1).unwrap();
    let tally = Tally::new();
    let holding = pool.apply_async(hold, tally.clone());
    // A second one may be given ahead, before it is known how long they take.
    let ahead = pool.apply_async(hold, tally.clone());
    tally.await_at_least(0, 1);
    let rank = |tally: Tally| tally.add(2, 1);
    let results =
        [0, -7, 3, 0, 9, -7, 3].map(|priority| pool.priority(priority).apply_async(rank, tally.clone()));
    tally.add(1, 1);
    let ranks: Vec<u64> = results.into_iter().map(|result| result.get().unwrap()).collect();
    assert_eq!(ranks, [3, 5, 1, 4, 0, 6, 2]);
    assert!(holding.get().is_ok() && ahead.get().is_ok());
    // The other verbs as well.
    assert_eq!(pool.priority(2).map(square, 0..10).unwrap()[9], 81);
    assert_eq!(pool.priority(-2).imap(square, 0..10).count(), 10);
}

fn a_view_of_a_pool_does_not_end_it() {
    let pool = Pool::builder().processes(1).state(|()| 5u64, ()).build().unwrap();
    for priority in [1, -1] {
        assert_eq!(pool.priority(priority).apply_state(|five, x: u64| *five + x, 1).unwrap(), 6);
    }
    let nested = pool.priority(3);
    assert_eq!(nested.priority(4).apply(square, 3).unwrap(), 9);
    drop(nested);
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
}

fn retried_tasks_keep_their_priority() {
    let pool = Pool::builder().processes(1).retries(1).build().unwrap();
    let tally = Tally::new();
    let die_first = |tally: Tally| {
        if tally.add(0, 1) == 0 {
            tally.await_at_least(1, 1);
            chaos::kill(std::process::id()).unwrap();
            thread::sleep(LONG);
        }
        tally.add(2, 1)
    };
    let urgent = pool.priority(5).apply_async(die_first, tally.clone());
    tally.await_at_least(0, 1);
    let rank = |tally: Tally| tally.add(2, 1);
    let usual: Vec<_> = (0..5).map(|_| pool.apply_async(rank, tally.clone())).collect();
    tally.add(1, 1);
    assert_eq!(urgent.get().unwrap(), 0);
    assert!(usual.into_iter().map(|result| result.get().unwrap()).eq(1..6));
}

fn threads_use_a_pool_whose_workers_come_and_go() {
    let pool = Pool::builder()
        .processes(4)
        .start_method(StartMethod::ForkServer)
        .idle_timeout(Duration::from_millis(1))
        .build()
        .unwrap();
    thread::scope(|scope| {
        for part in 0..8u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..30 {
                    let x = part * 100 + round;
                    assert_eq!(pool.apply(square, x).unwrap(), x * x);
                    if round % 5 == 0 {
                        thread::sleep(Duration::from_millis(part % 4));
                        assert_eq!(pool.map(square, 0..50).unwrap()[7], 49);
                    }
                }
            });
        }
    });
    await_workers(&pool, 0);
}

/// Not after a while, and not by a pool that hangs: by an error of the call that asks, which
/// leaves nothing behind.
fn more_workers_than_the_system_allows_are_refused_at_once() {
    /// The errors of a pool that is made too large and of one that is made larger, and how many
    /// processes are left of the first.
    fn ask((few, many): (usize, usize)) -> (String, String, usize, u64) {
        let made = Pool::new(many).unwrap_err();
        let left = mp_testkit::census::Census::take().processes().len();
        let pool = Pool::new(few).unwrap();
        let grown = pool.resize(many).unwrap_err();
        (made.to_string(), grown.to_string(), left, pool.apply(square, 7).unwrap())
    }
    let process = Process::builder().limit(Resource::OpenFiles, 120).spawn(ask, (2, 200)).unwrap();
    let (made, grown, left, value) = process.join().unwrap();
    assert!(made.contains("files") && grown.contains("files"), "{made}; {grown}");
    assert_eq!((left, value), (0, 49));
}
