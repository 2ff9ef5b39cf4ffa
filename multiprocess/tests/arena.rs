//! `Arena`: large values that travel by handle.

mod common;

use std::time::{Duration, Instant};

use common::{LONG, SHORT, builder, spawn, suite};
use multiprocess::{Arena, ArenaError, Block, Pool, Process, Queue, Receiver, Sender, StartMethod, pipe};

suite! {
    started: [
        a_block_is_read_where_it_lies,
        blocks_are_arguments_and_results,
        blocks_go_through_queues_and_pools,
        one_block_is_read_by_many,
        a_killed_holder_gives_its_blocks_back,
        one_who_waits_for_memory_gets_it_from_the_dead,
        kills_at_random_lose_no_memory,
        arenas_of_the_dead_are_let_go,
    ],
    plain: [
        memory_is_used_again,
        what_does_not_fit_is_an_error,
        waiting_for_memory_ends_at_the_deadline,
        a_message_that_nobody_receives_gives_back,
        what_is_sent_can_still_be_read,
        a_block_of_other_items_is_an_error,
        a_block_outlives_its_arena,
        a_block_is_serialised_only_in_a_message,
        many_small_blocks_are_held,
    ],
}

const MIB: usize = 1 << 20;
/// How many children are killed for each start method, unless `MP_SOAK_SECONDS` says how long.
const KILLS: u32 = 100;

/// Waits until so many blocks are held: what was under way to a process that has ended, or in a
/// channel to it, is let go of a moment later.
#[track_caller]
fn await_blocks(arena: &Arena, count: usize) {
    let begun = Instant::now();
    loop {
        match arena.blocks().unwrap() {
            held if held == count => return,
            held => assert!(begun.elapsed() < LONG, "{held} blocks are held, and not {count}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn hold_block((block, ready): (Block<u8>, Sender<()>)) {
    ready.send(&()).unwrap();
    loop {
        std::thread::sleep(LONG);
        let _ = &block;
    }
}

fn one_who_waits_for_memory_gets_it_from_the_dead(method: StartMethod) {
    let arena = Arena::new(MIB).unwrap();
    let (ready, is_ready) = pipe().unwrap();
    let block = arena.copy_of(&vec![7u8; MIB]).unwrap();
    let child = spawn(method, hold_block, (block.clone(), ready)).unwrap();
    is_ready.recv_timeout(LONG).unwrap();
    drop(block);
    assert!(matches!(arena.alloc_timeout::<u8>(1, SHORT), Err(ArenaError::Full { .. })));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| arena.alloc_timeout::<u8>(MIB, LONG).map(drop));
        std::thread::sleep(SHORT);
        child.kill().unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert!(child.join().is_err());
}

fn waiting_for_memory_ends_at_the_deadline() {
    let arena = Arena::new(MIB).unwrap();
    let held = arena.alloc::<u8>(MIB).unwrap();
    let begun = Instant::now();
    assert!(matches!(arena.alloc_timeout::<u8>(1, SHORT), Err(ArenaError::Full { .. })));
    assert!(begun.elapsed() >= SHORT);
    let never = arena.alloc_timeout::<u8>(2 * MIB, LONG);
    assert!(matches!(never, Err(ArenaError::TooLarge { .. })), "that is not waited for");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| arena.alloc_timeout::<u8>(1, LONG).map(drop));
        std::thread::sleep(SHORT);
        drop(held);
        waiting.join().unwrap().unwrap();
    });
}

fn numbers(arena: &Arena, count: usize) -> Block<u64> {
    let mut block = arena.alloc::<u64>(count).unwrap();
    block.iter_mut().zip(0..).for_each(|(place, number)| *place = number);
    block.share()
}

fn sum(block: Block<u64>) -> u64 {
    block.iter().sum()
}

fn sum_to(count: u64) -> u64 {
    count * (count - 1) / 2
}

fn a_block_is_read_where_it_lies(method: StartMethod) {
    let arena = Arena::new(16 * MIB).unwrap();
    let (tx, rx) = pipe::<Block<u64>>().unwrap();
    let read = |rx: Receiver<Block<u64>>| (0..20).map(|_| sum(rx.recv().unwrap())).sum::<u64>();
    let child = spawn(method, read, rx).unwrap();
    for _ in 0..20 {
        // Two fit: the third waits until the child has dropped one.
        let begun = Instant::now();
        let block = loop {
            match arena.alloc::<u64>(MIB) {
                Ok(block) => break block,
                Err(ArenaError::Full { .. }) => assert!(begun.elapsed() < LONG, "it gives none back"),
                Err(error) => panic!("{error}"),
            }
            std::thread::sleep(Duration::from_micros(100));
        };
        let mut block = block;
        block.fill(1);
        tx.send(&block.share()).unwrap();
    }
    assert_eq!(child.join().unwrap(), 20 * MIB as u64);
    await_blocks(&arena, 0);
}

fn blocks_are_arguments_and_results(method: StartMethod) {
    let arena = Arena::new(2 * MIB).unwrap();
    let there = |block: Block<u64>| {
        // Its own arena ends with the child; the block does not.
        let arena = Arena::new(MIB).unwrap();
        let doubled: Vec<u64> = block.iter().map(|number| number * 2).collect();
        (arena.copy_of(&doubled).unwrap(), block)
    };
    let (doubled, same) = spawn(method, there, numbers(&arena, 1000)).unwrap().join().unwrap();
    assert_eq!(doubled[999], 1998);
    assert_eq!(same[999], 999);
    assert_eq!(arena.blocks().unwrap(), 1);
    drop(same);
    await_blocks(&arena, 0);
}

fn blocks_go_through_queues_and_pools(method: StartMethod) {
    let arena = Arena::new(32 * MIB).unwrap();
    let queue = Queue::new().unwrap();
    for count in 1..=10 {
        queue.put(numbers(&arena, count * 10_000)).unwrap();
    }
    assert_eq!(arena.blocks().unwrap(), 10);
    let get = |queue: Queue<Block<u64>>| (0..10).map(|_| sum(queue.get().unwrap())).sum::<u64>();
    let expected = (1..=10).map(|count| sum_to(count * 10_000)).sum::<u64>();
    assert_eq!(spawn(method, get, queue).unwrap().join().unwrap(), expected);
    await_blocks(&arena, 0);

    let pool = Pool::builder().processes(2).start_method(method).build().unwrap();
    let blocks: Vec<Block<u64>> = (0..20).map(|_| numbers(&arena, 50_000)).collect();
    let sums = pool.map(sum, blocks).unwrap();
    assert_eq!(sums, [sum_to(50_000); 20]);
    let again = pool.apply(|block: Block<u64>| block, numbers(&arena, 70_000)).unwrap();
    assert_eq!(sum(again), sum_to(70_000));
    pool.close();
    pool.join();
    await_blocks(&arena, 0);
}

fn one_block_is_read_by_many(method: StartMethod) {
    let arena = Arena::new(4 * MIB).unwrap();
    let block = numbers(&arena, 100_000);
    let children: Vec<_> = (0..4).map(|_| spawn(method, sum, block.clone()).unwrap()).collect();
    assert_eq!(sum(block), sum_to(100_000));
    for child in children {
        assert_eq!(child.join().unwrap(), sum_to(100_000));
    }
    await_blocks(&arena, 0);
}

fn a_killed_holder_gives_its_blocks_back(method: StartMethod) {
    let arena = Arena::new(4 * MIB).unwrap();
    let (tx, rx) = pipe::<Block<u64>>().unwrap();
    let (told, hears) = pipe::<u64>().unwrap();
    let hold = |(rx, told): (Receiver<Block<u64>>, Sender<u64>)| {
        let held: Vec<Block<u64>> = (0..3).map(|_| rx.recv().unwrap()).collect();
        told.send(&held[2][5]).unwrap();
        std::thread::sleep(LONG * 10);
        drop(held);
    };
    let child = builder(method).spawn(hold, (rx, told)).unwrap();
    (0..3).for_each(|_| tx.send(&numbers(&arena, 100_000)).unwrap());
    assert_eq!(hears.recv().unwrap(), 5);
    // One more, which it never receives.
    tx.send(&numbers(&arena, 10)).unwrap();
    assert_eq!(arena.blocks().unwrap(), 4);
    child.kill().unwrap();
    assert!(child.join().is_err());
    drop(tx);
    await_blocks(&arena, 0);
}

/// How often memory of `pages` pages that has no name is mapped here.
fn mapped(pages: usize) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let len = |line: &&str| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        number(end) - number(start)
    };
    maps.lines()
        .filter(|line| line.contains("memfd:ipc-core"))
        .filter(|line| len(line) == pages * 4096)
        .count()
}

/// A child that has sent a block of an arena of so many pages, without the one for its own use.
fn maker(method: StartMethod, pages: usize) -> (Process<()>, Block<u8>) {
    let (tx, rx) = pipe::<Block<u8>>().unwrap();
    let make = |(tx, pages): (Sender<Block<u8>>, usize)| {
        let arena = Arena::new(pages * 4096).unwrap();
        tx.send(&arena.copy_of(&[7u8; 100]).unwrap()).unwrap();
        std::thread::sleep(LONG * 10);
        drop(arena);
    };
    let child = spawn(method, make, (tx, pages)).unwrap();
    let block = rx.recv_timeout(LONG).unwrap();
    assert_eq!(*block, [7; 100]);
    (child, block)
}

fn arenas_of_the_dead_are_let_go(method: StartMethod) {
    let end = |child: Process<()>| {
        child.kill().unwrap();
        assert!(child.join().is_err());
    };
    // Killed while a block of it is here: it goes with the block.
    let (child, block) = maker(method, 776);
    assert_eq!(mapped(777), 1);
    end(child);
    assert_eq!(block.len(), 100);
    drop(block);
    assert_eq!(mapped(777), 0);
    // Killed when none is: it stays until one of another arena comes.
    let (child, block) = maker(method, 887);
    drop(block);
    assert_eq!(mapped(888), 1, "it is kept for its next block");
    end(child);
    let (child, block) = maker(method, 776);
    assert_eq!((mapped(888), mapped(777)), (0, 1));
    end(child);
    drop(block);
    assert_eq!(mapped(777), 0);
}

/// Receives blocks, checks them, and sends them back.
fn echo((rx, tx): (Receiver<Block<u64>>, Sender<Block<u64>>)) {
    while let Ok(block) = rx.recv() {
        assert!(block.iter().all(|number| *number == block[0]), "another's memory");
        if tx.send(&block).is_err() {
            return;
        }
    }
}

fn kills_at_random_lose_no_memory(method: StartMethod) {
    let soak = std::env::var("MP_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let begun = Instant::now();
    let goes_on = |kills| match soak {
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
        None => kills < KILLS,
    };
    let arena = Arena::new(MIB).unwrap();
    let mut kills = 0;
    while goes_on(kills) {
        let (tx, theirs) = pipe().unwrap();
        let (back, rx) = pipe().unwrap();
        let child = builder(method).spawn(echo, (theirs, back)).unwrap();
        let end = Instant::now() + Duration::from_micros(u64::from(kills) * 7_919 % 4_000);
        let mut killed = false;
        for number in 0.. {
            if !killed && Instant::now() >= end {
                child.kill().unwrap();
                killed = true;
            }
            // The arena is full of what is under way most of the time.
            if let Ok(mut block) = arena.alloc::<u64>(6_000) {
                block.fill(number);
                if tx.send_timeout(&block.share(), SHORT).is_err() && killed {
                    break;
                }
            }
            while let Ok(block) = rx.try_recv() {
                assert!(block.iter().all(|item| *item == block[0]), "another's memory");
            }
            if killed && child.join_timeout(Duration::ZERO).is_err_and(|error| !error.is_timeout()) {
                break;
            }
        }
        drop((tx, rx));
        assert!(child.join().is_err());
        await_blocks(&arena, 0);
        assert!(arena.alloc::<u8>(arena.size()).is_ok());
        kills += 1;
    }
}

fn memory_is_used_again() {
    let arena = Arena::new(4 * MIB).unwrap();
    let first = arena.alloc::<f64>(100_000).unwrap();
    let place = first.as_ptr();
    drop(first.share());
    let second = arena.alloc::<f64>(100_000).unwrap();
    assert_eq!(second.as_ptr(), place);
    drop(second);
    arena.trim().unwrap();
    assert!(arena.alloc::<f64>(100_000).unwrap().iter().all(|item| *item == 0.0));
}

fn what_does_not_fit_is_an_error() {
    let arena = Arena::new(4 * MIB).unwrap();
    assert_eq!(arena.size(), 4 * MIB);
    for count in [4 * MIB + 1, usize::MAX, usize::MAX - 10] {
        assert!(matches!(arena.alloc::<u8>(count), Err(ArenaError::TooLarge { .. })), "{count}");
    }
    assert!(matches!(arena.alloc::<u64>(usize::MAX / 8), Err(ArenaError::TooLarge { .. })));
    let most = arena.alloc::<u8>(3 * MIB).unwrap();
    let error = arena.alloc::<u8>(2 * MIB).unwrap_err();
    assert!(matches!(error, ArenaError::Full { largest, blocks: 1, .. } if largest == MIB), "{error}");
    assert!(arena.alloc::<u8>(MIB).is_ok());
    drop(most);
    assert!(arena.alloc::<u8>(4 * MIB).is_ok());
    assert!(arena.alloc::<u64>(0).unwrap().is_empty());
}

fn a_message_that_nobody_receives_gives_back() {
    let arena = Arena::new(MIB).unwrap();
    let (tx, rx) = pipe::<Block<u64>>().unwrap();
    tx.send(&numbers(&arena, 100)).unwrap();
    assert_eq!(arena.blocks().unwrap(), 1);
    drop(rx);
    drop(tx);
    await_blocks(&arena, 0);

    // One that is received and does not decode.
    let (tx, rx) = pipe::<(Block<u64>, bool)>().unwrap();
    tx.send(&(numbers(&arena, 100), true)).unwrap();
    let mut bytes = Vec::new();
    rx.recv_bytes(&mut bytes).unwrap();
    await_blocks(&arena, 0);
    // The same bytes, whose handles have gone.
    tx.send_bytes(&bytes).unwrap();
    assert!(rx.recv().is_err());

    let queue = Queue::new().unwrap();
    queue.put(numbers(&arena, 100)).unwrap();
    drop(queue);
    await_blocks(&arena, 0);
}

fn what_is_sent_can_still_be_read() {
    let arena = Arena::new(MIB).unwrap();
    let (tx, rx) = pipe::<Block<u64>>().unwrap();
    let block = numbers(&arena, 100);
    let slice = &block[..];
    tx.send(&block).unwrap();
    drop(rx.recv().unwrap());
    // The receiver's drop is not the last: nobody gets this memory yet.
    arena.alloc::<u64>(100).unwrap().fill(7);
    assert_eq!(slice[99], 99);
}

fn a_block_of_other_items_is_an_error() {
    let arena = Arena::new(MIB).unwrap();
    let (a, b) = multiprocess::ipc::link::SocketLink::pair().unwrap();
    let (tx, rx) = (Sender::<Vec<Block<u64>>>::over(a), Receiver::<Vec<Block<f64>>>::over(b));
    tx.send(&vec![numbers(&arena, 10)]).unwrap();
    assert!(rx.recv().is_err());
    await_blocks(&arena, 0);
}

fn a_block_outlives_its_arena() {
    let arena = Arena::new(MIB).unwrap();
    let block = numbers(&arena, 1000);
    drop(arena);
    assert_eq!(sum(block), sum_to(1000));
}

fn a_block_is_serialised_only_in_a_message() {
    let arena = Arena::new(MIB).unwrap();
    let error = serde_json::to_string(&numbers(&arena, 10)).unwrap_err();
    assert!(error.to_string().contains("inside a message"), "{error}");
}

fn many_small_blocks_are_held() {
    let arena = Arena::new(4 * MIB).unwrap();
    let blocks: Vec<Block<u16>> = (0..200).map(|number| arena.copy_of(&[number; 500]).unwrap()).collect();
    assert_eq!(arena.blocks().unwrap(), 200);
    for (number, block) in blocks.iter().enumerate() {
        assert_eq!(**block, [number as u16; 500]);
    }
    drop(blocks);
    assert_eq!(arena.blocks().unwrap(), 0);
}
