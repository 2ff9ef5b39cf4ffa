//! Pools in tasks: one budget for all of them.

use std::process::ExitCode;

use mp_pool::Pool;
use mp_process::StartMethod;
use mp_testkit::chaos;

mod common;

use common::Tally;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = &[
        ("three_deep_within_the_budget", three_deep_within_the_budget),
        ("an_exhausted_budget_leaves_one_worker_each", an_exhausted_budget_leaves_one_worker_each),
        ("a_killed_worker_takes_no_seat_along", a_killed_worker_takes_no_seat_along),
        ("three_deep_though_workers_die", three_deep_though_workers_die),
    ];
    let others = mp_testkit::trials![
        pools_of_one_task_share_its_part,
        a_budget_can_be_without_end,
        a_pool_in_a_task_may_set_a_budget,
        a_pool_in_a_task_is_resized_within_its_part,
    ];
    common::run(STARTED, others)
}

fn pool(method: StartMethod, processes: usize) -> Pool {
    Pool::builder().processes(processes).start_method(method).build().unwrap()
}

/// Spawned children only: a worker has no other method in common with all.
const INNER: StartMethod = StartMethod::Spawn;

/// Waits until all leaves are there, so that all processes are there at once.
fn leaf((tally, leaves): (Tally, u64)) -> usize {
    tally.add(0, 1);
    tally.await_at_least(0, leaves);
    // Nobody leaves before the processes have been counted.
    tally.await_at_least(1, 1);
    1
}

/// Has a pool of more workers than there is room for, at every level; how many leaves ran.
fn branch((tally, leaves, depth): (Tally, u64, u32)) -> usize {
    let pool = pool(INNER, 4);
    let workers = pool.workers();
    if depth == 0 {
        return pool.imap(leaf, vec![(tally, leaves); workers]).chunk_size(1).map(Result::unwrap).sum();
    }
    let branches = vec![(tally, leaves, depth - 1); workers];
    pool.imap(branch, branches).chunk_size(1).map(Result::unwrap).sum()
}

fn three_deep_within_the_budget(method: StartMethod) {
    let builder = Pool::builder().processes(2).start_method(method).budget(4);
    let pool = builder.build().unwrap();
    let tally = Tally::new();
    // Two workers, two in each one's task, and one in each of those.
    let later = pool.map_async(branch, vec![(tally.clone(), 4, 1); 2]);
    tally.await_at_least(0, 4);
    let all = chaos::descendants(std::process::id());
    let here = all.iter().filter(|one| one.name.contains("Worker")).count();
    tally.add(1, 1);
    assert_eq!(later.get().unwrap().into_iter().sum::<usize>(), 4);
    assert_eq!(here, 10, "{all:?}");
}

fn an_exhausted_budget_leaves_one_worker_each(method: StartMethod) {
    let builder = Pool::builder().processes(3).start_method(method).budget(1);
    let outer = builder.build().unwrap();
    let nested = |count: u64| {
        let (first, second) = (pool(INNER, 5), pool(INNER, 5));
        let sum = |pool: &Pool| pool.map(|x: u64| x, 0..count).unwrap().into_iter().sum::<u64>();
        (first.workers(), second.workers(), sum(&first) + sum(&second))
    };
    assert_eq!(outer.map(nested, [10, 20, 30]).unwrap(), [(1, 1, 90), (1, 1, 380), (1, 1, 870)]);
}

fn a_killed_worker_takes_no_seat_along(method: StartMethod) {
    let builder = Pool::builder().processes(1).start_method(method).budget(3).retries(1);
    let outer = builder.build().unwrap();
    let nested = |tally: Tally| {
        let pool = pool(INNER, 9);
        if tally.add(0, 1) == 0 {
            chaos::kill(std::process::id()).unwrap();
        }
        pool.workers()
    };
    assert_eq!(outer.apply(nested, Tally::new()).unwrap(), 3);
}

const METHODS: [StartMethod; 3] = [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork];
/// Items for each pool of the innermost ones.
const LEAVES: u64 = 20;

/// Dies at times.
fn perish((tally, x): (Tally, u64)) -> u64 {
    if tally.add(0, 1) % 7 == 3 {
        chaos::kill(std::process::id()).unwrap();
    }
    x
}

/// Has a pool do the work, whose workers are started as those of the pools around, and dies at
/// times while that one has workers.
fn grow((tally, method, depth): (Tally, usize, u32)) -> u64 {
    let builder = Pool::builder().processes(2).start_method(METHODS[method]);
    let pool = builder.retries(u32::MAX).build().unwrap();
    if depth > 0 && tally.add(1, 1) % 4 == 1 {
        chaos::kill(std::process::id()).unwrap();
    }
    let sums = if depth == 0 {
        pool.map(perish, (0..LEAVES).map(|x| (tally.clone(), x)))
    } else {
        pool.map(grow, vec![(tally, method, depth - 1); 3])
    };
    sums.unwrap().into_iter().sum()
}

fn three_deep_though_workers_die(method: StartMethod) {
    let tally = Tally::new();
    let which = METHODS.iter().position(|one| *one == method).unwrap();
    assert_eq!(grow((tally.clone(), which, 2)), 9 * LEAVES * (LEAVES - 1) / 2);
    assert!(tally.get(0) > 9 * LEAVES && tally.get(1) > 4, "nobody died");
    // Those of the dead went with them.
    let begun = std::time::Instant::now();
    let workers =
        || chaos::descendants(std::process::id()).into_iter().filter(|one| one.name.contains("Worker"));
    while workers().count() > 0 {
        assert!(begun.elapsed() < common::LONG, "{:?}", workers().collect::<Vec<_>>());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn pools_of_one_task_share_its_part() {
    let outer = Pool::builder().processes(2).budget(10).build().unwrap();
    let sizes = |()| {
        let (first, second) = (pool(INNER, 3), pool(INNER, 3));
        let both = (first.workers(), second.workers());
        drop(first);
        second.join();
        (both, pool(INNER, 8).workers())
    };
    assert_eq!(outer.apply(sizes, ()).unwrap(), ((3, 2), 5));
}

fn a_budget_can_be_without_end() {
    let outer = Pool::builder().processes(1).budget(usize::MAX).build().unwrap();
    let nested = |()| {
        let pool = pool(INNER, 3);
        (pool.workers(), pool.apply(|()| self::pool(INNER, 3).workers(), ()).unwrap())
    };
    assert_eq!(outer.apply(nested, ()).unwrap(), (3, 3));
}

fn a_pool_in_a_task_may_set_a_budget() {
    let outer = Pool::builder().processes(1).budget(6).build().unwrap();
    let nested = |budget: usize| {
        let pool = Pool::builder().processes(2).budget(budget).build().unwrap();
        (pool.workers(), pool.apply(|()| self::pool(INNER, 9).workers(), ()).unwrap())
    };
    assert_eq!(outer.map(nested, [4, 1, usize::MAX]).unwrap(), [(2, 2), (2, 1), (2, 3)]);
}

fn a_pool_in_a_task_is_resized_within_its_part() {
    let outer = Pool::builder().processes(1).budget(3).build().unwrap();
    let nested = |()| {
        let pool = pool(INNER, 1);
        pool.resize(9).unwrap();
        (pool.workers(), pool.map(|x: u64| x, 0..100).unwrap().len())
    };
    assert_eq!(outer.apply(nested, ()).unwrap(), (3, 100));
}
