//! `Value`, `Array` and the atomics: numbers that processes share.

mod common;

use std::sync::atomic::Ordering::Relaxed;

use common::{LONG, spawn, suite};
use multiprocess::sync::{LockError, Plain, RawArray, bytemuck};
use multiprocess::{Array, Event, Lock, SharedAtomicI32, SharedAtomicU64, StartMethod, Value};

suite! {
    started: [
        a_child_changes_values_of_each_type,
        additions_under_the_lock_are_exact,
        additions_to_an_atomic_are_exact,
        a_child_sums_an_array_in_place,
        a_child_writes_an_array_without_a_lock,
        what_the_dead_has_written_is_told_as_unsound,
        everything_is_doubled_by_a_child,
    ],
    plain: [
        a_value_keeps_what_it_began_with,
        values_share_a_lock_that_is_given,
        a_copy_is_independent,
        an_array_has_a_length_indices_and_slices,
        an_array_of_a_size_is_zeroed_even_in_used_memory,
    ],
}

fn keeps<T: Plain + PartialEq + std::fmt::Debug>(values: &[T]) {
    for value in values {
        let shared = Value::new(*value).unwrap();
        assert_eq!(shared.get().unwrap(), *value);
        assert_eq!(*shared.lock().unwrap(), *value);
    }
}

fn a_value_keeps_what_it_began_with() {
    keeps(&[i32::MIN, 0, 4343]);
    keeps(&[3.625, -4.25, f64::MAX]);
    keeps(&[i16::MIN, -232, 234]);
    keeps(&[1u64 << 33, 1 << 34]);
    keeps(b"xy");
    keeps(&[[1u8; 3], [2; 3]]);
}

/// What a child makes of its values.
type Numbers = (Value<i32>, Value<f64>, Value<i16>, Value<i64>, Value<u8>);

fn a_child_changes_values_of_each_type(method: StartMethod) {
    let change = |(i, d, h, q, c): Numbers| {
        i.set(-1).unwrap();
        d.set(-4.25).unwrap();
        h.set(234).unwrap();
        q.set(2 << 34).unwrap();
        c.set(b'y').unwrap();
    };
    let numbers = (new(4343), new(3.625), new(-232), new(2i64 << 33), new(b'x'));
    spawn(method, change, numbers.clone()).unwrap().join().unwrap();
    let (i, d, h, q, c) = numbers;
    assert_eq!((i.get().unwrap(), d.get().unwrap(), h.get().unwrap()), (-1, -4.25, 234));
    assert_eq!((q.get().unwrap(), c.get().unwrap()), (2 << 34, b'y'));
}

fn new<T: Plain>(value: T) -> Value<T> {
    Value::new(value).unwrap()
}

fn values_share_a_lock_that_is_given() {
    let lock = Lock::new().unwrap();
    let value = Value::with_lock(5, &lock).unwrap();
    let array = Array::with_lock(&[1, 2], &lock).unwrap();
    let guard = lock.lock().unwrap();
    assert!(matches!(value.try_lock(), Err(LockError::Relocked)));
    assert!(matches!(array.try_lock(), Err(LockError::Relocked)));
    drop(guard);
    let guard = value.lock().unwrap();
    assert!(lock.is_locked());
    drop(guard);
    assert_eq!(array.to_vec().unwrap(), [1, 2]);
}

fn additions_under_the_lock_are_exact(method: StartMethod) {
    let value = new(0u64);
    let add = |value: Value<u64>| (0..1000).for_each(|_| *value.lock().unwrap() += 1);
    let children: Vec<_> = (0..4).map(|_| spawn(method, add, value.clone()).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(value.get().unwrap(), 4000);
}

fn additions_to_an_atomic_are_exact(method: StartMethod) {
    let count = SharedAtomicU64::new(0).unwrap();
    let add = |count: SharedAtomicU64| {
        for _ in 0..1000 {
            count.fetch_add(1, Relaxed);
        }
    };
    let children: Vec<_> = (0..4).map(|_| spawn(method, add, count.clone()).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(count.load(Relaxed), 4000);
    assert_eq!(SharedAtomicI32::new(-1).unwrap().load(Relaxed), -1);
}

fn a_copy_is_independent() {
    let value = new(1);
    let copy = value.duplicate().unwrap();
    value.set(2).unwrap();
    assert_eq!((value.get().unwrap(), copy.get().unwrap()), (2, 1));
    let array = Array::from_slice(&[1, 2]).unwrap();
    let copy = array.duplicate().unwrap();
    array.lock().unwrap()[0] = 9;
    assert_eq!((array.to_vec().unwrap(), copy.to_vec().unwrap()), (vec![9, 2], vec![1, 2]));
}

fn an_array_has_a_length_indices_and_slices() {
    let numbers: Vec<i32> = (0..10).map(|i| i * i - 13).collect();
    let array = Array::from_slice(&numbers).unwrap();
    assert_eq!((array.len(), array.is_empty()), (10, false));
    let mut items = array.lock().unwrap();
    assert_eq!((items[4], &items[2..7]), (numbers[4], &numbers[2..7]));
    items[4..8].copy_from_slice(&[1, 2, 3, 4]);
    drop(items);
    let expected = [&numbers[..4], &[1, 2, 3, 4], &numbers[8..]].concat();
    assert_eq!(array.to_vec().unwrap(), expected);
}

fn an_array_of_a_size_is_zeroed_even_in_used_memory() {
    for _ in 0..3 {
        let array = Array::<u64>::new(10).unwrap();
        assert_eq!(array.to_vec().unwrap(), [0; 10]);
        array.lock().unwrap().fill(7);
        let raw = RawArray::<u64>::new(10).unwrap();
        assert_eq!(raw.to_vec(), [0; 10]);
        raw.write(0, &[7; 10]);
    }
}

fn sum_in_place(array: Array<i64>) {
    let mut items = array.lock().unwrap();
    for i in 1..items.len() {
        items[i] += items[i - 1];
    }
}

fn a_child_sums_an_array_in_place(method: StartMethod) {
    let array = Array::from_slice(&[680, 626, 934, 821, 150, 233, 548, 982, 714, 831]).unwrap();
    spawn(method, sum_in_place, array.clone()).unwrap().join().unwrap();
    let expected = [680, 1306, 2240, 3061, 3211, 3444, 3992, 4974, 5688, 6519];
    assert_eq!(array.to_vec().unwrap(), expected);
}

fn a_child_writes_an_array_without_a_lock(method: StartMethod) {
    let array = RawArray::<f32>::from_slice(&[1.5; 4]).unwrap();
    spawn(method, |array: RawArray<f32>| array.set(2, -0.5), array.clone()).unwrap().join().unwrap();
    assert_eq!((array.len(), array.get(2), array.to_vec()), (4, -0.5, vec![1.5, 1.5, -0.5, 1.5]));
}

fn what_the_dead_has_written_is_told_as_unsound(method: StartMethod) {
    let (value, ready) = (new([0u32; 2]), Event::new().unwrap());
    let stop_halfway = |(value, ready): (Value<[u32; 2]>, Event)| {
        value.lock().unwrap()[0] = 1;
        let mut pair = value.lock().unwrap();
        pair[0] = 2;
        ready.set();
        std::thread::sleep(LONG);
        pair[1] = 2;
    };
    let child = spawn(method, stop_halfway, (value.clone(), ready.clone())).unwrap();
    ready.wait_timeout(LONG).unwrap();
    child.kill().unwrap();
    let Err(LockError::OwnerDied(mut pair)) = value.lock_timeout(LONG) else { panic!("its owner died") };
    assert_eq!(*pair, [2, 0]);
    *pair = [0, 0];
    pair.mark_sound();
    drop(pair);
    assert_eq!(value.get().unwrap(), [0, 0]);
    child.join().unwrap_err();
}

#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[bytemuck(crate = "multiprocess::sync::bytemuck")]
#[repr(C)]
struct Point {
    x: i32,
    flags: [u16; 2],
    y: f64,
}

fn everything_is_doubled_by_a_child(method: StartMethod) {
    type Shared = (Value<i32>, Value<Point>, Array<f64>, RawArray<u8>);
    let double = |(number, point, array, text): Shared| {
        *number.lock().unwrap() *= 2;
        let mut guard = point.lock().unwrap();
        *guard = Point { x: 2 * guard.x, flags: guard.flags.map(|flag| 2 * flag), y: 2.0 * guard.y };
        drop(guard);
        array.lock().unwrap().iter_mut().for_each(|item| *item *= 2.0);
        let twice = text.get(0) * 2;
        text.set(0, twice);
    };
    let array = Array::from_slice(&[0.0, 1.0, 2.0]).unwrap();
    let shared: Shared =
        (new(7), new(Point { x: -1, flags: [3, 4], y: 2.5 }), array, RawArray::from_slice(b"0").unwrap());
    spawn(method, double, shared.clone()).unwrap().join().unwrap();
    let (number, point, array, text) = shared;
    assert_eq!(number.get().unwrap(), 14);
    assert_eq!(point.get().unwrap(), Point { x: -2, flags: [6, 8], y: 5.0 });
    assert_eq!((array.to_vec().unwrap(), text.to_vec()), (vec![0.0, 2.0, 4.0], vec![b'`']));
}
