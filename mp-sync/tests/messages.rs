//! Every object travels, in arguments, results and messages, to processes that
//! map the memory anew, or, forked, have it already: under each start method.

mod methods;

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use methods::{run, start, tests};
use mp_process::StartMethod;
use mp_sync::{
    Array, Barrier, BinarySemaphore, BoundedSemaphore, Condition, Event, JoinableQueue, Latch, Lock,
    LockError, Once, Queue, RLock, RawArray, RwLock, Semaphore, SharedAtomicI64, SharedAtomicU64,
    SimpleQueue, Value,
};
use serde::{Deserialize, Serialize};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// One of each.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct All {
    locks: (Lock, RLock, RwLock),
    counts: (Semaphore, BoundedSemaphore, BinarySemaphore),
    signals: (Event, Condition, Latch, Once),
    data: (Value<u64>, Array<f32>, RawArray<u8>, SharedAtomicU64, SharedAtomicI64),
    queues: (Queue<String>, JoinableQueue<u8>, SimpleQueue<Option<Event>>),
    barrier: Barrier,
}

impl All {
    fn new() -> std::io::Result<Self> {
        let lock = Lock::new()?;
        Ok(Self {
            signals: (Event::new()?, Condition::with_lock(&lock)?, Latch::new(1)?, Once::new()?),
            locks: (lock, RLock::new()?, RwLock::new()?),
            counts: (Semaphore::new(3)?, BoundedSemaphore::new(2)?, BinarySemaphore::new()?),
            data: (
                Value::new(1)?,
                Array::from_slice(&[1.0, 2.0])?,
                RawArray::new(9)?,
                SharedAtomicU64::new(5)?,
                SharedAtomicI64::new(-5)?,
            ),
            queues: (Queue::bounded(4)?, JoinableQueue::new()?, SimpleQueue::new()?),
            barrier: Barrier::new(2)?,
        })
    }

    /// Uses everything, from the child's side.
    fn touch(&self) {
        drop(self.locks.0.lock().unwrap());
        drop(self.locks.1.lock().unwrap());
        drop(self.locks.2.write().unwrap());
        self.counts.0.acquire().unwrap().forget();
        self.counts.1.acquire().unwrap().forget();
        self.counts.2.acquire().unwrap();
        assert!(self.signals.3.call(|| ()).unwrap());
        *self.data.0.lock().unwrap() += 1;
        self.data.1.lock().unwrap()[1] = 7.5;
        self.data.2.set(8, 255);
        self.data.3.fetch_add(1, SeqCst);
        self.data.4.fetch_sub(1, SeqCst);
        self.queues.0.put("from the child".into()).unwrap();
        self.queues.1.put(1).unwrap();
        self.queues.2.put(Some(self.signals.0.clone())).unwrap();
        self.signals.2.count_down();
        self.barrier.wait().unwrap();
    }

    /// Sees from the other side that it was.
    fn check_touched(&self) {
        assert_eq!((self.counts.0.available(), self.counts.1.available()), (2, 1));
        assert!(self.counts.2.is_locked() && self.signals.2.is_open() && self.signals.3.is_done());
        assert_eq!((self.data.0.get().unwrap(), self.data.2.get(8)), (2, 255));
        assert_eq!(self.data.1.to_vec().unwrap(), [1.0, 7.5]);
        assert_eq!((self.data.3.load(SeqCst), self.data.4.load(SeqCst)), (6, -6));
        assert_eq!(
            (self.queues.0.get().unwrap(), self.queues.1.get().unwrap()),
            ("from the child".to_owned(), 1)
        );
        self.queues.2.get().unwrap().expect("an event").set();
        assert!(self.signals.0.is_set());
    }
}

fn a_child_uses_what_it_was_given(method: StartMethod) -> Outcome {
    let all = All::new()?;
    let child = start(method, |all: All| all.touch(), all.clone());
    all.barrier.wait_timeout(Duration::from_secs(20))?;
    child.join()?;
    all.check_touched();
    Ok(())
}

fn what_a_child_has_made_outlives_it(method: StartMethod) -> Outcome {
    let make = |()| {
        let (value, queue) = (Value::new(41u32).unwrap(), Queue::new().unwrap());
        queue.put("left behind".to_owned()).unwrap();
        (value, queue)
    };
    let (value, queue): (Value<u32>, Queue<String>) = start(method, make, ()).join()?;
    *value.lock().unwrap() += 1;
    assert_eq!((value.get().unwrap(), queue.get()?), (42, "left behind".to_owned()));
    Ok(())
}

/// Two children, neither of which started the other, meet at objects of a third's making.
fn siblings_share_too(method: StartMethod) -> Outcome {
    let (total, names) = (Value::new(0u64)?, Queue::<Lock>::new()?);
    let add = |(total, names): (Value<u64>, Queue<Lock>)| {
        let lock = Lock::new().unwrap();
        names.put(lock.clone()).unwrap();
        let others = names.get().unwrap();
        for _ in 0..1000 {
            let _guard = others.lock().unwrap();
            *total.lock().unwrap() += 1;
        }
    };
    let children = [(); 3].map(|()| start(method, add, (total.clone(), names.clone())));
    for child in children {
        child.join()?;
    }
    assert_eq!(total.get().unwrap(), 3000);
    Ok(())
}

/// What one child makes another one uses, of which neither has started the other, and the
/// parent of both has never seen it.
fn all_objects_work_between_siblings(method: StartMethod) -> Outcome {
    let offers = Queue::<All>::new()?;
    let make = |offers: Queue<All>| {
        let all = All::new().unwrap();
        offers.put(all.clone()).unwrap();
        all.barrier.wait().unwrap();
        all.check_touched();
    };
    let maker = start(method, make, offers.clone());
    let user = start(method, |offers: Queue<All>| offers.get().unwrap().touch(), offers);
    user.join()?;
    maker.join()?;
    Ok(())
}

/// How many mappings of shared memory this process has.
fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter(|line| line.contains("memfd:")).count()
}

fn memory_goes_with_its_last_holder(method: StartMethod) -> Outcome {
    let use_it = |(array, dropped): (Array<u64>, Event)| {
        dropped.wait();
        let with = mappings();
        assert_eq!(array.lock().unwrap()[999_999], 7, "its maker has dropped it");
        drop(array);
        with - mappings()
    };
    let dropped = Event::new()?;
    let before = mappings();
    let array = Array::<u64>::new(1_000_000)?;
    array.lock().map_err(|_| "a dead owner")?[999_999] = 7;
    assert_eq!(mappings(), before + 1);
    let user = start(method, use_it, (array.clone(), dropped.clone()));
    drop(array);
    assert_eq!(mappings(), before, "here it is gone");
    dropped.set();
    // A forked child has what its parent had mapped, for as long as it lives.
    let gone = usize::from(method != StartMethod::Fork);
    assert_eq!(user.join()?, gone, "and there as well");
    Ok(())
}

fn a_death_is_told_across_mappings(method: StartMethod) -> Outcome {
    let (lock, seats, held) = (Lock::new()?, Semaphore::new(1)?, Event::new()?);
    let hold = |(lock, seats, held): (Lock, Semaphore, Event)| {
        let guards = (lock.lock().unwrap(), seats.acquire().unwrap());
        held.set();
        std::mem::forget(guards);
        std::thread::sleep(Duration::from_secs(60));
    };
    let child = start(method, hold, (lock.clone(), seats.clone(), held.clone()));
    held.wait();
    assert_eq!(lock.owner().map(|owner| owner.process()), Some(child.pid()));
    assert!(seats.try_acquire().is_err());
    child.kill()?;
    drop(child.join());
    assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
    drop(seats.try_acquire()?);
    Ok(())
}

fn thousands_of_locks_go_in_one_message(method: StartMethod) -> Outcome {
    let locks: HashMap<u32, Lock> = (0..10_000).map(|n| (n, Lock::new().unwrap())).collect();
    let count = |locks: HashMap<u32, Lock>| {
        let handles = std::fs::read_dir("/proc/self/fd").unwrap().count();
        (locks.values().filter(|lock| lock.try_lock().is_ok()).count(), handles)
    };
    let (free, handles) = start(method, count, locks).join()?;
    assert_eq!(free, 10_000);
    assert!(handles < 40, "{handles} handles");
    Ok(())
}

/// Killed at some instant between receiving and using: what it had is gone with it.
fn one_who_is_killed_with_objects_in_its_hands_leaves_nothing(method: StartMethod) -> Outcome {
    let handles = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = handles();
    for round in 0..20 {
        let all = All::new()?;
        let (queue, asked) = (Queue::<All>::bounded(2)?, Event::new()?);
        queue.put(all.clone())?;
        let use_it = |(queue, asked): (Queue<All>, Event)| {
            asked.set();
            let all = queue.get().unwrap();
            all.touch();
        };
        let child = start(method, use_it, (queue.clone(), asked.clone()));
        asked.wait_timeout(Duration::from_secs(20))?;
        std::thread::sleep(Duration::from_micros(50 * round));
        child.kill()?;
        drop(child.join());
        drop(all.locks.0.lock().or_else(LockError::into_guard).map_err(|error| error.to_string())?);
    }
    let until = Instant::now() + Duration::from_secs(20);
    while handles() > before + 2 {
        assert!(Instant::now() < until, "{} handles, {before} before", handles());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn received_twice_is_one_mapping(method: StartMethod) -> Outcome {
    let echo = |lock: Lock| (lock.clone(), lock);
    let lock = Lock::new()?;
    let (one, two) = start(method, echo, lock.clone()).join()?;
    let guard = one.lock().unwrap();
    // At another address the mutex would not know that its owner asks.
    assert!(matches!(two.lock(), Err(LockError::Relocked)));
    assert!(matches!(lock.lock(), Err(LockError::Relocked)));
    drop(guard);
    assert!(lock.is(&one) && lock.is(&two));
    Ok(())
}

fn main() -> std::process::ExitCode {
    run(tests![
        a_child_uses_what_it_was_given,
        what_a_child_has_made_outlives_it,
        siblings_share_too,
        all_objects_work_between_siblings,
        memory_goes_with_its_last_holder,
        a_death_is_told_across_mappings,
        thousands_of_locks_go_in_one_message,
        one_who_is_killed_with_objects_in_its_hands_leaves_nothing,
        received_twice_is_one_mapping,
    ])
}
