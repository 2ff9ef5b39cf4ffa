//! Queues under fire: each who dies may lose the one item in its hands, and no other.

use std::sync::atomic::Ordering::SeqCst;

use mp_sync::{JoinableQueue, LockError, Queue, SharedAtomicU64, SimpleQueue, Value};

use crate::fire::{Fire, Scenario, done};

/// An item: its number, and a rest of some length.
type Item = (u64, Vec<u8>);

fn item(number: u64) -> Item {
    (number, vec![number as u8; (number * 7919 % 3000) as usize])
}

/// What two kinds of queue have in common.
struct Ends<'a> {
    put: &'a dyn Fn(Item),
    get: &'a dyn Fn() -> Item,
    /// Takes all that is left.
    rest: &'a dyn Fn() -> Vec<Item>,
}

/// How many of the last items are known.
const KNOWN: u64 = 512;

impl Ends<'_> {
    fn run(&self, fire: &mut Fire<'_>) {
        let [next, put, got] = [(); 3].map(|()| SharedAtomicU64::new(0).unwrap());
        let known: Vec<SharedAtomicU64> = (0..KNOWN).map(|_| SharedAtomicU64::new(0).unwrap()).collect();
        let check = |(number, rest): Item| {
            assert_eq!(rest, item(number).1, "an item was damaged");
            let before = known[(number % KNOWN) as usize].swap(number, SeqCst);
            assert_ne!(before, number, "an item came twice");
            got.fetch_add(1, SeqCst);
        };
        Scenario {
            work: &|number, progress| {
                loop {
                    if number % 2 == 0 {
                        (self.put)(item(next.fetch_add(1, SeqCst) + 1));
                        put.fetch_add(1, SeqCst);
                    } else {
                        check((self.get)());
                    }
                    done(progress);
                }
            },
            tend: &|| (),
            check: &|kills, _| {
                (self.rest)().into_iter().for_each(check);
                let (put, got) = (put.load(SeqCst), got.load(SeqCst));
                assert!(put.abs_diff(got) <= kills, "{put} put, {got} got, {kills} kills");
            },
        }
        .run(fire);
    }
}

fn run(queue: &Queue<Item>, fire: &mut Fire<'_>) {
    Ends {
        put: &|item| queue.put(item).unwrap(),
        get: &|| queue.get().unwrap(),
        rest: &|| {
            let len = queue.len();
            let rest = (0..len).map(|_| queue.try_get().expect("the length is exact")).collect();
            assert!(queue.try_get().is_err() && queue.is_empty(), "the length is exact");
            rest
        },
    }
    .run(fire);
}

pub(crate) fn queue(fire: &mut Fire<'_>) {
    run(&Queue::builder().memory(64 << 10).build().unwrap(), fire);
}

pub(crate) fn bounded_queue(fire: &mut Fire<'_>) {
    run(&Queue::builder().items(3).memory(16 << 10).build().unwrap(), fire);
}

pub(crate) fn simple_queue(fire: &mut Fire<'_>) {
    // It has no bound of its own on the number of items.
    let (queue, room) = (SimpleQueue::<Item>::new().unwrap(), mp_sync::Semaphore::new(64).unwrap());
    Ends {
        put: &|item| {
            // Those who died have taken room with them.
            if let Ok(permit) = room.acquire_timeout(std::time::Duration::from_millis(2)) {
                permit.forget();
            }
            queue.put(item).unwrap();
        },
        get: &|| {
            let item = queue.get().unwrap();
            room.release(1).unwrap();
            item
        },
        rest: &|| std::iter::from_fn(|| (!queue.empty()).then(|| queue.get().unwrap())).collect(),
    }
    .run(fire);
}

/// Items with a lock inside: their handles travel beside them.
pub(crate) fn queue_with_handles(fire: &mut Fire<'_>) {
    let queue = Queue::<(u64, Value<u64>)>::bounded(8).unwrap();
    Scenario {
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
        check: &|_, _| while queue.try_get().is_ok() {},
    }
    .run(fire);
}

pub(crate) fn joinable_queue(fire: &mut Fire<'_>) {
    let queue = JoinableQueue::<u64>::bounded(16).unwrap();
    Scenario {
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
        check: &|kills, _| {
            let undone = queue.unfinished() - queue.len();
            assert!(undone as u64 <= kills, "{undone} undone, {kills} kills");
            while queue.unfinished() > 0 {
                queue.task_done().unwrap();
            }
            queue.join();
        },
    }
    .run(fire);
}
