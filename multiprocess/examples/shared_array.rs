//! An array that a child fills and this process reads.

use multiprocess::{Array, Process};

fn worker(shared_array: Array<i32>) {
    let mut items = shared_array.lock().expect("nobody died holding it");
    for (i, item) in items.iter_mut().enumerate() {
        *item = (i * i) as i32;
    }
}

fn main() -> multiprocess::Result<()> {
    multiprocess::init();
    let shared_array = Array::<i32>::new(10)?;

    let process = Process::spawn(worker, shared_array.clone())?;
    process.join()?;

    println!("{:?}", shared_array.to_vec()?);
    Ok(())
}
