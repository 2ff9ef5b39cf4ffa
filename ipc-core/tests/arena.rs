//! Arenas between threads.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{Arena, Block, Handle, Packet, SharedMemory};

/// Longer than anything takes that does happen.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn who_waits_for_room_is_told_also_if_another_thread_takes_the_block_back() {
    let arena = Arena::new(4096).unwrap();
    let first = Instant::now();
    // As many as a busy machine has time for.
    for round in (0..2_000).take_while(|round| *round < 50 || first.elapsed() < LONG / 10) {
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

#[test]
fn what_is_no_end_may_stand_in_a_message_twice() {
    let arena = Arena::new(1 << 20).unwrap();
    let memory = SharedMemory::anonymous(4096).unwrap();
    let file: Handle = OwnedFd::from(File::open("/dev/null").unwrap()).into();
    let block = arena.copy_of(&[1u16, 2, 3]).unwrap();
    let mut packet = Packet::new();
    packet.append(&((&block, &block), (&memory, &memory), (&file, &file))).unwrap();
    drop((block, memory, file));
    type Both<T> = (T, T);
    let (blocks, memories, files): (Both<Block<u16>>, Both<SharedMemory>, Both<Handle>) =
        packet.read().unwrap();
    assert_eq!((&*blocks.0, &*blocks.1), (&[1, 2, 3][..], &[1, 2, 3][..]));
    memories.0.write(7, b"seen");
    let mut seen = [0; 4];
    memories.1.read(7, &mut seen);
    assert_eq!(&seen, b"seen");
    assert_ne!(format!("{:?}", files.0), format!("{:?}", files.1), "each is a handle of its own");
    drop((blocks.0, packet));
    assert_eq!(arena.blocks().unwrap(), 1);
    drop(blocks.1);
    assert_eq!(arena.blocks().unwrap(), 0);
}

#[test]
fn a_packet_knows_how_much_memory_it_alone_keeps() {
    let arena = Arena::new(1 << 20).unwrap();
    let mut packet = Packet::new();
    packet.append(&arena.copy_of(&[7u8; 5000]).unwrap()).unwrap();
    assert_eq!(packet.kept_bytes(), 8192);
    let kept = arena.copy_of(&[7u8; 5000]).unwrap();
    packet.append(&kept.clone()).unwrap();
    assert_eq!(packet.kept_bytes(), 8192, "a clone is here, and keeps it anyway");
    packet.append_item(&SharedMemory::anonymous(100).unwrap()).unwrap();
    assert_eq!(packet.kept_bytes(), 8292);
    let handles = packet.handle_count();
    let refuses = (SharedMemory::anonymous(100).unwrap(), Mutex::new(()));
    let poison = AssertUnwindSafe(|| {
        let _held = refuses.1.lock().unwrap();
        resume_unwind(Box::new("on purpose"))
    });
    assert!(catch_unwind(poison).is_err());
    assert!(packet.append(&refuses).is_err(), "a poisoned mutex is not written");
    assert_eq!((packet.kept_bytes(), packet.handle_count()), (8292, handles));
    packet.clear();
    assert_eq!(packet.kept_bytes(), 0);
}
