//! Kills at random instants: a few thousand in a test run, as many as fit into
//! `MP_SOAK_SECONDS` seconds in a soak. The seed is printed; `MP_TESTKIT_SEED` sets it.

mod common;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use common::{Child, Random, fork, pause};
use mp_sync::{
    Barrier, BarrierError, BinarySemaphore, Condition, Event, JoinableQueue, Latch, Lock, LockError, Once,
    Queue, RLock, RwLock, Semaphore, SharedAtomicU64, Value, ValueGuard,
};

/// How many workers a scenario has.
const WORKERS: usize = 4;

/// A kind of object under fire.
struct Scenario<'a> {
    name: &'static str,
    /// What worker number `usize` does, for ever, counting what it has done.
    work: &'a dyn Fn(usize, &SharedAtomicU64),
    /// Run by the parent between kills.
    tend: &'a dyn Fn(),
    /// Run when all workers are dead, with how many were killed.
    check: &'a dyn Fn(u64),
}

/// How long the workers may do nothing.
const STALL: Duration = Duration::from_secs(1);

impl Scenario<'_> {
    /// Kills workers one by one for the time given.
    fn run(&self, random: &mut Random, time: Duration) -> u64 {
        let progress = SharedAtomicU64::new(0).unwrap();
        let start = |number: usize| fork(|| (self.work)(number, &progress));
        let mut workers: Vec<Child> = (0..WORKERS).map(start).collect();
        let end = Instant::now() + time;
        let mut kills = 0;
        let mut longest = Duration::ZERO;
        while Instant::now() < end {
            let seen = progress.load(SeqCst);
            pause(Duration::from_micros(random.below(400)));
            let victim = random.below(WORKERS as u64) as usize;
            let new = start(victim);
            std::mem::replace(&mut workers[victim], new).kill();
            kills += 1;
            let begun = Instant::now();
            while progress.load(SeqCst) == seen {
                (self.tend)();
                if begun.elapsed() > STALL {
                    self.stalled(kills);
                }
                std::thread::yield_now();
            }
            longest = longest.max(begun.elapsed());
        }
        kills += workers.len() as u64;
        workers.into_iter().for_each(Child::kill);
        (self.check)(kills);
        let done = progress.load(SeqCst);
        println!("{:>16}: {kills:>6} kills, {done:>9} steps, longest wait {longest:?}", self.name);
        kills
    }

    fn stalled(&self, kills: u64) -> ! {
        eprintln!("{}: no worker has done anything for {STALL:?} after {kills} kills", self.name);
        if std::env::var_os("MP_SOAK_STOP").is_some() {
            eprintln!("stopped for a debugger: process {}", std::process::id());
            std::thread::sleep(Duration::from_secs(600));
        }
        std::process::exit(1)
    }
}

fn done(progress: &SharedAtomicU64) {
    progress.fetch_add(1, SeqCst);
}

/// Adds one to both; after a death, makes them equal first.
fn count_pair(mut pair: ValueGuard<'_, [u64; 2]>) {
    assert_eq!(pair[0], pair[1]);
    pair[0] += 1;
    std::hint::black_box(&mut pair);
    pair[1] += 1;
}

fn repaired<'a>(
    result: Result<ValueGuard<'a, [u64; 2]>, LockError<ValueGuard<'a, [u64; 2]>>>,
) -> ValueGuard<'a, [u64; 2]> {
    match result {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(mut guard)) => {
            assert!(guard[0].wrapping_sub(guard[1]) < 2);
            guard[1] = guard[0];
            guard.mark_sound();
            guard
        }
        Err(error) => panic!("{error}"),
    }
}

fn lock(random: &mut Random, time: Duration) -> u64 {
    let pair = Value::new([0u64; 2]).unwrap();
    Scenario {
        name: "lock",
        work: &|_, progress| {
            loop {
                count_pair(repaired(pair.lock()));
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_| drop(repaired(pair.try_lock())),
    }
    .run(random, time)
}

fn rlock(random: &mut Random, time: Duration) -> u64 {
    let lock = RLock::new().unwrap();
    let inside = SharedAtomicU64::new(0).unwrap();
    Scenario {
        name: "rlock",
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
        check: &|_| drop(lock.try_lock().or_else(LockError::into_guard).unwrap()),
    }
    .run(random, time)
}

fn semaphore(random: &mut Random, time: Duration) -> u64 {
    let seats = Semaphore::new(2).unwrap();
    Scenario {
        name: "semaphore",
        work: &|_, progress| {
            loop {
                let permit = seats.acquire().unwrap();
                assert!(seats.available() < 2);
                std::hint::black_box(&permit);
                drop(permit);
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_| {
            let both = [seats.try_acquire().unwrap(), seats.try_acquire().unwrap()];
            assert!(seats.try_acquire().is_err(), "a permit too many");
            drop(both);
        },
    }
    .run(random, time)
}

/// What is acquired is never given back by its holder's death: the parent gives it.
fn binary_semaphore(random: &mut Random, time: Duration) -> u64 {
    let turn = BinarySemaphore::new().unwrap();
    Scenario {
        name: "binary semaphore",
        work: &|_, progress| {
            loop {
                turn.acquire().unwrap();
                done(progress);
            }
        },
        tend: &|| {
            let _ = turn.release();
        },
        check: &|_| {
            let _ = turn.release();
            turn.try_acquire().unwrap();
            assert!(turn.try_acquire().is_err());
        },
    }
    .run(random, time)
}

fn rwlock(random: &mut Random, time: Duration) -> u64 {
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
        name: "rwlock",
        work: &|number, progress| {
            loop {
                if number == 0 {
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
        check: &|_| {
            drop(lock.write_timeout(STALL).or_else(LockError::into_guard).unwrap());
            assert_eq!(lock.readers(), 0);
        },
    }
    .run(random, time)
}

fn event(random: &mut Random, time: Duration) -> u64 {
    let event = Event::new().unwrap();
    Scenario {
        name: "event",
        work: &|number, progress| {
            loop {
                match number {
                    0 | 1 => event.set(),
                    2 => event.clear(),
                    _ => {
                        event.wait();
                        done(progress);
                    }
                }
            }
        },
        tend: &|| (),
        check: &|_| {
            event.set();
            assert!(event.wait_timeout(Duration::ZERO).is_ok());
        },
    }
    .run(random, time)
}

/// Rounds of one event each: the setter may die at any instant, and so may a waiter.
fn event_once(random: &mut Random, time: Duration) -> u64 {
    let end = Instant::now() + time;
    let mut kills = 0;
    while Instant::now() < end {
        let event = Event::new().unwrap();
        let asleep = SharedAtomicU64::new(0).unwrap();
        let waiters: Vec<Child> = (0..2)
            .map(|_| {
                fork(|| {
                    asleep.fetch_add(1, SeqCst);
                    event.wait();
                })
            })
            .collect();
        common::eventually("waiters", || asleep.load(SeqCst) == 2);
        pause(Duration::from_micros(random.below(60)));
        let setter = fork(|| event.set());
        pause(Duration::from_micros(random.below(400)));
        setter.kill();
        kills += 1;
        if event.is_set() {
            assert!(waiters.into_iter().all(Child::join), "set, and its setter killed: all must go on");
        }
    }
    println!("{:>16}: {kills:>6} kills", "event, set once");
    kills
}

fn condition(random: &mut Random, time: Duration) -> u64 {
    let stock = Value::new([0u64; 2]).unwrap();
    let changed = Condition::new().unwrap();
    Scenario {
        name: "condition",
        work: &|number, progress| {
            loop {
                let mut guard = repaired(stock.lock());
                if number % 2 == 0 {
                    guard[0] = 1;
                    guard[1] = 1;
                    drop(guard);
                    changed.notify_all();
                } else {
                    while guard[0] == 0 {
                        // One who is killed between the change and the notification has told nobody.
                        guard = match changed.wait_timeout(guard, Duration::from_millis(50)) {
                            Err(LockError::Timeout) => repaired(stock.lock()),
                            other => repaired(other),
                        };
                    }
                    // Half way it looks like half way up: see `repaired`.
                    guard[1] = 0;
                    std::hint::black_box(&mut guard);
                    guard[0] = 0;
                    done(progress);
                }
            }
        },
        tend: &|| (),
        check: &|_| drop(repaired(stock.try_lock())),
    }
    .run(random, time)
}

fn barrier(random: &mut Random, time: Duration) -> u64 {
    let barrier = Barrier::new(3).unwrap();
    Scenario {
        name: "barrier",
        work: &|_, progress| {
            loop {
                match barrier.wait() {
                    Ok(_) => done(progress),
                    // One resets it for all: a second reset would break the next round.
                    Err(BarrierError::Broken) if !barrier.is_broken() => {}
                    Err(BarrierError::Broken) => barrier.reset().unwrap(),
                    Err(error) => panic!("{error}"),
                }
            }
        },
        tend: &|| (),
        check: &|_| {
            barrier.reset().unwrap();
            assert_eq!(barrier.n_waiting(), 0);
        },
    }
    .run(random, time)
}

fn once_and_latch(random: &mut Random, time: Duration) -> u64 {
    let end = Instant::now() + time;
    let mut kills = 0;
    while Instant::now() < end {
        let (once, latch, runs) =
            (Once::new().unwrap(), Latch::new(2).unwrap(), SharedAtomicU64::new(0).unwrap());
        let work = || {
            once.call(|| _ = runs.fetch_add(1, SeqCst)).unwrap();
            latch.count_down();
            latch.wait();
        };
        let [victim, first, second] = [fork(work), fork(work), fork(work)];
        pause(Duration::from_micros(random.below(600)));
        victim.kill();
        kills += 1;
        assert!(first.join() && second.join());
        assert!(once.is_done() && latch.is_open() && (1..=2).contains(&runs.load(SeqCst)));
    }
    println!("{:>16}: {kills:>6} kills", "once and latch");
    kills
}

/// An item: who put it, which of its items it is, and a rest of some length.
type Item = (u64, u64, Vec<u8>);

fn item(number: u64, count: u64) -> Item {
    (number, count, vec![count as u8; (count * 7919 % 3000) as usize])
}

fn check_item((_, count, rest): &Item) {
    assert_eq!(*rest, item(0, *count).2, "an item was damaged");
}

fn queue_of(name: &'static str, queue: &Queue<Item>, random: &mut Random, time: Duration) -> u64 {
    let (put, got) = (SharedAtomicU64::new(0).unwrap(), SharedAtomicU64::new(0).unwrap());
    Scenario {
        name,
        work: &|number, progress| {
            for count in 0.. {
                if number % 2 == 0 {
                    queue.put(item(u64::from(std::process::id()), count)).unwrap();
                    put.fetch_add(1, SeqCst);
                } else {
                    check_item(&queue.get().unwrap());
                    got.fetch_add(1, SeqCst);
                }
                done(progress);
            }
        },
        tend: &|| (),
        check: &|kills| {
            let len = queue.len();
            let rest = (0..len).map(|_| queue.try_get().unwrap()).inspect(check_item).count();
            assert_eq!((rest, queue.len()), (len, 0), "the length is exact");
            assert!(queue.try_get().unwrap_err().is_empty());
            let (put, got) = (put.load(SeqCst), got.load(SeqCst) + rest as u64);
            assert!(got <= put + kills && put <= got + kills, "{put} put, {got} got, {kills} kills");
        },
    }
    .run(random, time)
}

fn queue(random: &mut Random, time: Duration) -> u64 {
    let large = Queue::builder().memory(64 << 10).build().unwrap();
    let one = queue_of("queue", &large, random, time / 2);
    let small = Queue::builder().items(3).memory(16 << 10).build().unwrap();
    one + queue_of("bounded queue", &small, random, time / 2)
}

/// Items with a lock inside: their handles travel beside them.
fn queue_with_handles(random: &mut Random, time: Duration) -> u64 {
    let queue = Queue::<(u64, Value<u64>)>::bounded(8).unwrap();
    Scenario {
        name: "queue of handles",
        work: &|number, progress| {
            let value = Value::new(number as u64).unwrap();
            loop {
                if number % 2 == 0 {
                    queue.put((number as u64, value.clone())).unwrap();
                } else {
                    let (number, value) = queue.get().unwrap();
                    let value = value.lock().or_else(LockError::into_guard).unwrap();
                    assert_eq!(*value, number, "the handles of another item");
                }
                done(progress);
            }
        },
        tend: &|| (),
        check: &|_| while queue.try_get().is_ok() {},
    }
    .run(random, time)
}

fn joinable_queue(random: &mut Random, time: Duration) -> u64 {
    let queue = JoinableQueue::<u64>::bounded(16).unwrap();
    Scenario {
        name: "joinable queue",
        work: &|number, progress| {
            loop {
                if number % 2 == 0 {
                    queue.put(1).unwrap();
                } else {
                    queue.get().unwrap();
                    queue.task_done().unwrap();
                }
                done(progress);
            }
        },
        tend: &|| (),
        check: &|kills| {
            let undone = queue.unfinished() - queue.len();
            assert!(undone as u64 <= kills, "{undone} undone, {kills} kills");
            while queue.unfinished() > 0 {
                queue.task_done().unwrap();
            }
            queue.join();
        },
    }
    .run(random, time)
}

/// A lock that is waited for with a timeout, under a lock that is not.
fn timeouts(random: &mut Random, time: Duration) -> u64 {
    let lock = Lock::new().unwrap();
    Scenario {
        name: "lock timeouts",
        work: &|number, progress| {
            loop {
                match lock.lock_timeout(Duration::from_micros(20 * number as u64)) {
                    Ok(guard) | Err(LockError::OwnerDied(guard)) => {
                        guard.mark_sound();
                        done(progress);
                    }
                    Err(LockError::Timeout) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        },
        tend: &|| (),
        check: &|_| drop(lock.try_lock().or_else(LockError::into_guard).unwrap()),
    }
    .run(random, time)
}

fn main() {
    let seconds = std::env::var("MP_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse::<f64>().ok());
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).unwrap_or_default();
    let seed = common::seed();
    println!("MP_TESTKIT_SEED={seed}");
    type Run = fn(&mut Random, Duration) -> u64;
    let scenarios: [(&str, Run); 14] = [
        ("lock", lock),
        ("rlock", rlock),
        ("timeouts", timeouts),
        ("semaphore", semaphore),
        ("binary_semaphore", binary_semaphore),
        ("rwlock", rwlock),
        ("event", event),
        ("event_once", event_once),
        ("condition", condition),
        ("barrier", barrier),
        ("once_and_latch", once_and_latch),
        ("queue", queue),
        ("queue_with_handles", queue_with_handles),
        ("joinable_queue", joinable_queue),
    ];
    let chosen: Vec<_> = scenarios.iter().filter(|(name, _)| name.contains(&filter)).collect();
    let time = Duration::from_secs_f64(seconds.unwrap_or(10.0) / chosen.len() as f64);
    let mut random = Random::new(seed);
    let kills: u64 = chosen.iter().map(|(_, scenario)| scenario(&mut random, time)).sum();
    println!("{kills} kills");
}
