//! `SharedMemory`: bytes that processes share.

mod common;

use std::sync::atomic::Ordering::SeqCst;

use common::{spawn, suite};
use multiprocess::{Receiver, SharedMemory, StartMethod, pipe};

suite! {
    started: [what_a_child_writes_is_seen, memory_travels_in_a_message, memory_outlives_who_made_it],
    plain: [memory_is_zeroed_and_as_long_as_asked, a_place_outside_is_a_panic_and_no_wild_write],
}

fn memory_is_zeroed_and_as_long_as_asked() {
    for size in [8, 4096, 5000, 1 << 20] {
        let memory = SharedMemory::anonymous(size).unwrap();
        assert_eq!(memory.size(), size);
        assert_eq!(memory.atomic_u64((size / 8 - 1) * 8).load(SeqCst), 0);
    }
}

fn a_place_outside_is_a_panic_and_no_wild_write() {
    let memory = SharedMemory::anonymous(4096).unwrap();
    for offset in [4096, 4090, usize::MAX - 7, 3] {
        let reach = std::panic::AssertUnwindSafe(|| memory.atomic_u64(offset).load(SeqCst));
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        assert!(std::panic::catch_unwind(reach).is_err(), "{offset}");
        std::panic::set_hook(hook);
    }
}

fn what_a_child_writes_is_seen(method: StartMethod) {
    let memory = SharedMemory::anonymous(64).unwrap();
    let (tx, rx) = pipe().unwrap();
    let write = |rx: Receiver<SharedMemory>| rx.recv().unwrap().atomic_u32(60).store(7, SeqCst);
    let child = spawn(method, write, rx).unwrap();
    tx.send(&memory).unwrap();
    child.join().unwrap();
    assert_eq!(memory.atomic_u32(60).load(SeqCst), 7);
}

fn memory_travels_in_a_message(method: StartMethod) {
    let back = |memory: SharedMemory| {
        memory.atomic_u64(0).fetch_add(1, SeqCst);
        memory
    };
    let memory = SharedMemory::anonymous(8).unwrap();
    memory.atomic_u64(0).store(1, SeqCst);
    let memory = spawn(method, back, memory).unwrap().join().unwrap();
    assert_eq!((memory.size(), memory.atomic_u64(0).load(SeqCst)), (8, 2));
}

fn memory_outlives_who_made_it(method: StartMethod) {
    let make = |()| {
        let memory = SharedMemory::anonymous(8).unwrap();
        memory.atomic_u64(0).store(5, SeqCst);
        memory
    };
    let memory = spawn(method, make, ()).unwrap().join().unwrap();
    assert_eq!(memory.atomic_u64(0).load(SeqCst), 5);
}
