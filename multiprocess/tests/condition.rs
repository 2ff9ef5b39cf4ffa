//! `Condition`: waiting for a change under a lock.

mod common;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{LONG, SHORT, spawn, suite};
use multiprocess::sync::LockError;
use multiprocess::{Condition, Process, Semaphore, StartMethod, Value};

suite! {
    started: [
        notify_wakes_one_each,
        notify_wakes_so_many_and_more_is_harmless,
        notify_all_wakes_all_after_others_timed_out,
        a_state_is_waited_for,
        a_killed_waiter_does_not_hold_up_notify_all,
    ],
    plain: [a_wait_ends_with_the_timeout, a_state_that_does_not_come_ends_with_the_timeout],
}

fn a_wait_ends_with_the_timeout() {
    let condition = Condition::new().unwrap();
    let start = Instant::now();
    let guard = condition.wait_timeout(condition.lock().unwrap(), SHORT).unwrap();
    assert!(start.elapsed() >= SHORT);
    drop(guard);
}

fn a_state_that_does_not_come_ends_with_the_timeout() {
    let (condition, state) = (Condition::new().unwrap(), Value::new(0u32).unwrap());
    let start = Instant::now();
    let guard = state.lock().unwrap();
    let (guard, came) = condition.wait_while_timeout(guard, SHORT, |state| **state != 4).unwrap();
    assert_eq!((*guard, came), (0, false));
    assert!(start.elapsed() >= SHORT);
    drop(guard);
    let guard = state.lock().unwrap();
    assert!(condition.wait_while_timeout(guard, SHORT, |state| **state != 0).unwrap().1);
}

/// Waits up to so many ms for a ticket, saying before that it does, and after that it did.
type Wait = (Condition, Value<u32>, Semaphore, Semaphore, u64);

fn take_a_ticket((condition, tickets, waiting, done, limit): Wait) -> bool {
    let guard = tickets.lock().unwrap();
    waiting.release(1).unwrap();
    let limit = Duration::from_millis(limit);
    let came = match condition.wait_while_timeout(guard, limit, |tickets| **tickets == 0) {
        Ok((mut guard, true)) => {
            *guard -= 1;
            true
        }
        // At the deadline another one may hold the lock.
        Ok((_, false)) | Err(LockError::Timeout) => false,
        Err(error) => panic!("{error}"),
    };
    done.release(1).unwrap();
    came
}

/// Children that wait for tickets. A wait may end for no reason, so tickets are counted and
/// not the ends of waits.
struct Waiters {
    condition: Condition,
    tickets: Value<u32>,
    waiting: Semaphore,
    done: Semaphore,
    children: Vec<Process<bool>>,
}

impl Waiters {
    fn new() -> Self {
        let none = || Semaphore::new(0).unwrap();
        let (condition, tickets) = (Condition::new().unwrap(), Value::new(0).unwrap());
        Self { condition, tickets, waiting: none(), done: none(), children: Vec::new() }
    }

    /// Has so many children wait, and returns when they do.
    fn add(&mut self, count: u32, method: StartMethod, limit: Duration) {
        let limit = limit.as_millis() as u64;
        for _ in 0..count {
            let (condition, tickets) = (self.condition.clone(), self.tickets.clone());
            let wait = (condition, tickets, self.waiting.clone(), self.done.clone(), limit);
            self.children.push(spawn(method, take_a_ticket, wait).unwrap());
        }
        expect(&self.waiting, count);
        // They let go of the lock when they wait.
        drop(self.tickets.lock().unwrap());
    }

    /// Gives out so many tickets, and notifies as many as that.
    fn give(&self, count: u32) {
        *self.tickets.lock().unwrap() += count;
        self.condition.notify(count);
    }

    /// Whether each got a ticket.
    fn ends(self) -> Vec<bool> {
        self.children.into_iter().map(|child| child.join().unwrap()).collect()
    }
}

/// Takes so many permits that come, and no more come.
fn expect(semaphore: &Semaphore, count: u32) {
    (0..count).for_each(|_| semaphore.acquire_timeout(LONG).unwrap().forget());
    sleep(SHORT);
    assert_eq!(semaphore.available(), 0);
}

fn notify_wakes_one_each(method: StartMethod) {
    let mut waiters = Waiters::new();
    waiters.add(2, method, LONG);
    expect(&waiters.done, 0);
    for _ in 0..2 {
        waiters.give(1);
        expect(&waiters.done, 1);
    }
    assert_eq!(waiters.ends(), [true, true]);
}

fn notify_wakes_so_many_and_more_is_harmless(method: StartMethod) {
    let mut waiters = Waiters::new();
    waiters.add(5, method, LONG);
    waiters.give(2);
    expect(&waiters.done, 2);
    waiters.give(4);
    expect(&waiters.done, 3);
    waiters.give(3);
    expect(&waiters.done, 0);
    assert_eq!(waiters.tickets.get().unwrap(), 4);
    assert_eq!(waiters.ends(), [true; 5]);
}

fn notify_all_wakes_all_after_others_timed_out(method: StartMethod) {
    let mut waiters = Waiters::new();
    waiters.add(2, method, SHORT);
    expect(&waiters.done, 2);
    waiters.add(3, method, LONG);
    *waiters.tickets.lock().unwrap() = 3;
    waiters.condition.notify_all();
    expect(&waiters.done, 3);
    assert_eq!(waiters.ends(), [false, false, true, true, true]);
}

fn a_state_is_waited_for(method: StartMethod) {
    let (condition, state) = (Condition::new().unwrap(), Value::new(0u32).unwrap());
    let wait = |(condition, state): (Condition, Value<u32>)| {
        let guard = state.lock().unwrap();
        *condition.wait_while(guard, |state| **state != 4).unwrap()
    };
    let child = spawn(method, wait, (condition.clone(), state.clone())).unwrap();
    for _ in 0..4 {
        sleep(SHORT / 4);
        *state.lock().unwrap() += 1;
        condition.notify(1);
    }
    assert_eq!(child.join().unwrap(), 4);
}

fn a_killed_waiter_does_not_hold_up_notify_all(method: StartMethod) {
    let mut waiters = Waiters::new();
    waiters.add(2, method, LONG);
    let killed = waiters.children.remove(0);
    killed.kill().unwrap();
    killed.join().unwrap_err();
    *waiters.tickets.lock().unwrap() = 1;
    waiters.condition.notify_all();
    expect(&waiters.done, 1);
    assert_eq!(waiters.ends(), [true]);
}
