//! Waits for a producer before its item is taken: the original deadlocks here.
//!
//! `put` returns when the item lies in shared memory, so that a producer may end
//! before anybody gets it.

use multiprocess::{Process, Queue};

fn f(queue: Queue<String>) {
    queue.put("X".repeat(1_000_000)).expect("room for one item");
}

fn main() -> multiprocess::Result<()> {
    multiprocess::init();
    let queue = Queue::new()?;
    let process = Process::spawn(f, queue.clone())?;
    process.join()?; // no deadlock
    let object = queue.get()?;
    println!("{} characters", object.len());
    Ok(())
}
