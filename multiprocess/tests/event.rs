//! `Event`: set for all who wait.

mod common;

use std::time::{Duration, Instant};

use common::{LONG, SHORT, spawn, suite};
use multiprocess::{Event, StartMethod};

suite! {
    started: [an_event_set_in_a_child_wakes, all_who_wait_are_woken, a_killed_waiter_does_not_hold_up_set],
    plain: [an_event_is_set_and_cleared, an_event_shows_whether_it_is_set],
}

fn an_event_is_set_and_cleared() {
    let event = Event::new().unwrap();
    assert!(!event.is_set());
    let start = Instant::now();
    assert!(event.wait_timeout(Duration::ZERO).is_err());
    assert!(event.wait_timeout(SHORT).is_err());
    assert!(start.elapsed() >= SHORT);
    event.set();
    event.wait();
    event.wait_timeout(Duration::ZERO).unwrap();
    assert!(event.is_set());
    event.clear();
    assert!(!event.is_set());
    assert!(event.wait_timeout(SHORT).is_err());
}

fn an_event_shows_whether_it_is_set() {
    let event = Event::new().unwrap();
    let unset = format!("{event:?}");
    event.set();
    assert_ne!(unset, format!("{event:?}"));
}

fn an_event_set_in_a_child_wakes(method: StartMethod) {
    let event = Event::new().unwrap();
    let set = |event: Event| {
        std::thread::sleep(SHORT);
        event.set();
    };
    let child = spawn(method, set, event.clone()).unwrap();
    event.wait_timeout(LONG).unwrap();
    child.join().unwrap();
}

fn all_who_wait_are_woken(method: StartMethod) {
    let event = Event::new().unwrap();
    let wait = |event: Event| event.wait_timeout(LONG).is_ok();
    let children: Vec<_> = (0..4).map(|_| spawn(method, wait, event.clone()).unwrap()).collect();
    std::thread::sleep(SHORT);
    event.set();
    assert!(children.into_iter().all(|child| child.join().unwrap()));
}

fn a_killed_waiter_does_not_hold_up_set(method: StartMethod) {
    let event = Event::new().unwrap();
    let child = spawn(method, |event: Event| event.wait(), event.clone()).unwrap();
    std::thread::sleep(SHORT);
    child.kill().unwrap();
    child.join().unwrap_err();
    event.set();
    event.wait_timeout(LONG).unwrap();
}
