//! Costs in which nobody is woken: the codec, and a lock that nobody else wants.

use std::hint::black_box;
use std::sync::atomic::Ordering;

use criterion::{Criterion, criterion_group, criterion_main};
use ipc_core::Packet;
use mp_sync::{Event, Lock, RLock, Semaphore, SharedAtomicU64, Value};

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.bench_function("u64 there and back", |bencher| {
        bencher.iter(|| {
            let mut packet = Packet::new();
            packet.append(black_box(&(1u64 << 56))).expect("a number");
            packet.read::<u64>().expect("the number")
        });
    });
    let text = "word ".repeat(200);
    group.bench_function("1 kB of text there and back", |bencher| {
        bencher.iter(|| {
            let mut packet = Packet::new();
            packet.append(black_box(&text)).expect("a text");
            packet.read::<String>().expect("the text")
        });
    });
    let pairs: Vec<(u32, String)> = (0..100).map(|number| (number, format!("name {number}"))).collect();
    group.bench_function("100 pairs there and back", |bencher| {
        bencher.iter(|| {
            let mut packet = Packet::new();
            packet.append(black_box(&pairs)).expect("pairs");
            packet.read::<Vec<(u32, String)>>().expect("the pairs")
        });
    });
    group.finish();
}

fn locks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lock");
    let lock = Lock::new().expect("a lock");
    group.bench_function("Lock", |bencher| bencher.iter(|| drop(lock.lock().expect("nobody died"))));
    let lock = RLock::new().expect("a lock");
    group.bench_function("RLock", |bencher| bencher.iter(|| drop(lock.lock().expect("nobody died"))));
    let semaphore = Semaphore::new(1).expect("a semaphore");
    group.bench_function("Semaphore", |bencher| {
        bencher.iter(|| drop(semaphore.acquire().expect("nobody died")));
    });
    let value = Value::<u64>::new(0).expect("a value");
    group.bench_function("Value += 1", |bencher| {
        bencher.iter(|| *value.lock().expect("nobody died") += 1);
    });
    let number = SharedAtomicU64::new(0).expect("a number");
    group.bench_function("SharedAtomicU64 load", |bencher| {
        bencher.iter(|| black_box(&number).load(Ordering::Relaxed));
    });
    group.bench_function("SharedAtomicU64 += 1", |bencher| {
        bencher.iter(|| black_box(&number).fetch_add(1, Ordering::Relaxed));
    });
    let event = Event::new().expect("an event");
    group.bench_function("Event::is_set", |bencher| bencher.iter(|| event.is_set()));
    group.bench_function("Event set and clear", |bencher| {
        bencher.iter(|| {
            event.set();
            event.clear();
        });
    });
    group.finish();
}

criterion_group!(no_wake, codec, locks);
criterion_main!(no_wake);
