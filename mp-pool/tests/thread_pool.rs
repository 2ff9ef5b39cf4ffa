//! The pool of threads: the same verbs, without processes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

mod common;

use common::{Tally, square};
use mp_pool::{Pool, Results, SharedValue, StopRule, TaskPool, ThreadPool};
use mp_testkit::harness::{Suite, variants};

fn main() -> ExitCode {
    let mut trials = mp_testkit::trials![
        no_threads_is_an_error,
        functions_may_capture,
        values_are_moved_and_not_encoded,
        arguments_are_dropped_when_done,
        an_initializer_runs_in_each_thread,
        each_thread_has_a_state_of_its_own,
        threads_come_and_go,
        a_clone_that_panics_leaves_no_thread_that_is_not_there,
        values_that_panic_when_they_are_dropped_hold_up_nobody,
        a_failing_initializer_fails_the_tasks,
        a_queued_task_is_cancelled_and_a_running_one_runs_on,
        an_endless_input_is_taken_as_it_is_needed,
        an_input_that_panics_leaves_the_pool_usable,
        join_waits_for_what_was_queued,
        terminate_drops_what_was_queued,
        a_terminated_pool_brings_no_value_in_anothers_place,
        a_callback_gets_the_result,
    ];
    let kinds = [("processes", true), ("threads", false)];
    trials.extend(variants("every_verb_gives_what_the_other_pool_gives", kinds, |processes| {
        if processes { verbs(Pool::new(2).unwrap()) } else { verbs(ThreadPool::new(2).unwrap()) }
    }));
    trials.extend(variants("errors_are_the_same", kinds, |processes| {
        if processes { errors(&Pool::new(2).unwrap()) } else { errors(&ThreadPool::new(2).unwrap()) }
    }));
    trials.extend(variants("a_closed_pool_takes_no_more", kinds, |processes| {
        if processes { closed(&Pool::new(2).unwrap()) } else { closed(&ThreadPool::new(2).unwrap()) }
    }));
    trials.extend(variants("a_pool_is_resized_while_it_works", kinds, |processes| {
        if processes { sizes(Pool::new(2).unwrap()) } else { sizes(ThreadPool::new(2).unwrap()) }
    }));
    trials.extend(variants("urgent_tasks_come_first", kinds, |processes| {
        if processes { urgency(&Pool::new(1).unwrap()) } else { urgency(&ThreadPool::new(1).unwrap()) }
    }));
    trials.extend(variants("a_map_stops_by_its_rule", kinds, |processes| {
        if processes { rules(&Pool::new(2).unwrap()) } else { rules(&ThreadPool::new(2).unwrap()) }
    }));
    Suite::new(trials).warm_up(|| drop(Pool::new(1).unwrap().apply(square, 1))).run()
}

fn picky(x: u64) -> u64 {
    assert!(x % 10 != 3, "{x} is not liked");
    x
}

fn half(x: u64) -> Result<u64, String> {
    if x.is_multiple_of(2) { Ok(x / 2) } else { Err(format!("{x} is odd")) }
}

fn verbs(pool: impl TaskPool) {
    let squares: Vec<u64> = (0..1000).map(square).collect();
    assert_eq!(pool.workers(), 2);
    assert_eq!(pool.apply(square, 7).unwrap(), 49);
    assert_eq!(pool.apply_async(square, 7).get().unwrap(), 49);
    assert_eq!(pool.map(square, 0..1000).unwrap(), squares);
    assert_eq!(pool.map(square, (0..2000).filter(|x| *x < 1000)).unwrap(), squares);
    assert_eq!(pool.map(square, []).unwrap(), []);
    assert_eq!(pool.map_async(square, 0..1000).get().unwrap(), squares);
    assert_eq!(pool.map_async(square, []).get().unwrap(), []);
    assert_eq!(pool.starmap(|a: u64, b: u64| a * b, (0..1000).map(|x| (x, x))).unwrap(), squares);
    assert_eq!(pool.starmap_async(|a: u64, b: u64| a * b, (0..1000).map(|x| (x, x))).get().unwrap(), squares);
    assert_eq!(pool.try_map(half, (0..100).map(|x| 2 * x)).unwrap().unwrap(), (0..100).collect::<Vec<_>>());
    for size in [1, 64] {
        let values: Result<Vec<u64>, _> = pool.imap(square, 0..1000).chunk_size(size).collect();
        assert_eq!(values.unwrap(), squares);
        let mut values: Vec<u64> =
            pool.imap_unordered(square, 0..1000).chunk_size(size).map(Result::unwrap).collect();
        values.sort_unstable();
        assert_eq!(values, squares);
    }
    assert_eq!(pool.imap(square, []).count() + pool.imap_unordered(square, []).count(), 0);
    let volume = |a: u64, b: u64, c: u64| a * b * c;
    assert_eq!(pool.starmap3(volume, (0..1000).map(|x| (x, x, 1))).unwrap(), squares);
    let all = |a: u64, b: u64, c: u64, d: u64| a * b + c + d;
    assert_eq!(pool.starmap4(all, (0..1000).map(|x| (x, x, 0, 0))).unwrap(), squares);
    let outcomes = pool.map_while(StopRule::Failures(0), square, 0..1000).unwrap();
    assert!(outcomes.into_iter().map(Result::unwrap).eq(squares.iter().copied()));
    assert_eq!(pool.priority(3).map(square, 0..1000).unwrap(), squares);
    assert_eq!(pool.priority(-3).imap(square, 0..1000).map(Result::unwrap).count(), 1000);
    shared(&pool);
    let nap = |millis| thread::sleep(Duration::from_millis(millis));
    let mut naps = pool.imap(nap, [1500, 1]);
    assert!(naps.next_timeout(Duration::from_millis(1)).is_err());
    assert!(naps.next().unwrap().is_ok() && naps.next_timeout(Duration::MAX).unwrap().unwrap().is_ok());
    assert!(naps.next_timeout(Duration::MAX).unwrap().is_none());
    drop(naps);
    pool.join();
}

/// The verbs for functions that look at a value, which may outlive its pool.
fn shared(pool: &impl TaskPool) {
    let primes = pool.share(&vec![2, 3, 5, 7, 11]).unwrap();
    let is_prime = |primes: &Vec<u64>, x: u64| primes.contains(&x);
    assert!(primes.apply(is_prime, 7).unwrap());
    assert!(!primes.clone().apply_async(is_prime, 8).get().unwrap());
    let expected: Vec<bool> = (0..100).map(|x| [2, 3, 5, 7, 11].contains(&x)).collect();
    assert_eq!(primes.map(is_prime, 0..100).unwrap(), expected);
    assert_eq!(primes.map_async(is_prime, 0..100).get().unwrap(), expected);
    assert!(primes.imap(is_prime, 0..100).map(Result::unwrap).eq(expected));
    assert_eq!(primes.imap_unordered(is_prime, 0..100).filter(|is| *is.as_ref().unwrap()).count(), 5);
}

/// While tasks are under way, and before and after.
fn sizes(pool: impl TaskPool) {
    let value = pool.share(&7u64).unwrap();
    let later = pool.map_async(square, 0..5000);
    for workers in [1, 4, 2, 5, 3] {
        pool.resize(workers).unwrap();
        assert_eq!(pool.workers(), workers);
        assert_eq!(pool.map(square, 0..300).unwrap()[299], 299 * 299);
        assert_eq!(pool.imap(square, 0..300).map(Result::unwrap).count(), 300);
    }
    assert_eq!(later.get().unwrap().len(), 5000);
    assert!(pool.resize(0).unwrap_err().to_string().contains("at least one"));
    assert!(pool.stats().workers.len() >= 3);
    pool.terminate();
    assert!(pool.resize(2).unwrap_err().is_closed());
    pool.join();
    assert!(value.apply(|seven: &u64, x: u64| seven + x, 1).unwrap_err().pool_error().is_some());
}

/// Urgent ones are begun before those that were queued earlier, by the order in which they end.
fn urgency(pool: &impl TaskPool) {
    let hold = |tally: Tally| {
        tally.add(0, 1);
        tally.await_at_least(1, 1);
    };
    let tally = Tally::new();
    let held = pool.apply_async(hold, tally.clone());
    tally.await_at_least(0, 1);
    let (tell, told) = channel();
    let submit = |priority: i32| {
        let tell = tell.clone();
        pool.priority(priority).apply_async(square, 3).on_done(move |_| tell.send(priority).unwrap())
    };
    let handles: Vec<_> = [0, 0, 0, 0, -1, -1, 5, 5, 9].into_iter().map(submit).collect();
    tally.add(1, 1);
    held.get().unwrap();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    drop(tell);
    let order: Vec<i32> = told.iter().collect();
    // A worker process holds the first one already.
    let place = |priority| order.iter().position(|one| *one == priority).unwrap();
    assert!(place(9) < place(5) && place(5) < place(-1), "{order:?}");
    assert!(order.iter().rposition(|one| *one == 0) > Some(place(5)), "{order:?}");
    assert_eq!(order[7..], [-1, -1]);
}

fn rules(pool: &impl TaskPool) {
    let outcomes = pool.map_while(StopRule::Failures(10), picky, 0..100).unwrap();
    assert_eq!(outcomes.len(), 100);
    for (x, outcome) in (0..).zip(outcomes) {
        assert_eq!(outcome.ok(), (x % 10 != 3).then_some(x));
    }
    let stopped = pool.map_while(StopRule::Failures(4), picky, 0..).unwrap_err();
    assert_eq!(stopped.failed(), 5, "{stopped}");
    for (x, outcome) in (0..).zip(stopped.into_outcomes()) {
        if let Some(outcome) = outcome {
            assert_eq!(outcome.ok(), (x % 10 != 3).then_some(x));
        }
    }
    pool.close();
    let stopped = pool.map_while(StopRule::Failures(3), square, 0..100).unwrap_err();
    assert!(stopped.done() == 1 && stopped.to_string().contains("closed"), "{stopped}");
}

fn errors(pool: &impl TaskPool) {
    let panic = pool.apply(picky, 3).unwrap_err();
    assert_eq!(panic.panic().unwrap().message(), "3 is not liked");
    assert!(pool.apply_async(picky, 3).get().unwrap_err().is_panic());
    assert_eq!(pool.map(picky, 0..100).unwrap_err().index(), Some(3));
    assert_eq!(pool.map_async(picky, 0..100).get().unwrap_err().index(), Some(3));
    assert_eq!(pool.try_map(half, [2, 4, 5]).unwrap().unwrap_err(), "5 is odd");
    for size in [1, 7] {
        let outcomes: Vec<_> = pool.imap(picky, 0..100).chunk_size(size).collect();
        assert_eq!(outcomes.len(), 100);
        for (x, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(value) => assert_eq!(value as usize, x),
                Err(error) => assert_eq!((error.index(), x % 10), (Some(x), 3)),
            }
        }
        let failed = pool.imap_unordered(picky, 0..100).chunk_size(size).filter(Result::is_err).count();
        assert_eq!(failed, 10);
    }
}

fn closed(pool: &impl TaskPool) {
    let later = pool.apply_async(square, 3);
    pool.close();
    assert_eq!(later.get().unwrap(), 9, "what was taken is done");
    let is_closed = |error: mp_pool::TaskError| error.pool_error().is_some_and(|error| error.is_closed());
    assert!(is_closed(pool.apply(square, 1).unwrap_err()));
    assert!(is_closed(pool.map(square, [1]).unwrap_err()));
    assert!(is_closed(pool.map_async(square, [1]).get().unwrap_err()));
    let mut outcomes = pool.imap(square, [1, 2]);
    assert!(is_closed(outcomes.next().unwrap().unwrap_err()));
    assert!(outcomes.next().is_none());
}

fn no_threads_is_an_error() {
    assert!(ThreadPool::new(0).unwrap_err().to_string().contains("at least one"));
}

fn functions_may_capture() {
    let pool = ThreadPool::new(3).unwrap();
    let (factor, count) = (3, Arc::new(AtomicUsize::new(0)));
    let counting = Arc::clone(&count);
    let times = move |x: usize| {
        counting.fetch_add(1, Ordering::Relaxed);
        x * factor
    };
    assert_eq!(pool.map(times, 0..100).unwrap()[99], 297);
    assert_eq!(count.load(Ordering::Relaxed), 100);
}

fn values_are_moved_and_not_encoded() {
    let pool = ThreadPool::new(1).unwrap();
    let text = String::from("at one address");
    let address = text.as_ptr() as usize;
    let back = pool.apply(|text: String| text, text).unwrap();
    assert_eq!((back.as_ptr() as usize, back.as_str()), (address, "at one address"));
    // A channel of std encodes as nothing at all.
    let (tx, rx) = channel();
    pool.apply(move |()| tx.send(1).unwrap(), ()).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
}

fn arguments_are_dropped_when_done() {
    let pool = ThreadPool::new(2).unwrap();
    let watched: Vec<Arc<u64>> = (0..50).map(Arc::new).collect();
    assert_eq!(pool.map(|x: Arc<u64>| *x, watched.clone()).unwrap().len(), 50);
    drop(pool.map_async(|x: Arc<u64>| x, watched.clone()));
    pool.join();
    assert!(watched.iter().all(|one| Arc::strong_count(one) == 1));
}

fn an_initializer_runs_in_each_thread() {
    let count = Arc::new(AtomicUsize::new(0));
    let begin = |count: Arc<AtomicUsize>| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let pool = ThreadPool::with_initializer(3, begin, Arc::clone(&count)).unwrap();
    pool.map(square, 0..100).unwrap();
    pool.join();
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

/// It is made on the thread, kept between tasks, and dropped there when the thread leaves.
fn each_thread_has_a_state_of_its_own() {
    struct Seen(Arc<AtomicUsize>, thread::ThreadId, u64);
    impl Drop for Seen {
        fn drop(&mut self) {
            assert_eq!(self.1, thread::current().id());
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let begin = |dropped| Seen(dropped, thread::current().id(), 0);
    let pool = ThreadPool::with_state(3, begin, Arc::clone(&dropped)).unwrap();
    let step = 2;
    let count = move |seen: &mut Seen, x: u64| {
        assert_eq!(seen.1, thread::current().id());
        seen.2 += step;
        (seen.2, x)
    };
    assert_eq!(pool.apply_state(count, 7).unwrap(), (2, 7));
    let counts = pool.map_state(count, 0..300).unwrap();
    assert!(counts.iter().map(|(_, x)| *x).eq(0..300));
    assert!(counts.iter().map(|(seen, _)| *seen).max().unwrap() >= 200, "it was not kept");
    // A panic leaves it as it is.
    assert!(pool.apply_state(|_: &mut Seen, ()| panic!("no"), ()).unwrap_err().is_panic());
    pool.resize(1).unwrap();
    pool.join();
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
}

/// What threads begin with, of which there are only so many clones to be had.
struct Scarce(Arc<AtomicUsize>);

impl Clone for Scarce {
    fn clone(&self) -> Self {
        assert!(self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok());
        Self(Arc::clone(&self.0))
    }
}

/// Whether so many threads are at work at once.
fn work_together<S: 'static>(pool: &ThreadPool<S>, threads: usize) {
    let barrier = Barrier::new(threads);
    let leaders = pool.map(move |_| barrier.wait().is_leader(), 0..threads).unwrap();
    assert_eq!(leaders.into_iter().filter(|is_leader| *is_leader).count(), 1);
}

fn a_clone_that_panics_leaves_no_thread_that_is_not_there() {
    let left = Arc::new(AtomicUsize::new(0));
    assert!(catch_unwind(|| ThreadPool::with_state(1, |_| (), Scarce(Arc::default()))).is_err());
    left.store(1, Ordering::SeqCst);
    let pool = ThreadPool::with_state(1, |_| (), Scarce(Arc::clone(&left))).unwrap();
    for (clones, threads) in [(0, 1), (1, 2), (0, 2), (2, 4)] {
        left.store(clones, Ordering::SeqCst);
        assert!(catch_unwind(AssertUnwindSafe(|| pool.resize(5))).is_err());
        assert_eq!((pool.workers(), pool.stats().workers.len()), (threads, threads));
        work_together(&pool, threads);
    }
    left.store(1, Ordering::SeqCst);
    pool.resize(5).unwrap();
    work_together(&pool, 5);
    pool.resize(1).unwrap();
    pool.join();
}

fn values_that_panic_when_they_are_dropped_hold_up_nobody() {
    struct Fuse(bool);
    impl Drop for Fuse {
        fn drop(&mut self) {
            assert!(!self.0 || thread::panicking(), "dropped");
        }
    }
    let pool = ThreadPool::new(1).unwrap();
    let last_panics = |x: u64| if x == 7 { panic!("at the last") } else { Fuse(true) };
    let mut later = pool.map_async(last_panics, 0..8);
    let error = later.get_timeout(common::LONG).expect("an end").err().unwrap();
    assert_eq!((error.index(), error.is_panic()), (Some(7), true));
    assert_eq!(pool.apply(square, 3).unwrap(), 9);
}

/// One that is given up is ended, and its place is the next one's.
fn threads_come_and_go() {
    let pool = ThreadPool::new(1).unwrap();
    for _ in 0..20 {
        pool.resize(4).unwrap();
        assert_eq!(pool.map(square, 0..40).unwrap()[39], 39 * 39);
        pool.resize(1).unwrap();
        assert_eq!(pool.apply(square, 3).unwrap(), 9);
    }
    let stats = pool.stats();
    // The last one may count a moment later.
    let tasks = stats.workers.iter().map(|worker| worker.tasks).sum::<u64>();
    assert!((19 * 41..=20 * 41).contains(&tasks), "{tasks}");
    pool.join();
}

fn a_failing_initializer_fails_the_tasks() {
    let pool = ThreadPool::with_initializer(2, |()| panic!("no beginning"), ()).unwrap();
    let error = pool.apply(square, 1).unwrap_err();
    // The first tasks may have been queued before it was known.
    let broken = error.pool_error().is_some();
    assert!(broken, "{error}");
    let error = pool.map(square, 0..10).unwrap_err();
    assert!(error.to_string().contains("no beginning"), "{error}");
}

fn a_queued_task_is_cancelled_and_a_running_one_runs_on() {
    let pool = ThreadPool::new(1).unwrap();
    let (go, wait) = channel::<()>();
    let (tell, told) = channel();
    let running = pool.apply_async(
        move |()| {
            tell.send(()).unwrap();
            wait.recv().unwrap();
            1
        },
        (),
    );
    told.recv().unwrap();
    let queued = pool.apply_async(square, 2);
    let map = pool.map_async(square, 0..10);
    running.cancel();
    queued.cancel();
    map.cancel();
    let (tell, heard) = channel();
    let waiting = pool.apply_async(square, 3).on_done(move |result| tell.send(result).unwrap());
    waiting.cancel();
    waiting.cancel();
    waiting.join().unwrap();
    assert!(heard.recv().unwrap().unwrap_err().is_cancelled() && heard.recv().is_err());
    assert!(queued.get().unwrap_err().is_cancelled() && map.get().unwrap_err().is_cancelled());
    go.send(()).unwrap();
    assert_eq!(running.get().unwrap(), 1);
}

fn an_endless_input_is_taken_as_it_is_needed() {
    let pool = ThreadPool::new(2).unwrap();
    let mut pulled = 0;
    let items = std::iter::from_fn(|| {
        pulled += 1;
        Some(pulled)
    });
    let firsts: Vec<u64> = pool.imap(square, items).take(50).map(Result::unwrap).collect();
    assert_eq!(firsts, (1..=50).map(square).collect::<Vec<_>>());
    assert!(pulled < 200, "{pulled} items were pulled for 50 results");
    // One that is slow holds up those behind it, and the input.
    let slow_first = |x: u64| {
        if x == 0 {
            thread::sleep(Duration::from_millis(100))
        }
    };
    let mut pulled = 0;
    let mut values = pool.imap(slow_first, (0..).inspect(|_| pulled += 1));
    assert!(values.next().unwrap().is_ok());
    drop(values);
    assert!(pulled < 1000, "{pulled} items were pulled for the first result");
}

fn an_input_that_panics_leaves_the_pool_usable() {
    let pool = ThreadPool::new(2).unwrap();
    let input = || (0..10u64).inspect(|x| assert!(*x != 5, "no more"));
    assert!(catch_unwind(AssertUnwindSafe(|| pool.map(square, input()))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| pool.imap(square, input()).count())).is_err());
    assert_eq!(pool.map(square, 0..10).unwrap()[9], 81);
}

fn join_waits_for_what_was_queued() {
    let pool = ThreadPool::new(2).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let kept: Vec<_> = (0..20)
        .map(|_| {
            let count = Arc::clone(&count);
            pool.apply_async(move |()| count.fetch_add(1, Ordering::Relaxed), ())
        })
        .collect();
    pool.join();
    assert_eq!(count.load(Ordering::Relaxed), 20);
    assert!(kept.into_iter().all(|result| result.get().is_ok()));
}

fn a_terminated_pool_brings_no_value_in_anothers_place() {
    static GO: AtomicBool = AtomicBool::new(false);
    let pool = ThreadPool::new(2).unwrap();
    let stuck = |x: u64| {
        while x.is_multiple_of(2) && !GO.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        x
    };
    thread::scope(|scope| {
        let mut values = pool.imap(stuck, 0..1000);
        // The first and the third keep both threads busy; the second is done.
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            pool.terminate();
        });
        assert!(values.next().unwrap().unwrap_err().pool_error().is_some());
        assert!(values.next().is_none());
        GO.store(true, Ordering::Relaxed);
    });
}

fn terminate_drops_what_was_queued() {
    let pool = ThreadPool::new(1).unwrap();
    let (go, wait) = channel::<()>();
    let (tell, told) = channel();
    let running = pool.apply_async(move |()| tell.send(()).is_ok() && wait.recv().is_ok(), ());
    told.recv().unwrap();
    let queued: Vec<_> = (0..1000).map(|x| pool.apply_async(square, x)).collect();
    let map = pool.map_async(square, 0..1000);
    pool.terminate();
    let is_closed = |error: mp_pool::TaskError| error.pool_error().is_some_and(|error| error.is_closed());
    assert!(queued.into_iter().all(|result| is_closed(result.get().unwrap_err())));
    assert!(is_closed(map.get().unwrap_err()));
    assert!(is_closed(pool.apply(square, 1).unwrap_err()));
    go.send(()).unwrap();
    assert!(running.get().unwrap(), "a thread is not stopped");
}

fn a_callback_gets_the_result() {
    let pool = ThreadPool::new(1).unwrap();
    let (tell, told) = channel();
    pool.apply_async(square, 4).on_done(move |result| tell.send(result.unwrap()).unwrap()).join().unwrap();
    assert_eq!(told.recv().unwrap(), 16);
    let panicked = pool.apply_async(square, 4).on_done(|_| panic!("in the callback"));
    assert_eq!(panicked.join().unwrap_err(), "in the callback");
    // One whose result has come already is called as well.
    let done = pool.apply_async(square, 5);
    done.wait();
    let (tell, told) = channel();
    done.on_done(move |result| tell.send(result.unwrap()).unwrap()).join().unwrap();
    assert_eq!(told.recv().unwrap(), 25);
}
