//! How items flow: who gets what, and how much is under way.

use std::cell::Cell;
use std::collections::HashMap;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use mp_pool::{Pool, TaskError};
use mp_testkit::harness::Suite;

mod common;

use common::{Tally, start_library_threads};

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        what_was_taken_back_does_not_return_to_a_slow_worker,
        slow_tasks_after_quick_ones_are_with_all_workers,
        a_quick_task_does_not_wait_for_a_slow_one_of_another_thread,
        slow_items_at_the_end_are_shared_out,
        slow_items_of_one_task_are_shared_out,
        items_after_quick_ones_are_shared_out,
        each_item_of_a_map_is_run_once,
        large_arguments_are_few_at_a_time,
        large_results_are_few_at_a_time,
        small_items_are_many_at_a_time,
        before_the_first_result_each_worker_has_one_task,
        items_beyond_the_window_go_one_to_each_worker,
    ];
    Suite::new(trials).warm_up(start_library_threads).run()
}

fn square(x: u64) -> u64 {
    x * x
}

/// More workers than most machines have processors.
const MANY: u32 = 24;

fn slow_tasks_after_quick_ones_are_with_all_workers() {
    let folder = std::env::temp_dir().join(format!("mp-pool-many-{}", std::process::id()));
    let path = folder.to_str().unwrap().to_owned();
    let pool = Pool::new(MANY as usize).unwrap();
    for round in 0..3 {
        // These are with a few workers only.
        pool.imap(square, 0..5000).chunk_size(1).for_each(drop);
        std::fs::create_dir(&folder).unwrap();
        let items = vec![(path.clone(), MANY); MANY as usize];
        let values: Vec<u32> = pool.imap(meet_others, items).chunk_size(1).map(Result::unwrap).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(values, [MANY; MANY as usize], "round {round}");
    }
}

/// Waits until so many are here at once.
fn meet_others((path, count): (String, u32)) -> u32 {
    std::fs::write(std::path::Path::new(&path).join(std::process::id().to_string()), "").unwrap();
    let begin = std::time::Instant::now();
    while std::fs::read_dir(&path).unwrap().count() < count as usize {
        assert!(begin.elapsed() < Duration::from_secs(40), "nobody came");
        thread::sleep(Duration::from_millis(1));
    }
    count
}

/// Is there, and stays until it may leave.
fn await_leave((here, leave): (String, String)) {
    std::fs::write(here, "").unwrap();
    await_file(&leave);
}

fn await_file(path: &str) {
    let begin = std::time::Instant::now();
    while !std::path::Path::new(path).exists() {
        assert!(begin.elapsed() < Duration::from_secs(40), "nobody came");
        thread::sleep(Duration::from_millis(1));
    }
}

fn a_quick_task_does_not_wait_for_a_slow_one_of_another_thread() {
    let folder = std::env::temp_dir().join(format!("mp-pool-leave-{}", std::process::id()));
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let pool = Pool::new(4).unwrap();
    for round in 0..3 {
        // Now the pool thinks that it may as well wait behind one.
        (0..500).for_each(|x| assert_eq!(pool.apply(square, x).unwrap(), x * x));
        std::fs::create_dir(&folder).unwrap();
        thread::scope(|scope| {
            let slow = scope.spawn(|| pool.apply(await_leave, (file("here"), file("leave"))));
            await_file(&file("here"));
            // Its caller sleeps for all by now, and nothing waits behind it yet.
            thread::sleep(Duration::from_millis(20));
            assert_eq!(pool.apply(square, 7).unwrap(), 49);
            std::fs::write(file("leave"), "").unwrap();
            assert!(slow.join().unwrap().is_ok(), "round {round}: it waited for the slow one");
        });
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

fn what_was_taken_back_does_not_return_to_a_slow_worker() {
    let folder = std::env::temp_dir().join(format!("mp-pool-others-{}", std::process::id()));
    let path = folder.to_str().unwrap().to_owned();
    let pool = Pool::new(3).unwrap();
    for round in 0..20 {
        // Now the pool takes tasks for quick, and thinks it as well to wait behind one.
        pool.imap(square, 0..2000).for_each(drop);
        std::fs::create_dir(&folder).unwrap();
        let values: Vec<u32> =
            pool.imap(meet_others, vec![(path.clone(), 3); 3]).map(Result::unwrap).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(values, [3; 3], "round {round}");
    }
}

/// Stays until so many are there.
fn gather((tally, count): (Tally, u64)) {
    tally.add(0, 1);
    tally.await_at_least(0, count);
}

/// A pool of two, both of which have come, and which takes tasks for quick ones.
fn two_that_are_up() -> Pool {
    let pool = Pool::new(2).unwrap();
    let tally = Tally::new();
    let met = pool.imap(gather, vec![(tally, 2); 2]).chunk_size(1);
    met.for_each(|met| met.unwrap());
    pool.imap(square, 0..5000).for_each(drop);
    pool
}

/// Sleeps if the item is one of the slow ones; who ran it.
fn perhaps_slowly((x, slow_from): (u32, u32)) -> u32 {
    if x >= slow_from {
        thread::sleep(Duration::from_millis(100));
    }
    std::process::id()
}

/// How many slow items the worker ran that ran the fewest.
fn fewest(pids: &[u32], slow_from: usize, workers: usize) -> usize {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    pids[slow_from..].iter().for_each(|pid| *counts.entry(*pid).or_default() += 1);
    if counts.len() < workers { 0 } else { counts.into_values().min().unwrap() }
}

fn slow_items_at_the_end_are_shared_out() {
    let pool = two_that_are_up();
    // An eighth of all: the last task, if their number alone were to say how many go together.
    let pids = pool.map(perhaps_slowly, (0..64).map(|x| (x, 56))).unwrap();
    assert!(fewest(&pids, 56, 2) >= 2, "{pids:?}");
    let outcomes: Vec<_> = pool.imap(perhaps_slowly, (0..64).map(|x| (x, 56))).collect();
    let pids: Vec<u32> = outcomes.into_iter().map(Result::unwrap).collect();
    assert!(fewest(&pids, 56, 2) >= 2, "{pids:?}");
}

fn slow_items_of_one_task_are_shared_out() {
    let pool = two_that_are_up();
    // All are given at once, so that nothing is known of the last ones.
    let pids = pool.map_async(perhaps_slowly, (0..64).map(|x| (x, 56))).get().unwrap();
    assert!(fewest(&pids, 56, 2) >= 2, "{pids:?}");
}

fn items_after_quick_ones_are_shared_out() {
    let pool = two_that_are_up();
    // By then many go together, because those before them were quick.
    let pids = pool.map(perhaps_slowly, (0..20_000).map(|x| (x, 19_984))).unwrap();
    assert!(fewest(&pids, 19_984, 2) >= 2, "{:?}", &pids[19_984..]);
}

fn count_one((tally, x): (Tally, u64)) -> u64 {
    tally.add(0, 1);
    tally.add(1, x);
    if x % 97 == 0 {
        thread::sleep(Duration::from_millis(2));
    }
    x
}

fn each_item_of_a_map_is_run_once() {
    let pool = Pool::new(3).unwrap();
    for round in 0..20 {
        let (tally, count) = (Tally::new(), 100 + 50 * round);
        let items = || (0..count).map(|x| (tally.clone(), x));
        let values = if round % 2 == 0 {
            pool.map(count_one, items()).unwrap()
        } else {
            pool.map_async(count_one, items()).get().unwrap()
        };
        assert!(values.into_iter().eq(0..count), "round {round}");
        assert_eq!((tally.get(0), tally.get(1)), (count, (0..count).sum()), "round {round}");
    }
    // Without handles, of which each would go by itself.
    for round in 1..30 {
        let quick_and_slow = |x: u64| {
            if x % 500 == 499 {
                thread::sleep(Duration::from_millis(3));
            }
            x
        };
        assert!(pool.map(quick_and_slow, 0..round * 300).unwrap().into_iter().eq(0..round * 300));
        let later = pool.map_async(quick_and_slow, 0..round * 300);
        assert!(later.get().unwrap().into_iter().eq(0..round * 300));
    }
}

const LARGE: usize = 10_000_000;

/// How far an input was ahead of the results at the most, where the caller is slow.
fn most_ahead<T>(
    count: u32,
    item: impl Fn(u32) -> T,
    results: impl FnOnce(&mut dyn Iterator<Item = T>, &mut dyn FnMut(Result<usize, TaskError>)),
) -> u32 {
    let (given, ahead, mut taken) = (Cell::new(0), Cell::new(0), 0);
    let mut items = (0..count).map(|x| {
        given.set(given.get() + 1);
        item(x)
    });
    results(&mut items, &mut |result| {
        ahead.set(ahead.get().max(given.get() - taken));
        taken += 1;
        assert!(result.unwrap() > 0);
        if taken < 20 {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(taken, count);
    ahead.get()
}

fn large_arguments_are_few_at_a_time() {
    let pool = Pool::builder().processes(4).window_bytes(32 << 20).build().unwrap();
    let large = |x: u32| vec![x as u8; LARGE];
    let through = |bytes: Vec<u8>| bytes;
    let ordered = most_ahead(100, large, |items, take| {
        pool.imap(through, items).for_each(|result| take(result.map(|bytes| bytes.len())));
    });
    assert!(ordered <= 5, "{ordered} were under way");
    let unordered = most_ahead(100, large, |items, take| {
        pool.imap_unordered(through, items).for_each(|result| take(result.map(|bytes| bytes.len())));
    });
    assert!(unordered <= 5, "{unordered} were under way");
}

/// The first takes a while, so that the results of others wait for theirs.
fn blow_up(x: u32) -> Vec<u8> {
    if x == 0 {
        thread::sleep(Duration::from_millis(300));
    }
    vec![1; LARGE / 10]
}

fn large_results_are_few_at_a_time() {
    let pool = Pool::builder().processes(2).window_bytes(8 << 20).build().unwrap();
    let ahead = most_ahead(
        100,
        |x| x,
        |items, take| {
            pool.imap(blow_up, items).for_each(|result| take(result.map(|bytes| bytes.len())));
        },
    );
    assert!(ahead <= 12, "{ahead} were under way");
}

fn small_items_are_many_at_a_time() {
    let pool = Pool::builder().processes(2).window_bytes(1 << 20).build().unwrap();
    let ahead = most_ahead(
        2000,
        |x| x,
        |items, take| {
            pool.imap(|x: u32| x as usize + 1, items).for_each(take);
        },
    );
    assert!(ahead > 2, "only {ahead} were under way");
}

/// They may be as large as the window, unless their type says that they are not.
fn before_the_first_result_each_worker_has_one_task() {
    let pool = Pool::builder().processes(2).build().unwrap();
    let pulled = Cell::new(0);
    let items = || (0..20_u32).inspect(|_| pulled.set(pulled.get() + 1));
    let early = Duration::from_millis(50);
    let mut texts = pool.imap(slow_text, items());
    assert!(texts.next_timeout(early).is_err());
    assert_eq!(pulled.take(), 2);
    assert_eq!(texts.next().unwrap().unwrap(), "0");
    drop(texts);
    let mut texts = pool.imap(slow_text, items()).chunk_size(5);
    assert!(texts.next_timeout(early).is_err());
    drop(texts);
    assert_eq!(pulled.take(), 10);
    let mut numbers = pool.imap(|x| slow_text(x).len() as u64, items());
    assert!(numbers.next_timeout(early).is_err());
    assert!(pulled.get() > 2);
}

fn slow_text(x: u32) -> String {
    thread::sleep(Duration::from_secs(1));
    x.to_string()
}

/// Waits until so many are at it.
fn meet((tally, _): (Tally, Vec<u8>)) -> usize {
    tally.add(0, 1);
    tally.await_at_least(0, 3);
    1
}

fn items_beyond_the_window_go_one_to_each_worker() {
    let pool = Pool::builder().processes(3).window_bytes(1).build().unwrap();
    let tally = Tally::new();
    let items = vec![(tally.clone(), vec![0; 100_000]); 3];
    assert_eq!(pool.imap(meet, items.clone()).filter(|value| value.is_ok()).count(), 3);
    assert_eq!(pool.map(meet, items).unwrap(), [1; 3]);
}
