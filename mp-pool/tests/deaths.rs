//! What a pool makes of workers that die.

mod common;

use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Tally, builder, die_at_five, die_once, pool_of, square};
use mp_pool::TaskError;
use mp_process::StartMethod;
use mp_testkit::chaos;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = common::started![
        a_large_task_is_tried_again_while_another_is_waited_for,
        a_killed_worker_is_one_tasks_error,
        a_killed_worker_costs_quick_items_nothing,
        a_map_names_the_item_that_its_worker_was_at,
        each_number_is_run_once_though_workers_die,
        what_waits_behind_a_slow_item_goes_to_an_idle_worker,
        a_death_is_told_with_all_that_is_known,
        a_panic_says_which_worker_it_was,
        retries_bring_the_result,
        a_large_argument_outlives_its_worker,
        a_poison_item_stops_after_its_tries,
        items_not_begun_are_not_lost,
        tasks_given_ahead_do_not_wait_behind_a_long_one,
        idle_workers_that_are_killed_are_replaced,
        workers_that_always_die_break_the_pool,
        a_worker_that_closed_its_link_is_replaced,
    ];
    common::run(STARTED, Vec::new())
}

fn a_killed_worker_is_one_tasks_error(method: StartMethod) {
    let pool = pool_of(2, method);
    let outcomes: Vec<_> = pool.imap(die_at_five, 0..40).collect();
    let failed: Vec<usize> = (0..40).filter(|i| outcomes[*i].is_err()).collect();
    assert_eq!(failed, [5]);
    let error = outcomes[5].as_ref().unwrap_err();
    assert!(error.is_worker_died() && error.signal() == Some(9) && error.pid().is_some(), "{error}");
    assert_eq!((pool.map(square, 0..100).unwrap()[9], pool.pids().len()), (81, 2));
}

/// Aborts at one item in a thousand.
fn die_at_times(x: u64) -> u64 {
    if x % 1000 == 777 {
        std::process::abort();
    }
    x
}

fn a_killed_worker_costs_quick_items_nothing(method: StartMethod) {
    let pool = pool_of(2, method);
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

/// Many go together and are quick: what was done of those dies with the worker.
fn a_map_names_the_item_that_its_worker_was_at(method: StartMethod) {
    const FATAL: u64 = 40_777;
    fn die(x: u64) -> u64 {
        if x == FATAL {
            std::process::abort();
        }
        x
    }
    let pool = builder(method).processes(2).state(|()| (), ()).build().unwrap();
    let items = 0..60_000;
    let pairs = items.clone().map(|x| (x, ()));
    let text = |x: u64| die(x).to_string();
    let tried = |x: u64| if x == u64::MAX { Err(()) } else { Ok(die(x)) };
    let errors = [
        pool.map(die, items.clone()).unwrap_err(),
        pool.map(text, items.clone()).unwrap_err(),
        pool.starmap(|x, ()| die(x), pairs.clone()).unwrap_err(),
        pool.map_state(|(), x| die(x), items.clone()).unwrap_err(),
        pool.try_map(tried, items.clone()).unwrap_err(),
        pool.map_async(die, items.clone()).get().unwrap_err(),
        pool.starmap_async(|x, ()| text_of(x), pairs).get().unwrap_err(),
        pool.share(&7u8).unwrap().map(|_, x| die(x), items).unwrap_err(),
    ];
    fn text_of(x: u64) -> String {
        die(x).to_string()
    }
    for error in errors {
        let place = Some(FATAL as usize);
        assert_eq!((error.index(), error.worker_died().unwrap().index()), (place, place), "{error}");
        assert!(error.to_string().starts_with("item 40777: the task's worker died"), "{error}");
    }
    assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
}

/// What a worker had begun is not run again, and what it had not is by somebody else.
fn each_number_is_run_once_though_workers_die(method: StartMethod) {
    static RUNS: OnceLock<Tally> = OnceLock::new();
    const ITEMS: u64 = 100_000;
    fn count(x: u64) -> u64 {
        let runs = RUNS.get().unwrap();
        runs.add(0, 1);
        runs.add(1, x);
        if x % 10_000 == 7 {
            std::process::abort();
        }
        x
    }
    let runs = Tally::new();
    let remember = |runs: Tally| RUNS.set(runs).unwrap();
    let pool = builder(method).processes(2).initializer(remember, runs.clone()).build().unwrap();
    let error = pool.map(count, 0..ITEMS).unwrap_err();
    assert_eq!(error.index(), Some(7), "{error}");
    assert_eq!((runs.get(0), runs.get(1)), (ITEMS, (0..ITEMS).sum()));
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

fn what_waits_behind_a_slow_item_goes_to_an_idle_worker(method: StartMethod) {
    let pool = pool_of(2, method);
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

fn a_death_is_told_with_all_that_is_known(method: StartMethod) {
    let pool = builder(method).processes(2).retries(2).build().unwrap();
    let fatal = |x: u64| {
        let held = std::hint::black_box(vec![x as u8 + 1; 150 << 20]);
        die_at_five(x) + u64::from(held[7]) - (x + 1)
    };
    let error = pool.map(fatal, 0..6).unwrap_err();
    let died = error.worker_died().unwrap();
    assert_eq!((error.index(), died.attempt()), (Some(5), 3), "{error}");
    assert_eq!(died.status().and_then(|status| status.signal()), Some(9));
    assert_eq!(Some(died.pid()), error.pid());
    assert!(!pool.pids().contains(&died.pid()));
    assert_eq!(error.worker().as_deref(), Some(died.worker()));
    assert!(died.worker().starts_with("Pool-"), "{}", died.worker());
    assert!(died.peak_memory().is_some_and(|peak| peak >= 150 << 20), "{:?}", died.peak_memory());
    assert!(error.to_string().contains("as in 2 tries before"), "{error}");
    // Nobody logs here.
    assert_eq!(died.last_records(), [""; 0]);
    // A spawned one that needed no more than this process ever had tells nothing of its memory.
    let mine = std::hint::black_box(vec![1u8; 100 << 20]);
    let pool = pool_of(1, method);
    let error = pool.apply(die_at_five, 5).unwrap_err();
    let died = error.worker_died().unwrap();
    assert_eq!(died.peak_memory().is_none(), method == StartMethod::Spawn, "{}", mine[3]);
    assert_eq!((died.attempt(), error.index()), (1, None));
}

fn a_panic_says_which_worker_it_was(method: StartMethod) {
    let pool = pool_of(2, method);
    let name = |()| mp_process::current_process().name().to_owned();
    for _ in 0..20 {
        let say = |()| -> String { panic!("{}", mp_process::current_process().name()) };
        let error = pool.apply(say, ()).unwrap_err();
        assert_eq!(error.worker().as_deref(), Some(error.panic().unwrap().message()));
    }
    assert!(pool.apply(name, ()).unwrap().starts_with("Pool-"));
    pool.close();
    assert_eq!(pool.apply(name, ()).unwrap_err().worker(), None);
}

/// Dies unless somebody has been there: the bytes begin with where.
fn die_once_over(bytes: Vec<u8>) -> Vec<u8> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let _ = die_once((String::from_utf8(text.to_vec()).unwrap(), u32::from(bytes[bytes.len() - 1])));
    bytes
}

/// What goes over a link in parts is sent again whole.
fn a_large_argument_outlives_its_worker(method: StartMethod) {
    let folder = std::env::temp_dir().join(format!("mp-pool-large-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let pool = builder(method).processes(2).retries(1).build().unwrap();
    let item = |last: u8| {
        let mut bytes = folder.to_str().unwrap().as_bytes().to_vec();
        bytes.resize(500_000, 0);
        bytes.push(last);
        bytes
    };
    let later: Vec<_> = (0..9).map(|last| pool.apply_async(die_once_over, item(last))).collect();
    for (last, result) in (0..9).zip(later) {
        assert!(result.get().unwrap() == item(last), "{last}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
    std::fs::remove_dir_all(folder).unwrap();
}

fn retries_bring_the_result(method: StartMethod) {
    let folder = std::env::temp_dir().join(format!("mp-pool-retries-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap().to_owned();
    let pool = builder(method).processes(2).retries(1).build().unwrap();
    let values = pool.map(die_once, (0..60).map(|x| (path.clone(), x))).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(values, (0..60).collect::<Vec<_>>());
}

fn a_poison_item_stops_after_its_tries(method: StartMethod) {
    let pool = builder(method).processes(2).retries(2).build().unwrap();
    let error = pool.map(die_at_five, 0..40).unwrap_err();
    assert_eq!((error.index(), error.signal()), (Some(5), Some(9)), "{error}");
    let outcomes: Vec<_> = pool.imap_unordered(die_at_five, 0..40).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
}

fn items_not_begun_are_not_lost(method: StartMethod) {
    let pool = pool_of(2, method);
    let error = pool.map(die_at_five, 0..4000).unwrap_err();
    assert!(error.index().unwrap() <= 5, "{error}");
    // Of a task's items that one worker held, those before the fatal one may be lost
    // with it, and none behind it.
    let pool = pool_of(1, method);
    let outcomes: Vec<_> = pool.imap_unordered(die_at_five, 0..200).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 199);
}

fn tasks_given_ahead_do_not_wait_behind_a_long_one(method: StartMethod) {
    let pool = pool_of(2, method);
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

fn idle_workers_that_are_killed_are_replaced(method: StartMethod) {
    let pool = pool_of(2, method);
    assert_eq!(pool.apply(square, 2).unwrap(), 4);
    for _ in 0..5 {
        let before = pool.pids();
        before.iter().for_each(|pid| chaos::kill(*pid).unwrap());
        thread::sleep(Duration::from_millis(20));
        let begun = std::time::Instant::now();
        loop {
            assert_eq!(pool.map(square, 0..100).unwrap()[9], 81);
            if pool.pids().iter().all(|pid| !before.contains(pid)) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "the dead are not replaced");
        }
    }
}

fn workers_that_always_die_break_the_pool(method: StartMethod) {
    let over = AtomicBool::new(false);
    let pool = builder(method).processes(2).retries(u32::MAX).build().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // The workers alone: who kills the child that the server of forks keeps ready
                // leaves it unburied until the next one is started.
                pool.pids().into_iter().for_each(|pid| drop(chaos::kill(pid)));
            }
        });
        let error = pool.map(|x: u64| (thread::sleep(Duration::from_millis(200)), x).1, 0..100).unwrap_err();
        over.store(true, Ordering::Relaxed);
        let pool_error = error.pool_error().unwrap_or_else(|| panic!("{error}"));
        assert!(pool_error.is_broken(), "{error}");
    });
    assert!(pool.apply(square, 1).is_err());
}

fn a_worker_that_closed_its_link_is_replaced(method: StartMethod) {
    let pool = pool_of(1, method);
    // The answer may or may not have been told before the link went.
    let _ = pool.apply(|()| chaos::cut_all_ties(), ());
    let outcomes: Vec<_> = pool.imap(square, 0..20).collect();
    assert!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() >= 19);
}

/// A worker that is stopped takes nothing; when it goes on it is given the task, though whoever
/// sleeps for all sleeps for long.
fn a_large_task_is_tried_again_while_another_is_waited_for(method: StartMethod) {
    let pool = pool_of(2, method);
    let tally = Tally::new();
    let hold = |tally: Tally| {
        tally.add(0, std::process::id().into());
        tally.await_at_least(1, 1);
    };
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.apply(hold, tally.clone()));
        tally.await_at_least(0, 1);
        let other = pool.pids().into_iter().find(|pid| u64::from(*pid) != tally.get(0)).unwrap();
        chaos::stop(other).unwrap();
        let large = scope.spawn(|| pool.apply(|bytes: Vec<u8>| bytes.len(), vec![1; 16 << 20]));
        // It is given up by then; if it is not, all the better for it.
        thread::sleep(Duration::from_millis(400));
        chaos::cont(other).unwrap();
        assert_eq!(large.join().unwrap().unwrap(), 16 << 20);
        assert!(!waiting.is_finished());
        tally.add(1, 1);
        waiting.join().unwrap().unwrap();
    });
}
