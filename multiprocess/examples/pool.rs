//! A pool put to use in every way: results one by one and all at once, errors, and time limits.

use std::hash::{BuildHasher, RandomState};
use std::io::{Write, stdout};
use std::thread::sleep;
use std::time::Duration;

use multiprocess::{AsyncResult, Function, Pool, TaskError, current_process};

/// The name of a function, the function, and its arguments.
type Task = (String, Function<(i64, i64), i64>, (i64, i64));

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

fn f(x: i64) -> i64 {
    100 / (x - 5)
}

fn main() -> multiprocess::Result<()> {
    multiprocess::init();
    const PROCESSES: usize = 4;
    println!("Creating pool with {PROCESSES} processes\n");
    let pool = Pool::new(PROCESSES)?;
    results(&pool)?;
    errors(&pool);
    timeouts(&pool)
}

fn tasks() -> Vec<Task> {
    let muls = (0..10).map(|i| ("mul".to_owned(), Function::new(mul), (i, 7)));
    let pluses = (0..10).map(|i| ("plus".to_owned(), Function::new(plus), (i, 8)));
    muls.chain(pluses).collect()
}

fn results(pool: &Pool) -> multiprocess::Result<()> {
    let results: Vec<_> = tasks().into_iter().map(|task| pool.apply_async(calculate, task)).collect();
    let imap = pool.imap(calculate, tasks());
    let imap_unordered = pool.imap_unordered(calculate, tasks());

    println!("Ordered results using pool.apply_async():");
    for result in results {
        println!("\t {}", result.get()?);
    }
    println!("\nOrdered results using pool.imap():");
    for line in imap {
        println!("\t {}", line?);
    }
    println!("\nUnordered results using pool.imap_unordered():");
    for line in imap_unordered {
        println!("\t {}", line?);
    }
    println!("\nOrdered results using pool.map() --- will block till complete:");
    for line in pool.map(calculate, tasks())? {
        println!("\t {line}");
    }
    println!();
    Ok(())
}

fn is_zero_division<T>(result: &Result<T, TaskError>) -> bool {
    let panic = result.as_ref().err().and_then(TaskError::panic);
    panic.is_some_and(|panic| panic.message().contains("divide by zero"))
}

fn errors(pool: &Pool) {
    println!("Testing error handling:");
    assert!(is_zero_division(&pool.apply(f, 5)));
    println!("\tGot ZeroDivisionError as expected from pool.apply()");
    assert!(is_zero_division(&pool.map(f, 0..10)));
    println!("\tGot ZeroDivisionError as expected from pool.map()");
    assert!(is_zero_division(&pool.imap(f, 0..10).collect::<Result<Vec<_>, _>>()));
    println!("\tGot ZeroDivisionError as expected from list(pool.imap())");
    let mut count = 0;
    for (i, result) in pool.imap(f, 0..10).enumerate() {
        assert_eq!(is_zero_division(&result), i == 5);
        assert_eq!(result.is_err(), i == 5);
        count += 1;
    }
    assert_eq!(count, 10);
    println!("\tGot ZeroDivisionError as expected from IMapIterator.next()\n");
}

fn timeouts(pool: &Pool) -> multiprocess::Result<()> {
    print!("Testing ApplyResult.get() with timeout: ");
    let first = tasks().swap_remove(0);
    show_when_ready(pool.apply_async(calculate, first))?;
    print!("\n\nTesting IMapIterator.next() with timeout: ");
    let results: Vec<_> = tasks().into_iter().map(|task| pool.apply_async(calculate, task)).collect();
    results.into_iter().try_for_each(show_when_ready)?;
    println!("\n");
    Ok(())
}

/// A point for every 20 ms that the result lets wait, and then the result.
fn show_when_ready(mut result: AsyncResult<String>) -> multiprocess::Result<()> {
    loop {
        stdout().flush()?;
        match result.get_timeout(Duration::from_millis(20)) {
            Some(line) => {
                print!("\n\t{}", line?);
                return Ok(());
            }
            None => print!("."),
        }
    }
}
