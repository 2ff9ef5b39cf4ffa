//! `Semaphore` and `BoundedSemaphore`: permits, and their return.

mod common;

use std::time::{Duration, Instant};

use common::{LONG, SHORT, spawn, suite};
use multiprocess::sync::{AcquireError, ReleaseError};
use multiprocess::{BoundedSemaphore, Event, Semaphore, StartMethod};

suite! {
    started: [permits_are_counted_across_processes, permits_of_the_dead_come_back],
    plain: [
        a_semaphore_counts_down_and_up,
        a_plain_semaphore_may_exceed_its_start,
        a_bounded_semaphore_may_not,
        waiting_ends_with_the_timeout,
    ],
}

fn a_semaphore_counts_down_and_up() {
    let semaphore = Semaphore::new(2).unwrap();
    assert_eq!(semaphore.available(), 2);
    let first = semaphore.acquire().unwrap();
    assert_eq!(semaphore.available(), 1);
    let second = semaphore.try_acquire().unwrap();
    assert_eq!(semaphore.available(), 0);
    assert!(semaphore.try_acquire().is_err());
    drop(first);
    assert_eq!(semaphore.available(), 1);
    drop(second);
    assert_eq!(semaphore.available(), 2);
}

fn a_plain_semaphore_may_exceed_its_start() {
    let semaphore = Semaphore::new(1).unwrap();
    semaphore.release(1).unwrap();
    semaphore.release(2).unwrap();
    assert_eq!(semaphore.available(), 4);
}

fn a_bounded_semaphore_may_not() {
    let semaphore = BoundedSemaphore::new(2).unwrap();
    assert!(matches!(semaphore.release(1), Err(ReleaseError::TooMany)));
    semaphore.acquire().unwrap().forget();
    assert!(matches!(semaphore.release(2), Err(ReleaseError::TooMany)));
    semaphore.release(1).unwrap();
    assert_eq!(semaphore.available(), 2);
}

fn waiting_ends_with_the_timeout() {
    let semaphore = Semaphore::new(0).unwrap();
    let start = Instant::now();
    assert!(matches!(semaphore.try_acquire(), Err(AcquireError::Timeout)));
    assert!(matches!(semaphore.acquire_timeout(Duration::ZERO), Err(AcquireError::Timeout)));
    assert!(matches!(semaphore.acquire_timeout(SHORT), Err(AcquireError::Timeout)));
    assert!(start.elapsed() >= SHORT);
}

fn permits_are_counted_across_processes(method: StartMethod) {
    let semaphore = Semaphore::new(2).unwrap();
    let _permit = semaphore.acquire().unwrap();
    let take = |semaphore: Semaphore| {
        let _permit = semaphore.acquire_timeout(LONG).unwrap();
        (semaphore.available(), semaphore.try_acquire().is_err())
    };
    assert_eq!(spawn(method, take, semaphore.clone()).unwrap().join().unwrap(), (0, true));
    assert_eq!(semaphore.available(), 1);
    let give = |semaphore: Semaphore| semaphore.release(3).unwrap();
    spawn(method, give, semaphore.clone()).unwrap().join().unwrap();
    assert_eq!(semaphore.available(), 4);
}

fn permits_of_the_dead_come_back(method: StartMethod) {
    let (semaphore, ready) = (Semaphore::new(1).unwrap(), Event::new().unwrap());
    let hold = |(semaphore, ready): (Semaphore, Event)| {
        let _permit = semaphore.acquire().unwrap();
        ready.set();
        std::thread::sleep(LONG);
    };
    let child = spawn(method, hold, (semaphore.clone(), ready.clone())).unwrap();
    ready.wait_timeout(LONG).unwrap();
    assert!(semaphore.try_acquire().is_err());
    child.kill().unwrap();
    assert!(semaphore.acquire_timeout(LONG).is_ok());
    child.join().unwrap_err();
}
