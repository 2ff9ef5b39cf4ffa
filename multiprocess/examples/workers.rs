//! Workers that take tasks from one queue and put what they say into another.

use std::hash::{BuildHasher, RandomState};
use std::thread::sleep;
use std::time::Duration;

use multiprocess::{Function, Process, Queue, current_process};

/// The name of a function, the function, and its arguments.
type Task = (String, Function<(i64, i64), i64>, (i64, i64));

/// Runs in the workers, until it gets `None`.
fn worker((input, output): (Queue<Option<Task>>, Queue<String>)) -> multiprocess::Result<(), String> {
    while let Some(task) = input.get().map_err(|error| error.to_string())? {
        output.put(calculate(task)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn calculate((name, function, arguments): Task) -> String {
    let result = function(arguments);
    format!("{} says that {name}{arguments:?} = {result}", current_process().name())
}

fn mul((a, b): (i64, i64)) -> i64 {
    sleep_a_little();
    a * b
}

fn plus((a, b): (i64, i64)) -> i64 {
    sleep_a_little();
    a + b
}

fn sleep_a_little() {
    sleep(Duration::from_millis(RandomState::new().hash_one(0) % 100));
}

fn task(name: &str, function: fn((i64, i64)) -> i64, arguments: (i64, i64)) -> Option<Task> {
    Some((name.to_owned(), Function::new(function), arguments))
}

fn main() -> multiprocess::Result<()> {
    multiprocess::init();
    const NUMBER_OF_PROCESSES: usize = 4;

    let task_queue = Queue::new()?;
    let done_queue = Queue::new()?;

    for i in 0..20 {
        task_queue.put(task("mul", mul, (i, 7)))?;
    }
    let mut workers = Vec::new();
    for _ in 0..NUMBER_OF_PROCESSES {
        workers.push(Process::spawn(worker, (task_queue.clone(), done_queue.clone()))?);
    }

    println!("Unordered results:");
    for _ in 0..20 {
        println!("\t {}", done_queue.get()?);
    }

    for i in 0..10 {
        task_queue.put(task("plus", plus, (i, 8)))?;
    }
    for _ in 0..10 {
        println!("\t {}", done_queue.get()?);
    }

    for _ in 0..NUMBER_OF_PROCESSES {
        task_queue.put(None)?;
    }
    for worker in workers {
        worker.join()?.expect("the queues work");
    }
    Ok(())
}
