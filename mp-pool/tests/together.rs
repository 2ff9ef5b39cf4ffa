//! Many results at once: waiting for some or all, and scopes.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{LONG, Tally, start_library_threads};
use mp_pool::{AsyncResult, Awaited, Pool, TaskPool, ThreadPool, Until, as_completed, wait};
use mp_process::StartMethod;
use mp_testkit::chaos;
use mp_testkit::harness::{Suite, variants};

fn main() -> ExitCode {
    let kinds = [("spawn", Kind::Spawn), ("forkserver", Kind::ForkServer), ("threads", Kind::Threads)];
    let mut trials = mp_testkit::trials![
        results_of_several_pools_are_waited_for_together,
        a_killed_worker_is_a_first_error,
        a_terminated_pool_ends_every_wait,
        a_scope_reports_what_a_killed_worker_lost,
        a_scope_of_a_terminated_pool_ends_with_its_error,
        a_scope_in_a_callback_does_not_wait_for_itself,
    ];
    trials.extend(variants("the_first_completed_is_told", kinds, |kind| kind.show(&FirstCompleted)));
    trials.extend(variants("the_first_error_is_told", kinds, |kind| kind.show(&FirstError)));
    trials.extend(variants("all_are_waited_for", kinds, |kind| kind.show(&AllCompleted)));
    trials.extend(variants("a_wait_ends_with_its_time", kinds, |kind| kind.show(&Timeout)));
    trials.extend(variants("results_come_as_completed", kinds, |kind| kind.show(&Completed)));
    trials.extend(variants("a_scope_waits_for_what_was_dropped", kinds, |kind| kind.show(&Dropped)));
    trials.extend(variants("a_scope_waits_when_its_block_panics", kinds, |kind| kind.show(&Panicking)));
    trials.extend(variants("a_scope_says_what_nobody_read", kinds, |kind| kind.show(&Unread)));
    trials.extend(variants("a_scope_forgets_what_is_done", kinds, |kind| kind.show(&Forgetful)));
    trials.extend(variants("a_scope_waits_for_callbacks", kinds, |kind| kind.show(&Told)));
    Suite::new(trials).warm_up(start_library_threads).run()
}

/// What runs the tasks.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Spawn,
    ForkServer,
    Threads,
}

/// Something that holds of every pool.
trait Claim {
    fn show(&self, pool: &impl TaskPool);
}

impl Kind {
    fn show(self, claim: &impl Claim) {
        let of = |method| Pool::builder().processes(2).start_method(method).build().unwrap();
        match self {
            Self::Spawn => claim.show(&of(StartMethod::Spawn)),
            Self::ForkServer => claim.show(&of(StartMethod::ForkServer)),
            Self::Threads => claim.show(&ThreadPool::new(2).unwrap()),
        }
    }
}

fn nap(millis: u64) -> u64 {
    thread::sleep(Duration::from_millis(millis));
    millis
}

fn square(x: u64) -> u64 {
    x * x
}

fn fail(_: u64) -> u64 {
    panic!("on purpose")
}

struct FirstCompleted;

impl Claim for FirstCompleted {
    fn show(&self, pool: &impl TaskPool) {
        let mut results = [20_000, 1].map(|millis| pool.apply_async(nap, millis));
        assert_eq!(wait(&mut results, Until::FirstCompleted, None), [1]);
        // What has come stays, and is no news for others.
        assert_eq!(wait(&mut results, Until::FirstCompleted, Some(LONG)), [1]);
        assert_eq!(wait(&mut results[..1], Until::FirstCompleted, Some(Duration::ZERO)), [0; 0]);
        let [slow, quick] = results;
        assert_eq!(quick.get().unwrap(), 1);
        slow.cancel();
        pool.terminate();
        assert_eq!(wait::<&mut dyn Awaited>(&mut [], Until::FirstCompleted, None), [0; 0]);
    }
}

struct FirstError;

impl Claim for FirstError {
    fn show(&self, pool: &impl TaskPool) {
        let mut results =
            [pool.apply_async(square, 3), pool.apply_async(fail, 1), pool.apply_async(nap, 20_000)];
        let come = wait(&mut results, Until::FirstError, None);
        assert!(come.contains(&1) && !come.contains(&2), "{come:?}");
        // One that failed before is one as well.
        assert!(wait(&mut results, Until::FirstError, None).contains(&1));
        // Without an error, all are waited for.
        let [three, failed, _slow] = results;
        assert!(failed.get().unwrap_err().is_panic());
        let mut good = [three];
        assert_eq!(wait(&mut good, Until::FirstError, None), [0]);
        pool.terminate();
    }
}

struct AllCompleted;

impl Claim for AllCompleted {
    fn show(&self, pool: &impl TaskPool) {
        let mut results: Vec<_> = (0..500).map(|x| pool.apply_async(square, x)).collect();
        let all: Vec<usize> = (0..500).collect();
        assert_eq!(wait(&mut results, Until::AllCompleted, None), all);
        assert!(results.into_iter().zip(0..).all(|(result, x)| result.get().unwrap() == x * x));
        let mut map = pool.map_async(square, 0..10);
        let mut failed = pool.apply_async(fail, 1);
        let mut mixed: [&mut dyn Awaited; 2] = [&mut map, &mut failed];
        assert_eq!(wait(&mut mixed, Until::AllCompleted, Some(LONG)), [0, 1]);
        assert_eq!((map.get().unwrap()[9], failed.get().unwrap_err().is_panic()), (81, true));
    }
}

struct Timeout;

impl Claim for Timeout {
    fn show(&self, pool: &impl TaskPool) {
        let mut results = [pool.apply_async(nap, 20_000)];
        assert!(wait(&mut results, Until::AllCompleted, Some(Duration::ZERO)).is_empty());
        assert!(wait(&mut results, Until::AllCompleted, Some(Duration::from_millis(20))).is_empty());
        let mut left = as_completed(results);
        assert!(left.next_timeout(Duration::from_millis(5)).is_err());
        assert_eq!(left.size_hint(), (1, Some(1)));
        drop(left);
        pool.terminate();
    }
}

struct Completed;

impl Claim for Completed {
    fn show(&self, pool: &impl TaskPool) {
        let naps = [1500, 1].map(|millis| pool.apply_async(nap, millis));
        let order: Vec<(usize, u64)> = as_completed(naps).map(|(place, nap)| (place, nap.unwrap())).collect();
        assert_eq!(order, [(1, 1), (0, 1500)]);
        let many = (0..2000).map(|x| pool.apply_async(if x % 7 == 0 { fail } else { square }, x));
        let mut seen = [false; 2000];
        for (place, result) in as_completed(many) {
            assert!(!std::mem::replace(&mut seen[place], true), "{place} came twice");
            assert_eq!(result.ok(), (place % 7 != 0).then_some(square(place as u64)));
        }
        assert!(!seen.contains(&false));
        assert!(as_completed(Vec::<mp_pool::AsyncResult<()>>::new()).next().is_none());
    }
}

fn count_slowly((tally, x): (Tally, u64)) {
    thread::sleep(Duration::from_millis(2));
    tally.add(0, x);
}

struct Dropped;

impl Claim for Dropped {
    fn show(&self, pool: &impl TaskPool) {
        let tally = Tally::new();
        let kept = pool
            .scope(|scope| {
                for x in 0..20 {
                    drop(scope.apply_async(count_slowly, (tally.clone(), x)));
                }
                drop(scope.map_async(count_slowly, (20..40).map(|x| (tally.clone(), x))));
                drop(scope.starmap_async(|a: u64, b: u64| a * b, [(1, 2)]));
                scope.apply_async(square, 5)
            })
            .unwrap();
        assert!(kept.ready(), "all are done when the scope is left");
        assert_eq!(kept.get().unwrap(), 25);
        assert_eq!(tally.get(0), (0..40).sum());
        assert_eq!(pool.apply(square, 2).unwrap(), 4);
    }
}

struct Panicking;

impl Claim for Panicking {
    fn show(&self, pool: &impl TaskPool) {
        let tally = Tally::new();
        let block = AssertUnwindSafe(|| {
            let _ = pool.scope(|scope| {
                drop(scope.map_async(count_slowly, (0..40).map(|x| (tally.clone(), x))));
                panic!("out of the block");
            });
        });
        let payload = catch_unwind(block).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"out of the block"));
        assert_eq!(tally.get(0), (0..40).sum());
        assert_eq!(pool.apply(square, 2).unwrap(), 4);
    }
}

struct Unread;

impl Claim for Unread {
    fn show(&self, pool: &impl TaskPool) {
        let error = pool
            .scope(|scope| {
                drop(scope.apply_async(square, 1));
                drop(scope.map_async(fail, [1, 2]));
                drop(scope.apply_async(fail, 3));
            })
            .unwrap_err();
        assert_eq!((error.is_panic(), error.index()), (true, Some(0)), "{error}");
        // Who reads an error, or keeps it, has been told.
        let kept =
            pool.scope(|scope| (scope.apply_async(fail, 1).get(), scope.apply_async(fail, 1))).unwrap();
        assert!(kept.0.unwrap_err().is_panic());
        assert!(kept.1.get().unwrap_err().is_panic());
        // A callback is told too.
        let told = pool.scope(|scope| scope.apply_async(fail, 1).on_done(|result| assert!(result.is_err())));
        told.unwrap().join().unwrap();
    }
}

struct Told;

impl Claim for Told {
    fn show(&self, pool: &impl TaskPool) {
        let count = Arc::new(AtomicUsize::new(0));
        for rounds in 1..4 {
            let value = pool.scope(|scope| {
                for x in 0..10 {
                    let count = Arc::clone(&count);
                    let _ = scope.apply_async(if x == 3 { fail } else { square }, x).on_done(move |_| {
                        thread::sleep(Duration::from_millis(5));
                        count.fetch_add(1, Ordering::Relaxed);
                        assert_ne!(x, 5, "five");
                    });
                }
            });
            assert!(value.is_ok() && count.load(Ordering::Relaxed) == 10 * rounds, "round {rounds}");
        }
    }
}

struct Forgetful;

impl Claim for Forgetful {
    fn show(&self, pool: &impl TaskPool) {
        let error = pool.scope(|scope| {
            for x in 0..3000 {
                if x % 3 == 0 {
                    assert_eq!(scope.apply_async(square, x).get().unwrap(), x * x);
                } else {
                    drop(scope.apply_async(if x == 100 { fail } else { square }, x));
                }
            }
        });
        assert!(error.unwrap_err().is_panic());
    }
}

fn results_of_several_pools_are_waited_for_together() {
    let pools = [Pool::new(1).unwrap(), Pool::new(1).unwrap()];
    let threads = ThreadPool::new(1).unwrap();
    let mut results: Vec<_> = pools.iter().map(|pool| pool.apply_async(nap, 5)).collect();
    results.push(threads.apply_async(nap, 5));
    assert_eq!(wait(&mut results, Until::AllCompleted, None), [0, 1, 2]);
}

fn a_killed_worker_is_a_first_error() {
    let pool = Pool::new(2).unwrap();
    let tally = Tally::new();
    let begin = |tally: Tally| {
        tally.add(0, 1);
        thread::sleep(LONG);
    };
    let mut results = vec![pool.apply_async(begin, tally.clone()), pool.apply_async(begin, tally.clone())];
    tally.await_at_least(0, 2);
    chaos::kill(pool.pids()[0]).unwrap();
    let come = wait(&mut results, Until::FirstError, None);
    assert_eq!(come.len(), 1);
    assert!(results.swap_remove(come[0]).get().unwrap_err().is_worker_died());
}

fn a_terminated_pool_ends_every_wait() {
    let ends = |pool: &Pool, threads: &ThreadPool, naps: [AsyncResult<u64>; 2]| {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                pool.terminate();
                threads.terminate();
            });
            let errors = as_completed(naps).map(|(_, result)| result.unwrap_err());
            assert!(errors.map(|error| error.pool_error().unwrap().is_closed()).eq([true, true]));
        });
    };
    let (pool, threads) = (Pool::new(1).unwrap(), ThreadPool::new(1).unwrap());
    ends(&pool, &threads, [1, 2].map(|_| pool.apply_async(nap, 20_000)));
    // A thread cannot be stopped; what is queued behind it goes.
    let (pool, threads) = (Pool::new(1).unwrap(), ThreadPool::new(1).unwrap());
    let (go, told) = std::sync::mpsc::channel::<()>();
    let running = threads.apply_async(move |()| told.recv().is_err(), ());
    ends(&pool, &threads, [1, 2].map(|_| threads.apply_async(nap, 1)));
    drop((go, running));
}

fn a_scope_reports_what_a_killed_worker_lost() {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    let pool = Pool::new(2).unwrap();
    let error = pool
        .scope(|scope| {
            drop(scope.apply_async(
                |()| {
                    chaos::kill(std::process::id()).unwrap();
                    thread::sleep(LONG);
                },
                (),
            ));
            for x in 0..50 {
                let count = |result: Result<u64, _>| {
                    DONE.fetch_add(result.is_ok().into(), Ordering::Relaxed);
                };
                let _ = scope.apply_async(square, x).on_done(count);
            }
        })
        .unwrap_err();
    assert!(error.is_worker_died() && error.signal() == Some(9), "{error}");
    while DONE.load(Ordering::Relaxed) < 50 {
        thread::sleep(Duration::from_millis(1));
    }
}

fn a_scope_of_a_terminated_pool_ends_with_its_error() {
    let pool = Pool::new(1).unwrap();
    thread::scope(|threads| {
        threads.spawn(|| {
            thread::sleep(Duration::from_millis(30));
            pool.terminate();
        });
        let error = pool.scope(|scope| drop(scope.apply_async(nap, 20_000))).unwrap_err();
        assert!(error.pool_error().is_some_and(|error| error.is_closed()), "{error}");
    });
}

fn a_scope_in_a_callback_does_not_wait_for_itself() {
    let pool = Arc::new(Pool::new(2).unwrap());
    let (inner, (tell, told)) = (Arc::clone(&pool), std::sync::mpsc::channel());
    let within = move |_| {
        let value = inner.scope(|scope| {
            let tell = tell.clone();
            let _ = scope.apply_async(square, 4).on_done(move |value| tell.send(value.unwrap()).unwrap());
            scope.apply_async(square, 3)
        });
        assert_eq!(value.unwrap().get().unwrap(), 9);
    };
    pool.apply_async(square, 2).on_done(within).join().unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), 16);
}
