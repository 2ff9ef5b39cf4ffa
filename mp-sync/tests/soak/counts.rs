//! Semaphores under fire.

use std::sync::atomic::Ordering::SeqCst;

use mp_sync::{BinarySemaphore, BoundedSemaphore, Semaphore, SharedAtomicU64};

use crate::fire::{Fire, Scenario, done};

pub(crate) fn semaphore(fire: &mut Fire<'_>) {
    let seats = Semaphore::new(2).unwrap();
    Scenario {
        work: &|_, progress| {
            loop {
                let permit = seats.acquire().unwrap();
                assert!(seats.available() < 2, "a permit too many");
                std::hint::black_box(&permit);
                drop(permit);
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_, _| {
            let both = [seats.try_acquire().unwrap(), seats.try_acquire().unwrap()];
            assert!(seats.try_acquire().is_err(), "a permit too many");
            drop(both);
        },
    }
    .run(fire);
}

pub(crate) fn bounded_semaphore(fire: &mut Fire<'_>) {
    let seats = BoundedSemaphore::new(3).unwrap();
    Scenario {
        work: &|_, progress| {
            loop {
                let one = seats.acquire().unwrap();
                let two = seats.try_acquire();
                assert!(seats.available() < 3, "a permit too many");
                drop((one, two));
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_, _| {
            let all = [(); 3].map(|()| seats.try_acquire().unwrap());
            assert!(seats.try_acquire().is_err(), "a permit too many");
            drop(all);
            assert!(seats.release(1).is_err(), "a permit too few");
        },
    }
    .run(fire);
}

/// Permits that are counted, and belong to nobody.
pub(crate) fn counted_semaphore(fire: &mut Fire<'_>) {
    let items = Semaphore::new(0).unwrap();
    let (given, taken) = (SharedAtomicU64::new(0).unwrap(), SharedAtomicU64::new(0).unwrap());
    Scenario {
        work: &|number, progress| {
            loop {
                if number % 2 == 1 {
                    items.acquire().unwrap().forget();
                    taken.fetch_add(1, SeqCst);
                } else if items.available() < 1000 {
                    items.release(1).unwrap();
                    given.fetch_add(1, SeqCst);
                }
                done(progress);
            }
        },
        tend: &|| (),
        check: &|kills, _| {
            // What the dead had taken and not yet forgotten has come back.
            let free = (0..).take_while(|_| {
                items.try_acquire().is_ok_and(|permit| {
                    permit.forget();
                    true
                })
            });
            let (given, taken) = (given.load(SeqCst), taken.load(SeqCst) + free.count() as u64);
            assert!(given.abs_diff(taken) <= kills, "{given} given, {taken} taken, {kills} kills");
        },
    }
    .run(fire);
}

/// What is acquired is never given back by its holder's death: the parent gives it.
pub(crate) fn binary_semaphore(fire: &mut Fire<'_>) {
    let turn = BinarySemaphore::new().unwrap();
    Scenario {
        work: &|_, progress| {
            loop {
                turn.acquire().unwrap();
                done(progress);
            }
        },
        tend: &|| {
            let _ = turn.release();
        },
        check: &|_, _| {
            let _ = turn.release();
            turn.try_acquire().unwrap();
            assert!(turn.try_acquire().is_err(), "it is taken twice");
        },
    }
    .run(fire);
}
