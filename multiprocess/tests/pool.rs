//! `Pool`: every task has an answer, whatever becomes of its worker.

mod common;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{abort, exit};
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{LONG, SHORT, suite};
use mp_testkit::chaos;
use multiprocess::pool::{Until, as_completed, wait};
use multiprocess::{Event, Pool, SharedAtomicU64, StartMethod, TaskError, Value};
use serde::{Deserialize, Serialize};

suite! {
    started: [
        apply_gives_the_value,
        map_keeps_the_order,
        starmap_is_map_over_tuples,
        map_of_nothing_is_nothing,
        imap_keeps_the_order_and_ends,
        imap_unordered_gives_all,
        a_value_of_imap_is_waited_for_so_long,
        the_first_of_many_results_is_waited_for,
        results_are_taken_as_they_come,
        a_scope_is_left_when_its_tasks_are_done,
        an_endless_input_is_taken_as_it_is_needed,
        an_async_result_is_waited_for,
        a_callback_gets_the_value_or_the_error,
        an_argument_that_does_not_encode_is_an_error,
        a_value_that_does_not_decode_is_an_error_each_time,
        an_input_that_panics_leaves_the_pool_usable,
        a_panic_comes_with_its_place,
        map_waits_for_all_before_it_fails,
        an_item_that_fails_leaves_its_place_in_imap,
        a_killed_worker_fails_its_task_alone,
        a_task_that_exits_or_aborts_is_an_error,
        a_retried_task_survives_its_worker,
        a_task_over_its_time_is_an_error,
        a_running_task_is_cancelled,
        terminate_returns_with_much_queued,
        close_lets_the_queued_finish,
        a_closed_pool_takes_no_more,
        max_tasks_per_child_replaces_workers,
        a_pool_with_one_task_per_child_is_closed_early,
        an_initializer_runs_in_each_worker,
        a_failing_initializer_is_an_error,
        workers_keep_a_state,
        a_task_starts_a_pool_of_its_own,
        shared_objects_travel_to_tasks,
    ],
    plain: [
        a_pool_without_workers_is_an_error,
        a_pool_has_as_many_workers_as_asked,
        a_pool_has_as_many_workers_as_cpus_unless_asked,
    ],
}

fn pool_of(processes: usize, method: StartMethod) -> Pool {
    Pool::builder().processes(processes).start_method(method).build().unwrap()
}

fn sqr(x: u64) -> u64 {
    x * x
}

fn squares(range: std::ops::Range<u64>) -> Vec<u64> {
    range.map(sqr).collect()
}

fn a_pool_without_workers_is_an_error() {
    assert!(Pool::new(0).unwrap_err().to_string().contains("at least one"));
}

fn a_pool_has_as_many_workers_as_asked() {
    let pool = Pool::new(3).unwrap();
    assert_eq!(BTreeSet::from_iter(pool.pids()).len(), 3);
}

fn a_pool_has_as_many_workers_as_cpus_unless_asked() {
    let pool = Pool::builder().build().unwrap();
    assert_eq!(pool.pids().len(), multiprocess::cpu_count());
}

fn apply_gives_the_value(method: StartMethod) {
    let pool = pool_of(2, method);
    assert_eq!(pool.apply(sqr, 5).unwrap(), 25);
    assert_ne!(pool.apply(|()| std::process::id(), ()).unwrap(), std::process::id());
}

fn map_keeps_the_order(method: StartMethod) {
    let pool = pool_of(2, method);
    assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(0..10));
    assert_eq!(pool.map(sqr, 0..1000).unwrap(), squares(0..1000));
    assert_eq!(pool.map_async(sqr, 0..100).get().unwrap(), squares(0..100));
}

fn starmap_is_map_over_tuples(method: StartMethod) {
    let pool = pool_of(2, method);
    let tuples = (0..10).zip((0..10).rev());
    let expected: Vec<u64> = tuples.clone().map(|(a, b)| a * b).collect();
    assert_eq!(pool.map(|(a, b): (u64, u64)| a * b, tuples.clone()).unwrap(), expected);
    assert_eq!(pool.starmap(|a: u64, b: u64| a * b, tuples.clone()).unwrap(), expected);
    assert_eq!(pool.starmap_async(|a: u64, b: u64| a * b, tuples).get().unwrap(), expected);
}

fn map_of_nothing_is_nothing(method: StartMethod) {
    let pool = pool_of(2, method);
    assert_eq!(pool.map(sqr, []).unwrap(), []);
    assert_eq!(pool.map_async(sqr, []).get().unwrap(), []);
    assert_eq!(pool.imap(sqr, []).count(), 0);
    assert_eq!(pool.imap_unordered(sqr, []).chunk_size(5).count(), 0);
}

fn imap_keeps_the_order_and_ends(method: StartMethod) {
    let pool = pool_of(3, method);
    for chunk_size in [1, 100] {
        let mut values = pool.imap(sqr, 0..1000).chunk_size(chunk_size);
        for x in 0..1000 {
            assert_eq!(values.next().unwrap().unwrap(), x * x);
        }
        assert!(values.next().is_none() && values.next().is_none());
    }
}

fn imap_unordered_gives_all(method: StartMethod) {
    let pool = pool_of(3, method);
    for chunk_size in [1, 100] {
        let values = pool.imap_unordered(sqr, 0..1000).chunk_size(chunk_size);
        let mut values = values.collect::<Result<Vec<_>, _>>().unwrap();
        values.sort_unstable();
        assert_eq!(values, squares(0..1000));
    }
}

fn a_value_of_imap_is_waited_for_so_long(method: StartMethod) {
    let pool = pool_of(2, method);
    let gate = Event::new().unwrap();
    let mut values = pool.imap(pass, [0, 1].map(|value| (gate.clone(), value)));
    assert!(values.next_timeout(SHORT).is_err());
    gate.set();
    assert!(values.next_timeout(LONG).unwrap().unwrap().is_ok());
    assert!(values.next_timeout(LONG).unwrap().unwrap().is_ok());
    assert!(values.next_timeout(LONG).unwrap().is_none());
}

/// Waits until the gate is open, if the value is even.
fn pass((gate, value): (Event, u64)) -> u64 {
    if value.is_multiple_of(2) {
        gate.wait();
    }
    value
}

fn nap(millis: u64) -> u64 {
    sleep(Duration::from_millis(millis));
    millis
}

fn the_first_of_many_results_is_waited_for(method: StartMethod) {
    let pool = pool_of(2, method);
    let mut naps = [20_000, 1].map(|millis| pool.apply_async(nap, millis));
    assert_eq!(wait(&mut naps, Until::FirstCompleted, Some(LONG)), [1]);
    assert_eq!(wait(&mut naps, Until::AllCompleted, Some(SHORT)), [1]);
    let mut failing = [pool.apply_async(divides, 1), pool.apply_async(divides, 3)];
    assert!(wait(&mut failing, Until::FirstError, Some(LONG)).contains(&1));
    assert_eq!(wait(&mut failing, Until::AllCompleted, Some(LONG)), [0, 1]);
    naps[0].cancel();
    assert_eq!(wait(&mut naps, Until::AllCompleted, Some(LONG)), [0, 1]);
}

fn results_are_taken_as_they_come(method: StartMethod) {
    let pool = pool_of(2, method);
    let gate = Event::new().unwrap();
    let mut values = as_completed([0, 1].map(|value| pool.apply_async(pass, (gate.clone(), value))));
    let first = values.next_timeout(LONG).unwrap();
    assert_eq!(first.map(|(place, value)| (place, value.unwrap())), Some((1, 1)));
    assert!(values.next_timeout(Duration::ZERO).is_err());
    gate.set();
    assert_eq!(values.next().map(|(place, value)| (place, value.unwrap())), Some((0, 0)));
    assert!(values.next().is_none());
    let all = as_completed((0..200).map(|x| pool.apply_async(sqr, x)));
    assert_eq!(all.map(|(_, square)| square.unwrap()).sum::<u64>(), squares(0..200).into_iter().sum());
}

fn a_scope_is_left_when_its_tasks_are_done(method: StartMethod) {
    let pool = pool_of(2, method);
    let count = SharedAtomicU64::new(0).unwrap();
    let add = |(count, x): (SharedAtomicU64, u64)| {
        sleep(Duration::from_millis(1));
        count.fetch_add(x, std::sync::atomic::Ordering::SeqCst);
    };
    let items = (0..30).map(|x| (count.clone(), x));
    pool.scope(|scope| {
        items.clone().for_each(|item| drop(scope.apply_async(add, item)));
        drop(scope.map_async(add, items.clone()));
    })
    .unwrap();
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 2 * (0..30).sum::<u64>());
    assert!(pool.scope(|scope| drop(scope.apply_async(divides, 3))).unwrap_err().is_panic());
}

fn an_endless_input_is_taken_as_it_is_needed(method: StartMethod) {
    let pool = pool_of(2, method);
    let mut taken = 0;
    let endless = (0..).inspect(|_| taken += 1);
    let first: Vec<u64> = pool.imap(sqr, endless).take(100).map(Result::unwrap).collect();
    assert_eq!(first, squares(0..100));
    assert!(taken < 10_000, "{taken} items were taken for 100 results");
    assert_eq!(pool.apply(sqr, 2).unwrap(), 4);
}

fn an_async_result_is_waited_for(method: StartMethod) {
    let pool = pool_of(1, method);
    let gate = Event::new().unwrap();
    let mut result = pool.apply_async(pass, (gate.clone(), 6));
    assert!(!result.ready());
    assert_eq!(result.successful(), None);
    assert!(!result.wait_timeout(SHORT));
    assert!(result.get_timeout(SHORT).is_none());
    gate.set();
    result.wait();
    assert!(result.ready());
    assert_eq!(result.successful(), Some(true));
    assert_eq!(result.get_timeout(Duration::ZERO).unwrap().unwrap(), 6);
    assert_eq!(pool.apply_async(pass, (gate, 8)).get().unwrap(), 8);
}

fn a_callback_gets_the_value_or_the_error(method: StartMethod) {
    let pool = pool_of(2, method);
    let (tx, rx) = mpsc::channel();
    let told = tx.clone();
    let value = pool.map_async(sqr, 0..4).on_done(move |result| told.send(result.is_ok()).unwrap());
    value.join().unwrap();
    let error = pool.map_async(|x: u64| 1 / x, 0..4).on_done(move |result| tx.send(result.is_ok()).unwrap());
    error.join().unwrap();
    assert_eq!(rx.iter().collect::<Vec<_>>(), [true, false]);
    let panics = pool.apply_async(sqr, 1).on_done(|_| resume_unwind(Box::new("out of the callback")));
    assert_eq!(panics.join().unwrap_err(), "out of the callback");
    assert_eq!(pool.apply(sqr, 3).unwrap(), 9);
}

/// Encodes unless its number is odd, and decodes in children only.
#[derive(Debug)]
struct Fussy(u32);

impl Serialize for Fussy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 2 == 1 {
            return Err(serde::ser::Error::custom("odd"));
        }
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Fussy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if multiprocess::current_process().is_child() {
            return Ok(Self(number));
        }
        Err(serde::de::Error::custom("not here"))
    }
}

fn an_argument_that_does_not_encode_is_an_error(method: StartMethod) {
    let pool = pool_of(2, method);
    let number = |fussy: Fussy| fussy.0;
    assert!(pool.apply(number, Fussy(1)).unwrap_err().is_codec());
    assert!(pool.apply_async(number, Fussy(1)).get().unwrap_err().is_codec());
    assert!(pool.map(number, [Fussy(0), Fussy(1), Fussy(2)]).unwrap_err().is_codec());
    assert_eq!(pool.map(number, [Fussy(0), Fussy(2)]).unwrap(), [0, 2]);
}

fn a_value_that_does_not_decode_is_an_error_each_time(method: StartMethod) {
    let pool = pool_of(2, method);
    let workers = BTreeSet::from_iter(pool.pids());
    for number in 0..20 {
        let error = pool.apply(Fussy, number).unwrap_err();
        assert!(error.is_codec(), "{error}");
        assert_eq!(error.is_undecodable(), number % 2 == 0, "{error}");
    }
    assert_eq!(pool.apply(sqr, 3).unwrap(), 9);
    assert_eq!(BTreeSet::from_iter(pool.pids()), workers, "no worker was lost");
}

fn an_input_that_panics_leaves_the_pool_usable(method: StartMethod) {
    let pool = pool_of(2, method);
    for place in [0, 5] {
        let input = || {
            (0..10).inspect(move |x| {
                if *x == place {
                    resume_unwind(Box::new(()))
                }
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(|| pool.map(sqr, input()))).is_err());
        let mut values = pool.imap(sqr, input());
        assert!(catch_unwind(AssertUnwindSafe(|| values.by_ref().for_each(drop))).is_err());
        drop(values);
        let mut values = pool.imap_unordered(sqr, input());
        assert!(catch_unwind(AssertUnwindSafe(|| values.by_ref().for_each(drop))).is_err());
        drop(values);
        assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(0..10));
    }
}

fn a_panic_comes_with_its_place(method: StartMethod) {
    let pool = pool_of(1, method);
    let error = pool.apply(|x: u64| -> u64 { panic!("no {x}") }, 3).unwrap_err();
    let panic = error.panic().unwrap();
    assert_eq!(panic.message(), "no 3");
    assert!(panic.location().unwrap().contains("pool.rs"));
    assert!(panic.backtrace().is_some());
}

fn divides(x: u64) -> u64 {
    assert!(x != 3, "three");
    x
}

fn map_waits_for_all_before_it_fails(method: StartMethod) {
    let pool = pool_of(2, method);
    let count = SharedAtomicU64::new(0).unwrap();
    let work = |(count, x): (SharedAtomicU64, u64)| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        divides(x)
    };
    let error = pool.map(work, (0..10).map(|x| (count.clone(), x))).unwrap_err();
    assert_eq!((error.index(), error.is_panic()), (Some(3), true));
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 10);
}

fn an_item_that_fails_leaves_its_place_in_imap(method: StartMethod) {
    let pool = pool_of(2, method);
    let results: Vec<_> = pool.imap(divides, 0..10).collect();
    assert_eq!(results.len(), 10);
    for (x, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert_eq!(value, x),
            Err(error) => assert_eq!((x, error.index()), (3, Some(3))),
        }
    }
}

fn a_killed_worker_fails_its_task_alone(method: StartMethod) {
    let pool = pool_of(2, method);
    let die = |x: u64| {
        if x == 5 {
            chaos::kill(std::process::id()).unwrap();
            sleep(LONG);
        }
        x
    };
    let results: Vec<Result<u64, TaskError>> = pool.imap(die, 0..10).collect();
    for (x, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert_eq!(value, x),
            Err(error) => assert_eq!((x, error.signal()), (5, Some(9)), "{error}"),
        }
    }
    assert_eq!(pool.map(sqr, 0..10).unwrap(), squares(0..10));
    assert_eq!(pool.pids().len(), 2);
}

fn a_task_that_exits_or_aborts_is_an_error(method: StartMethod) {
    let pool = pool_of(1, method);
    let error = pool.apply(|code: i32| -> u64 { exit(code) }, 3).unwrap_err();
    assert_eq!((error.is_worker_died(), error.exit_code()), (true, Some(3)));
    let error = pool.apply(|()| -> u64 { abort() }, ()).unwrap_err();
    assert_eq!((error.is_worker_died(), error.signal()), (true, Some(6)));
    assert_eq!(pool.apply(sqr, 3).unwrap(), 9);
}

fn a_retried_task_survives_its_worker(method: StartMethod) {
    let pool = Pool::builder().processes(2).retries(1).start_method(method).build().unwrap();
    let tries = Value::new(0u32).unwrap();
    let die_once = |tries: Value<u32>| {
        let mut count = tries.lock().unwrap();
        *count += 1;
        let count = *count;
        if count == 1 {
            exit(1);
        }
        count
    };
    // The first worker exits with the lock: the next one finds it so.
    let heal = |tries: Value<u32>| {
        let mut count = tries.lock().or_else(|error| error.into_guard()).unwrap();
        count.mark_sound();
        *count += 1;
        *count
    };
    let error = Pool::builder().processes(1).start_method(method).build().unwrap();
    assert_eq!(error.apply(die_once, tries.clone()).unwrap_err().exit_code(), Some(1));
    assert_eq!(pool.apply(heal, tries.clone()).unwrap(), 2);
    let die_first = |(tries, x): (Value<u32>, u64)| {
        *tries.lock().unwrap() += 1;
        if tries.get().unwrap() == 3 {
            exit(1);
        }
        x
    };
    assert_eq!(pool.apply(die_first, (tries.clone(), 7)).unwrap(), 7);
    assert_eq!(tries.get().unwrap(), 4);
}

fn a_task_over_its_time_is_an_error(method: StartMethod) {
    let limit = Duration::from_millis(1500);
    let pool = Pool::builder().processes(2).start_method(method).task_timeout(limit).build().unwrap();
    let results: Vec<Result<u64, TaskError>> = pool
        .imap(|x: u64| if x == 1 { sleep(LONG) } else { sleep(SHORT / 10) }, 0..4)
        .map(|result| result.map(|()| 0))
        .collect();
    for (x, result) in results.into_iter().enumerate() {
        assert_eq!(result.is_err_and(|error| error.is_timed_out()), x == 1);
    }
}

fn a_running_task_is_cancelled(method: StartMethod) {
    let pool = pool_of(1, method);
    let running = pool.apply_async(|()| sleep(LONG), ());
    let queued = pool.apply_async(sqr, 3);
    assert!(!running.wait_timeout(SHORT));
    running.cancel();
    assert!(running.get().unwrap_err().is_cancelled());
    assert_eq!(queued.get().unwrap(), 9);
}

fn terminate_returns_with_much_queued(method: StartMethod) {
    let pool = pool_of(3, method);
    let result = pool.map_async(|_: u64| sleep(LONG), 0..10_000);
    let start = Instant::now();
    pool.terminate();
    assert!(result.get().unwrap_err().pool_error().is_some_and(|error| error.is_closed()));
    drop(pool);
    assert!(start.elapsed() < LONG);
}

fn close_lets_the_queued_finish(method: StartMethod) {
    let pool = pool_of(2, method);
    let results: Vec<_> = (0..20).map(|x| pool.apply_async(sqr, x)).collect();
    pool.close();
    let values: Vec<u64> = results.into_iter().map(|result| result.get().unwrap()).collect();
    assert_eq!(values, squares(0..20));
    pool.join();
}

fn a_closed_pool_takes_no_more(method: StartMethod) {
    let pool = pool_of(1, method);
    assert_eq!(pool.apply(sqr, 3).unwrap(), 9);
    pool.close();
    let is_closed = |error: TaskError| error.pool_error().is_some_and(|error| error.is_closed());
    assert!(is_closed(pool.apply(sqr, 3).unwrap_err()));
    assert!(is_closed(pool.map(sqr, [3]).unwrap_err()));
    assert!(is_closed(pool.apply_async(sqr, 3).get().unwrap_err()));
    let results: Vec<_> = pool.imap(sqr, [3]).collect();
    assert!(results.into_iter().all(|result| is_closed(result.unwrap_err())));
    pool.join();
}

fn max_tasks_per_child_replaces_workers(method: StartMethod) {
    let builder = Pool::builder().processes(3).start_method(method);
    let pool = builder.max_tasks_per_child(10).build().unwrap();
    let before = BTreeSet::from_iter(pool.pids());
    let values = pool.imap(sqr, 0..100).collect::<Result<Vec<_>, _>>();
    assert_eq!(values.unwrap(), squares(0..100));
    // One that comes late may have had less to do than the others.
    let begun = Instant::now();
    while !BTreeSet::from_iter(pool.pids()).is_disjoint(&before) || pool.pids().len() != 3 {
        assert!(begun.elapsed() < LONG, "{:?}, and {before:?} before", pool.pids());
        assert_eq!(pool.map(sqr, 0..30).unwrap(), squares(0..30));
    }
}

fn a_pool_with_one_task_per_child_is_closed_early(method: StartMethod) {
    let builder = Pool::builder().processes(3).start_method(method);
    let pool = builder.max_tasks_per_child(1).build().unwrap();
    let tasks: Vec<_> = (0..6).map(|x| pool.apply_async(sqr, x)).collect();
    pool.close();
    let values: Vec<u64> = tasks.into_iter().map(|task| task.get().unwrap()).collect();
    assert_eq!(values, squares(0..6));
    pool.join();
}

fn an_initializer_runs_in_each_worker(method: StartMethod) {
    let count = Value::new(0u32).unwrap();
    let initializer = |count: Value<u32>| *count.lock().unwrap() += 1;
    let builder = Pool::builder().processes(3).start_method(method);
    let pool = builder.initializer(initializer, count.clone()).build().unwrap();
    pool.map(|_: u64| sleep(SHORT), 0..9).unwrap();
    pool.close();
    pool.join();
    assert_eq!(count.get().unwrap(), 3);
}

fn a_failing_initializer_is_an_error(method: StartMethod) {
    let builder = Pool::builder().processes(2).start_method(method);
    let pool = builder.initializer(|()| panic!("no beginning"), ()).build();
    let text = match pool {
        Ok(pool) => pool.apply(sqr, 1).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(text.contains("no beginning"), "{text}");
}

fn workers_keep_a_state(method: StartMethod) {
    let builder = Pool::builder().processes(1).start_method(method);
    let pool = builder.state(|start: u64| start, 100).build().unwrap();
    let add = |total: &mut u64, x: u64| {
        *total += x;
        *total
    };
    assert_eq!(pool.map_state(add, [1, 2, 3]).unwrap(), [101, 103, 106]);
    assert_eq!(pool.apply_state(add, 4).unwrap(), 110);
}

fn a_task_starts_a_pool_of_its_own(method: StartMethod) {
    let nested = |x: u64| Pool::new(2).unwrap().map(sqr, 0..x).unwrap();
    assert_eq!(pool_of(2, method).map(nested, [3, 4]).unwrap(), [squares(0..3), squares(0..4)]);
}

fn shared_objects_travel_to_tasks(method: StartMethod) {
    let pool = pool_of(2, method);
    let total = Value::new(0u64).unwrap();
    let add = |(total, x): (Value<u64>, u64)| *total.lock().unwrap() += x;
    pool.map(add, (0..100).map(|x| (total.clone(), x))).unwrap();
    assert_eq!(total.get().unwrap(), 4950);
}
