//! `Lock`, `RLock` and `BinarySemaphore`: one at a time, and never for the dead.

mod common;

use std::time::Instant;

use common::{LONG, SHORT, spawn, suite};
use multiprocess::sync::{LockError, ReleaseError};
use multiprocess::{BinarySemaphore, Event, Lock, RLock, RwLock, StartMethod, Value};

suite! {
    started: [
        a_lock_taken_here_is_taken_there,
        an_rlock_taken_here_is_taken_there,
        a_lock_shows_who_owns_it,
        an_rlock_shows_who_owns_it,
        children_take_turns,
        a_lock_of_the_dead_is_told_to_the_next,
        a_binary_semaphore_is_released_by_another_process,
        readers_share_and_writers_do_not,
    ],
    plain: [
        a_lock_is_taken_once,
        another_thread_is_another_owner,
        an_rlock_is_taken_as_often_as_wanted,
        a_guard_releases_its_lock_even_in_a_panic,
        a_binary_semaphore_refuses_to_be_released_when_free,
        waiting_for_a_lock_ends_with_the_timeout,
    ],
}

fn a_lock_is_taken_once() {
    let lock = Lock::new().unwrap();
    assert!(!lock.is_locked());
    let guard = lock.lock().unwrap();
    assert!(lock.is_locked());
    assert!(matches!(lock.try_lock(), Err(LockError::Relocked)));
    assert!(matches!(lock.lock(), Err(LockError::Relocked)), "an error and no deadlock");
    drop(guard);
    assert!(!lock.is_locked());
    assert!(lock.try_lock().is_ok());
}

fn an_rlock_is_taken_as_often_as_wanted() {
    let lock = RLock::new().unwrap();
    let guards = [lock.lock().unwrap(), lock.try_lock().unwrap(), lock.lock_timeout(SHORT).unwrap()];
    for guard in guards {
        assert!(lock.is_locked());
        drop(guard);
    }
    assert!(!lock.is_locked());
}

fn a_guard_releases_its_lock_even_in_a_panic() {
    let lock = Lock::new().unwrap();
    let panicked = std::panic::catch_unwind(|| {
        let _guard = lock.lock().unwrap();
        std::panic::resume_unwind(Box::new("out"));
    });
    assert!(panicked.is_err());
    assert!(!lock.is_locked());
}

fn waiting_for_a_lock_ends_with_the_timeout() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            assert!(matches!(lock.try_lock(), Err(LockError::Timeout)));
            assert!(matches!(lock.lock_timeout(SHORT), Err(LockError::Timeout)));
            assert!(start.elapsed() >= SHORT);
        });
    });
    drop(guard);
    assert!(lock.lock_timeout(SHORT).is_ok());
}

fn a_lock_taken_here_is_taken_there(method: StartMethod) {
    let lock = Lock::new().unwrap();
    let tries = |lock: Lock| (lock.is_locked(), lock.try_lock().is_ok());
    let guard = lock.lock().unwrap();
    assert_eq!(spawn(method, tries, lock.clone()).unwrap().join().unwrap(), (true, false));
    drop(guard);
    assert_eq!(spawn(method, tries, lock.clone()).unwrap().join().unwrap(), (false, true));
    assert!(!lock.is_locked());
}

fn an_rlock_taken_here_is_taken_there(method: StartMethod) {
    let lock = RLock::new().unwrap();
    let tries = |lock: RLock| (lock.is_locked(), lock.try_lock().is_ok());
    let (outer, inner) = (lock.lock().unwrap(), lock.lock().unwrap());
    assert_eq!(spawn(method, tries, lock.clone()).unwrap().join().unwrap(), (true, false));
    drop(outer);
    assert_eq!(spawn(method, tries, lock.clone()).unwrap().join().unwrap(), (true, false));
    drop(inner);
    assert_eq!(spawn(method, tries, lock.clone()).unwrap().join().unwrap(), (false, true));
}

fn a_lock_shows_who_owns_it(method: StartMethod) {
    let (lock, ready) = (Lock::new().unwrap(), Event::new().unwrap());
    assert_eq!(lock.owner(), None);
    let hold = |(lock, ready): (Lock, Event)| {
        let _guard = lock.lock().unwrap();
        ready.set();
        std::thread::sleep(LONG);
    };
    let child = spawn(method, hold, (lock.clone(), ready.clone())).unwrap();
    ready.wait_timeout(LONG).unwrap();
    assert_eq!(lock.owner().unwrap().process(), child.pid());
    assert!(format!("{lock:?}").contains(&child.pid().to_string()), "{lock:?}");
    child.kill().unwrap();
    child.join().unwrap_err();
}

fn an_rlock_shows_who_owns_it(method: StartMethod) {
    let (lock, ready) = (RLock::new().unwrap(), Event::new().unwrap());
    assert_eq!(lock.owner(), None);
    let (outer, inner) = (lock.lock().unwrap(), lock.lock().unwrap());
    let here = lock.owner().unwrap();
    assert_eq!(here.process(), std::process::id());
    assert!(format!("{lock:?}").contains(&std::process::id().to_string()), "{lock:?}");
    drop(outer);
    assert_eq!(lock.owner(), Some(here), "until the last guard goes");
    drop(inner);
    assert_eq!(lock.owner(), None);
    let hold = |(lock, ready): (RLock, Event)| {
        let _guard = lock.lock().unwrap();
        ready.set();
        std::thread::sleep(LONG);
    };
    let child = spawn(method, hold, (lock.clone(), ready.clone())).unwrap();
    ready.wait_timeout(LONG).unwrap();
    assert_eq!(lock.owner().unwrap().process(), child.pid());
    child.kill().unwrap();
    child.join().unwrap_err();
}

fn another_thread_is_another_owner() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    let here = lock.owner().unwrap();
    drop(guard);
    let there = std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            let _guard = lock.lock().unwrap();
            lock.owner().unwrap()
        });
        there.join().unwrap()
    });
    assert_eq!(here.process(), there.process());
    assert_ne!(here, there);
}

fn children_take_turns(method: StartMethod) {
    let (lock, count) = (Lock::new().unwrap(), Value::new(0u64).unwrap());
    let work = |(lock, count): (Lock, Value<u64>)| {
        for _ in 0..500 {
            let _guard = lock.lock().unwrap();
            let seen = count.get().unwrap();
            count.set(seen + 1).unwrap();
        }
    };
    let start = |_| spawn(method, work, (lock.clone(), count.clone())).unwrap();
    let children: Vec<_> = (0..4).map(start).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(count.get().unwrap(), 2000);
}

fn a_lock_of_the_dead_is_told_to_the_next(method: StartMethod) {
    let (lock, ready) = (Lock::new().unwrap(), Event::new().unwrap());
    let hold = |(lock, ready): (Lock, Event)| {
        let _guard = lock.lock().unwrap();
        ready.set();
        std::thread::sleep(LONG);
    };
    let child = spawn(method, hold, (lock.clone(), ready.clone())).unwrap();
    ready.wait_timeout(LONG).unwrap();
    child.kill().unwrap();
    let Err(LockError::OwnerDied(guard)) = lock.lock_timeout(LONG) else { panic!("its owner died") };
    guard.mark_sound();
    drop(guard);
    assert!(lock.lock().is_ok());
    child.join().unwrap_err();
}

fn a_binary_semaphore_is_released_by_another_process(method: StartMethod) {
    let turn = BinarySemaphore::new().unwrap();
    turn.acquire().unwrap();
    assert!(turn.is_locked());
    let release = |turn: BinarySemaphore| turn.release().unwrap();
    spawn(method, release, turn.clone()).unwrap().join().unwrap();
    assert!(!turn.is_locked());
    turn.try_acquire().unwrap();
}

fn a_binary_semaphore_refuses_to_be_released_when_free() {
    let turn = BinarySemaphore::new().unwrap();
    assert!(matches!(turn.release(), Err(ReleaseError::TooMany)));
    turn.acquire_timeout(SHORT).unwrap();
    assert!(turn.acquire_timeout(SHORT).is_err());
    turn.release().unwrap();
    assert!(matches!(turn.release(), Err(ReleaseError::TooMany)));
}

fn readers_share_and_writers_do_not(method: StartMethod) {
    let lock = RwLock::new().unwrap();
    let tries = |lock: RwLock| {
        let reads = lock.try_read().is_ok();
        (reads, lock.try_write().is_ok())
    };
    let reading = lock.read().unwrap();
    assert_eq!(spawn(method, tries, lock.clone()).unwrap().join().unwrap(), (true, false));
    drop(reading);
    let writing = lock.write().unwrap();
    assert_eq!(spawn(method, tries, lock.clone()).unwrap().join().unwrap(), (false, false));
    drop(writing);
    assert_eq!(spawn(method, tries, lock.clone()).unwrap().join().unwrap(), (true, true));
}
