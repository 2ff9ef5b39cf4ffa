//! What processes see of each other's ends at locks: `Lock`, `RLock` and `RwLock`.

mod common;

use std::time::Duration;

use common::{LONG, SHORT, child_that, eventually, fork, run};
use mp_sync::{DeadlockWatch, Lock, LockError, RLock, RwLock, Value};

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

/// Each leaves a place on the board of a watch, of which there are 256.
fn those_who_died_waiting_leave_room_in_a_watch() {
    let watch = DeadlockWatch::new().unwrap();
    let [here, there] = ["here", "there"].map(|name| Lock::watched(&watch, name).unwrap());
    let held = here.lock().unwrap();
    for dead in 1..=256 {
        let waiter = fork(|| drop(here.lock()));
        eventually("it waits", || format!("{watch:?}").matches("here").count() == dead);
        waiter.kill();
    }
    let other = fork(|| {
        let _held = there.lock().unwrap();
        assert!(matches!(here.lock_timeout(LONG), Ok(_) | Err(LockError::Deadlock(_))));
    });
    eventually("it has begun", || there.is_locked());
    // One of the two is told, and lets the other one go on.
    let told = there.lock_timeout(LONG);
    assert!(matches!(told, Ok(_) | Err(LockError::Deadlock(_))), "{told:?}");
    drop((told, held));
    assert!(other.join());
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
        an_rlock_is_freed_by_as_many_guards_as_took_it,
        readers_are_counted_or_refused,
        a_rwlock_and_an_rlock_show_who_holds_them,
        a_rwlock_knows_whether_it_is_locked_and_how,
        a_dead_reader_is_no_reader,
        a_dead_writer_is_told_to_all,
        those_who_died_waiting_leave_room_in_a_watch,
    ]);
}
