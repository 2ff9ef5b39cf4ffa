//! Large values that workers read and write where they lie: blocks of an arena as arguments,
//! results and shared values.

mod common;

use std::cell::Cell;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, Tally};
use ipc_core::{Arena, Block, SharedMemory};
use mp_pool::{AsyncResult, Pool};
use mp_process::StartMethod;
use mp_testkit::chaos;

fn main() -> ExitCode {
    const STARTED: &[common::Started] = &[
        ("arguments_are_filled_and_read_in_place", arguments_are_filled_and_read_in_place),
        ("an_input_waits_for_room_so_long", an_input_waits_for_room_so_long),
        ("results_are_built_in_place", results_are_built_in_place),
        ("a_block_goes_in_and_comes_back", a_block_goes_in_and_comes_back),
        ("a_block_among_other_things_is_read_in_place", a_block_among_other_things_is_read_in_place),
        ("a_shared_block_is_read_by_all_workers", a_shared_block_is_read_by_all_workers),
        ("a_worker_killed_with_a_block_gives_it_back", a_worker_killed_with_a_block_gives_it_back),
        ("a_block_is_there_for_the_next_try", a_block_is_there_for_the_next_try),
        ("a_result_outlives_the_worker_that_built_it", a_result_outlives_the_worker_that_built_it),
        (
            "a_worker_killed_while_it_builds_loses_nothing_here",
            a_worker_killed_while_it_builds_loses_nothing_here,
        ),
    ];
    common::run(STARTED, mp_testkit::trials![blocks_count_with_their_memory])
}

const MIB: usize = 1 << 20;
/// Items of a block of one mebibyte.
const COUNT: usize = MIB / 8;

fn numbers(arena: &Arena, from: u64) -> Block<u64> {
    let mut block = arena.alloc_timeout::<u64>(COUNT, LONG).unwrap();
    block.iter_mut().zip(from..).for_each(|(place, number)| *place = number);
    block.share()
}

fn sum_from(from: u64) -> u64 {
    (from..from + COUNT as u64).sum()
}

fn sum(block: Block<u64>) -> u64 {
    block.iter().sum()
}

fn pool_of(processes: usize, method: StartMethod) -> Pool {
    Pool::builder().processes(processes).start_method(method).build().unwrap()
}

/// Nobody holds a block any more; whoever did may just be ending.
fn await_none(arena: &Arena) {
    let begun = Instant::now();
    while arena.blocks().unwrap() > 0 {
        assert!(begun.elapsed() < LONG, "{} blocks are held", arena.blocks().unwrap());
        thread::sleep(Duration::from_millis(1));
    }
    // All of it is to be had again.
    drop(arena.alloc::<u8>(arena.size()).unwrap());
}

/// Has this process keep no arena mapped of a worker that was killed: it keeps a few, for their
/// next blocks, until as many others have come or they have ended.
fn forget_arenas_of_the_dead() {
    let (pools, blocks): (Vec<_>, Vec<_>) = (0..4)
        .map(|_| {
            let pool = Pool::builder().processes(1).state(|size: usize| Arena::new(size).unwrap(), MIB);
            let pool = pool.build().unwrap();
            let block = pool.apply_state(|arena: &mut Arena, from: u64| numbers(arena, from), 1).unwrap();
            (pool, block)
        })
        .unzip();
    pools.into_iter().for_each(Pool::join);
    drop(blocks);
}

fn arguments_are_filled_and_read_in_place(method: StartMethod) {
    let pool = pool_of(2, method);
    // Much less than goes through it: each block's memory is used again and again.
    let arena = Arena::new(8 * MIB).unwrap();
    for x in 0..20 {
        assert_eq!(pool.apply(sum, numbers(&arena, x)).unwrap(), sum_from(x));
    }
    // A few at a time, and the oldest one is waited for.
    let mut under_way = VecDeque::new();
    for x in 0..30 {
        if under_way.len() == 6 {
            let (x, oldest): (u64, AsyncResult<u64>) = under_way.pop_front().unwrap();
            assert_eq!(oldest.get().unwrap(), sum_from(x));
        }
        under_way.push_back((x, pool.apply_async(sum, numbers(&arena, x))));
    }
    assert!(under_way.into_iter().all(|(x, result)| result.get().unwrap() == sum_from(x)));
    await_none(&arena);
    // What the pool takes ahead has to have room.
    let arena = Arena::new(20 * MIB).unwrap();
    let sums = pool.imap(sum, (0..20).map(|x| numbers(&arena, x))).map(Result::unwrap);
    assert!(sums.eq((0..20).map(sum_from)));
    await_none(&arena);
    let sums = pool.map(sum, (0..20).map(|x| numbers(&arena, x))).unwrap();
    assert!(sums.into_iter().eq((0..20).map(sum_from)));
    await_none(&arena);
}

/// Nobody takes answers in meanwhile, so that no room comes: it ends with its time, and what it
/// had given by then is run.
fn an_input_waits_for_room_so_long(method: StartMethod) {
    let pool = pool_of(2, method);
    let arena = Arena::new(3 * MIB).unwrap();
    let some = |from| {
        let mut block = arena.alloc_timeout::<u64>(COUNT, Duration::from_millis(50)).ok()?;
        block.iter_mut().zip(from..).for_each(|(place, number)| *place = number);
        Some(block.share())
    };
    for _ in 0..3 {
        let sums: Vec<_> = pool.imap(sum, (0..).map_while(some)).map(Result::unwrap).collect();
        let count = sums.len() as u64;
        assert!(count >= 3 && sums.into_iter().eq((0..count).map(sum_from)), "{count} blocks");
        await_none(&arena);
    }
}

fn results_are_built_in_place(method: StartMethod) {
    let builder = Pool::builder().processes(1).start_method(method);
    let pool = builder.state(|size: usize| Arena::new(size).unwrap(), 4 * MIB).build().unwrap();
    let build = |arena: &mut Arena, from: u64| numbers(arena, from);
    for x in 0..30 {
        let block = pool.apply_state(build, x).unwrap();
        assert_eq!((block.len(), block[7], sum(block)), (COUNT, x + 7, sum_from(x)));
    }
    let held = pool.map_state(build, 0..3).unwrap();
    let blocks = |arena: &mut Arena, (): ()| arena.blocks().unwrap();
    assert_eq!(pool.apply_state(blocks, ()).unwrap(), 3);
    assert!(held.into_iter().map(sum).eq((0..3).map(sum_from)));
    let begun = Instant::now();
    while pool.apply_state(blocks, ()).unwrap() > 0 {
        assert!(begun.elapsed() < LONG, "the worker's blocks are held");
        thread::sleep(Duration::from_millis(1));
    }
    drop(pool);
    forget_arenas_of_the_dead();
}

fn a_block_goes_in_and_comes_back(method: StartMethod) {
    let pool = pool_of(2, method);
    let arena = Arena::new(MIB).unwrap();
    let mut block = numbers(&arena, 5);
    for _ in 0..10 {
        // There is no room for a copy.
        block = pool.apply(|block: Block<u64>| block, block).unwrap();
        assert_eq!((sum(block.clone()), arena.blocks().unwrap()), (sum_from(5), 1));
    }
    drop(block);
    await_none(&arena);
}

fn a_block_among_other_things_is_read_in_place(method: StartMethod) {
    let pool = pool_of(2, method);
    let arena = Arena::new(10 * MIB).unwrap();
    let look = |(name, block, places): (String, Option<Block<u64>>, Vec<usize>)| {
        (
            name,
            places
                .into_iter()
                .map(|place| block.as_ref().map_or(0, |block| block[place]))
                .collect::<Vec<_>>(),
        )
    };
    let items = (0..20).map(|x| (x.to_string(), (x % 2 == 0).then(|| numbers(&arena, x)), vec![0, 9]));
    let seen: Result<Vec<_>, _> = pool.imap(look, items).collect();
    for (x, (name, seen)) in (0..).zip(seen.unwrap()) {
        assert_eq!((name, seen), (x.to_string(), if x % 2 == 0 { vec![x, x + 9] } else { vec![0, 0] }));
    }
    await_none(&arena);
}

fn a_shared_block_is_read_by_all_workers(method: StartMethod) {
    let pool = pool_of(3, method);
    let arena = Arena::new(MIB).unwrap();
    let shared = pool.share(&numbers(&arena, 100)).unwrap();
    let at = |block: &Block<u64>, place: usize| block[place];
    assert!(shared.map(at, 0..1000).unwrap().into_iter().eq(100..1100));
    assert_eq!(arena.blocks().unwrap(), 1);
    drop(shared);
    pool.join();
    await_none(&arena);
}

/// Says that it has it, and keeps it.
fn hold((block, tally): (Block<u64>, Tally)) -> u64 {
    tally.add(0, 1);
    thread::sleep(Duration::from_secs(600));
    sum(block)
}

fn a_worker_killed_with_a_block_gives_it_back(method: StartMethod) {
    let pool = pool_of(2, method);
    let arena = Arena::new(MIB).unwrap();
    for x in 0..5 {
        let tally = Tally::new();
        let held = pool.apply_async(hold, (numbers(&arena, x), tally.clone()));
        tally.await_at_least(0, 1);
        assert_eq!(arena.blocks().unwrap(), 1);
        pool.pids().into_iter().for_each(|pid| chaos::kill(pid).unwrap());
        assert!(held.get().unwrap_err().is_worker_died());
        await_none(&arena);
    }
    assert_eq!(pool.apply(sum, numbers(&arena, 1)).unwrap(), sum_from(1));
}

/// Kills its worker the first time.
fn sum_at_second_try((block, tally): (Block<u64>, Tally)) -> u64 {
    if tally.add(0, 1) == 0 {
        chaos::kill(std::process::id()).unwrap();
    }
    sum(block)
}

fn a_block_is_there_for_the_next_try(method: StartMethod) {
    let pool = Pool::builder().processes(2).start_method(method).retries(1).build().unwrap();
    let arena = Arena::new(MIB).unwrap();
    for x in 0..5 {
        let tally = Tally::new();
        assert_eq!(pool.apply(sum_at_second_try, (numbers(&arena, x), tally.clone())).unwrap(), sum_from(x));
        assert_eq!(tally.get(0), 2);
        await_none(&arena);
    }
}

fn a_result_outlives_the_worker_that_built_it(method: StartMethod) {
    let builder = Pool::builder().processes(1).start_method(method);
    let pool = builder.state(|size: usize| Arena::new(size).unwrap(), 4 * MIB).build().unwrap();
    let blocks = pool.map_state(|arena: &mut Arena, from: u64| numbers(arena, from), 0..3).unwrap();
    pool.pids().into_iter().for_each(|pid| chaos::kill(pid).unwrap());
    drop(pool);
    assert!(blocks.into_iter().map(sum).eq((0..3).map(sum_from)));
    forget_arenas_of_the_dead();
}

fn a_worker_killed_while_it_builds_loses_nothing_here(method: StartMethod) {
    let builder = Pool::builder().processes(1).start_method(method).retries(1);
    let pool = builder.state(|size: usize| Arena::new(size).unwrap(), MIB).build().unwrap();
    let build = |arena: &mut Arena, tally: Tally| {
        let mut block = arena.alloc::<u64>(COUNT).unwrap();
        block.fill(3);
        if tally.add(0, 1) == 0 {
            chaos::kill(std::process::id()).unwrap();
        }
        block.share()
    };
    for _ in 0..5 {
        assert_eq!(sum(pool.apply_state(build, Tally::new()).unwrap()), 3 * COUNT as u64);
    }
    drop(pool);
    forget_arenas_of_the_dead();
}

/// The most items under way, where the caller takes its time with the results.
fn most_under_way<T: ipc_core::Message, R: ipc_core::Message>(
    pool: &Pool,
    function: fn(T) -> R,
    item: impl Fn(usize) -> T,
) -> usize {
    const COUNT: usize = 40;
    let (given, mut taken, mut most) = (Cell::new(0), 0, 0);
    let items = (0..COUNT).map(|number| {
        given.set(number + 1);
        item(number)
    });
    for result in pool.imap(function, items) {
        result.unwrap();
        most = most.max(given.get() - taken);
        taken += 1;
        if taken < 8 {
            thread::sleep(Duration::from_millis(10));
        }
    }
    assert_eq!(taken, COUNT);
    most
}

/// The first takes a while, so that what results have is known before many are asked for.
fn built_by_worker(number: usize) -> Block<u8> {
    static ARENA: OnceLock<Arena> = OnceLock::new();
    // And none is so quick that some go together, before that is known.
    thread::sleep(Duration::from_millis(if number == 0 { 200 } else { 3 }));
    ARENA.get_or_init(|| Arena::new(100 * MIB).unwrap()).alloc(2 * MIB).unwrap().share()
}

fn blocks_count_with_their_memory() {
    // A pool that knows of no quick tasks, of which several go together.
    let new_pool = || Pool::builder().processes(2).window_bytes(8 * MIB).build().unwrap();
    let results = most_under_way(&new_pool(), built_by_worker, |number| number);
    assert!(results <= 12, "{results} results were under way");
    let (pool, arena) = (new_pool(), Arena::new(100 * MIB).unwrap());
    // Four fill the window, on the way there or back, and one may have been taken before that was seen.
    let back: fn(Block<u8>) -> Block<u8> = |block| block;
    let blocks = most_under_way(&pool, back, |_| arena.alloc::<u8>(2 * MIB).unwrap().share());
    assert!(blocks <= 6, "{blocks} blocks were under way");
    let back: fn(SharedMemory) -> SharedMemory = |memory| memory;
    let pieces = most_under_way(&pool, back, |_| SharedMemory::anonymous(2 * MIB).unwrap());
    assert!(pieces <= 6, "{pieces} pieces of memory were under way");
    drop(pool);
    forget_arenas_of_the_dead();
}
