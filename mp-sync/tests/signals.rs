//! Signals that are handled: they end no wait, and a handler may set an event.

mod common;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use common::{Child, LONG, SHORT, eventually, fork, on_interrupt, run};
use mp_sync::{
    Barrier, BinarySemaphore, Condition, Event, Latch, Lock, LockError, Queue, RwLock, Semaphore,
    SharedAtomicU32, TimeoutError, Value,
};

static HANDLED: OnceLock<SharedAtomicU32> = OnceLock::new();
static TOLD: OnceLock<Event> = OnceLock::new();

extern "C" fn count(_: i32) {
    if let Some(handled) = HANDLED.get() {
        handled.fetch_add(1, SeqCst);
    }
}

extern "C" fn tell(signal: i32) {
    if let Some(told) = TOLD.get() {
        told.set();
    }
    count(signal);
}

fn handled() -> &'static SharedAtomicU32 {
    HANDLED.get_or_init(|| SharedAtomicU32::new(0).unwrap())
}

/// Interrupts it until it has handled so many more.
fn interrupt(child: &Child, times: u32) {
    let before = handled().load(SeqCst);
    eventually("it handles them", || {
        child.interrupt();
        handled().load(SeqCst) >= before + times
    });
}

/// In the original the handler waits for the lock of the very event that its thread is in.
fn a_handler_sets_an_event_wherever_its_thread_is_in_it() {
    let told = TOLD.get_or_init(|| Event::new().unwrap());
    let (ready, woken, stop) = (Event::new().unwrap(), Event::new().unwrap(), Event::new().unwrap());
    handled();
    let child = fork(|| {
        on_interrupt(tell);
        ready.set();
        told.wait();
        woken.set();
        while !stop.is_set() {
            told.set();
            told.clear();
            let _ = told.wait_timeout(Duration::ZERO);
        }
    });
    ready.wait_timeout(LONG).unwrap();
    std::thread::sleep(SHORT);
    interrupt(&child, 1);
    woken.wait_timeout(LONG).expect("its own handler has woken it");
    interrupt(&child, 1000);
    stop.set();
    eventually("it goes on", || child.has_ended());
    assert!(child.join());
}

/// Each wait goes on when it has been interrupted, and ends when what it waits for is there.
fn no_wait_ends_by_a_signal() {
    let (lock, shared, value) = (Lock::new().unwrap(), RwLock::new().unwrap(), Value::new(0u32).unwrap());
    let (permits, turn) = (Semaphore::new(0).unwrap(), BinarySemaphore::new().unwrap());
    let (event, latch, changed) = (Event::new().unwrap(), Latch::new(1).unwrap(), Condition::new().unwrap());
    let (barrier, queue) = (Barrier::new(2).unwrap(), Queue::new().unwrap());
    turn.acquire().unwrap();
    let (held, read) = (lock.lock().unwrap(), shared.read().unwrap());
    let waits: [(&str, &dyn Fn()); 9] = [
        ("lock", &|| drop(lock.lock().unwrap())),
        ("write", &|| drop(shared.write().unwrap())),
        ("semaphore", &|| permits.acquire().unwrap().forget()),
        ("binary semaphore", &|| turn.acquire().unwrap()),
        ("event", &|| event.wait()),
        ("latch", &|| latch.wait()),
        ("condition", &|| drop(changed.wait_while(value.lock().unwrap(), |value| **value == 0).unwrap())),
        ("barrier", &|| assert!(barrier.wait().is_ok())),
        ("queue", &|| assert_eq!(queue.get().unwrap(), 7u32)),
    ];
    handled();
    let children = waits.map(|(name, wait)| {
        let ready = Event::new().unwrap();
        let child = fork(|| {
            on_interrupt(count);
            ready.set();
            wait();
        });
        ready.wait_timeout(LONG).unwrap();
        std::thread::sleep(SHORT);
        interrupt(&child, 10);
        assert!(!child.has_ended(), "{name} has ended by a signal");
        (name, child)
    });
    drop((held, read));
    permits.release(1).unwrap();
    turn.release().unwrap();
    event.set();
    latch.count_down();
    *value.lock().unwrap() = 1;
    changed.notify_all();
    barrier.wait_timeout(LONG).unwrap();
    queue.put(7).unwrap();
    for (name, child) in children {
        eventually(name, || child.has_ended());
        assert!(child.join(), "{name}");
    }
}

/// Signals that come all the time do not begin a timeout anew.
fn timeouts_end_under_signals() {
    const TIMEOUT: Duration = Duration::from_millis(100);
    let (lock, permits, queue) =
        (Lock::new().unwrap(), Semaphore::new(0).unwrap(), Queue::<u32>::new().unwrap());
    let (event, changed, done) = (Event::new().unwrap(), Condition::new().unwrap(), AtomicU32::new(0));
    let _held = lock.lock().unwrap();
    handled();
    let waits: [&dyn Fn(); 5] = [
        &|| assert!(matches!(lock.lock_timeout(TIMEOUT), Err(LockError::Timeout))),
        &|| assert!(permits.acquire_timeout(TIMEOUT).is_err()),
        &|| assert!(queue.get_timeout(TIMEOUT).is_err_and(|error| error.is_empty())),
        &|| assert_eq!(event.wait_timeout(TIMEOUT), Err(TimeoutError)),
        &|| {
            let guard = changed.lock().unwrap();
            assert!(!changed.wait_while_timeout(guard, TIMEOUT, |_| done.load(SeqCst) == 0).unwrap().1);
        },
    ];
    for wait in waits {
        let ready = Event::new().unwrap();
        let child = fork(|| {
            on_interrupt(count);
            ready.set();
            wait();
        });
        ready.wait_timeout(LONG).unwrap();
        eventually("it ends", || {
            child.interrupt();
            child.has_ended()
        });
        assert!(child.join());
    }
}

fn main() {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    run(tests![
        a_handler_sets_an_event_wherever_its_thread_is_in_it,
        no_wait_ends_by_a_signal,
        timeouts_end_under_signals,
    ]);
}
