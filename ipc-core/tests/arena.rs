//! Arenas between threads.

use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Arena;

/// Longer than anything takes that does happen.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn who_waits_for_room_is_told_also_if_another_thread_takes_the_block_back() {
    let arena = Arena::new(4096).unwrap();
    let first = Instant::now();
    // As many as a busy machine has time for.
    for round in (0..2_000).take_while(|round| *round < 50 || first.elapsed() < LONG / 2) {
        let begun = Instant::now();
        let block = arena.alloc::<u8>(4096).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| arena.alloc_timeout::<u8>(4096, LONG).map(drop));
            // The block ends at another step of the wait each time.
            let pause = Duration::from_nanos(round % 200 * 500);
            let until = Instant::now() + pause;
            while Instant::now() < until {}
            drop(block);
            while !waiting.is_finished() {
                // To ask takes back what nobody holds.
                arena.blocks().unwrap();
            }
            waiting.join().unwrap().unwrap();
        });
        assert!(begun.elapsed() < LONG, "it slept past the end of the only block");
    }
}
