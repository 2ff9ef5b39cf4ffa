//! As many processes as an object keeps apart, one more, and deaths among them.

mod common;

use common::{Child, LONG, SHORT, child_that, eventually, fork, run};
use mp_sync::{AcquireError, LockError, ReleaseError, RwLock, Semaphore};

/// How many living processes may have used one semaphore, or read under one lock.
const PROCESSES: usize = 255;

fn crowd(size: usize, work: impl Fn()) -> Vec<Child> {
    (0..size).map(|_| child_that(|_| work())).collect()
}

/// A place goes from a dead one to the next, and with it comes back what the dead one held.
fn one_process_more_than_a_semaphore_keeps_apart_is_refused_until_one_has_died() {
    let seats = Semaphore::new(PROCESSES as u32 + 45).unwrap();
    let mut holders = crowd(PROCESSES, || std::mem::forget(seats.acquire().unwrap()));
    assert_eq!(seats.available(), 45);
    assert!(matches!(seats.try_acquire(), Err(AcquireError::TooManyProcesses(PROCESSES))));
    assert!(matches!(seats.acquire(), Err(AcquireError::TooManyProcesses(PROCESSES))), "it does not wait");
    assert!(matches!(seats.release(1), Err(ReleaseError::TooManyProcesses(PROCESSES))));
    assert_eq!(seats.available(), 45, "nothing was taken or given");
    assert!(holders.pop().unwrap().kill());
    let permit = seats.try_acquire().expect("the dead one's place");
    assert_eq!(seats.available(), 45, "its permit came back, and was taken");
    let is_refused = || matches!(seats.try_acquire(), Err(AcquireError::TooManyProcesses(PROCESSES)));
    assert!(fork(|| assert!(is_refused())).join());
    holders.drain(..100).for_each(|holder| assert!(holder.kill()));
    assert!(fork(|| drop(seats.acquire().unwrap())).join());
    assert_eq!(seats.available(), 145);
    drop((permit, holders));
    let all: Vec<_> = (0..PROCESSES + 45).map(|_| seats.try_acquire().unwrap()).collect();
    assert!(matches!(seats.try_acquire(), Err(AcquireError::Timeout)));
    drop(all);
}

/// The one that waits is told of the death of any of the others, and no place is free meanwhile.
fn one_who_waits_among_as_many_as_there_may_be_gets_a_dead_ones_permit() {
    let seats = Semaphore::new(1).unwrap();
    let users = crowd(PROCESSES - 2, || drop(seats.acquire().unwrap()));
    let holder = child_that(|_| std::mem::forget(seats.acquire().unwrap()));
    let waiter = fork(|| drop(seats.acquire_timeout(20 * LONG).unwrap()));
    eventually("it waits", || waiter.times_awoken() > 0 && !waiter.is_runnable());
    std::thread::sleep(SHORT);
    assert!(matches!(seats.try_acquire(), Err(AcquireError::TooManyProcesses(PROCESSES))));
    assert!(holder.kill());
    eventually("it gets the permit", || waiter.has_ended());
    assert!(waiter.join());
    assert!(users.into_iter().all(Child::kill));
    assert!(seats.try_acquire().is_ok());
}

fn one_reader_more_than_a_lock_keeps_apart_is_refused_until_one_has_died() {
    let lock = RwLock::new().unwrap();
    let mut readers = crowd(PROCESSES, || std::mem::forget(lock.read().unwrap()));
    let is_refused = || match lock.try_read() {
        Err(LockError::Io(error)) => error.to_string().contains("255"),
        _ => false,
    };
    assert!(is_refused() && lock.readers() == PROCESSES as u32);
    assert!(matches!(lock.write_timeout(SHORT), Err(LockError::Timeout)), "they read on");
    assert!(readers.pop().unwrap().kill());
    let reading = lock.try_read().expect("the dead one's place");
    assert_eq!(lock.readers(), PROCESSES as u32);
    assert!(fork(|| assert!(is_refused())).join());
    drop(reading);
    // All of them while one waits to write.
    let writer = fork(|| drop(lock.write_timeout(20 * LONG).unwrap()));
    eventually("it waits", || writer.times_awoken() > 0 && !writer.is_runnable());
    assert!(readers.into_iter().all(Child::kill));
    eventually("it writes", || writer.has_ended());
    assert!(writer.join() && lock.readers() == 0);
}

fn main() {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    run(tests![
        one_process_more_than_a_semaphore_keeps_apart_is_refused_until_one_has_died,
        one_who_waits_among_as_many_as_there_may_be_gets_a_dead_ones_permit,
        one_reader_more_than_a_lock_keeps_apart_is_refused_until_one_has_died,
    ]);
}
