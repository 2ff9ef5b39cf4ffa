//! What a child can do that was forked beside other threads, which it does not have.

mod common;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use common::{fork, run};
use mp_sync::Lock;

/// A thread may be in the middle of allocating when the child is forked.
fn a_child_makes_objects_whatever_the_parents_threads_did() {
    let done = AtomicBool::new(false);
    // So that there is memory for the thread's, and it does nothing but allocate.
    let kept = Lock::new().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                drop(Lock::new());
            }
        });
        for _ in 0..50 {
            let child = fork(|| {
                common::end_after(10);
                drop(Lock::new().unwrap().lock().unwrap());
                drop(kept.lock().unwrap());
            });
            let is_well = child.join();
            done.store(!is_well, Relaxed);
            assert!(is_well, "it hangs");
        }
        done.store(true, Relaxed);
    });
}

fn main() {
    run(&[(
        "a_child_makes_objects_whatever_the_parents_threads_did",
        a_child_makes_objects_whatever_the_parents_threads_did as fn(),
    )]);
}
