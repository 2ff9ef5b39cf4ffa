//! Events, conditions, barriers and what is done once, under fire.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mp_sync::{Barrier, BarrierError, Condition, Event, Latch, LockError, Once, SharedAtomicU64, Value};

use crate::common::{Child, eventually, fork, pause};
use crate::fire::{Fire, Scenario, done, returned};
use crate::locks::repaired;

pub(crate) fn event(fire: &mut Fire<'_>) {
    let event = Event::new().unwrap();
    Scenario {
        work: &|number, progress| {
            loop {
                match number {
                    0 | 1 => event.set(),
                    2 => event.clear(),
                    _ => event.wait(),
                }
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_, _| {
            event.set();
            assert!(event.wait_timeout(Duration::ZERO).is_ok());
        },
    }
    .run(fire);
}

/// Rounds of one event each: the setter may die at any instant, and so may a waiter.
pub(crate) fn event_once(fire: &mut Fire<'_>) {
    while fire.goes_on() {
        let event = Event::new().unwrap();
        let asleep = SharedAtomicU64::new(0).unwrap();
        let wait = || {
            asleep.fetch_add(1, SeqCst);
            event.wait();
        };
        let waiters = [fork(wait), fork(wait)];
        let victim = fork(wait);
        eventually("waiters", || asleep.load(SeqCst) == 3);
        pause(Duration::from_micros(fire.random.below(60)));
        let setter = fork(|| event.set());
        pause(Duration::from_micros(fire.random.below(1500)));
        setter.signal();
        fire.kill(victim);
        fire.kill(setter);
        if event.is_set() {
            assert!(waiters.into_iter().all(Child::join), "set, and its setter killed: all must go on");
            fire.steps += 1;
        } else {
            waiters.into_iter().for_each(|waiter| fire.kill(waiter));
        }
    }
}

pub(crate) fn condition(fire: &mut Fire<'_>) {
    let stock = Value::new([0u64; 2]).unwrap();
    let changed = Condition::new().unwrap();
    Scenario {
        work: &|number, progress| {
            loop {
                let mut guard = repaired(stock.lock());
                if number % 2 == 0 {
                    guard[0] = 1;
                    guard[1] = 1;
                    drop(guard);
                    changed.notify_all();
                } else {
                    while guard[0] == 0 {
                        // One who is killed between the change and the notification has told nobody.
                        guard = match changed.wait_timeout(guard, Duration::from_millis(50)) {
                            Err(LockError::Timeout) => {
                                returned(progress);
                                repaired(stock.lock())
                            }
                            other => repaired(other),
                        };
                        returned(progress);
                    }
                    // Half way it looks like half way up: see `repaired`.
                    guard[1] = 0;
                    std::hint::black_box(&mut guard);
                    guard[0] = 0;
                }
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_, _| drop(repaired(stock.try_lock())),
    }
    .run(fire);
}

/// Rounds of three who wait and two wake-ups: one of them may be lost to the one who is
/// killed, and no more; and to wake all loses nobody.
pub(crate) fn condition_notified(fire: &mut Fire<'_>) {
    while fire.goes_on() {
        let waiting = Value::new(0u32).unwrap();
        let changed = Condition::new().unwrap();
        let woken = SharedAtomicU64::new(0).unwrap();
        let wait = || {
            let mut guard = waiting.lock().or_else(LockError::into_guard).unwrap();
            *guard += 1;
            let guard = changed.wait(guard);
            woken.fetch_add(1, SeqCst);
            drop(guard);
        };
        let [victim, first, second] = [fork(wait), fork(wait), fork(wait)];
        eventually("waiters", || *waiting.lock().or_else(LockError::into_guard).unwrap() == 3);
        pause(Duration::from_micros(fire.random.below(60)));
        if fire.random.below(2) == 0 {
            changed.notify(2);
            pause(Duration::from_micros(fire.random.below(60)));
            fire.kill(victim);
        } else {
            victim.signal();
            changed.notify(2);
            fire.kill(victim);
        }
        eventually("one who was woken", || woken.load(SeqCst) >= 1);
        changed.notify_all();
        assert!(first.join() && second.join());
        fire.steps += 1;
    }
}

pub(crate) fn barrier(fire: &mut Fire<'_>) {
    const PARTIES: u32 = 3;
    let barrier = Barrier::new(PARTIES).unwrap();
    let (came, opened) = (SharedAtomicU64::new(0).unwrap(), SharedAtomicU64::new(0).unwrap());
    Scenario {
        work: &|number, progress| {
            loop {
                came.fetch_add(1, SeqCst);
                let turn = if number % 2 == 0 { barrier.wait() } else { barrier.wait_with(|| ()) };
                match turn {
                    Ok(turn) => {
                        let opened = opened.fetch_add(u64::from(turn.is_leader()), SeqCst);
                        let needed = (opened + u64::from(turn.is_leader())) * u64::from(PARTIES);
                        assert!(came.load(SeqCst) >= needed, "it opened for fewer than {PARTIES}");
                        done(progress);
                    }
                    // One resets it for all: a second reset would break the next round.
                    Err(BarrierError::Broken) if !barrier.is_broken() => returned(progress),
                    Err(BarrierError::Broken) => {
                        barrier.reset().unwrap();
                        returned(progress);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        },
        tend: &|| (),
        check: &|_, _| {
            barrier.reset().unwrap();
            assert_eq!(barrier.n_waiting(), 0, "the dead wait");
        },
    }
    .run(fire);
}

/// One party of two is killed as it waits: it does not count for the other one.
pub(crate) fn barrier_of_two(fire: &mut Fire<'_>) {
    while fire.goes_on() {
        let barrier = Barrier::new(2).unwrap();
        let victim = fork(|| _ = barrier.wait());
        eventually("it waits", || barrier.n_waiting() == 1);
        pause(Duration::from_micros(fire.random.below(100)));
        fire.kill(victim);
        assert!(matches!(barrier.wait(), Err(BarrierError::Broken)), "a dead one has filled it");
        fire.steps += 1;
    }
}

pub(crate) fn once_and_latch(fire: &mut Fire<'_>) {
    while fire.goes_on() {
        let (once, latch, runs) =
            (Once::new().unwrap(), Latch::new(2).unwrap(), SharedAtomicU64::new(0).unwrap());
        let work = || {
            once.call(|| _ = runs.fetch_add(1, SeqCst)).unwrap();
            latch.count_down();
            latch.wait();
        };
        let [victim, first, second] = [fork(work), fork(work), fork(work)];
        pause(Duration::from_micros(fire.random.below(600)));
        fire.kill(victim);
        assert!(first.join() && second.join());
        assert!(once.is_done() && latch.is_open() && (1..=2).contains(&runs.load(SeqCst)));
        fire.steps += 1;
    }
}
