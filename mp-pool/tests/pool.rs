//! The pool's verbs, and what it makes of workers that die.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ipc_core::{Handle, Sender, pipe};
use mp_pool::{Pool, StopRule, TaskError};
use mp_process::Process;
use mp_testkit::chaos;
use mp_testkit::harness::Suite;
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        apply_brings_the_value,
        map_keeps_the_order,
        map_of_nothing_is_nothing,
        map_of_many_sizes,
        starmap_takes_tuples_apart,
        large_arguments_and_values_pass,
        more_large_tasks_than_workers_do_not_deadlock,
        imap_is_lazy_and_in_order,
        imap_unordered_brings_all,
        a_late_value_can_be_asked_for_again,
        errors_stand_in_their_places_whatever_travels_together,
        an_imap_dropped_midway_leaves_the_pool_usable,
        a_failing_item_is_one_error_and_the_rest_go_on,
        the_first_error_in_order_is_the_maps_error,
        a_map_stops_when_too_much_of_it_fails,
        a_stopped_map_has_what_had_come,
        numbers_before_and_after_failures_are_in_place,
        every_way_to_fail_is_its_own_error,
        an_argument_that_does_not_encode_is_that_items_error,
        a_killed_worker_is_one_tasks_error,
        a_killed_worker_costs_quick_items_nothing,
        what_waits_behind_a_slow_item_goes_to_an_idle_worker,
        retries_bring_the_result,
        a_poison_item_stops_after_its_tries,
        items_not_begun_are_not_lost,
        tasks_given_ahead_do_not_wait_behind_a_long_one,
        idle_workers_that_are_killed_are_replaced,
        workers_that_always_die_break_the_pool,
        many_threads_share_a_pool,
        ends_and_handles_travel_through_a_pool,
        a_handle_behind_plain_items_survives_a_retry,
        a_moved_end_behind_plain_items_is_not_lost_with_them,
        a_moved_end_is_not_sent_twice,
        an_input_may_wait_for_what_its_last_item_does,
        a_worker_that_closed_its_link_is_replaced,
        a_decoding_that_panics_is_that_items_error,
        any_chunk_size_is_taken,
        close_refuses_and_join_ends,
        terminate_frees_waiting_callers,
        a_terminated_pool_brings_no_value_in_anothers_place,
        dropping_a_busy_pool_ends_it,
        pools_in_tasks,
        many_pools_leave_nothing,
        no_workers_is_an_error,
    ];
    Suite::new(trials).warm_up(start_library_threads).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn start_library_threads() {
    Process::spawn(|()| (), ()).unwrap().join().unwrap();
    let (_tx, rx) = pipe::<u8>().unwrap();
    assert!(rx.recv_timeout(Duration::from_millis(1)).is_err());
}

fn square(x: u64) -> u64 {
    x * x
}

fn apply_brings_the_value() {
    let pool = Pool::new(2).unwrap();
    for x in 0..200 {
        assert_eq!(pool.apply(square, x).unwrap(), x * x);
    }
    assert_eq!(pool.apply(|(a, b): (String, u8)| format!("{a}{b}"), ("x".into(), 1)).unwrap(), "x1");
    assert_ne!(pool.apply(|()| std::process::id(), ()).unwrap(), std::process::id());
}

fn map_keeps_the_order() {
    let pool = Pool::new(3).unwrap();
    let squares = pool.map(square, 0..100_000).unwrap();
    assert!(squares.iter().enumerate().all(|(i, square)| *square == (i * i) as u64));
    assert_eq!(squares.len(), 100_000);
}

fn map_of_nothing_is_nothing() {
    let pool = Pool::new(2).unwrap();
    assert!(pool.map(square, []).unwrap().is_empty());
    assert!(pool.imap(square, []).next().is_none());
    assert!(pool.imap_unordered(square, []).next().is_none());
}

fn map_of_many_sizes() {
    let pool = Pool::new(2).unwrap();
    for n in [1, 2, 3, 7, 8, 9, 1000] {
        assert_eq!(pool.map(square, 0..n).unwrap(), (0..n).map(square).collect::<Vec<_>>());
        let unsized_items = (0..n * 2).filter(|x| x % 2 == 0);
        assert_eq!(pool.map(square, unsized_items).unwrap().len(), n as usize);
    }
}

fn starmap_takes_tuples_apart() {
    fn join(a: String, b: u8) -> String {
        format!("{a}{b}")
    }
    fn volume(a: u64, b: u64, c: u64) -> u64 {
        a * b * c
    }
    let pool = Pool::new(2).unwrap();
    let pairs = || (0..50u8).map(|i| ("x".repeat(i.into()), i));
    assert_eq!(pool.starmap(join, pairs()).unwrap()[2], "xx2");
    assert_eq!(pool.starmap_async(join, pairs()).get().unwrap()[3], "xxx3");
    assert_eq!(pool.starmap3(volume, (0..9).map(|i| (i, 2, 3))).unwrap()[8], 48);
    let all = |a: u8, b: u16, c: u32, d: u64| u64::from(a) + u64::from(b) + u64::from(c) + d;
    assert_eq!(pool.starmap4(all, [(1, 2, 3, 4)]).unwrap(), [10]);
}

fn large_arguments_and_values_pass() {
    let pool = Pool::new(2).unwrap();
    let sizes = [0, 1, 20_000, 40_000, 100_000, 300_000, 3_000_000];
    for size in sizes {
        let back = pool.apply(|bytes: Vec<u8>| bytes, vec![3u8; size]).unwrap();
        assert_eq!(back.len(), size);
    }
    let lens =
        pool.map(|bytes: Vec<u8>| vec![bytes.len(); 30_000], sizes.map(|size| vec![1u8; size])).unwrap();
    assert!(lens.iter().zip(sizes).all(|(lens, size)| lens.len() == 30_000 && lens[7] == size));
}

fn more_large_tasks_than_workers_do_not_deadlock() {
    let pool = Pool::new(2).unwrap();
    let echo = |bytes: Vec<u8>| bytes;
    let back = pool.map(echo, (0..40).map(|i| vec![i as u8; 1_000_000])).unwrap();
    assert!(back.iter().enumerate().all(|(i, bytes)| bytes.len() == 1_000_000 && bytes[999_999] == i as u8));
}

fn imap_is_lazy_and_in_order() {
    let pool = Pool::new(2).unwrap();
    let mut pulled = 0u64;
    let items = std::iter::from_fn(|| {
        pulled += 1;
        Some(pulled)
    });
    let firsts: Vec<u64> = pool.imap(square, items).take(50).map(Result::unwrap).collect();
    assert_eq!(firsts, (1..=50).map(square).collect::<Vec<_>>());
    assert!(pulled < 10_000, "{pulled} items were pulled for 50 results");
}

fn imap_unordered_brings_all() {
    let pool = Pool::new(3).unwrap();
    let mut squares: Vec<u64> = pool.imap_unordered(square, 0..20_000).map(Result::unwrap).collect();
    squares.sort_unstable();
    assert_eq!(squares, (0..20_000).map(square).collect::<Vec<_>>());
}

fn a_late_value_can_be_asked_for_again() {
    let nap = |millis| {
        thread::sleep(Duration::from_millis(millis));
        millis
    };
    let pool = Pool::new(2).unwrap();
    let mut naps = pool.imap(nap, [300, 1, 2]);
    assert!(naps.next_timeout(Duration::ZERO).is_err());
    assert!(naps.next_timeout(Duration::from_millis(10)).is_err());
    assert_eq!(naps.next().unwrap().unwrap(), 300);
    assert_eq!(naps.next_timeout(Duration::MAX).unwrap().unwrap().unwrap(), 1);
    assert_eq!(naps.next_timeout(Duration::from_secs(20)).unwrap().unwrap().unwrap(), 2);
    assert!(naps.next_timeout(Duration::ZERO).unwrap().is_none());
    let mut naps = pool.imap_unordered(nap, [300, 1]);
    assert!(naps.next_timeout(Duration::ZERO).is_err());
    let mut order = Vec::new();
    while let Ok(Some(nap)) = naps.next_timeout(Duration::from_secs(20)) {
        order.push(nap.unwrap());
    }
    assert_eq!(order, [1, 300]);
    // One whose worker is killed meanwhile is an error, and no timeout.
    let mut naps = pool.imap(nap, [20_000, 1]);
    assert!(naps.next_timeout(Duration::from_millis(30)).is_err());
    pool.pids().into_iter().for_each(|pid| chaos::kill(pid).unwrap());
    let killed = naps.next_timeout(Duration::from_secs(20)).unwrap().unwrap();
    assert!(killed.unwrap_err().is_worker_died());
    assert!(naps.next_timeout(Duration::from_secs(20)).unwrap().is_some());
}

fn errors_stand_in_their_places_whatever_travels_together() {
    let pool = Pool::new(2).unwrap();
    for size in [1, 7, 64] {
        let outcomes: Vec<Result<u32, TaskError>> = pool.imap(odd_panics, 0..100).chunk_size(size).collect();
        let errors: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()?.index()).collect();
        assert_eq!((outcomes.len(), errors), (100, (0..50).map(|i| 2 * i + 1).collect()));
        let values = outcomes.into_iter().flatten();
        assert!(values.eq((0..50).map(|i| 2 * i)), "chunks of {size}");
    }
}

fn an_imap_dropped_midway_leaves_the_pool_usable() {
    let pool = Pool::new(2).unwrap();
    for _ in 0..20 {
        let taken = pool.imap_unordered(square, 0..).take(10).count();
        assert_eq!(taken, 10);
        assert_eq!(pool.apply(square, 3).unwrap(), 9);
    }
}

fn odd_panics(x: u32) -> u32 {
    if x % 2 == 1 { panic!("{x} is odd") } else { x }
}

fn a_failing_item_is_one_error_and_the_rest_go_on() {
    let pool = Pool::new(2).unwrap();
    let outcomes: Vec<Result<u32, TaskError>> = pool.imap(odd_panics, 0..100).collect();
    assert_eq!(outcomes.len(), 100);
    for (i, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(value) => assert_eq!((*value as usize, i % 2), (i, 0)),
            Err(error) => {
                assert_eq!(error.panic().unwrap().message(), format!("{i} is odd"));
                assert_eq!(error.index(), Some(i));
            }
        }
    }
}

fn the_first_error_in_order_is_the_maps_error() {
    let pool = Pool::new(2).unwrap();
    let error = pool.map(odd_panics, 0..1000).unwrap_err();
    assert_eq!(error.index(), Some(1));
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    assert_eq!(pool.map(square, 0..10).unwrap()[3], 9);
}

fn numbers_before_and_after_failures_are_in_place() {
    let pool = Pool::new(2).unwrap();
    // First, last, two in a row, and each one.
    for bad in [&[0][..], &[999], &[500, 501], &[0, 1, 2, 997, 998, 999]] {
        let items = (0..1000).map(|x: u64| if bad.contains(&x) { u64::MAX } else { x });
        let fail = |x: u64| if x == u64::MAX { panic!("bad") } else { x };
        let outcomes: Vec<_> = pool.imap(fail, items).chunk_size(300).collect();
        assert_eq!(outcomes.len(), 1000);
        for (x, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(value) => assert!(value == x && !bad.contains(&x), "{x}"),
                Err(error) => assert!(error.is_panic() && bad.contains(&x), "{x}: {error}"),
            }
        }
    }
}

fn a_map_stops_when_too_much_of_it_fails() {
    let pool = Pool::new(2).unwrap();
    // Within the rule everything is done.
    let outcomes = pool.map_while(StopRule::Failures(50), odd_panics, 0..100).unwrap();
    assert_eq!(outcomes.len(), 100);
    for (x, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.ok(), (x % 2 == 0).then_some(x as u32));
    }
    assert_eq!(pool.map_while(StopRule::Failures(0), square, []).unwrap().len(), 0);
    // Beyond it an endless input ends.
    let stopped = pool.map_while(StopRule::Failures(9), odd_panics, 0..).unwrap_err();
    assert_eq!(stopped.failed(), 10, "{stopped}");
    let share = StopRule::Share { most: 0.4, after: 30 };
    let stopped = pool.map_while(share, odd_panics, 0..).unwrap_err();
    assert!(stopped.done() >= 30 && stopped.failed() * 10 > stopped.done() * 4, "{stopped}");
    // A worker's death is a failure as well.
    let stopped = pool.map_while(StopRule::Failures(0), die_at_five, 0..).unwrap_err();
    assert!(stopped.to_string().contains("SIGKILL"), "{stopped}");
    assert_eq!(pool.map(square, 0..10).unwrap()[3], 9);
}

fn a_stopped_map_has_what_had_come() {
    let pool = Pool::new(2).unwrap();
    let stopped = pool.map_while(StopRule::Failures(3), odd_panics, 0..).unwrap_err();
    let (failed, done) = (stopped.failed(), stopped.done());
    let outcomes = stopped.into_outcomes();
    assert_eq!(outcomes.iter().flatten().filter(|outcome| outcome.is_err()).count(), failed);
    assert_eq!(outcomes.iter().flatten().count(), done);
    for (x, outcome) in outcomes.into_iter().enumerate() {
        if let Some(outcome) = outcome {
            assert_eq!(outcome.ok(), (x % 2 == 0).then_some(x as u32));
        }
    }
    // A pool that is closed says so, once.
    pool.close();
    let stopped = pool.map_while(StopRule::Failures(3), square, 0..100).unwrap_err();
    assert_eq!(stopped.done(), 1);
    assert!(stopped.to_string().contains("closed"), "{stopped}");
}

fn dig(depth: u32) -> u32 {
    let room = std::hint::black_box([depth; 64]);
    if depth == u32::MAX { room[3] } else { dig(depth + 1) + std::hint::black_box(room)[5] }
}

/// Encodes as what its own decoding refuses.
#[derive(Debug)]
struct Lopsided;

impl Serialize for Lopsided {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Lopsided {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("never"))
    }
}

/// Refuses to be encoded.
#[derive(Debug, Deserialize)]
struct Stubborn(bool);

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { Err(serde::ser::Error::custom("no")) } else { serializer.serialize_bool(false) }
    }
}

fn every_way_to_fail_is_its_own_error() {
    let pool = Pool::new(2).unwrap();
    let fails = |function: fn(u32) -> u32| {
        let error = pool.apply(function, 0).unwrap_err();
        assert_eq!(pool.map(square, 0..50).unwrap()[7], 49, "after {error}");
        error
    };
    let panic = fails(|_| panic!("out of luck"));
    assert!(panic.is_panic() && panic.panic().unwrap().backtrace().is_some(), "{panic}");
    let exit = fails(|_| std::process::exit(3));
    assert_eq!(exit.exit_code(), Some(3), "{exit}");
    let abort = fails(|_| std::process::abort());
    assert_eq!(abort.signal(), Some(6), "{abort}");
    let overflow = fails(dig);
    assert!(overflow.is_stack_overflow(), "{overflow}");
    let undecodable = pool.apply(|()| Lopsided, ()).unwrap_err();
    assert!(undecodable.is_undecodable(), "{undecodable}");
    let bad_argument = pool.apply(|_: Lopsided| (), Lopsided).unwrap_err();
    assert!(bad_argument.is_undecodable(), "{bad_argument}");
    let bad_result = pool.apply(|()| Stubborn(true), ()).unwrap_err();
    assert!(bad_result.is_codec() && !bad_result.is_undecodable(), "{bad_result}");
    assert_eq!(pool.map(square, 0..50).unwrap()[7], 49);
}

fn an_argument_that_does_not_encode_is_that_items_error() {
    let pool = Pool::new(2).unwrap();
    let items = (0..10).map(|i| Stubborn(i == 4));
    let outcomes: Vec<_> = pool.imap(|_: Stubborn| (), items).collect();
    let failed: Vec<usize> = (0..10).filter(|i| outcomes[*i].is_err()).collect();
    assert_eq!(failed, [4]);
    let error = pool.map(|_: Stubborn| (), (0..10).map(|i| Stubborn(i > 6))).unwrap_err();
    assert_eq!(error.index(), Some(7));
}

fn die_at_five(x: u64) -> u64 {
    if x == 5 {
        chaos::kill(std::process::id()).unwrap();
    }
    x
}

fn a_killed_worker_is_one_tasks_error() {
    let pool = Pool::new(2).unwrap();
    let outcomes: Vec<_> = pool.imap(die_at_five, 0..40).collect();
    let failed: Vec<usize> = (0..40).filter(|i| outcomes[*i].is_err()).collect();
    assert_eq!(failed, [5]);
    let error = outcomes[5].as_ref().unwrap_err();
    assert!(error.is_worker_died() && error.signal() == Some(9) && error.pid().is_some(), "{error}");
}

/// Kills its worker the first time only; a folder remembers.
fn die_at_times(x: u64) -> u64 {
    if x % 1000 == 777 {
        std::process::abort();
    }
    x
}

fn a_killed_worker_costs_quick_items_nothing() {
    let pool = Pool::new(2).unwrap();
    let check = |x: u64, value: Result<u64, TaskError>| match value {
        Ok(value) => assert!(value == x && x % 1000 != 777, "{x}"),
        Err(error) => assert!(x % 1000 == 777 && error.is_worker_died(), "{x}: {error}"),
    };
    let numbers: Vec<_> = pool.imap(die_at_times, 0..4000).collect();
    assert_eq!(numbers.len(), 4000);
    (0..).zip(numbers).for_each(|(x, value)| check(x, value));
    // Values with a length, some of them too long to be kept together.
    let text = |x: u64| "x".repeat(die_at_times(x) as usize % 2000);
    let texts: Vec<_> = pool.imap(text, 0..4000).collect();
    for (x, value) in (0..).zip(texts) {
        check(x, value.map(|text| x - x % 2000 + text.len() as u64));
    }
    // Fifty at a time, and with panics before the end.
    let panics = |x: u64| if x % 10 == 5 { panic!("five") } else { die_at_times(x) };
    let pairs: Vec<_> = pool.imap(panics, 0..2000).chunk_size(50).collect();
    for (x, value) in (0..).zip(pairs) {
        match value {
            Err(error) if error.is_panic() => assert_eq!(x % 10, 5),
            value => check(x, value),
        }
    }
}

/// Waits for a file to be there, or makes it.
fn meet((path, x): (String, u32)) -> u32 {
    match x {
        50 => {
            let begin = std::time::Instant::now();
            while !std::path::Path::new(&path).exists() {
                assert!(begin.elapsed() < Duration::from_secs(30), "nobody came");
                thread::sleep(Duration::from_millis(1));
            }
        }
        51 => std::fs::write(&path, "").unwrap(),
        _ => {}
    }
    x
}

fn what_waits_behind_a_slow_item_goes_to_an_idle_worker() {
    let pool = Pool::new(2).unwrap();
    let path = |n: usize| {
        let folder = std::env::temp_dir();
        folder.join(format!("mp-pool-meet-{}-{n}", std::process::id())).to_str().unwrap().to_owned()
    };
    // The fiftieth ends only when the next has run, and both are thought to be quick.
    let items = |n: usize| (0..2000).map(move |x| (path(n), u32::saturating_sub(x, 1000)));
    let sum = |values: Vec<u32>| assert_eq!(values.into_iter().sum::<u32>(), 999 * 500);
    sum(pool.imap(meet, items(0)).map(Result::unwrap).collect());
    sum(pool.imap_unordered(meet, items(1)).map(Result::unwrap).collect());
    let later: Vec<_> = items(2).map(|item| pool.apply_async(meet, item)).collect();
    // Nobody waits for them: the pool sees to it by itself.
    let begin = std::time::Instant::now();
    while later.iter().any(|result| !result.ready()) {
        assert!(begin.elapsed() < Duration::from_secs(30), "they wait for ever");
        thread::sleep(Duration::from_millis(20));
    }
    sum(later.into_iter().map(|result| result.get().unwrap()).collect());
    (0..3).for_each(|n| std::fs::remove_file(path(n)).unwrap());
}

fn die_once((path, x): (String, u32)) -> u32 {
    let mark = std::path::Path::new(&path).join(x.to_string());
    if x % 3 == 0 && std::fs::create_dir(mark).is_ok() {
        chaos::kill(std::process::id()).unwrap();
    }
    x
}

fn retries_bring_the_result() {
    let folder = std::env::temp_dir().join(format!("mp-pool-retries-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap().to_owned();
    let pool = Pool::builder().processes(2).retries(1).build().unwrap();
    let values = pool.map(die_once, (0..60).map(|x| (path.clone(), x))).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(values, (0..60).collect::<Vec<_>>());
}

fn a_poison_item_stops_after_its_tries() {
    let pool = Pool::builder().processes(2).retries(2).build().unwrap();
    let error = pool.map(die_at_five, 0..40).unwrap_err();
    assert_eq!((error.index(), error.signal()), (Some(5), Some(9)), "{error}");
    let outcomes: Vec<_> = pool.imap_unordered(die_at_five, 0..40).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
}

fn items_not_begun_are_not_lost() {
    let pool = Pool::new(2).unwrap();
    let error = pool.map(die_at_five, 0..4000).unwrap_err();
    assert!(error.index().unwrap() <= 5, "{error}");
    // Of a task's items that one worker held, those before the fatal one may be lost
    // with it, and none behind it.
    let pool = Pool::new(1).unwrap();
    let outcomes: Vec<_> = pool.imap_unordered(die_at_five, 0..200).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 199);
}

fn tasks_given_ahead_do_not_wait_behind_a_long_one() {
    let pool = Pool::new(2).unwrap();
    let nap = |x: u64| (thread::sleep(Duration::from_secs(30)), x).1;
    for quick_first in [false, true] {
        if quick_first {
            // Now the pool knows that tasks are quick, and gives many ahead.
            pool.map(square, 0..10_000).unwrap();
        }
        let long = pool.apply_async(nap, 1);
        let quick: Vec<_> = (0..200).map(|x| pool.apply_async(square, x)).collect();
        let squares: Vec<u64> = quick.into_iter().map(|quick| quick.get().unwrap()).collect();
        assert!(squares.into_iter().eq((0..200).map(square)));
        assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
        assert!(!long.ready());
        long.cancel();
        assert!(long.get().unwrap_err().is_cancelled());
    }
}

fn idle_workers_that_are_killed_are_replaced() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
    for _ in 0..5 {
        let before = pool.pids();
        before.iter().for_each(|pid| chaos::kill(*pid).unwrap());
        thread::sleep(Duration::from_millis(20));
        assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
        assert!(pool.pids().iter().all(|pid| !before.contains(pid)));
    }
}

fn workers_that_always_die_break_the_pool() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let pool = Pool::builder().processes(2).retries(u32::MAX).build().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !OVER.load(Ordering::Relaxed) {
                for worker in chaos::descendants(std::process::id()) {
                    let _ = chaos::kill(worker.pid);
                }
            }
        });
        let error = pool.map(|x: u64| (thread::sleep(Duration::from_millis(200)), x).1, 0..100).unwrap_err();
        OVER.store(true, Ordering::Relaxed);
        let pool_error = error.pool_error().unwrap_or_else(|| panic!("{error}"));
        assert!(pool_error.is_broken(), "{error}");
    });
    assert!(pool.apply(square, 1).is_err());
}

fn many_threads_share_a_pool() {
    let pool = Pool::new(3).unwrap();
    thread::scope(|scope| {
        for part in 0..16u64 {
            let pool = &pool;
            scope.spawn(move || {
                for x in 0..100 {
                    assert_eq!(pool.apply(square, part * 100 + x).unwrap(), (part * 100 + x).pow(2));
                }
                let base = part * 1000;
                let squares = pool.map(square, base..base + 1000).unwrap();
                assert!(squares.iter().zip(base..).all(|(square, x)| *square == x * x));
            });
        }
    });
}

fn ends_and_handles_travel_through_a_pool() {
    let pool = Pool::new(2).unwrap();
    let (tx, rx) = pipe::<u64>().unwrap();
    pool.apply(|tx: Sender<u64>| (0..10).for_each(|i| tx.send(&i).unwrap()), tx).unwrap();
    assert_eq!(rx.iter().map(Result::unwrap).sum::<u64>(), 45);
    let files = (0..40)
        .map(|_| Handle::from(std::os::fd::OwnedFd::from(std::fs::File::open("/proc/version").unwrap())));
    let back = pool.map(|file: Handle| file, files).unwrap();
    assert_eq!(back.len(), 40);
}

/// Dies once at the first item; how long the file is that came along, if one did.
fn die_once_or_measure((path, x, file): (String, u32, Option<Handle>)) -> u64 {
    die_once((path, x));
    file.map_or(0, |file| {
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(file));
        file.metadata().unwrap().len()
    })
}

fn a_handle_behind_plain_items_survives_a_retry() {
    let folder = std::env::temp_dir().join(format!("mp-pool-laden-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), [0; 77]).unwrap();
    let items = |from: u32| {
        let folder = folder.clone();
        (from..from + 12).map(move |x| {
            let open = || std::fs::File::open(folder.join("file")).unwrap();
            let file = (x % 4 == 3).then(|| Handle::from(std::os::fd::OwnedFd::from(open())));
            (folder.to_str().unwrap().to_owned(), x, file)
        })
    };
    let lens: Vec<u64> = (0..12).map(|x| if x % 4 == 3 { 77 } else { 0 }).collect();
    let pool = Pool::builder().processes(1).retries(1).build().unwrap();
    let values: Result<Vec<_>, _> = pool.imap(die_once_or_measure, items(0)).chunk_size(4).collect();
    assert_eq!(values.unwrap(), lens);
    assert_eq!(pool.map(die_once_or_measure, items(12)).unwrap(), lens);
    std::fs::remove_dir_all(folder).unwrap();
}

fn a_moved_end_behind_plain_items_is_not_lost_with_them() {
    let pool = Pool::builder().processes(1).build().unwrap();
    let (tx, rx) = pipe::<u64>().unwrap();
    let first_dies = |(x, tx): (u64, Option<Sender<u64>>)| match tx {
        None if x == 0 => chaos::kill(std::process::id()).unwrap(),
        None => {}
        Some(tx) => tx.send(&x).unwrap(),
    };
    let items = [(0, None), (1, None), (2, Some(tx))];
    let outcomes: Vec<_> = pool.imap(first_dies, items).chunk_size(3).collect();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(rx.recv().unwrap(), 2);
}

fn an_input_may_wait_for_what_its_last_item_does() {
    let pool = Pool::new(2).unwrap();
    let folder = std::env::temp_dir().join(format!("mp-pool-found-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = |x: u32| folder.join(x.to_string()).to_str().unwrap().to_owned();
    // Each item leaves what the input needs for the next, as a search for more to do would.
    let items = (0..).map_while(|x| {
        let begin = std::time::Instant::now();
        while x > 0 && !std::path::Path::new(&path(x - 1)).exists() {
            assert!(begin.elapsed() < Duration::from_secs(20), "item {} was not begun", x - 1);
            thread::yield_now();
        }
        (x < 300).then(|| path(x))
    });
    let mark = |path: String| std::fs::write(path, "").unwrap();
    assert_eq!(pool.imap(mark, items).filter(Result::is_ok).count(), 300);
    std::fs::remove_dir_all(folder).unwrap();
}

fn a_moved_end_is_not_sent_twice() {
    let pool = Pool::builder().processes(1).retries(5).build().unwrap();
    let (tx, rx) = pipe::<u64>().unwrap();
    let fatal = |tx: Sender<u64>| {
        tx.send(&1).unwrap();
        chaos::kill(std::process::id()).unwrap();
    };
    let error = pool.apply(fatal, tx).unwrap_err();
    assert!(error.is_worker_died(), "{error}");
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(rx.recv().is_err(), "the end died with its worker");
}

fn a_worker_that_closed_its_link_is_replaced() {
    let pool = Pool::new(1).unwrap();
    // The answer may or may not have been told before the link went.
    let _ = pool.apply(|()| chaos::cut_all_ties(), ());
    let outcomes: Vec<_> = pool.imap(square, 0..20).collect();
    assert!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() >= 19);
}

/// Encodes well, and panics when it is decoded.
#[derive(Debug)]
struct Trap(u8);

impl Serialize for Trap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        assert_ne!(number, 3, "sprung");
        Ok(Self(number))
    }
}

fn a_decoding_that_panics_is_that_items_error() {
    let pool = Pool::new(2).unwrap();
    let outcomes: Vec<_> = pool.imap(Trap, 0..10).chunk_size(5).collect();
    let failed: Vec<usize> = (0..10).filter(|i| outcomes[*i].is_err()).collect();
    assert_eq!(failed, [3]);
    assert!(outcomes[3].as_ref().unwrap_err().to_string().contains("sprung"));
    assert_eq!(outcomes[9].as_ref().unwrap().0, 9);
    let error = pool.map(|trap: Trap| trap.0, (0..10).map(Trap)).unwrap_err();
    assert!(error.is_undecodable() && error.index() == Some(3), "{error}");
}

fn any_chunk_size_is_taken() {
    let pool = Pool::new(2).unwrap();
    for size in [0, 1, 7, usize::MAX] {
        let sum: u64 = pool.imap_unordered(square, 0..100).chunk_size(size).map(Result::unwrap).sum();
        assert_eq!(sum, 328_350);
    }
}

fn close_refuses_and_join_ends() {
    let pool = Pool::new(2).unwrap();
    let pids = pool.pids();
    pool.close();
    let error = pool.apply(square, 1).unwrap_err();
    assert!(error.pool_error().unwrap().is_closed(), "{error}");
    pool.join();
    assert!(pids.iter().all(|pid| chaos::state(*pid).is_none()));
}

fn a_terminated_pool_brings_no_value_in_anothers_place() {
    let pool = Pool::new(2).unwrap();
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

fn terminate_frees_waiting_callers() {
    let pool = Pool::new(2).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.apply(|()| thread::sleep(Duration::from_secs(600)), ()));
        let also = scope.spawn(|| pool.map(|_: u8| thread::sleep(Duration::from_secs(600)), 0..10));
        thread::sleep(Duration::from_millis(100));
        pool.terminate();
        assert!(waiting.join().unwrap().unwrap_err().pool_error().is_some());
        assert!(also.join().unwrap().unwrap_err().pool_error().is_some());
    });
}

fn dropping_a_busy_pool_ends_it() {
    let pool = Pool::new(2).unwrap();
    let pids = pool.pids();
    let mut slow = pool.imap(|_: u8| thread::sleep(Duration::from_millis(50)), 0..100);
    slow.next().unwrap().unwrap();
    drop(slow);
    drop(pool);
    assert!(pids.iter().all(|pid| chaos::state(*pid).is_none()));
}

fn pools_in_tasks() {
    fn sum(n: u64) -> u64 {
        Pool::new(2).unwrap().map(square, 0..n).unwrap().iter().sum()
    }
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(sum, [10, 100]).unwrap(), [285, 328_350]);
}

fn many_pools_leave_nothing() {
    for _ in 0..20 {
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.apply(square, 5).unwrap(), 25);
    }
}

fn no_workers_is_an_error() {
    assert!(Pool::new(0).unwrap_err().to_string().contains("at least one"));
}
