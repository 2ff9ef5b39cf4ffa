//! Locks under fire, and what they guard.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mp_sync::{
    Array, DeadlockWatch, Guard, Lock, LockError, RLock, RwLock, SharedAtomicU64, Value, ValueGuard,
};

use crate::common::Random;
use crate::fire::{Fire, STALL, Scenario, done, returned};

type PairGuard<'a> = ValueGuard<'a, [u64; 2]>;

/// The pair as it should be: one who died in between has raised the first number only.
pub(crate) fn repaired<'a>(result: Result<PairGuard<'a>, LockError<PairGuard<'a>>>) -> PairGuard<'a> {
    match result {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(mut guard)) => {
            assert!(guard[0].wrapping_sub(guard[1]) < 2, "more than one change is half done");
            guard[1] = guard[0];
            guard.mark_sound();
            guard
        }
        Err(error) => panic!("{error}"),
    }
}

fn sound<'a>(result: Result<Guard<'a>, LockError<Guard<'a>>>) -> Result<Guard<'a>, LockError<Guard<'a>>> {
    match result {
        Err(LockError::OwnerDied(guard)) => {
            guard.mark_sound();
            Ok(guard)
        }
        other => other,
    }
}

pub(crate) fn lock(fire: &mut Fire<'_>) {
    let pair = Value::new([0u64; 2]).unwrap();
    Scenario {
        work: &|_, progress| {
            loop {
                let mut pair = repaired(pair.lock());
                assert_eq!(pair[0], pair[1], "two are inside, or a death was not told");
                pair[0] += 1;
                std::hint::black_box(&mut pair);
                pair[1] += 1;
                drop(pair);
                done(progress);
            }
        },
        tend: &|| (),
        check: &|kills, steps| {
            let counted = repaired(pair.try_lock())[0];
            assert!((steps..=steps + kills).contains(&counted), "{steps} steps, {counted} counted");
        },
    }
    .run(fire);
}

pub(crate) fn rlock(fire: &mut Fire<'_>) {
    let lock = RLock::new().unwrap();
    let inside = SharedAtomicU64::new(0).unwrap();
    Scenario {
        work: &|number, progress| {
            loop {
                let outer = match lock.lock() {
                    Ok(guard) => guard,
                    Err(error) => {
                        let guard = error.into_guard().unwrap();
                        guard.mark_sound();
                        guard
                    }
                };
                inside.store(number as u64, SeqCst);
                let inner = lock.lock().unwrap();
                drop(outer);
                assert_eq!(inside.load(SeqCst), number as u64, "two are inside");
                drop(inner);
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_, _| drop(lock.try_lock().or_else(LockError::into_guard).unwrap()),
    }
    .run(fire);
}

/// One lock for a value, an array, and whoever takes it by itself.
pub(crate) fn lock_given(fire: &mut Fire<'_>) {
    let lock = Lock::new().unwrap();
    let value = Value::with_lock(0u64, &lock).unwrap();
    let array = Array::with_lock(&[0u64; 8], &lock).unwrap();
    let inside = SharedAtomicU64::new(0).unwrap();
    let check_alone = |number: usize| {
        inside.store(number as u64, SeqCst);
        std::hint::black_box(&inside);
        assert_eq!(inside.load(SeqCst), number as u64, "two are inside");
    };
    Scenario {
        work: &|number, progress| {
            loop {
                match number % 3 {
                    0 => {
                        let mut value = value.lock().or_else(LockError::into_guard).unwrap();
                        check_alone(number);
                        *value += 1;
                    }
                    1 => {
                        let mut array = array.lock().or_else(LockError::into_guard).unwrap();
                        check_alone(number);
                        array[number] += 1;
                    }
                    _ => {
                        let _guard = sound(lock.lock()).unwrap();
                        check_alone(number);
                    }
                }
                done(progress);
            }
        },
        tend: &|| (),
        check: &|kills, steps| {
            let guard = value.lock().or_else(LockError::into_guard).unwrap();
            let value = *guard;
            drop(guard);
            let sum: u64 = array.lock().or_else(LockError::into_guard).unwrap().iter().sum();
            assert!(value + sum <= steps + kills, "{steps} steps, {} counted", value + sum);
        },
    }
    .run(fire);
}

/// A lock that is waited for with a timeout.
pub(crate) fn timeouts(fire: &mut Fire<'_>) {
    let lock = Lock::new().unwrap();
    Scenario {
        work: &|number, progress| {
            loop {
                match sound(lock.lock_timeout(Duration::from_micros(20 * number as u64))) {
                    Ok(_guard) => done(progress),
                    Err(LockError::Timeout) => returned(progress),
                    Err(error) => panic!("{error}"),
                }
            }
        },
        tend: &|| (),
        check: &|_, _| drop(sound(lock.try_lock()).unwrap()),
    }
    .run(fire);
}

pub(crate) fn rwlock(fire: &mut Fire<'_>) {
    let lock = RwLock::new().unwrap();
    let pair = [SharedAtomicU64::new(0).unwrap(), SharedAtomicU64::new(0).unwrap()];
    let write = || {
        let guard = lock.write().or_else(LockError::into_guard).unwrap();
        if !guard.is_sound() {
            pair[1].store(pair[0].load(SeqCst), SeqCst);
            guard.mark_sound();
        }
        pair[0].fetch_add(1, SeqCst);
        pair[1].fetch_add(1, SeqCst);
    };
    Scenario {
        work: &|number, progress| {
            loop {
                if number < 2 {
                    write();
                } else if let Ok(_guard) = lock.read() {
                    assert_eq!(pair[0].load(SeqCst), pair[1].load(SeqCst), "a reader beside a writer");
                } else {
                    write();
                }
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_, _| {
            drop(lock.write_timeout(STALL).or_else(LockError::into_guard).unwrap());
            assert_eq!(lock.readers(), 0, "a dead reader reads");
        },
    }
    .run(fire);
}

/// Three locks, of which each takes two in any order: what is told of the circles lets
/// somebody go on.
pub(crate) fn deadlocks(fire: &mut Fire<'_>) {
    let watch = DeadlockWatch::new().unwrap();
    let locks = ["a", "b", "c"].map(|name| Lock::watched(&watch, name).unwrap());
    Scenario {
        work: &|number, progress| {
            let mut random = Random::new(u64::from(std::process::id()) + number as u64);
            loop {
                let first = random.below(3) as usize;
                let second = (first + 1 + random.below(2) as usize) % 3;
                // Nobody waits for one who holds nothing.
                let one = sound(locks[first].lock()).unwrap();
                returned(progress);
                match sound(locks[second].lock()) {
                    Ok(_two) => done(progress),
                    Err(LockError::Deadlock(_)) => {
                        drop(one);
                        returned(progress);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        },
        tend: &|| (),
        check: &|_, _| locks.iter().for_each(|lock| drop(sound(lock.try_lock()).unwrap())),
    }
    .run(fire);
}
