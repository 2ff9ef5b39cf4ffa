//! A process that was stopped while it waits, asleep, holds up nobody: under each start method.

mod methods;

use std::time::{Duration, Instant};

use ipc_core::Message;
use methods::{run, start, tests};
use mp_process::{Process, StartMethod};
use mp_sync::{
    BinarySemaphore, BoundedSemaphore, Condition, Event, Latch, Lock, LockError, Once, Queue, RwLock,
};
use mp_testkit::chaos;

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(25);

/// A child that has come so far in its work that it sleeps: what it does between is nothing that sleeps.
fn asleep_in<A: Message>(method: StartMethod, work: fn((Event, A)), given: A) -> Process<()> {
    let ready = Event::new().unwrap();
    let child = start(method, work, (ready.clone(), given));
    ready.wait_timeout(LONG).unwrap();
    eventually("it sleeps", || state(&child) == 'S');
    child
}

fn state(child: &Process<()>) -> char {
    chaos::state(child.pid()).unwrap_or('X')
}

/// Stops it, unless it ends first.
fn stop(child: &Process<()>) {
    chaos::stop(child.pid()).unwrap();
    eventually("it stops", || matches!(state(child), 'T' | 'Z' | 'X'));
}

fn go_on(child: Process<()>) {
    // It may have ended.
    let _ = chaos::cont(child.pid());
    child.join_timeout(LONG).unwrap();
}

fn eventually(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < until, "{what}: not within {LONG:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Stopped just when it is woken, for a lock that is free then: it does not come, and has the
/// wake-up. One that is stopped while nothing wakes it has left the line.
fn a_stopped_process_that_was_woken_for_a_lock_holds_up_nobody(method: StartMethod) {
    let lock = Lock::new().unwrap();
    let lock_it = |(ready, lock): (Event, Lock)| {
        ready.set();
        drop(lock.lock().unwrap());
    };
    for _ in 0..8 {
        let held = lock.lock().unwrap();
        let [first, second] = [(); 2].map(|()| asleep_in(method, lock_it, lock.clone()));
        drop(held);
        stop(&first);
        if lock.try_lock().is_err() {
            // It holds the lock, which is another thing.
            go_on(first);
            second.join_timeout(LONG).unwrap();
            continue;
        }
        second.join_timeout(LONG).unwrap();
        go_on(first);
    }
}

/// As above, of those who want to read and wait for a writer.
fn a_stopped_process_that_was_woken_to_read_holds_up_nobody(method: StartMethod) {
    let shared = RwLock::new().unwrap();
    let read_it = |(ready, shared): (Event, RwLock)| {
        ready.set();
        drop(shared.read().unwrap());
    };
    for _ in 0..8 {
        let written = shared.write().unwrap();
        let [first, second] = [(); 2].map(|()| asleep_in(method, read_it, shared.clone()));
        drop(written);
        stop(&first);
        if shared.try_read().is_err() {
            // It is in the gate, which is another thing.
            go_on(first);
            second.join_timeout(LONG).unwrap();
            continue;
        }
        second.join_timeout(LONG).unwrap();
        go_on(first);
    }
}

/// As above, of one who was behind the first in line, which goes on with its item.
fn a_stopped_process_behind_the_first_one_holds_up_no_items(method: StartMethod) {
    let get = |(ready, queue): (Event, Queue<u32>)| {
        ready.set();
        queue.get().unwrap();
    };
    for _ in 0..8 {
        let queue = Queue::new().unwrap();
        let [first, second, third] = [(); 3].map(|()| asleep_in(method, get, queue.clone()));
        queue.put(1).unwrap();
        while !queue.is_empty() {
            std::hint::spin_loop();
        }
        stop(&second);
        first.join_timeout(LONG).unwrap();
        queue.put(2).unwrap();
        if let Ok(item) = queue.try_get() {
            // Nobody is the first one now.
            queue.put(item).unwrap();
            third.join_timeout(LONG).unwrap();
            queue.put(3).unwrap();
            go_on(second);
        } else {
            // The third one has got it, or the second one is the first in line: another thing.
            queue.put(3).unwrap();
            go_on(second);
            third.join_timeout(LONG).unwrap();
        }
    }
}

/// All others are told at once.
fn a_stopped_process_that_waits_to_be_told_holds_up_nobody(method: StartMethod) {
    let (event, condition, latch) =
        (Event::new().unwrap(), Condition::new().unwrap(), Latch::new(1).unwrap());
    let wait = |(ready, event): (Event, Event)| {
        ready.set();
        event.wait();
    };
    let be_notified = |(ready, condition): (Event, Condition)| {
        let guard = condition.lock().unwrap();
        ready.set();
        drop(condition.wait(guard).unwrap());
    };
    let wait_at = |(ready, latch): (Event, Latch)| {
        ready.set();
        latch.wait();
    };
    let each = || {
        [
            asleep_in(method, wait, event.clone()),
            asleep_in(method, be_notified, condition.clone()),
            asleep_in(method, wait_at, latch.clone()),
        ]
    };
    let (firsts, others) = (each(), [each(), each()]);
    firsts.iter().for_each(stop);
    event.set();
    condition.notify_all();
    latch.count_down();
    others.into_iter().flatten().for_each(|other| other.join_timeout(LONG).unwrap());
    firsts.into_iter().for_each(go_on);
}

/// The first in the line is stopped there, and what it waits for comes.
fn a_stopped_process_that_waits_for_its_turn_holds_up_nobody(method: StartMethod) {
    let (seats, turn) = (BoundedSemaphore::new(1).unwrap(), BinarySemaphore::new().unwrap());
    let once = Once::new().unwrap();
    let sit = |(ready, seats): (Event, BoundedSemaphore)| {
        ready.set();
        drop(seats.acquire().unwrap());
    };
    let take_turn = |(ready, turn): (Event, BinarySemaphore)| {
        ready.set();
        turn.acquire().unwrap();
        turn.release().unwrap();
    };
    let do_it = |(ready, once): (Event, Once)| {
        ready.set();
        assert!(!once.call(|| ()).unwrap(), "it was done");
    };
    let permit = seats.acquire().unwrap();
    turn.acquire().unwrap();
    let mut lines = Vec::new();
    let did_it = once.call(|| {
        lines.push([(); 2].map(|()| asleep_in(method, sit, seats.clone())));
        lines.push([(); 2].map(|()| asleep_in(method, take_turn, turn.clone())));
        lines.push([(); 2].map(|()| asleep_in(method, do_it, once.clone())));
        lines.iter().for_each(|[first, _]| stop(first));
    });
    assert!(did_it.unwrap());
    drop(permit);
    turn.release().unwrap();
    for [first, second] in lines {
        second.join_timeout(LONG).unwrap();
        go_on(first);
    }
    assert!(seats.available() == 1 && !turn.is_locked());
}

/// The others wait up to their timeouts, and one of them does it when it is dead.
fn one_who_is_stopped_in_the_middle_of_doing_it_once_keeps_it_until_it_dies(method: StartMethod) {
    let once = Once::new().unwrap();
    let begin = |(ready, once): (Event, Once)| {
        let wait = || {
            ready.set();
            std::thread::sleep(2 * LONG);
        };
        drop(once.call(wait));
    };
    let worker = asleep_in(method, begin, once.clone());
    stop(&worker);
    assert!(matches!(once.call_timeout(SHORT, || ()), Err(LockError::Timeout)));
    assert!(!once.is_done());
    worker.kill().unwrap();
    assert!(worker.join_timeout(LONG).is_err());
    assert!(once.call_timeout(LONG, || ()).unwrap());
}

fn main() -> std::process::ExitCode {
    run(tests![
        a_stopped_process_that_was_woken_for_a_lock_holds_up_nobody,
        a_stopped_process_that_was_woken_to_read_holds_up_nobody,
        a_stopped_process_behind_the_first_one_holds_up_no_items,
        a_stopped_process_that_waits_to_be_told_holds_up_nobody,
        a_stopped_process_that_waits_for_its_turn_holds_up_nobody,
        one_who_is_stopped_in_the_middle_of_doing_it_once_keeps_it_until_it_dies,
    ])
}
