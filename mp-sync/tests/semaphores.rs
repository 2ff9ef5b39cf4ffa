//! Permits, and what becomes of those that the dead held.

mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use common::{LONG, SHORT, child_that, count_handles, eventually, fork, run};
use mp_sync::{AcquireError, BinarySemaphore, BoundedSemaphore, Event, RwLock, Semaphore, SharedAtomicU64};

fn a_dead_holders_permits_come_back() {
    let seats = Semaphore::new(3).unwrap();
    let holder = child_that(|_| (0..3).for_each(|_| std::mem::forget(seats.acquire().unwrap())));
    assert_eq!(seats.available(), 0);
    assert!(seats.acquire_timeout(SHORT).is_err());
    holder.kill();
    let all: Vec<_> = (0..3).map(|_| seats.try_acquire().unwrap()).collect();
    assert!(seats.try_acquire().is_err());
    drop(all);
    assert_eq!(seats.available(), 3);
}

/// Shorter than the time after which a wait begins to watch for deaths.
fn a_death_is_seen_in_the_shortest_wait() {
    for patience in [Duration::ZERO, Duration::from_millis(1)] {
        let seats = Semaphore::new(1).unwrap();
        let holder = child_that(|_| std::mem::forget(seats.acquire().unwrap()));
        assert!(seats.acquire_timeout(patience).is_err());
        holder.kill();
        assert!(seats.acquire_timeout(patience).is_ok(), "{patience:?}");

        let pages = RwLock::new().unwrap();
        let reader = child_that(|_| std::mem::forget(pages.read().unwrap()));
        assert!(pages.write_timeout(patience).is_err());
        reader.kill();
        assert!(pages.write_timeout(patience).is_ok(), "{patience:?}");
    }
}

fn a_bound_holds_when_others_release() {
    let one = BoundedSemaphore::new(1).unwrap();
    let permit = one.acquire().unwrap();
    one.release(1).unwrap();
    drop(permit);
    assert_eq!(one.available(), 1);
    assert!(one.release(1).is_err());
}

fn more_permits_than_come_back_are_refused() {
    const MOST: usize = 16_383;
    let seats = Semaphore::new(MOST as u32 + 1).unwrap();
    let mut permits: Vec<_> = (0..MOST).map(|_| seats.acquire().unwrap()).collect();
    assert!(matches!(seats.try_acquire(), Err(AcquireError::TooManyHeld(16_383))));
    assert!(matches!(seats.acquire(), Err(AcquireError::TooManyHeld(16_383))), "it does not wait");
    let other = child_that(|_| std::mem::forget(seats.acquire().unwrap()));
    assert!(matches!(seats.acquire_timeout(SHORT), Err(AcquireError::Timeout)), "none is free");
    other.kill();
    permits.pop().unwrap().forget();
    permits.push(seats.acquire().unwrap());
    assert_eq!(seats.available(), 0);
}

fn a_sleeper_gets_a_dead_holders_permit_at_once() {
    let seats = Semaphore::new(1).unwrap();
    let holder = child_that(|_| std::mem::forget(seats.acquire().unwrap()));
    let asleep = Event::new().unwrap();
    let waiter = fork(|| {
        asleep.set();
        drop(seats.acquire_timeout(LONG).unwrap());
    });
    asleep.wait();
    std::thread::sleep(5 * SHORT);
    holder.kill();
    let begun = Instant::now();
    assert!(waiter.join());
    assert!(begun.elapsed() < LONG / 4, "noticed, not timed out");
}

fn a_try_in_vain_asks_only_for_those_who_hold() {
    let seats = Semaphore::new(2).unwrap();
    let users = [(); 3].map(|()| child_that(|_| drop(seats.acquire().unwrap())));
    let holder = child_that(|_| (0..2).for_each(|_| std::mem::forget(seats.acquire().unwrap())));
    assert!(seats.try_acquire().is_err());
    let before = count_handles();
    (0..1000).for_each(|_| assert!(seats.try_acquire().is_err()));
    assert_eq!(count_handles(), before, "nobody new is asked for");
    users.into_iter().for_each(|user| assert!(user.kill()));
    assert!(seats.try_acquire().is_err(), "they held nothing");
    holder.kill();
    let both = [seats.try_acquire().unwrap(), seats.try_acquire().unwrap()];
    assert!(seats.try_acquire().is_err());
    drop(both);
    eventually("the dead are not watched any more", || count_handles() < before);
}

fn where_permits_are_only_counted_nobody_is_asked_for() {
    let items = Semaphore::new(3).unwrap();
    let user = child_that(|_| (0..3).for_each(|_| items.acquire().unwrap().forget()));
    let before = count_handles();
    (0..100).for_each(|_| assert!(items.try_acquire().is_err()));
    assert_eq!(count_handles(), before);
    user.kill();
    assert!(items.try_acquire().is_err(), "they belong to nobody");
}

/// Fewer handles than waits: who waits for the end of the same process has the same handle.
fn many_who_wait_for_one_process_cost_one_handle() {
    const WAITS: usize = 200;
    let seats: Vec<Semaphore> = (0..WAITS).map(|_| Semaphore::new(1).unwrap()).collect();
    let holder = child_that(|_| seats.iter().for_each(|seats| std::mem::forget(seats.acquire().unwrap())));
    let (most, got) = (SharedAtomicU64::new(0).unwrap(), SharedAtomicU64::new(0).unwrap());
    let asleep = Event::new().unwrap();
    let waiter = fork(|| {
        let before = count_handles();
        common::limit_handles(before as u64 + 40);
        std::thread::scope(|scope| {
            for seats in &seats {
                scope.spawn(|| {
                    drop(seats.acquire_timeout(LONG).unwrap());
                    got.fetch_add(1, SeqCst);
                });
            }
            std::thread::sleep(15 * SHORT);
            most.store((count_handles() - before) as u64, SeqCst);
            asleep.set();
        });
    });
    asleep.wait_timeout(LONG).unwrap();
    assert_eq!(got.load(SeqCst), 0);
    holder.kill();
    assert!(waiter.join());
    assert_eq!(got.load(SeqCst), WAITS as u64);
    assert!(most.load(SeqCst) < 12, "{} handles", most.load(SeqCst));
}

fn a_semaphore_shows_who_holds_it() {
    let seats = Semaphore::new(3).unwrap();
    let holder = child_that(|_| (0..2).for_each(|_| std::mem::forget(seats.acquire().unwrap())));
    let shown = format!("{seats:?}");
    assert!(shown.contains(&format!("(process {}, 2)", holder.id())), "{shown}");
    holder.kill();
    let shown = format!("{seats:?}");
    assert!(shown.contains("that is gone, 2"), "{shown}");
}

fn forgotten_permits_belong_to_nobody() {
    let items = Semaphore::new(0).unwrap();
    let producer = fork(|| items.release(2).unwrap());
    assert!(producer.join());
    let consumer = fork(|| items.acquire().unwrap().forget());
    assert!(consumer.join());
    assert_eq!(items.available(), 1);
    items.acquire().unwrap().forget();
    assert!(items.try_acquire().is_err());
}

fn a_bounded_semaphore_refuses_what_is_too_much() {
    let semaphore = BoundedSemaphore::new(2).unwrap();
    assert!(semaphore.release(1).is_err());
    let permit = semaphore.acquire().unwrap();
    drop(permit);
    assert_eq!(semaphore.available(), 2);
    assert!(Semaphore::new(1 << 24).is_err());
}

fn a_binary_semaphore_is_released_elsewhere() {
    let turn = BinarySemaphore::new().unwrap();
    turn.acquire().unwrap();
    let other = fork(|| turn.release().unwrap());
    turn.acquire_timeout(LONG).unwrap();
    assert!(other.join());
    assert!(turn.is_locked());
}

fn a_binary_semaphore_stays_taken_by_the_dead() {
    let turn = BinarySemaphore::new().unwrap();
    let holder = child_that(|_| turn.acquire().unwrap());
    let waiter = child_that(|ready| {
        ready.set();
        turn.acquire().unwrap();
    });
    holder.kill();
    waiter.kill();
    assert!(turn.acquire_timeout(5 * SHORT).is_err(), "it belongs to nobody");
    turn.release().unwrap();
    turn.try_acquire().unwrap();
}

fn a_dead_holders_bounded_permits_come_back() {
    let seats = BoundedSemaphore::new(2).unwrap();
    let holder = child_that(|_| (0..2).for_each(|_| std::mem::forget(seats.acquire().unwrap())));
    assert!(seats.acquire_timeout(SHORT).is_err());
    holder.kill();
    let both = [seats.acquire_timeout(LONG).unwrap(), seats.acquire_timeout(LONG).unwrap()];
    drop(both);
    assert!(seats.release(1).is_err(), "no more than it began with");
}

fn main() {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    run(tests![
        a_dead_holders_permits_come_back,
        a_death_is_seen_in_the_shortest_wait,
        a_bound_holds_when_others_release,
        more_permits_than_come_back_are_refused,
        a_sleeper_gets_a_dead_holders_permit_at_once,
        a_try_in_vain_asks_only_for_those_who_hold,
        where_permits_are_only_counted_nobody_is_asked_for,
        many_who_wait_for_one_process_cost_one_handle,
        a_semaphore_shows_who_holds_it,
        forgotten_permits_belong_to_nobody,
        a_bounded_semaphore_refuses_what_is_too_much,
        a_binary_semaphore_is_released_elsewhere,
        a_binary_semaphore_stays_taken_by_the_dead,
        a_dead_holders_bounded_permits_come_back,
    ]);
}
