//! What a process that was stopped, and neither goes on nor ends, holds up, and what it does not.
//! Those that wait asleep, and hold up nobody, are in `stopped_asleep`.

mod common;

use common::{Child, LONG, SHORT, child_that, eventually, fork, run};
use mp_sync::{AcquireError, Barrier, BarrierError, LockError, Permit, Queue, RwLock, Semaphore};

/// A consumer waits at the head of the others, and a producer at the head of the producers.
fn one_who_is_stopped_in_a_queue_holds_up_nobody_who_only_tries() {
    let queue = Queue::bounded(1).unwrap();
    let consumer = fork(|| drop(queue.get()));
    eventually("it waits", || consumer.times_awoken() > 0 && !consumer.is_runnable());
    std::thread::sleep(SHORT);
    consumer.stop();
    queue.put(1u32).unwrap();
    assert!(queue.try_get().is_err_and(|error| error.is_empty()));
    consumer.go_on();
    assert!(consumer.join());
    queue.put(2).unwrap();
    let producer = fork(|| queue.put(3).unwrap());
    eventually("it waits", || producer.times_awoken() > 0 && !producer.is_runnable());
    std::thread::sleep(SHORT);
    producer.stop();
    assert_eq!(queue.get().unwrap(), 2);
    assert!(queue.try_put(4).is_err_and(|error| error.is_full()));
    producer.go_on();
    assert!(producer.join());
    assert_eq!(queue.try_get().unwrap(), 3);
}

/// Those behind it wait, and go on when it has died.
fn one_who_is_stopped_first_in_line_of_a_queue_keeps_it_until_it_dies() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    let first = asleep_in(|| drop(queue.get()));
    first.stop();
    queue.put(1).unwrap();
    assert!(queue.get_timeout(SHORT).is_err_and(|error| error.is_empty()));
    let second = asleep_in(|| assert_eq!(queue.get().unwrap(), 1));
    assert!(!second.has_ended() && queue.len() == 1);
    first.kill();
    assert!(second.join());
    queue.put(2).unwrap();
    let first = asleep_in(|| queue.put(3).unwrap());
    first.stop();
    assert_eq!(queue.get().unwrap(), 2);
    assert!(queue.put_timeout(4, SHORT).is_err_and(|error| error.is_full()));
    let second = asleep_in(|| queue.put(5).unwrap());
    assert!(!second.has_ended() && queue.is_empty());
    first.kill();
    assert!(second.join());
    assert_eq!(queue.try_get().unwrap(), 5);
}

/// It keeps out readers and writers, also when there is nobody left to wait for.
fn one_who_is_stopped_as_it_waits_to_write_keeps_the_lock_until_it_goes_on_or_dies() {
    let lock = RwLock::new().unwrap();
    for dies in [false, true] {
        let read = lock.read().unwrap();
        let writer = asleep_in(|| drop(lock.write().unwrap()));
        writer.stop();
        drop(read);
        assert!(matches!(lock.try_read(), Err(LockError::Timeout)));
        assert!(matches!(lock.try_write(), Err(LockError::Timeout)));
        assert!(matches!(lock.read_timeout(SHORT), Err(LockError::Timeout)));
        assert!(matches!(lock.write_timeout(SHORT), Err(LockError::Timeout)));
        let reader = asleep_in(|| drop(lock.read().unwrap()));
        assert!(!reader.has_ended());
        if dies {
            writer.kill();
        } else {
            writer.go_on();
            assert!(writer.join());
        }
        assert!(reader.join());
        drop(lock.write().expect("nobody died writing"));
    }
}

/// A reader is stopped again and again, until that was where it passed the gate.
fn one_who_is_stopped_as_it_begins_to_read_holds_up_nobody_who_only_tries() {
    let lock = RwLock::new().unwrap();
    let reader = fork(|| {
        loop {
            drop(lock.read().unwrap());
        }
    });
    let mut refused = 0;
    while refused < 2 {
        reader.stop();
        let in_the_gate = lock.try_read().is_err();
        assert!(!in_the_gate || lock.try_write().is_err());
        refused += u32::from(in_the_gate);
        reader.go_on();
    }
    reader.kill();
    assert!(lock.try_write().is_ok());
}

fn a_stopped_process_holds_up_no_permits() {
    let seats = Semaphore::new(0).unwrap();
    let waiter = child_that(|ready| {
        ready.set();
        drop(seats.acquire());
    });
    std::thread::sleep(SHORT);
    waiter.stop();
    assert!(seats.try_acquire().is_err());
    seats.release(1).unwrap();
    assert!(seats.try_acquire().is_ok(), "it has not got it yet");
    waiter.go_on();
}

/// The permit is given back while one waits behind the one that was stopped.
fn a_stopped_process_holds_up_no_permits_for_those_behind_it() {
    let acquire: [for<'a> fn(&'a Semaphore) -> Acquired<'a>; 2] =
        [Semaphore::acquire, |seats| seats.acquire_timeout(20 * LONG)];
    for acquire in acquire {
        let seats = Semaphore::new(0).unwrap();
        let (first, second) = (one_who_waits(&seats, acquire), one_who_waits(&seats, acquire));
        first.stop();
        seats.release(1).unwrap();
        eventually("it looks for itself", || second.has_ended());
        assert!(second.join());
        first.go_on();
        assert!(first.join());
    }
}

/// One who died held the permit while the one who would notice it is stopped.
fn a_stopped_process_holds_up_no_permits_of_the_dead() {
    let seats = Semaphore::new(1).unwrap();
    let holder = child_that(|_| std::mem::forget(seats.acquire().unwrap()));
    let (first, second) =
        (one_who_waits(&seats, Semaphore::acquire), one_who_waits(&seats, Semaphore::acquire));
    first.stop();
    holder.kill();
    eventually("it looks for itself", || second.has_ended());
    assert!(second.join());
    first.go_on();
    assert!(first.join());
}

fn one_who_waits(seats: &Semaphore, acquire: for<'a> fn(&'a Semaphore) -> Acquired<'a>) -> Child {
    asleep_in(|| drop(acquire(seats).unwrap()))
}

/// A child that has come so far in its work that it sleeps.
fn asleep_in(work: impl FnOnce()) -> Child {
    let child = fork(work);
    eventually("it waits", || child.times_awoken() > 0 && !child.is_runnable());
    std::thread::sleep(SHORT);
    child
}

type Acquired<'a> = Result<Permit<'a>, AcquireError>;

/// One of the last turn has not gone yet, as it was stopped, so that there is no seat.
fn a_turn_that_is_not_free_in_time_breaks_the_barrier() {
    let barrier = Barrier::new(2).unwrap();
    let sleeper = fork(|| assert!(barrier.wait().is_ok()));
    eventually("it waits", || barrier.n_waiting() == 1);
    std::thread::sleep(SHORT);
    sleeper.stop();
    barrier.wait().unwrap();
    let waiter = fork(|| assert!(matches!(barrier.wait(), Err(BarrierError::Broken))));
    eventually("it waits", || barrier.n_waiting() == 1);
    assert!(matches!(barrier.wait_timeout(SHORT), Err(BarrierError::Timeout)));
    assert!(barrier.is_broken());
    assert!(waiter.join());
    sleeper.go_on();
    assert!(sleeper.join(), "the turn that it took part in was a good one");
}

fn main() {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    run(tests![
        one_who_is_stopped_in_a_queue_holds_up_nobody_who_only_tries,
        one_who_is_stopped_first_in_line_of_a_queue_keeps_it_until_it_dies,
        one_who_is_stopped_as_it_waits_to_write_keeps_the_lock_until_it_goes_on_or_dies,
        one_who_is_stopped_as_it_begins_to_read_holds_up_nobody_who_only_tries,
        a_stopped_process_holds_up_no_permits,
        a_stopped_process_holds_up_no_permits_for_those_behind_it,
        a_stopped_process_holds_up_no_permits_of_the_dead,
        a_turn_that_is_not_free_in_time_breaks_the_barrier,
    ]);
}
