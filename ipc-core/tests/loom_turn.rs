//! Every order in which threads can meet at an end that leaves: nobody uses it beside another one or
//! beside the process that receives it, and nobody who waits for it is forgotten.
//!
//! `RUSTFLAGS="--cfg under_loom" cargo test --release -p ipc-core --test loom_turn`
//!
//! # Safety
//! The cells are the model checker's own: it fails where two accesses race.

#![cfg(under_loom)]
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};

mod atomic {
    use std::hash::{DefaultHasher, Hash, Hasher};

    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

    pub(crate) fn this_thread() -> u64 {
        let mut hasher = DefaultHasher::new();
        loom::thread::current().id().hash(&mut hasher);
        hasher.finish()
    }
}

mod deadline {
    use std::time::Instant;

    pub(crate) fn now() -> Option<Instant> {
        Some(Instant::now())
    }

    /// Every deadline has passed.
    pub(crate) fn expired(deadline: Option<Instant>) -> bool {
        deadline.is_some()
    }

    pub(crate) fn for_a_thread() -> Option<Instant> {
        None
    }

    pub(crate) fn waited_in_vain() {}
}

mod error {
    #[derive(Debug)]
    pub(crate) enum ExportError {
        InUse,
    }
}

mod sys {
    /// Sleeping on a word, as the kernel does it.
    pub(crate) mod futex {
        use std::io;
        use std::sync::Mutex;
        use std::time::Instant;

        use loom::sync::atomic::{AtomicU32, Ordering};
        use loom::thread::{self, Thread};

        loom::lazy_static! {
            // The checker changes threads only at its own operations, so that what happens
            // between two of them is one step.
            static ref SLEEPERS: Mutex<Vec<(usize, Thread)>> = Mutex::new(Vec::new());
        }

        pub(crate) fn wait(word: &AtomicU32, expected: u32, _: Option<Instant>) -> io::Result<()> {
            let (me, sleepers) = (thread::current(), &*SLEEPERS);
            // As an exchange, which never sees an old value.
            if word.fetch_or(0, Ordering::Relaxed) == expected {
                sleepers.lock().unwrap().push((address(word), me));
                thread::park();
            }
            Ok(())
        }

        pub(crate) fn wake(word: &AtomicU32, count: u32) {
            for _ in 0..count {
                let mut sleepers = SLEEPERS.lock().unwrap();
                let first = sleepers.iter().position(|(place, _)| *place == address(word));
                let woken = first.map(|first| sleepers.remove(first).1);
                drop(sleepers);
                match woken {
                    Some(woken) => woken.unpark(),
                    None => return,
                }
            }
        }

        fn address(word: &AtomicU32) -> usize {
            std::ptr::from_ref(word).addr()
        }
    }
}

#[path = "../src/link/turn.rs"]
mod turn;

use atomic::{AtomicBool, AtomicU32, Ordering};
use turn::{NoTurn, Turn};

/// A place in shared memory, where only one may write at a time.
struct Place(UnsafeCell<u64>);

impl Place {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn write(&self) {
        // SAFETY: whoever writes has the turn, or is the one who received the end; the model checks that.
        self.0.with_mut(|count| unsafe { *count += 1 });
    }

    fn count(&self) -> u64 {
        // SAFETY: as for `write`.
        self.0.with(|count| unsafe { *count })
    }
}

// SAFETY: the checker watches each access.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut checker = loom::model::Builder::new();
    // Every order of three threads would take hours; what goes wrong does so in fewer changes.
    checker.preemption_bound = Some(3);
    checker.check(model);
}

fn write(turn: &Arc<Turn<Place>>, deadline: Option<Instant>) -> JoinHandle<u64> {
    let turn = Arc::clone(turn);
    thread::spawn(move || match turn.take(deadline) {
        Ok(place) => {
            place.write();
            1
        }
        Err(NoTurn::Timeout) => 0,
        Err(NoTurn::Reentrant) => panic!("it is another thread's"),
    })
}

#[test]
fn a_held_turn_comes_back_to_those_who_wait() {
    check(|| {
        let turn = Arc::new(Turn::new(Place::new()));
        let others = [write(&turn, None), write(&turn, None)];
        let place = turn.take_to_leave().unwrap().unwrap();
        place.write();
        Turn::hold(place);
        assert!(matches!(turn.take(None), Err(NoTurn::Reentrant)));
        turn.let_go();
        let _ = others.map(|other| other.join().unwrap());
        assert_eq!(turn.take(None).unwrap().count(), 3);
    });
}

#[test]
fn a_turn_is_let_go_by_another_thread_than_held_it() {
    check(|| {
        let turn = Arc::new(Turn::new(Place::new()));
        let held = Arc::clone(&turn);
        let holder = thread::spawn(move || {
            let place = held.take(None).unwrap();
            place.write();
            Turn::hold(place);
        });
        let other = write(&turn, None);
        holder.join().unwrap();
        turn.let_go();
        other.join().unwrap();
        assert_eq!(turn.take(None).unwrap().count(), 2);
    });
}

#[test]
fn who_gives_up_costs_nobody_the_wake() {
    check(|| {
        let turn = Arc::new(Turn::new(Place::new()));
        let (patient, hasty) = (write(&turn, None), write(&turn, deadline::now()));
        let place = turn.take(None).unwrap();
        place.write();
        Turn::hold(place);
        turn.let_go();
        let wrote = patient.join().unwrap() + hasty.join().unwrap();
        assert_eq!(turn.take(None).unwrap().count(), 1 + wrote);
    });
}

#[test]
fn who_is_overtaken_shuts_the_gate_and_opens_it() {
    check(|| {
        let turn = Arc::new(Turn::new(Place::new()));
        let others = [write(&turn, None), write(&turn, deadline::now())];
        for _ in 0..2 {
            turn.take(None).unwrap().write();
        }
        let wrote: u64 = others.map(|other| other.join().unwrap()).iter().sum();
        assert_eq!(turn.take(None).unwrap().count(), 2 + wrote);
    });
}

/// An end of which clones may leave, as the typed ends and the links have it.
struct End {
    turn: Turn<()>,
    /// Where frames are written: by this process, and by the one that received the end.
    lane: Place,
    /// A clone has said that other processes will send too.
    shared: AtomicBool,
    /// The end has left.
    detached: AtomicBool,
}

impl End {
    fn new() -> Arc<Self> {
        let (shared, detached) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { turn: Turn::new(()), lane: Place::new(), shared, detached })
    }

    fn hold(&self) {
        Turn::hold(self.turn.take_to_leave().unwrap().unwrap());
    }

    fn send(&self) {
        let _turn = self.turn.take(None).unwrap();
        if !self.detached.load(Ordering::Relaxed) {
            self.lane.write();
        }
    }

    /// The message with the end goes: whoever receives it writes at any time from now on.
    fn receiver(self: &Arc<Self>) -> JoinHandle<()> {
        let end = Arc::clone(self);
        thread::spawn(move || end.lane.write())
    }

    fn has_left(&self) {
        self.detached.store(true, Ordering::Relaxed);
        self.turn.let_go();
    }

    /// The only clone leaves, if it is that; whether it has.
    fn leave(&self) -> bool {
        self.hold();
        if self.shared.load(Ordering::SeqCst) {
            self.turn.let_go();
            return false;
        }
        self.has_left();
        true
    }

    /// A further clone leaves, so that two processes send by turns; whether it has.
    fn share(&self) -> bool {
        self.shared.swap(true, Ordering::SeqCst);
        let _turn = self.turn.take_to_leave().unwrap();
        !self.detached.load(Ordering::Relaxed)
    }
}

#[test]
fn nobody_sends_beside_the_receiver() {
    check(|| {
        let end = End::new();
        let own = Arc::clone(&end);
        let sender = thread::spawn(move || own.send());
        end.hold();
        let receiver = end.receiver();
        end.has_left();
        sender.join().unwrap();
        receiver.join().unwrap();
    });
}

#[test]
fn a_message_that_does_not_go_gives_the_end_back() {
    check(|| {
        let end = End::new();
        let own = Arc::clone(&end);
        let sender = thread::spawn(move || own.send());
        end.hold();
        end.turn.let_go();
        end.send();
        sender.join().unwrap();
        assert_eq!(end.lane.count(), 2);
    });
}

fn only_one_leaves(only: fn(&End) -> bool, clone: fn(&End) -> bool) {
    check(move || {
        let end = End::new();
        let cloned = Arc::clone(&end);
        let cloned = thread::spawn(move || clone(&cloned));
        let (only_left, clone_left) = (only(&end), cloned.join().unwrap());
        assert!(!(only_left && clone_left), "two processes send that know nothing of each other");
    });
}

#[test]
fn the_only_sender_does_not_leave_beside_a_clone() {
    only_one_leaves(End::leave, End::share);
}

/// What the checker must find, or it checks nothing.
mod mutants {
    use super::sys::futex;
    use super::*;

    const FREE: u32 = 0;
    const HELD: u32 = 1;
    const CONTENDED: u32 = 2;

    /// A turn of which parts may be wrong.
    fn two_threads(take: fn(&AtomicU32), pass_on: fn(&AtomicU32)) {
        check(move || {
            let turn = Arc::new((AtomicU32::new(FREE), Place::new()));
            let write = move |(word, place): &(AtomicU32, Place)| {
                take(word);
                place.write();
                pass_on(word);
            };
            let other = Arc::clone(&turn);
            let other = thread::spawn(move || write(&other));
            write(&turn);
            other.join().unwrap();
            assert_eq!(turn.1.count(), 2);
        });
    }

    fn take(word: &AtomicU32) {
        if word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while word.swap(CONTENDED, Ordering::Acquire) != FREE {
                futex::wait(word, CONTENDED, None).unwrap();
            }
        }
    }

    fn pass_on(word: &AtomicU32) {
        if word.swap(FREE, Ordering::Release) == CONTENDED {
            futex::wake(word, 1);
        }
    }

    #[test]
    fn none() {
        two_threads(take, pass_on);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn a_turn_passed_on_that_publishes_nothing() {
        two_threads(take, |word| {
            if word.swap(FREE, Ordering::Relaxed) == CONTENDED {
                futex::wake(word, 1);
            }
        });
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn a_turn_taken_that_sees_nothing() {
        fn take(word: &AtomicU32) {
            if word.compare_exchange(FREE, HELD, Ordering::Relaxed, Ordering::Relaxed).is_err() {
                while word.swap(CONTENDED, Ordering::Relaxed) != FREE {
                    futex::wait(word, CONTENDED, None).unwrap();
                }
            }
        }
        two_threads(take, pass_on);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_turn_let_go_without_a_wake() {
        two_threads(take, |word| {
            word.swap(FREE, Ordering::Release);
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn one_who_waits_and_says_it_only_once() {
        // A third one that is woken takes the turn as if nobody else waited.
        fn take(word: &AtomicU32) {
            while word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
                let _ = word.compare_exchange(HELD, CONTENDED, Ordering::Relaxed, Ordering::Relaxed);
                futex::wait(word, CONTENDED, None).unwrap();
            }
        }
        check(move || {
            let turn = Arc::new((AtomicU32::new(FREE), Place::new()));
            let write = move |(word, place): &(AtomicU32, Place)| {
                take(word);
                place.write();
                pass_on(word);
            };
            let others = [(); 2].map(|()| {
                let other = Arc::clone(&turn);
                thread::spawn(move || write(&other))
            });
            write(&turn);
            let _ = others.map(|other| other.join().unwrap());
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_gate_opened_without_a_wake() {
        check(|| {
            let gate = Arc::new(AtomicU32::new(1));
            let shut = Arc::clone(&gate);
            let one_who_comes = thread::spawn(move || {
                while shut.load(Ordering::Relaxed) != 0 {
                    futex::wait(&shut, 1, None).unwrap();
                }
            });
            gate.fetch_sub(1, Ordering::Relaxed);
            one_who_comes.join().unwrap();
        });
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn an_end_given_back_before_it_is_said_that_it_has_left() {
        check(|| {
            let end = End::new();
            let own = Arc::clone(&end);
            let sender = thread::spawn(move || own.send());
            end.hold();
            let receiver = end.receiver();
            end.turn.let_go();
            end.detached.store(true, Ordering::Relaxed);
            sender.join().unwrap();
            receiver.join().unwrap();
        });
    }

    #[test]
    #[should_panic(expected = "know nothing of each other")]
    fn the_only_one_that_looks_before_it_holds() {
        fn leave(end: &End) -> bool {
            let is_shared = end.shared.load(Ordering::SeqCst);
            end.hold();
            if is_shared {
                end.turn.let_go();
                return false;
            }
            end.has_left();
            true
        }
        only_one_leaves(leave, End::share);
    }

    #[test]
    #[should_panic(expected = "know nothing of each other")]
    fn a_clone_that_says_it_when_it_has_the_turn_no_more() {
        fn share(end: &End) -> bool {
            let turn = end.turn.take_to_leave().unwrap();
            let is_here = !end.detached.load(Ordering::Relaxed);
            drop(turn);
            end.shared.swap(true, Ordering::SeqCst);
            is_here
        }
        only_one_leaves(End::leave, share);
    }

    #[test]
    #[should_panic(expected = "know nothing of each other")]
    fn a_clone_that_does_not_look_whether_it_is_still_here() {
        fn share(end: &End) -> bool {
            end.shared.swap(true, Ordering::SeqCst);
            drop(end.turn.take_to_leave().unwrap());
            true
        }
        only_one_leaves(End::leave, share);
    }
}
