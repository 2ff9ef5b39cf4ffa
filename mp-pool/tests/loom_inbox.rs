//! Every order in which two threads can hand something in while a third has the lock, lets go
//! of it, or sleeps: what is handed in is taken in.
//!
//! `RUSTFLAGS="--cfg under_loom" cargo test --release -p mp-pool --test loom_inbox`

#![cfg(under_loom)]

use loom::sync::Arc;
use loom::thread;

mod atomic {
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "../src/driver/inbox.rs"]
mod inbox;

use atomic::Mutex;
use inbox::Inbox;

struct Pool {
    state: Mutex<State>,
    inbox: Inbox<u32>,
}

#[derive(Default)]
struct State {
    taken_in: u32,
    empty: Vec<u32>,
}

impl Pool {
    fn take_in(&self, state: &mut State) {
        self.inbox.taken();
        while self.inbox.has_any() {
            let mut list = std::mem::take(&mut state.empty);
            self.inbox.take(&mut list);
            state.taken_in += list.drain(..).sum::<u32>();
            state.empty = list;
        }
    }

    /// As who is done with the lock.
    fn let_go<'a>(&'a self, mut state: loom::sync::MutexGuard<'a, State>) {
        loop {
            drop(state);
            if !self.inbox.let_go() {
                return;
            }
            let Ok(again) = self.state.try_lock() else { return };
            state = again;
            self.take_in(&mut state);
        }
    }

    fn hand_in(&self, thing: u32) {
        self.inbox.put(thing);
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(_) if self.inbox.must_wait() => self.state.lock().unwrap(),
            Err(_) => return,
        };
        self.take_in(&mut state);
        self.let_go(state);
    }

    /// As who lets go of the lock in its sleep.
    fn sleep(&self) {
        let mut state = self.state.lock().unwrap();
        self.take_in(&mut state);
        while self.inbox.rest() {
            self.take_in(&mut state);
        }
        drop(state);
    }
}

fn all_is_taken_in(other: fn(&Pool), others: u32) {
    loom::model(move || {
        let pool = Arc::new(Pool { state: Mutex::new(State::default()), inbox: Inbox::new() });
        let threads: Vec<_> = (0..others)
            .map(|_| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.hand_in(1))
            })
            .collect();
        other(&pool);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Nobody comes any more.
        let state = pool.state.try_lock().unwrap();
        assert_eq!((state.taken_in, pool.inbox.has_any()), (others, false));
    });
}

#[test]
fn two_hand_in() {
    all_is_taken_in(|_| (), 2);
}

#[test]
fn one_hands_in_while_another_has_the_lock() {
    all_is_taken_in(
        |pool| {
            let mut state = pool.state.lock().unwrap();
            pool.take_in(&mut state);
            pool.let_go(state);
        },
        1,
    );
}

#[test]
fn one_hands_in_while_another_goes_to_sleep() {
    all_is_taken_in(|pool| pool.sleep(), 1);
}

#[test]
fn one_hands_in_while_another_sleeps_and_comes_back() {
    all_is_taken_in(
        |pool| {
            pool.sleep();
            let mut state = pool.state.lock().unwrap();
            pool.take_in(&mut state);
            pool.let_go(state);
        },
        1,
    );
}

/// The model can fail: one that sleeps without saying so.
#[test]
#[should_panic(expected = "left == right")]
fn one_that_does_not_look_before_it_sleeps() {
    all_is_taken_in(
        |pool| {
            let mut state = pool.state.lock().unwrap();
            pool.take_in(&mut state);
            drop(state);
        },
        1,
    );
}
