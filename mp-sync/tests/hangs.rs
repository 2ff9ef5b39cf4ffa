//! Five programs that wait for ever with the original's objects, and end rightly
//! here; each under every start method.

mod methods;

use std::process::Command;
use std::time::{Duration, Instant};

use methods::{run, start, tests};
use mp_process::{Process, StartMethod};
use mp_sync::{Barrier, BarrierError, Condition, Event, GetError, Lock, LockError, Queue, Value};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn kill(child: Process<()>) {
    child.kill().expect("a signal");
    assert!(child.join().is_err(), "it was killed");
}

/// For one who is to be killed.
fn sleep() {
    std::thread::sleep(10 * LONG);
}

/// The original joins a producer whose items nobody has got yet, and both wait: the
/// producer for room in the pipe, the other one for its end.
fn q1_a_producer_is_joined_before_its_items_are_got(method: StartMethod) -> Outcome {
    const ITEMS: usize = 200;
    let produce = |queue: Queue<Vec<u8>>| {
        (0..ITEMS).for_each(|n| queue.put(vec![n as u8; 100_000]).unwrap());
    };
    let queue = Queue::new()?;
    start(method, produce, queue.clone()).join_timeout(LONG)?;
    assert_eq!(queue.len(), ITEMS);
    for n in 0..ITEMS {
        assert_eq!(queue.try_get()?, vec![n as u8; 100_000]);
    }
    assert!(queue.is_empty());
    Ok(())
}

/// In the original one who is killed inside `get` keeps the lock of all readers.
fn q4_one_who_is_killed_inside_get_or_put_leaves_a_queue_that_works(method: StartMethod) -> Outcome {
    let get = |(queue, ready): (Queue<Vec<u8>>, Event)| {
        ready.set();
        queue.iter().for_each(|item| assert!(item.unwrap().iter().all(|byte| *byte == 7)));
    };
    let put = |(queue, ready): (Queue<Vec<u8>>, Event)| {
        ready.set();
        while queue.put(vec![7; 300_000]).is_ok() {}
    };
    let (queue, ready) = (Queue::bounded(3)?, Event::new()?);
    // Asleep on the empty queue.
    let reader = start(method, get, (queue.clone(), ready.clone()));
    ready.wait_timeout(LONG)?;
    std::thread::sleep(SHORT);
    kill(reader);
    queue.put_timeout(vec![7], LONG)?;
    assert_eq!(queue.get_timeout(LONG)?, [7]);
    // In the middle of the work, both of them.
    for round in 0..5 {
        ready.clear();
        let writer = start(method, put, (queue.clone(), ready.clone()));
        ready.wait_timeout(LONG)?;
        ready.clear();
        let reader = start(method, get, (queue.clone(), ready.clone()));
        ready.wait_timeout(LONG)?;
        std::thread::sleep(Duration::from_millis(5 + round));
        kill(reader);
        assert_eq!(queue.get_timeout(LONG)?, vec![7; 300_000]);
        kill(writer);
        while !queue.is_empty() {
            assert_eq!(queue.get_timeout(LONG)?, vec![7; 300_000], "whole items only");
        }
    }
    start(method, |queue: Queue<Vec<u8>>| queue.put(vec![1]).unwrap(), queue.clone()).join_timeout(LONG)?;
    assert_eq!(queue.try_get()?, [1]);
    Ok(())
}

/// In the original a timeout covers the wait for the first byte alone: a writer that
/// stops half way through an item stops its readers, whatever their timeouts.
fn q5_a_timeout_covers_the_whole_of_get(method: StartMethod) -> Outcome {
    let put = |(queue, ready): (Queue<Vec<u8>>, Event)| {
        ready.set();
        while queue.put_timeout(vec![3; 2_000_000], LONG).is_ok() {}
    };
    let get = |(queue, ready): (Queue<Vec<u8>>, Event)| {
        ready.set();
        drop(queue.get());
    };
    for pause in 0..8 {
        let (queue, ready) = (Queue::bounded(2)?, Event::new()?);
        let writer = start(method, put, (queue.clone(), ready.clone()));
        ready.wait_timeout(LONG)?;
        std::thread::sleep(Duration::from_millis(pause));
        signal("-STOP", &writer)?;
        // What it has put can be got; what it was putting is not there.
        while let Ok(item) = within(LONG, || queue.get_timeout(SHORT)) {
            assert_eq!(item, vec![3; 2_000_000]);
        }
        assert!(
            within(LONG, || queue.put_timeout(vec![], SHORT)).is_err_and(|error| error.is_full())
                || queue.try_get()?.is_empty()
        );
        kill(writer);
    }
    // A reader that stopped inside its `get` does not stop the next one for longer than
    // that one likes.
    let (queue, ready) = (Queue::<Vec<u8>>::new()?, Event::new()?);
    let reader = start(method, get, (queue.clone(), ready.clone()));
    ready.wait_timeout(LONG)?;
    std::thread::sleep(SHORT);
    signal("-STOP", &reader)?;
    assert!(matches!(within(LONG, || queue.get_timeout(SHORT)), Err(GetError::Empty)));
    kill(reader);
    Ok(())
}

fn signal(name: &str, child: &Process<()>) -> Outcome {
    assert!(Command::new("kill").args([name, &child.pid().to_string()]).status()?.success());
    Ok(())
}

fn within<R>(limit: Duration, call: impl FnOnce() -> R) -> R {
    let begin = Instant::now();
    let result = call();
    assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());
    result
}

/// In the original the lock of a process that dies is locked for ever.
fn s1_the_lock_of_a_dead_process_goes_to_the_next(method: StartMethod) -> Outcome {
    let hold = |(lock, held): (Lock, Event)| {
        let _guard = lock.lock().unwrap();
        held.set();
        sleep();
    };
    let wait = |lock: Lock| match lock.lock_timeout(LONG) {
        Err(LockError::OwnerDied(guard)) => guard.mark_sound(),
        other => panic!("{other:?}"),
    };
    let (lock, held) = (Lock::new()?, Event::new()?);
    let holder = start(method, hold, (lock.clone(), held.clone()));
    held.wait_timeout(LONG)?;
    let waiter = start(method, wait, lock.clone());
    std::thread::sleep(SHORT);
    kill(holder);
    waiter.join_timeout(LONG)?;
    assert!(lock.try_lock().is_ok());
    Ok(())
}

/// In the original `notify_all`, `set` and the barrier wait for an answer of each
/// waiter, also of those that are dead.
fn s3_a_dead_waiter_holds_up_nobody(method: StartMethod) -> Outcome {
    type Objects = (Condition, Value<u32>, Event, Barrier);
    let wait = |(place, (changed, waiting, event, barrier)): (u32, Objects)| {
        let mut guard = waiting.lock().unwrap();
        *guard += 1;
        match place {
            0 => drop(changed.wait_while(guard, |waiting| **waiting < 100).unwrap()),
            1 => {
                drop(guard);
                event.wait();
            }
            _ => {
                drop(guard);
                drop(barrier.wait());
            }
        }
    };
    let objects: Objects = (Condition::new()?, Value::new(0)?, Event::new()?, Barrier::new(3)?);
    let (changed, waiting, event, barrier) = &objects;
    let start_all = || [0, 0, 1, 1, 2].map(|place| start(method, wait, (place, objects.clone())));
    let [dead, changes, dead_too, sets, dead_as_well] = start_all();
    let until = Instant::now() + LONG;
    while waiting.get().map_err(|_| "a dead owner")? < 5 || barrier.n_waiting() < 1 {
        assert!(Instant::now() < until, "they wait");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(SHORT);
    [dead, dead_too, dead_as_well].into_iter().for_each(kill);
    *waiting.lock_timeout(LONG).map_err(|_| "the value is locked")? = 100;
    within(LONG, || changed.notify_all());
    within(LONG, || event.set());
    let broken = within(LONG, || barrier.wait_timeout(LONG));
    assert!(matches!(broken, Err(BarrierError::Broken)) || barrier.is_broken(), "{broken:?}");
    changes.join_timeout(LONG)?;
    sets.join_timeout(LONG)?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    run(tests![
        q1_a_producer_is_joined_before_its_items_are_got,
        q4_one_who_is_killed_inside_get_or_put_leaves_a_queue_that_works,
        q5_a_timeout_covers_the_whole_of_get,
        s1_the_lock_of_a_dead_process_goes_to_the_next,
        s3_a_dead_waiter_holds_up_nobody,
    ])
}
