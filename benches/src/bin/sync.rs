//! What do locks, permits, events and queues cost beside the bare things they stand on?
//!
//! `cargo run --release -p benches --bin sync` prints the median of rounds taken in
//! turns: alone in one thread first, then with a second process that does the same.
//!
//! # Safety
//! The bare objects lie in shared anonymous memory and are initialised before the
//! only fork; the child leaves by `_exit`.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mp_sync::{Condition, Event, Lock, Queue, RLock, Semaphore, SharedAtomicU64, Value};

const OPERATIONS: u32 = 50_000;
const ROUNDS: usize = 60;

fn main() {
    alone();
    together();
    wakes();
    queues();
}

fn alone() {
    let (lock, rlock, seats, event) =
        (Lock::new().unwrap(), RLock::new().unwrap(), Semaphore::new(1).unwrap(), Event::new().unwrap());
    let value = Value::new(0u64).unwrap();
    let (robust, plain, sem) = (Bare::mutex(true), Bare::mutex(false), Bare::semaphore());
    let mut shapes: Vec<(&str, Box<dyn FnMut()>)> = vec![
        ("bare robust mutex", Box::new(|| robust.lock())),
        ("bare shared mutex", Box::new(|| plain.lock())),
        ("Lock", Box::new(|| drop(black_box(lock.lock().unwrap())))),
        ("RLock", Box::new(|| drop(black_box(rlock.lock().unwrap())))),
        ("Value += 1", Box::new(|| *value.lock().unwrap() += 1)),
        ("bare sem_t", Box::new(|| sem.wait_and_post())),
        ("Semaphore", Box::new(|| drop(black_box(seats.acquire().unwrap())))),
        ("Event is_set", Box::new(|| _ = black_box(event.is_set()))),
        (
            "Event set, clear",
            Box::new(|| {
                event.set();
                event.clear();
            }),
        ),
    ];
    println!("alone, ns each, median and best:");
    let mut times = vec![Vec::new(); shapes.len()];
    for _ in 0..ROUNDS {
        for ((_, operation), times) in shapes.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            (0..OPERATIONS).for_each(|_| operation());
            times.push(begin.elapsed());
        }
    }
    for ((name, _), times) in shapes.iter().zip(&mut times) {
        println!("  {name:>20} {:>8.1} {:>8.1}", nanos(median(times)), nanos(times[0]));
    }
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(OPERATIONS)
}

fn together() {
    let (lock, seats, robust, sem) =
        (Lock::new().unwrap(), Semaphore::new(1).unwrap(), Bare::mutex(true), Bare::semaphore());
    println!("with a second process that does the same, ns each, median and best:");
    let shapes: [(&str, &dyn Fn()); 4] = [
        ("bare robust mutex", &|| robust.lock()),
        ("Lock", &|| drop(lock.lock().unwrap())),
        ("bare sem_t", &|| sem.wait_and_post()),
        ("Semaphore", &|| drop(seats.acquire().unwrap())),
    ];
    for (name, operation) in shapes {
        let child = fork(|| {
            loop {
                operation();
            }
        });
        let mut times: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                let begin = Instant::now();
                (0..OPERATIONS).for_each(|_| operation());
                begin.elapsed()
            })
            .collect();
        drop(child);
        println!("  {name:>20} {:>8.1} {:>8.1}", nanos(median(&mut times)), nanos(times[0]));
    }
}

/// Round trips that sleep.
fn wakes() {
    const TRIPS: u32 = 5_000;
    println!("there and back by waking each other, us:");
    let (ping, pong) = (Event::new().unwrap(), Event::new().unwrap());
    let child = fork(|| {
        loop {
            ping.wait();
            ping.clear();
            pong.set();
        }
    });
    let begin = Instant::now();
    for _ in 0..TRIPS {
        ping.set();
        pong.wait();
        pong.clear();
    }
    println!("  {:>20} {:>8.2}", "Event", begin.elapsed().as_secs_f64() * 1e6 / f64::from(TRIPS));
    drop(child);
    let (whose, changed) = (Value::new(0u64).unwrap(), Condition::new().unwrap());
    let play = |own: u64| {
        let guard = whose.lock().unwrap();
        let mut guard = changed.wait_while(guard, |whose| **whose != own).unwrap();
        *guard = 1 - own;
        drop(guard);
        changed.notify(1);
    };
    let child = fork(|| {
        loop {
            play(1);
        }
    });
    let begin = Instant::now();
    (0..TRIPS).for_each(|_| play(0));
    println!("  {:>20} {:>8.2}", "Condition", begin.elapsed().as_secs_f64() * 1e6 / f64::from(TRIPS));
    drop(child);
}

fn queues() {
    println!("queues, items a second:");
    let queue = Queue::<u64>::new().unwrap();
    let begin = Instant::now();
    for n in 0..1_000_000 {
        queue.put(n).unwrap();
        black_box(queue.get().unwrap());
    }
    println!("  {:>20} {:>12.0}", "alone", 1e6 / begin.elapsed().as_secs_f64());
    for (producers, consumers) in [(1, 1), (4, 4)] {
        let queue = Queue::<u64>::bounded(1000).unwrap();
        let got = SharedAtomicU64::new(0).unwrap();
        let children: Vec<Child> = (0..producers + consumers)
            .map(|number| {
                fork(|| {
                    loop {
                        if number < producers {
                            (0..1000).for_each(|n| queue.put(n).unwrap());
                        } else {
                            (0..1000).for_each(|_| _ = queue.get().unwrap());
                            got.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(200));
        let (before, begin) = (got.load(std::sync::atomic::Ordering::Relaxed), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        let items = got.load(std::sync::atomic::Ordering::Relaxed) - before;
        println!("  {producers:>18}:{consumers} {:>12.0}", items as f64 / begin.elapsed().as_secs_f64());
        drop(children);
    }
    let queue = Queue::<Vec<u8>>::new().unwrap();
    let item = vec![1u8; 1 << 20];
    let begin = Instant::now();
    for _ in 0..200 {
        queue.put(item.clone()).unwrap();
        black_box(queue.get().unwrap());
    }
    println!("  {:>20} {:>12.0}", "alone, Vec of 1 MiB", 200.0 / begin.elapsed().as_secs_f64());
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

struct Child(libc::pid_t);

fn fork(work: impl FnOnce()) -> Child {
    // SAFETY: this program has one thread.
    match unsafe { libc::fork() } {
        0 => {
            work();
            // SAFETY: nothing of the parent's is to be run on the way out.
            unsafe { libc::_exit(0) }
        }
        pid => Child(pid),
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the id is of a child of ours that has not been reaped.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// An object of the C library in memory shared with the child.
#[derive(Clone, Copy)]
struct Bare(*mut u8);

impl Bare {
    fn memory() -> Self {
        // SAFETY: a new mapping; it is never unmapped.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(at != libc::MAP_FAILED);
        Self(at.cast())
    }

    fn mutex(robust: bool) -> Self {
        let bare = Self::memory();
        // SAFETY: the attributes are initialised before use, the memory is ours.
        unsafe {
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            if robust {
                libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            }
            libc::pthread_mutex_init(bare.0.cast(), &raw const attributes);
        }
        bare
    }

    fn semaphore() -> Self {
        let bare = Self::memory();
        // SAFETY: the memory is ours.
        unsafe { libc::sem_init(bare.0.cast(), 1, 1) };
        bare
    }

    fn lock(self) {
        // SAFETY: initialised by `mutex`.
        unsafe {
            libc::pthread_mutex_lock(self.0.cast());
            libc::pthread_mutex_unlock(self.0.cast());
        }
    }

    fn wait_and_post(self) {
        // SAFETY: initialised by `semaphore`.
        unsafe {
            libc::sem_wait(self.0.cast());
            libc::sem_post(self.0.cast());
        }
    }
}
