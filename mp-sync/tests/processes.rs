//! What processes see of each other's ends, object by object; queues are in `queues.rs`, and those
//! that are stopped in `stopped.rs`.

mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use common::{Child, LONG, SHORT, arrive, child_that, count_handles, eventually, fork, run};
use mp_sync::{
    AcquireError, Array, Barrier, BarrierError, BinarySemaphore, BoundedSemaphore, Condition, Event, Latch,
    Lock, LockError, Once, Queue, RLock, RawArray, RwLock, Semaphore, SharedAtomicU64, Value,
};

fn a_dead_owner_is_told_until_the_state_is_marked_sound() {
    let lock = Lock::new().unwrap();
    let child = child_that(|_| std::mem::forget(lock.lock().unwrap()));
    assert!(lock.is_locked());
    assert!(matches!(lock.try_lock(), Err(LockError::Timeout)));
    assert!(matches!(lock.lock_timeout(SHORT), Err(LockError::Timeout)));
    child.kill();
    assert!(!lock.is_locked());
    let Err(LockError::OwnerDied(guard)) = lock.lock() else { panic!("the owner died") };
    assert!(!guard.is_sound());
    drop(guard);
    let Err(LockError::OwnerDied(guard)) = lock.try_lock() else { panic!("nobody said it was sound") };
    guard.mark_sound();
    drop(guard);
    assert!(lock.lock().is_ok());
}

fn one_who_waits_for_a_lock_gets_it_when_its_holder_dies() {
    let lock = Lock::new().unwrap();
    let holder = child_that(|_| std::mem::forget(lock.lock().unwrap()));
    let waiter = fork(|| assert!(matches!(lock.lock_timeout(LONG), Err(LockError::OwnerDied(_)))));
    std::thread::sleep(SHORT);
    holder.kill();
    assert!(waiter.join());
}

/// It takes the lock's mutex for a moment, and is killed there at times.
fn one_who_is_killed_as_it_asks_who_holds_a_lock_was_no_owner() {
    let (lock, rlock) = (Lock::new().unwrap(), RLock::new().unwrap());
    let user = fork(|| {
        loop {
            drop(lock.lock().expect("nobody died who held it"));
            drop(rlock.lock().expect("nobody died who held it"));
        }
    });
    for _ in 0..3000 {
        let asker = child_that(|ready| {
            ready.set();
            loop {
                _ = lock.is_locked();
                _ = rlock.owner();
            }
        });
        common::pause(Duration::from_micros(40));
        assert!(asker.kill());
    }
    assert!(user.kill());
}

fn a_lock_taken_twice_by_one_thread_is_an_error() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    assert!(matches!(lock.lock(), Err(LockError::Relocked)));
    assert!(matches!(lock.try_lock(), Err(LockError::Relocked)));
    assert!(format!("{lock:?}").contains(&std::process::id().to_string()));
    drop(guard);
    assert!(lock.lock().is_ok());
}

fn more_locks_than_the_kernel_releases_are_an_error() {
    let locks: Vec<Lock> = (0..2001).map(|_| Lock::new().unwrap()).collect();
    let child = fork(|| {
        let guards: Vec<_> = locks[..2000].iter().map(|lock| lock.lock().unwrap()).collect();
        assert!(matches!(locks[2000].lock(), Err(LockError::TooMany)));
        std::mem::forget(guards);
    });
    assert!(child.join());
    let died = locks.iter().filter(|lock| matches!(lock.try_lock(), Err(LockError::OwnerDied(_))));
    assert_eq!(died.count(), 2000);
}

fn a_forked_copy_of_a_guard_is_nothing() {
    let value = Value::new(1u32).unwrap();
    let mut guard = value.lock().unwrap();
    let child = fork(|| {
        drop(unsafe_copy(&guard));
        assert!(matches!(value.try_lock(), Err(LockError::Timeout)));
    });
    assert!(child.join());
    *guard += 1;
    drop(guard);
    assert_eq!(value.get().unwrap(), 2);
}

/// In a forked child, the parent's guard is there a second time.
#[allow(unsafe_code)]
fn unsafe_copy<T>(value: &T) -> T {
    // SAFETY: called in a child that leaves without dropping the original.
    unsafe { std::ptr::read(value) }
}

fn a_forgotten_guard_keeps_its_memory() {
    for _ in 0..100 {
        let lock = Lock::new().unwrap();
        std::mem::forget(lock.lock().unwrap());
    }
    let other = Lock::new().unwrap();
    drop(other.lock().unwrap());
}

fn ten_thousand_locks_cost_a_handful_of_handles() {
    let before = count_handles();
    let locks: Vec<Lock> = (0..10_000).map(|_| Lock::new().unwrap()).collect();
    assert!(count_handles() - before <= 5, "{} handles", count_handles() - before);
    assert!(locks.iter().all(|lock| lock.try_lock().is_ok()));
    drop(locks);
    (0..100_000).for_each(|_| drop(Lock::new().unwrap()));
    assert!(count_handles() - before <= 5, "{} handles later", count_handles() - before);
}

fn an_rlock_is_freed_by_as_many_guards_as_took_it() {
    let lock = RLock::new().unwrap();
    let outer = lock.lock().unwrap();
    let inner = lock.try_lock().unwrap();
    let refused = || matches!(lock.try_lock(), Err(LockError::Timeout));
    assert!(fork(|| assert!(refused())).join());
    drop(outer);
    assert!(fork(|| assert!(refused())).join());
    drop(inner);
    assert!(fork(|| assert!(!refused())).join());
    let child = child_that(|_| {
        std::mem::forget(lock.lock().unwrap());
        std::mem::forget(lock.lock().unwrap());
    });
    child.kill();
    let Err(LockError::OwnerDied(guard)) = lock.lock() else { panic!("the owner died") };
    guard.mark_sound();
    drop(guard);
    assert!(!lock.is_locked());
}

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

fn readers_are_counted_or_refused() {
    let pages = RwLock::new().unwrap();
    let mut readers = Vec::new();
    while let Ok(reader) = pages.read() {
        readers.push(reader);
        assert!(readers.len() < 1 << 20);
    }
    assert_eq!(pages.readers() as usize, readers.len());
    assert!(pages.try_write().is_err());
    readers.pop();
    readers.push(pages.read().unwrap());
    drop(readers);
    assert!(pages.try_write().is_ok());
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

fn limits_are_told_in_words() {
    fn said<T>(result: std::io::Result<T>) -> String {
        result.err().map_or_else(String::new, |error| error.to_string())
    }
    assert!(said(Latch::new(u32::MAX)).contains("2147483647"));
    assert!(said(RawArray::<u64>::new(usize::MAX)).contains("256 GiB"));
    assert!(said(Array::<u8>::new(1 << 40)).contains("256 GiB"));
    assert!(said(Queue::builder().memory(usize::MAX).build::<u8>()).contains("256 GiB"));
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
    assert!(count_handles() < before, "the dead are not watched any more");
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

fn where_permits_are_only_counted_nobody_is_asked_for() {
    let items = Semaphore::new(3).unwrap();
    let user = child_that(|_| (0..3).for_each(|_| items.acquire().unwrap().forget()));
    let before = count_handles();
    (0..100).for_each(|_| assert!(items.try_acquire().is_err()));
    assert_eq!(count_handles(), before);
    user.kill();
    assert!(items.try_acquire().is_err(), "they belong to nobody");
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

fn a_rwlock_and_an_rlock_show_who_holds_them() {
    let (rlock, rwlock) = (RLock::new().unwrap(), RwLock::new().unwrap());
    let _guards = (rlock.lock().unwrap(), rwlock.write().unwrap());
    let own = format!("process {}, thread {}", std::process::id(), std::process::id());
    assert!(format!("{rlock:?}").contains(&own), "{rlock:?}");
    assert!(format!("{rwlock:?}").contains(&own), "{rwlock:?}");
    assert!(rwlock.is_locked() && rwlock.is_write_locked() && !rwlock.is_read_locked());
}

fn a_rwlock_knows_whether_it_is_locked_and_how() {
    let lock = RwLock::new().unwrap();
    assert!(!lock.is_locked());
    let reader = child_that(|_| std::mem::forget(lock.read().unwrap()));
    assert!(lock.is_locked() && lock.is_read_locked() && !lock.is_write_locked());
    reader.kill();
    assert!(!lock.is_locked() && !lock.is_read_locked(), "the reader is gone");
    let writer = child_that(|_| std::mem::forget(lock.write().unwrap()));
    assert!(lock.is_locked() && lock.is_write_locked() && !lock.is_read_locked());
    assert_eq!(lock.writer().map(|writer| writer.process()), Some(writer.id() as u32));
    writer.kill();
    assert!(!lock.is_locked() && !lock.is_write_locked(), "the writer is gone");
    assert!(matches!(lock.read(), Err(LockError::OwnerDied(_))));
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

fn a_dead_holders_bounded_permits_come_back() {
    let seats = BoundedSemaphore::new(2).unwrap();
    let holder = child_that(|_| (0..2).for_each(|_| std::mem::forget(seats.acquire().unwrap())));
    assert!(seats.acquire_timeout(SHORT).is_err());
    holder.kill();
    let both = [seats.acquire_timeout(LONG).unwrap(), seats.acquire_timeout(LONG).unwrap()];
    drop(both);
    assert!(seats.release(1).is_err(), "no more than it began with");
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

fn a_barrier_lets_all_go_with_one_leader() {
    let barrier = Barrier::new(3).unwrap();
    let (leaders, actions) = (SharedAtomicU64::new(0).unwrap(), SharedAtomicU64::new(0).unwrap());
    let work = || {
        for _ in 0..200 {
            let turn = barrier.wait_with(|| _ = actions.fetch_add(1, SeqCst)).unwrap();
            leaders.fetch_add(u64::from(turn.is_leader()), SeqCst);
        }
    };
    let children = [fork(work), fork(work)];
    work();
    assert!(children.into_iter().all(Child::join));
    assert_eq!((leaders.load(SeqCst), actions.load(SeqCst), barrier.n_waiting()), (200, 200, 0));
}

fn a_barrier_breaks_when_one_who_waits_dies() {
    let barrier = Barrier::new(3).unwrap();
    let victim = fork(|| drop(barrier.wait()));
    let other = fork(|| assert!(matches!(barrier.wait(), Err(BarrierError::Broken))));
    eventually("two wait", || barrier.n_waiting() == 2);
    std::thread::sleep(5 * SHORT);
    victim.kill();
    assert!(other.join());
    assert!(barrier.is_broken());
    assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    barrier.reset().unwrap();
    assert!(!barrier.is_broken());
    assert!(matches!(barrier.wait_timeout(SHORT), Err(BarrierError::Timeout)));
    assert!(barrier.is_broken());
}

fn a_barrier_is_not_filled_by_the_dead() {
    for _ in 0..20 {
        let barrier = Barrier::new(2).unwrap();
        let victim = fork(|| drop(barrier.wait()));
        eventually("it waits", || barrier.n_waiting() == 1);
        victim.kill();
        assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    }
}

fn a_barrier_is_used_by_more_than_its_parties() {
    let (barrier, passes) = (Barrier::new(2).unwrap(), SharedAtomicU64::new(0).unwrap());
    let others: Vec<Child> = (0..5)
        .map(|_| {
            fork(|| {
                while barrier.wait().is_ok() {
                    passes.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    eventually("all pass", || passes.load(SeqCst) > 2000);
    barrier.abort().unwrap();
    assert!(others.into_iter().all(Child::join));
}

fn an_aborted_barrier_is_reset() {
    let barrier = Barrier::new(2).unwrap();
    barrier.abort().unwrap();
    assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    barrier.reset().unwrap();
    let other = fork(|| assert!(barrier.wait().is_ok()));
    barrier.wait().unwrap();
    assert!(other.join());
}

fn an_aborted_barrier_fails_those_who_wait() {
    let barrier = Barrier::new(2).unwrap();
    let waiter = fork(|| assert!(matches!(barrier.wait(), Err(BarrierError::Broken))));
    eventually("it waits", || barrier.n_waiting() == 1);
    barrier.abort().unwrap();
    assert!(waiter.join());
}

fn an_action_waits_up_to_a_timeout() {
    let barrier = Barrier::new(2).unwrap();
    let timed_out = barrier.wait_with_timeout(SHORT, || unreachable!("not all have come"));
    assert!(matches!(timed_out, Err(BarrierError::Timeout)));
    barrier.reset().unwrap();
    let actions = SharedAtomicU64::new(0).unwrap();
    let come = || _ = barrier.wait_with_timeout(LONG, || _ = actions.fetch_add(1, SeqCst)).unwrap();
    let other = fork(come);
    come();
    assert!(other.join());
    assert_eq!(actions.load(SeqCst), 1);
}

fn a_dead_reader_is_no_reader() {
    let lock = RwLock::new().unwrap();
    let reader = child_that(|_| std::mem::forget(lock.read().unwrap()));
    assert!(lock.try_write().is_err());
    assert!(lock.write_timeout(SHORT).is_err());
    let writer = fork(|| drop(lock.write_timeout(LONG).unwrap()));
    std::thread::sleep(5 * SHORT);
    reader.kill();
    assert!(writer.join());
    assert_eq!(lock.readers(), 0);
    assert!(lock.try_read().is_ok());
}

fn a_dead_writer_is_told_to_all() {
    let lock = RwLock::new().unwrap();
    let writer = child_that(|_| std::mem::forget(lock.write().unwrap()));
    assert!(lock.try_read().is_err());
    writer.kill();
    assert!(matches!(lock.read(), Err(LockError::OwnerDied(_))));
    assert!(matches!(lock.try_read(), Err(LockError::OwnerDied(_))));
    lock.write().or_else(LockError::into_guard).unwrap().mark_sound();
    assert!(lock.read().is_ok());
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

fn an_array_of_the_dead_is_told_and_kept() {
    let lock = Lock::new().unwrap();
    let (array, value) = (Array::with_lock(&[1u8, 2], &lock).unwrap(), Value::with_lock(3u8, &lock).unwrap());
    let writer = child_that(|_| {
        let mut guard = array.lock().unwrap();
        guard[1] = 9;
        std::mem::forget(guard);
    });
    writer.kill();
    assert!(matches!(value.lock(), Err(LockError::OwnerDied(_))), "it is one lock for both");
    let Err(LockError::OwnerDied(guard)) = array.lock() else { panic!("the owner died") };
    assert_eq!(*guard, [1, 9], "what it had written");
    guard.mark_sound();
    drop(guard);
    assert!(lock.lock().is_ok());
}

fn values_and_arrays_are_shared() {
    let value = Value::new([1u16, 2]).unwrap();
    let lock = Lock::new().unwrap();
    let array = Array::with_lock(&[1.0f64; 1000], &lock).unwrap();
    let raw = RawArray::<u8>::new(3).unwrap();
    let child = fork(|| {
        value.lock().unwrap()[1] = 7;
        array.lock().unwrap().iter_mut().for_each(|item| *item *= 2.0);
        raw.write(1, &[8, 9]);
    });
    assert!(child.join());
    assert_eq!(value.get().unwrap(), [1, 7]);
    assert_eq!(array.to_vec().unwrap(), [2.0; 1000]);
    assert_eq!(raw.to_vec(), [0, 8, 9]);
    let _guard = lock.lock().unwrap();
    assert!(matches!(array.lock(), Err(LockError::Relocked)), "it is the lock that was given");
}

fn nothing_is_left_open() {
    let before = count_handles();
    for _ in 0..50 {
        let queue = Queue::<u32>::new().unwrap();
        queue.put(1).unwrap();
        let _ = (Barrier::new(70).unwrap(), Array::<u64>::new(100_000).unwrap(), Semaphore::new(1).unwrap());
    }
    assert!(count_handles() <= before + 1);
}

fn main() {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    run(tests![
        a_dead_owner_is_told_until_the_state_is_marked_sound,
        one_who_waits_for_a_lock_gets_it_when_its_holder_dies,
        one_who_is_killed_as_it_asks_who_holds_a_lock_was_no_owner,
        a_lock_taken_twice_by_one_thread_is_an_error,
        more_locks_than_the_kernel_releases_are_an_error,
        a_forked_copy_of_a_guard_is_nothing,
        a_forgotten_guard_keeps_its_memory,
        ten_thousand_locks_cost_a_handful_of_handles,
        an_rlock_is_freed_by_as_many_guards_as_took_it,
        a_dead_holders_permits_come_back,
        a_death_is_seen_in_the_shortest_wait,
        a_bound_holds_when_others_release,
        readers_are_counted_or_refused,
        more_permits_than_come_back_are_refused,
        limits_are_told_in_words,
        a_sleeper_gets_a_dead_holders_permit_at_once,
        a_try_in_vain_asks_only_for_those_who_hold,
        where_permits_are_only_counted_nobody_is_asked_for,
        many_who_wait_for_one_process_cost_one_handle,
        a_semaphore_shows_who_holds_it,
        a_rwlock_and_an_rlock_show_who_holds_them,
        a_rwlock_knows_whether_it_is_locked_and_how,
        forgotten_permits_belong_to_nobody,
        a_bounded_semaphore_refuses_what_is_too_much,
        a_binary_semaphore_is_released_elsewhere,
        a_binary_semaphore_stays_taken_by_the_dead,
        a_dead_holders_bounded_permits_come_back,
        a_killed_waiter_does_not_hold_up_an_event,
        one_who_slept_through_set_and_clear_goes_on,
        a_killed_waiter_does_not_hold_up_a_condition,
        a_dead_waiter_takes_no_notification,
        a_condition_lets_go_of_an_rlock_altogether,
        a_barrier_lets_all_go_with_one_leader,
        a_barrier_breaks_when_one_who_waits_dies,
        a_barrier_is_not_filled_by_the_dead,
        a_barrier_is_used_by_more_than_its_parties,
        an_aborted_barrier_fails_those_who_wait,
        an_aborted_barrier_is_reset,
        an_action_waits_up_to_a_timeout,
        a_dead_reader_is_no_reader,
        a_dead_writer_is_told_to_all,
        once_is_done_again_after_a_death,
        once_waits_for_another_up_to_a_timeout,
        answers_come_by_events_and_conditions,
        a_conditions_own_lock_is_waited_for_up_to_a_timeout,
        a_latch_opens_for_those_who_sleep,
        a_latch_counts_what_the_dead_have_counted,
        values_and_arrays_are_shared,
        an_array_of_the_dead_is_told_and_kept,
        nothing_is_left_open,
    ]);
}
