//! An object of a server, and who may run its methods now.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use ipc_core::Packet;

use super::answer::{Answer, CallKey, Untaken};
use super::builtin::{BuiltIn, Desk};
use super::session::Session;
use super::table::Table;
use crate::builtin::by_name;
use crate::client::lock;
use crate::durable::{self, Journal, Store};
use crate::error::{Fault, FaultKind};
use crate::functions::{Open, is_function};
use crate::hosted::{Erased, Method};
use crate::info::MethodInfo;
use crate::wire::{Patience, method_id};

/// One object.
pub(crate) enum Object {
    /// Of a user's type: methods run on threads of the server.
    Hosted(Hosted),
    /// Of this crate: methods are short, and waiting is kept in the object.
    BuiltIn(Shelf),
}

impl Object {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hosted(hosted) => hosted.value.name(),
            Self::BuiltIn(shelf) => shelf.name,
        }
    }

    /// Its methods, for tools.
    pub(crate) fn methods(&self) -> Vec<MethodInfo> {
        match self {
            Self::Hosted(hosted) => hosted.value.methods().iter().map(MethodInfo::from).collect(),
            Self::BuiltIn(shelf) => by_name::methods(shelf.name),
        }
    }

    /// Whether dropping it runs code of a user's.
    pub(crate) fn runs_code_when_dropped(&self) -> bool {
        matches!(self, Self::Hosted(hosted) if hosted.value.needs_drop())
    }
}

/// An object of this crate, and whether clients may hold something in it.
pub(crate) struct Shelf {
    pub(crate) name: &'static str,
    pub(crate) is_held: bool,
    pub(crate) object: Mutex<Shelved>,
    pub(crate) queue: Queue,
}

/// Calls of one of this crate's objects that come while a thread is busy with it: they are done in the
/// order in which they came, by one thread after the other.
#[derive(Default)]
pub(crate) struct Queue {
    /// There is a thread that does what stands here, or is to be one: nobody goes past.
    is_open: AtomicBool,
    calls: Mutex<VecDeque<Queued>>,
}

/// What waits for an object.
pub(crate) enum Queued {
    Call(Call, Arc<Session>),
    Parting(Parting),
}

/// What an object of this crate is told of somebody who is not there for it any more.
#[derive(Debug)]
pub(crate) enum Parting {
    /// A client has ended.
    Client(u64),
    /// A caller waits no more, or has waited as long as it may.
    Call(CallKey),
    /// An item did not come to who asked for it.
    Item(Untaken),
}

impl Queue {
    /// Whether a call that comes now is to stand behind others.
    pub(super) fn is_open(&self) -> bool {
        // ORDERING: who finds it closed finds all done that was here. It is opened at the helm, as is asked.
        self.is_open.load(Ordering::Acquire)
    }

    /// Adds a call; whether a thread is to begin with it. One beyond `most` is refused.
    pub(super) fn push(&self, call: Call, session: &Arc<Session>, most: usize) -> bool {
        let mut calls = lock(&self.calls);
        if calls.len() >= most {
            drop(calls);
            call.answer.fail(FaultKind::Busy(format!("{most} calls wait for the object already")));
            return false;
        }
        calls.push_back(Queued::Call(call, Arc::clone(session)));
        !self.is_open.swap(true, Ordering::Relaxed)
    }

    /// As [`push`](Self::push), for what is never refused.
    pub(super) fn push_parting(&self, parting: Parting) -> bool {
        lock(&self.calls).push_back(Queued::Parting(parting));
        !self.is_open.swap(true, Ordering::Relaxed)
    }

    /// What is next; after the last one the queue is closed.
    pub(super) fn pop(&self) -> Option<Queued> {
        let mut calls = lock(&self.calls);
        let next = calls.pop_front();
        if next.is_none() {
            // ORDERING: see `is_open`.
            self.is_open.store(false, Ordering::Release);
        }
        next
    }
}

impl Shelf {
    /// What is on it, if no thread is busy with that.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Shelved>> {
        match self.object.try_lock() {
            Ok(shelved) => Some(shelved),
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// What is on a shelf.
pub(crate) struct Shelved {
    pub(crate) built_in: Box<dyn BuiltIn>,
    /// Where its changes are logged, if it is durable.
    pub(crate) journal: Journal,
}

impl Shelved {
    /// Gives back what somebody held, or waited for.
    pub(super) fn part_with(&mut self, table: &Arc<Table>, parting: Parting) {
        match parting {
            Parting::Client(session) => self.built_in.leave(session),
            Parting::Call(key) => self.built_in.give_up(key),
            Parting::Item(Untaken { object, item, number }) => {
                let desk = Desk { object, table, journal: &self.journal };
                self.built_in.take_back(&desk, item, number);
            }
        }
    }

    /// Does again what a log says.
    pub(crate) fn replay(&mut self, table: &Arc<Table>, change: &mut Packet) -> Result<(), Fault> {
        // Nothing is logged of it.
        let desk = Desk { object: 0, table, journal: &Journal::default() };
        self.built_in.replay(&desk, change)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A call of a method, to be run.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) object: u64,
    pub(crate) method: u64,
    pub(crate) args: Packet,
    pub(crate) patience: Patience,
    pub(crate) answer: Answer,
}

/// An object of a user's type.
///
/// Calls that must wait for others to end lie in a queue here and hold no thread;
/// whoever ends a call takes along those that may run now.
pub(crate) struct Hosted {
    value: Box<dyn Erased>,
    methods: Box<[Known]>,
    turn: Mutex<Turn>,
    journal: OnceLock<Journal>,
}

#[derive(Debug, Default)]
struct Turn {
    readers: usize,
    writing: bool,
    poisoned: bool,
    waiting: VecDeque<(Call, bool)>,
}

/// A method of an object.
struct Known {
    number: u64,
    changes: bool,
    pace: Pace,
}

/// How long a method took lately: every quick run counts one up, and longer ones many down.
#[derive(Default)]
struct Pace(AtomicI8);

impl Pace {
    /// A method is quick if it ends before another thread would have come to take the helm.
    const QUICK: Duration = Duration::from_micros(10);
    /// One that takes so long most likely waits for something.
    const LONG: Duration = Duration::from_millis(1);
    const PROVEN: i8 = 3;
    const MOST: i8 = 8;
    const AFTER_SLOW: i8 = 4;
    const AFTER_LONG: i8 = -64;

    fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::PROVEN
    }

    fn note(&self, time: Duration) {
        let before = self.0.load(Ordering::Relaxed);
        let after = if time <= Self::QUICK {
            (before + 1).min(Self::MOST)
        } else if time < Self::LONG {
            // No further down than a few quick runs bring it up again: away from the helm, and on a
            // busy machine, a method looks slower than it is. One that waits stays where it is.
            before.saturating_sub(Self::AFTER_SLOW).max(before.min(0))
        } else {
            Self::AFTER_LONG
        };
        // Of two that run side by side one may be lost: it is a guess in any case.
        if after != before {
            self.0.store(after, Ordering::Relaxed);
        }
    }
}

impl Hosted {
    pub(crate) fn new(value: Box<dyn Erased>) -> Self {
        let known = |method: &Method| Known {
            number: method_id(method.name),
            changes: method.changes,
            pace: Pace::default(),
        };
        let methods = value.methods().iter().map(known).collect();
        Self { value, methods, turn: Mutex::default(), journal: OnceLock::new() }
    }

    fn known(&self, method: u64) -> Option<&Known> {
        self.methods.iter().find(|known| known.number == method)
    }

    /// Whether a method took little time lately.
    pub(crate) fn is_quick(&self, method: u64) -> bool {
        // The log of a durable one takes its time.
        self.store().is_none() && self.known(method).is_some_and(|known| known.pace.is_quick())
    }

    /// So long a method has taken. Of callers' functions nothing is noted: they are many.
    pub(crate) fn note_time(&self, method: u64, time: Duration) {
        if let Some(known) = self.known(method) {
            known.pace.note(time);
        }
    }

    /// The call, if it may run now; otherwise it waits here, or has been answered.
    pub(crate) fn enter(&self, call: Call) -> Option<(Call, bool)> {
        let keeps = (call.method == durable::KEEP).then_some(false);
        let changes = || self.known(call.method).map(|known| known.changes);
        let Some(exclusive) = keeps.or_else(|| is_function(call.method)).or_else(changes) else {
            call.answer.fail(FaultKind::NoMethod);
            return None;
        };
        let mut turn = lock(&self.turn);
        if turn.poisoned {
            drop(turn);
            call.answer.fail(FaultKind::Poisoned);
            return None;
        }
        if turn.waiting.is_empty() && turn.admits(exclusive) {
            turn.begin(exclusive);
            Some((call, exclusive))
        } else {
            turn.waiting.push_back((call, exclusive));
            None
        }
    }

    pub(crate) fn value(&self) -> &dyn Erased {
        &*self.value
    }

    /// Where it is logged, if it is durable.
    pub(crate) fn store(&self) -> Option<&Arc<Store>> {
        self.journal.get().and_then(Journal::store)
    }

    /// It is durable from now on, if it was not before.
    pub(crate) fn set_journal(&self, journal: Journal) {
        if let Err(second) = self.journal.set(journal) {
            second.leave();
        }
    }

    /// Runs a method for which [`enter`](Self::enter) gave the turn.
    pub(crate) fn run(
        &self,
        method: (u64, bool),
        args: &mut Packet,
        value: &mut Packet,
    ) -> Result<(), Fault> {
        self.value.run(method, args, value)
    }

    /// As [`run`](Self::run), for a caller's function that answers by itself.
    pub(crate) fn run_later(&self, call: Open) {
        self.value.run_later(call);
    }

    /// Ends a call; the calls that may run now.
    pub(crate) fn leave(&self, exclusive: bool, panicked: bool) -> Vec<(Call, bool)> {
        let mut turn = lock(&self.turn);
        if exclusive {
            turn.writing = false
        } else {
            turn.readers -= 1
        }
        turn.poisoned |= panicked && exclusive && self.value.poisons();
        let mut next = Vec::new();
        if turn.poisoned {
            let refused = std::mem::take(&mut turn.waiting);
            drop(turn);
            refused.into_iter().for_each(|(call, _)| call.answer.fail(FaultKind::Poisoned));
            return next;
        }
        while turn.waiting.front().is_some_and(|(_, exclusive)| turn.admits(*exclusive)) {
            let Some((call, exclusive)) = turn.waiting.pop_front() else { break };
            turn.begin(exclusive);
            next.push((call, exclusive));
        }
        next
    }

    /// Takes out calls that nobody waits for any more.
    pub(crate) fn forget(&self, is_forgotten: impl Fn(&Answer) -> bool) {
        let forgotten: Vec<_> = {
            let mut turn = lock(&self.turn);
            let (gone, stay) = std::mem::take(&mut turn.waiting)
                .into_iter()
                .partition::<VecDeque<_>, _>(|(call, _)| is_forgotten(&call.answer));
            turn.waiting = stay;
            gone.into()
        };
        // Arguments are dropped without the lock: they may hold references.
        drop(forgotten);
    }
}

impl Turn {
    fn admits(&self, exclusive: bool) -> bool {
        !self.writing && (!exclusive || self.readers == 0)
    }

    fn begin(&mut self, exclusive: bool) {
        if exclusive { self.writing = true } else { self.readers += 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_looked_slow_for_long_is_quick_again_soon() {
        let pace = Pace::default();
        (0..1000).for_each(|_| pace.note(Pace::QUICK * 2));
        assert!(!pace.is_quick());
        (0..Pace::PROVEN).for_each(|_| pace.note(Pace::QUICK));
        assert!(pace.is_quick());
    }

    #[test]
    fn a_method_that_waited_is_not_quick_for_long() {
        let pace = Pace::default();
        pace.note(Pace::LONG);
        (0..60).for_each(|_| pace.note(Pace::QUICK));
        (0..60).for_each(|_| pace.note(Pace::QUICK * 2));
        assert!(!pace.is_quick());
        pace.note(Pace::QUICK * 2);
        assert!(pace.0.load(Ordering::Relaxed) < 0);
    }
}
