//! Shared values, and the memory of all objects.

mod common;

use common::{child_that, count_handles, fork, run};
use mp_sync::{Array, Barrier, Latch, Lock, LockError, Queue, RawArray, Semaphore, Value};

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

fn ten_thousand_locks_cost_a_handful_of_handles() {
    let before = count_handles();
    let locks: Vec<Lock> = (0..10_000).map(|_| Lock::new().unwrap()).collect();
    assert!(count_handles() - before <= 5, "{} handles", count_handles() - before);
    assert!(locks.iter().all(|lock| lock.try_lock().is_ok()));
    drop(locks);
    (0..100_000).for_each(|_| drop(Lock::new().unwrap()));
    assert!(count_handles() - before <= 5, "{} handles later", count_handles() - before);
}

fn a_forgotten_guard_keeps_its_memory() {
    for _ in 0..100 {
        let lock = Lock::new().unwrap();
        std::mem::forget(lock.lock().unwrap());
    }
    let other = Lock::new().unwrap();
    drop(other.lock().unwrap());
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
        values_and_arrays_are_shared,
        an_array_of_the_dead_is_told_and_kept,
        ten_thousand_locks_cost_a_handful_of_handles,
        a_forgotten_guard_keeps_its_memory,
        limits_are_told_in_words,
        nothing_is_left_open,
    ]);
}
