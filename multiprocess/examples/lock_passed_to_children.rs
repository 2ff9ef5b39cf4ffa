//! Ten children get one lock as an argument, and take turns with it.

use multiprocess::{Lock, Process};

fn f((lock, i): (Lock, u32)) {
    let _guard = lock.lock().expect("nobody died holding it");
    println!("hello world {i}");
}

fn main() -> multiprocess::Result<()> {
    multiprocess::init();
    let lock = Lock::new()?;
    let mut children = Vec::new();
    for i in 0..10 {
        children.push(Process::spawn(f, (lock.clone(), i))?);
    }
    for child in children {
        child.join()?;
    }
    Ok(())
}
