//! Waiting for what another process says: `Event`, `Condition`, `Latch` and `Once`.

mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::{Child, LONG, SHORT, arrive, child_that, eventually, fork, run};
use mp_sync::{Condition, Event, Latch, LockError, Once, RLock, SharedAtomicU64, Value};

fn a_killed_waiter_does_not_hold_up_an_event() {
    let event = Event::new().unwrap();
    let started = SharedAtomicU64::new(0).unwrap();
    let wait = || {
        fork(|| {
            started.fetch_add(1, SeqCst);
            event.wait();
        })
    };
    let (victim, other) = (wait(), wait());
    eventually("two wait", || started.load(SeqCst) == 2);
    std::thread::sleep(SHORT);
    victim.kill();
    event.set();
    assert!(other.join());
    event.clear();
    assert!(event.wait_timeout(SHORT).is_err());
}

fn one_who_slept_through_set_and_clear_goes_on() {
    for _ in 0..50 {
        let event = Event::new().unwrap();
        let started = SharedAtomicU64::new(0).unwrap();
        let waiter = fork(|| {
            started.store(1, SeqCst);
            event.wait_timeout(LONG).unwrap();
        });
        eventually("it waits", || started.load(SeqCst) == 1);
        std::thread::sleep(Duration::from_millis(1));
        event.set();
        event.clear();
        assert!(waiter.join());
    }
}

fn a_killed_waiter_does_not_hold_up_a_condition() {
    let ready = Value::new(0u32).unwrap();
    let changed = Condition::new().unwrap();
    let wait = || {
        fork(|| {
            let mut guard = ready.lock().unwrap();
            *guard += 1;
            drop(changed.wait_while(guard, |ready| **ready < 100).unwrap());
        })
    };
    let (victim, other) = (wait(), wait());
    eventually("two wait", || ready.get().unwrap() == 2);
    victim.kill();
    *ready.lock().or_else(LockError::into_guard).unwrap() = 100;
    changed.notify_all();
    assert!(other.join());
    let guard = ready.lock().unwrap();
    let (_guard, found) = changed.wait_while_timeout(guard, SHORT, |_| true).unwrap();
    assert!(!found, "it timed out");
}

fn a_dead_waiter_takes_no_notification() {
    let waiting = Value::new(0u32).unwrap();
    let changed = Condition::new().unwrap();
    let wait = || {
        fork(|| {
            let mut guard = waiting.lock().unwrap();
            *guard += 1;
            drop(changed.wait(guard).unwrap());
        })
    };
    let (victim, other) = (wait(), wait());
    eventually("two wait", || waiting.get().unwrap() == 2);
    std::thread::sleep(SHORT);
    victim.kill();
    changed.notify(1);
    assert!(other.join());
}

fn a_condition_lets_go_of_an_rlock_altogether() {
    let lock = RLock::new().unwrap();
    let changed = Condition::new().unwrap();
    let flag = SharedAtomicU64::new(0).unwrap();
    let child = fork(|| {
        eventually("the parent waits", || flag.load(SeqCst) == 1);
        let _guard = lock.lock_timeout(LONG).unwrap();
        flag.store(2, SeqCst);
        changed.notify(1);
    });
    let outer = lock.lock().unwrap();
    let mut inner = lock.lock().unwrap();
    flag.store(1, SeqCst);
    while flag.load(SeqCst) != 2 {
        inner = changed.wait(inner).unwrap();
    }
    assert!(child.join());
    drop(outer);
    assert!(lock.is_locked());
    drop(inner);
    assert!(!lock.is_locked());
}

/// A conversation in which each waits for the other's answer: whoever looks for it before it
/// sleeps finds it, and whoever sleeps is woken.
fn answers_come_by_events_and_conditions() {
    let (asked, answered) = (Event::new().unwrap(), Event::new().unwrap());
    let (turn, changed) = (Value::new(0u32).unwrap(), Condition::new().unwrap());
    let pause = |round: u32| {
        if round.is_multiple_of(50) {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let other = fork(|| {
        for round in 0..1000 {
            asked.wait_timeout(LONG).unwrap();
            asked.clear();
            pause(round);
            answered.set();
        }
        let mut guard = turn.lock().unwrap();
        for round in 0..1000 {
            guard = changed.wait_while(guard, |turn| **turn % 2 == 0).unwrap();
            pause(round);
            *guard += 1;
            changed.notify(1);
        }
    });
    for round in 0..1000 {
        pause(round + 25);
        asked.set();
        answered.wait_timeout(LONG).unwrap();
        answered.clear();
    }
    for round in 0..1000 {
        pause(round + 25);
        let mut guard = turn.lock().unwrap();
        *guard += 1;
        changed.notify(1);
        let (_guard, came) = changed.wait_while_timeout(guard, LONG, |turn| **turn % 2 == 1).unwrap();
        assert!(came, "an answer");
    }
    assert!(other.join());
}

fn a_conditions_own_lock_is_waited_for_up_to_a_timeout() {
    let changed = Condition::new().unwrap();
    let holder = child_that(|_| std::mem::forget(changed.lock().unwrap()));
    assert!(matches!(changed.try_lock(), Err(LockError::Timeout)));
    assert!(matches!(changed.lock_timeout(SHORT), Err(LockError::Timeout)));
    holder.kill();
    assert!(matches!(changed.lock_timeout(LONG), Err(LockError::OwnerDied(_))));
}

fn a_latch_opens_for_those_who_sleep() {
    let latch = Latch::new(2).unwrap();
    let waiters = [fork(|| latch.wait()), fork(|| latch.wait_timeout(LONG).unwrap())];
    assert!(latch.wait_timeout(SHORT).is_err());
    assert!(fork(|| latch.count_down()).join());
    latch.count_down();
    assert!(waiters.into_iter().all(Child::join));
    latch.count_down();
    assert!(latch.is_open());
}

fn a_latch_counts_what_the_dead_have_counted() {
    let latch = Latch::new(2).unwrap();
    let waiter = child_that(|ready| {
        ready.set();
        latch.wait();
    });
    let counter = child_that(|_| latch.count_down());
    counter.kill();
    waiter.kill();
    assert_eq!(latch.count(), 1);
    let other = fork(|| latch.wait());
    latch.count_down();
    assert!(other.join());
}

fn once_is_done_again_after_a_death() {
    let once = Once::new().unwrap();
    let child = child_that(|ready| drop(once.call(|| arrive(ready))));
    child.kill();
    assert!(!once.is_done());
    assert!(once.call(|| ()).unwrap());
    assert!(!once.call(|| ()).unwrap());
}

fn once_waits_for_another_up_to_a_timeout() {
    let once = Once::new().unwrap();
    let worker = child_that(|ready| drop(once.call(|| arrive(ready))));
    let late = once.call_timeout(SHORT, || unreachable!("another one does it"));
    assert!(matches!(late, Err(LockError::Timeout)));
    worker.kill();
    assert!(once.call_timeout(LONG, || ()).unwrap());
}

fn main() {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    run(tests![
        a_killed_waiter_does_not_hold_up_an_event,
        one_who_slept_through_set_and_clear_goes_on,
        a_killed_waiter_does_not_hold_up_a_condition,
        a_dead_waiter_takes_no_notification,
        a_condition_lets_go_of_an_rlock_altogether,
        answers_come_by_events_and_conditions,
        a_conditions_own_lock_is_waited_for_up_to_a_timeout,
        a_latch_opens_for_those_who_sleep,
        a_latch_counts_what_the_dead_have_counted,
        once_is_done_again_after_a_death,
        once_waits_for_another_up_to_a_timeout,
    ]);
}
