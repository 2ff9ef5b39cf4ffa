//! Circles of processes that wait for each other's locks, and what only looks like one.

use std::time::{Duration, Instant};

use mp_process::Process;
use mp_sync::{Barrier, Condition, Deadlock, DeadlockWatch, Event, Lock, LockError, RLock, RwLock, Value};
use mp_testkit::{Suite, trials};

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(20);

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Takes the first, waits until all have theirs, and takes the second; what the
/// deadlock says, if this one is told.
fn take_both((first, second, all_have): (Lock, Lock, Barrier)) -> Option<String> {
    let _first = first.lock().unwrap();
    all_have.wait().unwrap();
    match second.lock() {
        Ok(_) => None,
        Err(LockError::Deadlock(deadlock)) => {
            assert_eq!(deadlock.waits()[0].thread().process(), std::process::id());
            Some(deadlock.to_string())
        }
        Err(other) => panic!("{other}"),
    }
}

fn circle_of(count: usize) -> Outcome {
    let watch = DeadlockWatch::new()?;
    let all_have = Barrier::new(count as u32)?;
    let names: Vec<String> = (0..count).map(|n| format!("lock number {n}")).collect();
    let locks: Vec<Lock> = names.iter().map(|name| Lock::watched(&watch, name)).collect::<Result<_, _>>()?;
    let start = |n: usize| {
        let given = (locks[n].clone(), locks[(n + 1) % count].clone(), all_have.clone());
        Process::builder().kill_on_drop(true).spawn(take_both, given)
    };
    let children: Vec<_> = (0..count).map(start).collect::<Result<_, _>>()?;
    let pids: Vec<u32> = children.iter().map(Process::pid).collect();
    let told: Result<Vec<_>, _> = children.iter().map(|child| child.join_timeout(LONG)).collect();
    let told: Vec<String> = told?.into_iter().flatten().collect();
    let [report] = &told[..] else { panic!("one is told: {told:?}") };
    assert!(names.iter().all(|name| report.contains(name)), "{report}");
    for pid in pids {
        assert!(report.contains(&format!("process {pid}, thread {pid} waits")), "{report}");
        assert!(report.contains(&format!("process {pid}, thread {pid} holds")), "{report}");
    }
    assert!(locks.iter().all(|lock| lock.try_lock().is_ok()));
    assert!(format!("{watch:?}").contains("[]"));
    Ok(())
}

fn two_processes_in_a_circle() -> Outcome {
    circle_of(2)
}

fn three_processes_in_a_circle() -> Outcome {
    circle_of(3)
}

/// One lock of each kind, and where all who use them meet.
type Kinds = (Lock, RLock, RwLock, Barrier);

fn told<G>(result: Result<G, LockError<G>>) -> Option<Deadlock> {
    match result {
        Ok(_) => None,
        Err(LockError::Deadlock(deadlock)) => Some(*deadlock),
        Err(other) => panic!("{other}"),
    }
}

fn hold_lock_and_want_rlock((lock, rlock, _, meet): Kinds) -> Option<String> {
    let _held = lock.lock().unwrap();
    meet.wait().unwrap();
    told(rlock.lock()).map(|deadlock| deadlock.to_string())
}

fn hold_rlock_and_want_to_write((_, rlock, rwlock, meet): Kinds) -> Option<String> {
    let (_held, _again) = (rlock.lock().unwrap(), rlock.lock().unwrap());
    meet.wait().unwrap();
    told(rwlock.write()).map(|deadlock| deadlock.to_string())
}

fn read_and_want_lock((lock, _, rwlock, meet): Kinds) -> Option<String> {
    let _held = rwlock.read().unwrap();
    meet.wait().unwrap();
    told(lock.lock()).map(|deadlock| deadlock.to_string())
}

fn locks_of_all_kinds_in_a_circle() -> Outcome {
    let (watch, meet) = (DeadlockWatch::new()?, Barrier::new(3)?);
    let kinds: Kinds = (
        Lock::watched(&watch, "a lock")?,
        RLock::watched(&watch, "an rlock")?,
        RwLock::watched(&watch, "an rwlock")?,
        meet,
    );
    let works: [fn(Kinds) -> Option<String>; 3] =
        [hold_lock_and_want_rlock, hold_rlock_and_want_to_write, read_and_want_lock];
    let start = |work| Process::builder().kill_on_drop(true).spawn(work, kinds.clone());
    let children: Vec<_> = works.into_iter().map(start).collect::<Result<_, _>>()?;
    let pids: Vec<u32> = children.iter().map(Process::pid).collect();
    let told: Result<Vec<_>, _> = children.iter().map(|child| child.join_timeout(LONG)).collect();
    let told: Vec<String> = told?.into_iter().flatten().collect();
    let [report] = &told[..] else { panic!("one is told: {told:?}") };
    let names = ["`a lock`", "`an rlock`", "`an rwlock`"];
    assert!(names.iter().all(|name| report.contains(name)), "{report}");
    for pid in pids {
        assert!(report.contains(&format!("process {pid}, thread {pid} waits")), "{report}");
        assert!(report.contains(&format!("process {pid}, thread {pid} holds")), "{report}");
    }
    assert!(kinds.0.try_lock().is_ok() && kinds.1.try_lock().is_ok() && kinds.2.try_write().is_ok());
    Ok(())
}

/// Two threads, of which either may be the one that is told.
fn a_condition_without_its_lock_leaves_it_to_its_holder() -> Outcome {
    let mut told_waiting = 0;
    // Whom it is depends on who comes first, and not always on who was started first.
    for waiter_comes_first in [true, false].into_iter().cycle().take(200) {
        if told_waiting > 0 && waiter_comes_first {
            break;
        }
        let watch = DeadlockWatch::new()?;
        let (lock, again) = (Lock::watched(&watch, "a lock")?, RLock::watched(&watch, "again")?);
        let (changed, meet) = (Condition::new()?, std::sync::Barrier::new(2));
        let wait = || {
            let _lock = lock.lock().unwrap();
            let (_outer, inner) = (again.lock().unwrap(), again.lock().unwrap());
            meet.wait();
            told(changed.wait(inner)).is_some()
        };
        let take = || {
            meet.wait();
            let _again = again.lock().unwrap();
            changed.notify_all();
            told(lock.lock()).is_some()
        };
        let (waiter, taker) = std::thread::scope(|scope| {
            let (waiter, taker) = match waiter_comes_first {
                true => {
                    let waiter = scope.spawn(wait);
                    (waiter, scope.spawn(take))
                }
                false => {
                    let taker = scope.spawn(take);
                    (scope.spawn(wait), taker)
                }
            };
            (waiter.join().unwrap(), taker.join().unwrap())
        });
        assert!(waiter != taker, "one of the two is told");
        told_waiting += u32::from(waiter);
        assert!(again.try_lock().is_ok() && lock.try_lock().is_ok(), "both are free");
    }
    assert!(told_waiting > 0, "one who waited is told");
    Ok(())
}

fn a_reader_that_wants_to_write_waits_for_itself() -> Outcome {
    let lock = RwLock::watched(&DeadlockWatch::new()?, "many")?;
    let reading = lock.read().map_err(|error| error.to_string())?;
    let deadlock = told(lock.write()).expect("it waits for itself");
    let [wait] = deadlock.waits() else { panic!("{deadlock}") };
    assert_eq!((wait.thread(), wait.lock()), (wait.holder(), "many"));
    drop(reading);
    assert!(lock.write().is_ok());
    Ok(())
}

/// A writer that waits keeps new readers out, those also that read already.
fn one_who_reads_twice_waits_for_a_writer() -> Outcome {
    let lock = RwLock::watched(&DeadlockWatch::new()?, "many")?;
    std::thread::scope(|scope| {
        let reading = lock.read().unwrap();
        let writer = scope.spawn(|| told(lock.write()).is_some());
        // Until the writer has come, and keeps others out.
        while lock.try_read().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let here = told(lock.read()).is_some();
        drop(reading);
        assert!(writer.join().unwrap() != here, "one is told");
    });
    Ok(())
}

/// How many readers of a lock are known.
const KNOWN: usize = 64;

/// It reads as any other; only that it waits for itself is not seen.
fn one_reader_more_than_are_known_is_in_no_circle() -> Outcome {
    let lock = RwLock::watched(&DeadlockWatch::new()?, "many")?;
    let meet = std::sync::Barrier::new(KNOWN + 1);
    std::thread::scope(|scope| {
        for _ in 0..KNOWN {
            scope.spawn(|| {
                let _reading = lock.read().unwrap();
                meet.wait();
                meet.wait();
            });
        }
        meet.wait();
        let reading = lock.read().unwrap();
        assert_eq!(lock.readers(), KNOWN as u32 + 1);
        assert!(matches!(lock.write_timeout(SHORT), Err(LockError::Timeout)));
        meet.wait();
        drop(reading);
    });
    let reading = lock.read().map_err(|error| error.to_string())?;
    assert!(told(lock.write()).is_some(), "there is room again");
    drop(reading);
    assert!(lock.write().is_ok());
    Ok(())
}

/// They are killed as they read, and others are known in their places.
fn the_dead_take_up_no_room_among_the_readers_that_are_known() -> Outcome {
    let lock = RwLock::watched(&DeadlockWatch::new()?, "many")?;
    let ready = Event::new()?;
    let read = |(lock, ready): (RwLock, Event)| {
        let meet = std::sync::Barrier::new(KNOWN + 1);
        std::thread::scope(|scope| {
            for _ in 0..KNOWN {
                scope.spawn(|| {
                    let _reading = lock.read().unwrap();
                    meet.wait();
                    std::thread::sleep(2 * LONG);
                });
            }
            meet.wait();
            ready.set();
        });
    };
    let readers = Process::builder().kill_on_drop(true).spawn(read, (lock.clone(), ready.clone()))?;
    ready.wait_timeout(LONG)?;
    let unknown = lock.read().map_err(|error| error.to_string())?;
    assert!(matches!(lock.write_timeout(SHORT), Err(LockError::Timeout)));
    drop(unknown);
    readers.kill()?;
    drop(readers.join());
    let known = lock.read().map_err(|error| error.to_string())?;
    let deadlock = told(lock.write()).expect("it waits for itself");
    assert_eq!(deadlock.waits().len(), 1, "{deadlock}");
    drop(known);
    assert!(lock.write().is_ok(), "what the dead held was given back");
    Ok(())
}

fn a_value_takes_the_lock_it_was_given_under_watch() -> Outcome {
    let watch = DeadlockWatch::new()?;
    let (one, two) = (Lock::watched(&watch, "one")?, Lock::watched(&watch, "two")?);
    let (first, second) = (Value::with_lock(1u8, &one)?, Value::with_lock(2u8, &two)?);
    let meet = std::sync::Barrier::new(2);
    let take = |held: &Value<u8>, wanted: &Value<u8>| {
        let _held = held.lock().unwrap();
        meet.wait();
        told(wanted.lock()).is_some()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| take(&first, &second));
        assert!(take(&second, &first) != other.join().unwrap(), "one is told");
    });
    Ok(())
}

/// They take the locks in one order, so that there is never a circle.
fn waiting_alone_is_no_deadlock() -> Outcome {
    let watch = DeadlockWatch::new()?;
    let locks = (Lock::watched(&watch, "first")?, Lock::watched(&watch, "second")?);
    let count = Value::new(0u32)?;
    let work = |(locks, count): ((Lock, Lock), Value<u32>)| {
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            let (_first, _second) = (locks.0.lock().unwrap(), locks.1.lock().unwrap());
            *count.lock().unwrap() += 1;
            std::thread::sleep(Duration::from_millis(3));
        }
    };
    let start = |_| Process::spawn(work, (locks.clone(), count.clone()));
    let children: Vec<_> = (0..3).map(start).collect::<Result<_, _>>()?;
    children.into_iter().try_for_each(Process::join)?;
    assert!(count.get().unwrap() > 0);
    Ok(())
}

/// Waits for a lock with another one in its hands, until it is killed.
fn hold_and_wait((held, wanted, ready): (Lock, Lock, Event)) {
    let _held = held.lock().unwrap();
    ready.set();
    drop(wanted.lock());
}

/// What a dead one has left on the board closes no circle.
fn the_dead_are_in_no_circle() -> Outcome {
    let watch = DeadlockWatch::new()?;
    let (here, there) = (Lock::watched(&watch, "here")?, Lock::watched(&watch, "there")?);
    let ready = Event::new()?;
    let guard = here.lock().map_err(|error| error.to_string())?;
    let child = Process::spawn(hold_and_wait, (there.clone(), here.clone(), ready.clone()))?;
    ready.wait_timeout(LONG)?;
    let until = Instant::now() + LONG;
    while !format!("{watch:?}").contains("here") {
        assert!(Instant::now() < until, "{watch:?}: it does not wait");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill()?;
    drop(child.join());
    let Err(LockError::OwnerDied(_)) = there.lock() else { panic!("its holder died") };
    drop(guard);
    Ok(())
}

/// A wait with a timeout is told of a circle too, and a condition's lock is watched.
fn a_condition_takes_its_lock_back_under_watch() -> Outcome {
    let watch = DeadlockWatch::new()?;
    let (outer, inner) = (Lock::watched(&watch, "outer")?, Lock::watched(&watch, "inner")?);
    let changed = Condition::with_lock(&inner)?;
    let ready = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let _outer = outer.lock().unwrap();
            let guard = inner.lock().unwrap();
            ready.wait();
            matches!(changed.wait_timeout(guard, LONG), Err(LockError::Deadlock(_)))
        });
        ready.wait();
        let guard = inner.lock().unwrap();
        changed.notify_all();
        let told = matches!(outer.lock_timeout(LONG), Err(LockError::Deadlock(_)));
        drop(guard);
        assert!(waiter.join().unwrap() != told, "one is told");
    });
    Ok(())
}

fn main() -> std::process::ExitCode {
    let trials = trials![
        two_processes_in_a_circle,
        three_processes_in_a_circle,
        locks_of_all_kinds_in_a_circle,
        a_condition_without_its_lock_leaves_it_to_its_holder,
        a_reader_that_wants_to_write_waits_for_itself,
        one_who_reads_twice_waits_for_a_writer,
        one_reader_more_than_are_known_is_in_no_circle,
        the_dead_take_up_no_room_among_the_readers_that_are_known,
        a_value_takes_the_lock_it_was_given_under_watch,
        waiting_alone_is_no_deadlock,
        the_dead_are_in_no_circle,
        a_condition_takes_its_lock_back_under_watch,
    ];
    let warm_up = || {
        // The notice of deaths, which a process keeps.
        let lock = RwLock::new().unwrap();
        let reading = lock.read().unwrap();
        assert!(lock.write_timeout(SHORT).is_err());
        drop(reading);
        Process::spawn(|()| (), ()).unwrap().join().unwrap();
    };
    Suite::new(trials).timeout(Duration::from_secs(60)).warm_up(warm_up).run()
}
