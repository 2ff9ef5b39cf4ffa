//! A counter that lives in a server process and is used from four others.

// What is exposed is `pub`.
#![allow(unreachable_pub)]

use std::error::Error;
use std::time::Duration;

use multiprocess::Process;
use multiprocess::manager::{self, Manager};

struct Counter {
    count: u64,
}

#[manager::object]
impl Counter {
    pub fn new() -> Self {
        Self { count: 0 }
    }

    pub fn increment(&mut self) {
        self.count += 1;
    }

    pub fn get_count(&self) -> u64 {
        self.count
    }
}

fn worker(shared_counter: CounterProxy) {
    for _ in 0..1000 {
        shared_counter.increment().expect("the server lives");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    multiprocess::init();
    let manager = Manager::start()?;

    let shared_counter = CounterProxy::create(&manager)?;

    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(Process::spawn(worker, shared_counter.clone())?);
    }
    for process in processes {
        process.join()?;
    }

    println!("{}", shared_counter.get_count()?);
    manager.shutdown(Duration::from_secs(5))?;
    Ok(())
}
