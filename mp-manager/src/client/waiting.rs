//! Calls that wait for their answers, and who reads for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ipc_core::{Packet, RecvError};

use super::fast::Fast;
use super::line::{Far, Line};
use super::{lock, unreadable};
use crate::error::{Kind, ManagerError};
use crate::wire::{AnswerKind, Head, Ring, Tail};

/// The calls of a connection that have no answer yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
    pub(super) fast: Fast,
    far: Option<Arc<Far>>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u64, Call>,
    /// Somebody is reading.
    has_reader: bool,
    /// Threads that wait for somebody else to read.
    asleep: Vec<Thread>,
    /// Why there will be no more answers.
    closed: Option<String>,
}

#[derive(Debug)]
struct Call {
    answer: Option<(Packet, Tail)>,
    /// The request, if the ring may have been dropped before it lay in it.
    late: Option<Packet>,
    /// Threads of those asleep that wait for this one.
    asleep: Vec<Thread>,
    /// It was left to itself: what its answer brings is taken, and nobody gets it.
    is_left: bool,
    /// When the manager last said something of it.
    heard_at: Instant,
}

/// What came with answers that nobody waits for any more.
#[derive(Debug, Default)]
pub(super) struct Unasked {
    /// References, to be given back.
    pub(super) objects: Vec<u64>,
    /// Calls whose answers were items, which the manager keeps until it hears of them.
    pub(super) items: Vec<u64>,
}

impl Unasked {
    /// Of a call that was left to itself: its item is taken.
    fn taken(tail: Tail) -> Self {
        let items = if tail.kind == AnswerKind::Item { vec![tail.call] } else { Vec::new() };
        Self { objects: tail.objects, items }
    }

    /// Of a call that was, or is about to be, given up: its item is the manager's again by that, and not
    /// to be taken before.
    fn given_up(tail: Tail) -> Self {
        Self { objects: tail.objects, items: Vec::new() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.objects.extend(other.objects);
        self.items.extend(other.items);
    }
}

/// What a look at a call's place found.
enum Found {
    Answer((Packet, Tail)),
    Late,
    Closed(String),
    /// Nobody reads: this thread does, until the time.
    Read(Option<Instant>),
    Sleep(Option<Instant>),
}

impl Waiting {
    pub(super) fn over(line: &Line) -> Self {
        Self { far: line.far().map(Arc::clone), ..Self::default() }
    }

    pub(super) fn enter(&self, call: u64) -> Result<(), ManagerError> {
        let mut state = lock(&self.state);
        if let Some(why) = &state.closed {
            return Err(Kind::Gone(why.clone()).into());
        }
        let (asleep, heard_at) = (Vec::new(), Instant::now());
        state.calls.insert(call, Call { answer: None, late: None, asleep, is_left: false, heard_at });
        Ok(())
    }

    /// Nobody waits for a call any more, which is given up after this; what its answer brought.
    pub(super) fn give_up(&self, call: u64) -> Unasked {
        let left = lock(&self.state).calls.remove(&call);
        left.and_then(|call| call.answer).map(|(_, tail)| Unasked::given_up(tail)).unwrap_or_default()
    }

    /// Nobody waits for a call any more, which is left to itself; what its answer brought.
    pub(super) fn leave(&self, number: u64) -> Unasked {
        let mut state = lock(&self.state);
        let Some(call) = state.calls.get_mut(&number) else { return Unasked::default() };
        call.is_left = true;
        let Some((_, tail)) = call.answer.take() else { return Unasked::default() };
        state.calls.remove(&number);
        Unasked::taken(tail)
    }

    /// A call is waited for from now on: its time begins.
    pub(super) fn attend(&self, call: u64) {
        if let Some(call) = lock(&self.state).calls.get_mut(&call) {
            call.heard_at = Instant::now();
        }
    }

    /// Whether the answer to a call has come, as far as somebody has read, or will not come.
    pub(super) fn has_answer(&self, call: u64) -> bool {
        let state = lock(&self.state);
        state.closed.is_some() || state.calls.get(&call).is_none_or(|call| call.answer.is_some())
    }

    /// Keeps a late request as long as the ring may still bring it to the server; `false` if that
    /// has ended without an answer to it, so that it is to be sent again. A request that wants no
    /// answer is left to its luck, and so is one with channel ends: they have left with the first sending.
    pub(super) fn keep_late(&self, packet: &mut Packet, has_ends: bool, ring: &Arc<Ring>) -> bool {
        if has_ends {
            return true;
        }
        let Ok(Head { call, .. }) = packet.read() else { return true };
        let mut state = lock(&self.state);
        let Some(call) = state.calls.get_mut(&call).filter(|call| call.answer.is_none()) else { return true };
        let may_come = self.fast.is_installed(ring);
        if may_come {
            call.late = Some(std::mem::take(packet));
        }
        may_come
    }

    /// The ring has ended, and all answers that came over it are laid in their places; the
    /// requests that it did not bring to the server.
    pub(super) fn end_ring(&self) -> Vec<Packet> {
        let mut state = lock(&self.state);
        self.fast.uninstall();
        let unanswered = state.calls.values_mut().filter(|call| call.answer.is_none());
        unanswered.filter_map(|call| call.late.take()).collect()
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.state).closed.is_none()
    }

    /// The connection is over, and why.
    pub(super) fn close(&self, why: &str) -> String {
        let mut state = lock(&self.state);
        let why = state.closed.get_or_insert_with(|| why.to_owned()).clone();
        state.asleep.iter().for_each(Thread::unpark);
        why
    }

    /// Waits for the answer to `call`; `unasked` gets what comes with answers which
    /// nobody waits for any more.
    pub(super) fn wait(
        &self,
        call: u64,
        patience: Duration,
        read: impl Fn(&mut Packet, Option<Instant>) -> Result<(), RecvError>,
        unasked: impl Fn(Unasked),
    ) -> Result<(Packet, Tail), ManagerError> {
        let mut has_slept = false;
        loop {
            let found = self.look(call, patience, std::mem::take(&mut has_slept));
            if !matches!(found, Found::Read(_) | Found::Sleep(_)) {
                self.hand_over();
            }
            match found {
                Found::Answer(answer) => return Ok(answer),
                Found::Late => return Err(Kind::Timeout(patience).into()),
                Found::Closed(why) => return Err(Kind::InFlight(why).into()),
                Found::Sleep(until) => {
                    sleep(until);
                    has_slept = true;
                }
                Found::Read(until) => {
                    let _turn = Turn(self);
                    let mut packet = Packet::new();
                    match read(&mut packet, until) {
                        Ok(()) => unasked(self.file(packet)),
                        Err(RecvError::Timeout) => {}
                        Err(error) => drop(self.close(&unreadable(&error))),
                    }
                }
            }
        }
    }

    /// As [`wait`](Self::wait), for the first of some calls: its place. Its answer stays where
    /// it is. `None` at the deadline.
    pub(super) fn wait_any(
        &self,
        calls: &[u64],
        (patience, deadline): (Duration, Option<Instant>),
        read: impl Fn(&mut Packet, Option<Instant>) -> Result<(), RecvError>,
        unasked: impl Fn(Unasked),
    ) -> Option<usize> {
        let mut has_slept = false;
        loop {
            match self.look_at(calls, (patience, deadline), std::mem::take(&mut has_slept)) {
                Err(place) => {
                    self.hand_over();
                    return Some(place);
                }
                Ok(Found::Late) => {
                    self.hand_over();
                    return None;
                }
                Ok(Found::Read(until)) => {
                    let _turn = Turn(self);
                    let mut packet = Packet::new();
                    match read(&mut packet, until) {
                        Ok(()) => unasked(self.file(packet)),
                        Err(RecvError::Timeout) => {}
                        Err(error) => drop(self.close(&unreadable(&error))),
                    }
                }
                Ok(Found::Sleep(until)) => {
                    sleep(until);
                    has_slept = true;
                }
                Ok(_) => {}
            }
        }
    }

    /// The place of one that need not be waited for, or what is to be done.
    fn look_at(
        &self,
        calls: &[u64],
        (patience, deadline): (Duration, Option<Instant>),
        has_slept: bool,
    ) -> Result<Found, usize> {
        let mut state = lock(&self.state);
        if has_slept {
            state.wake(calls);
        }
        let now = Instant::now();
        let mut until = deadline;
        for (place, call) in calls.iter().enumerate() {
            let Some(call) = state.calls.get(call) else { return Err(place) };
            let end = call.heard_at.checked_add(patience);
            if call.answer.is_some() || state.closed.is_some() || end.is_some_and(|end| end <= now) {
                return Err(place);
            }
            until = [until, end].into_iter().flatten().min();
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(Found::Late);
        }
        if state.has_reader {
            state.put_to_sleep(calls);
            return Ok(Found::Sleep(until));
        }
        state.has_reader = true;
        Ok(Found::Read(until))
    }

    /// Reads the answers that are there for all, if nobody reads, and waits up to `until`
    /// for the first; what came with those that nobody waits for.
    pub(super) fn read_some(
        &self,
        until: Option<Instant>,
        read: impl Fn(&mut Packet, Option<Instant>) -> Result<(), RecvError>,
    ) -> Unasked {
        if std::mem::replace(&mut lock(&self.state).has_reader, true) {
            return Unasked::default();
        }
        let turn = Turn(self);
        let (mut unasked, mut until) = (Unasked::default(), until);
        loop {
            let mut packet = Packet::new();
            match read(&mut packet, until) {
                Ok(()) => unasked.add(self.file(packet)),
                Err(RecvError::Timeout) => break,
                Err(error) => {
                    drop(self.close(&unreadable(&error)));
                    break;
                }
            }
            until = Some(Instant::now());
        }
        drop(turn);
        self.hand_over();
        unasked
    }

    fn look(&self, number: u64, patience: Duration, has_slept: bool) -> Found {
        let mut state = lock(&self.state);
        let state = &mut *state;
        if has_slept {
            state.wake(&[number]);
        }
        let Some(call) = state.calls.get_mut(&number) else { return Found::Late };
        if let Some(answer) = call.answer.take() {
            state.calls.remove(&number);
            return Found::Answer(answer);
        }
        if let Some(why) = &state.closed {
            return Found::Closed(why.clone());
        }
        let until = call.heard_at.checked_add(patience);
        if until.is_some_and(|until| until <= Instant::now()) {
            state.calls.remove(&number);
            Found::Late
        } else if state.has_reader {
            state.put_to_sleep(&[number]);
            Found::Sleep(until)
        } else {
            state.has_reader = true;
            Found::Read(until)
        }
    }

    /// Lays an answer in its place, or several; returns what came with those that have none.
    fn file(&self, mut packet: Packet) -> Unasked {
        let Ok(tail) = packet.read_tail::<Tail>() else { return self.close_for_nonsense() };
        if tail.kind == AnswerKind::Batch {
            return self.file_all(packet);
        }
        if tail.kind == AnswerKind::Ring
            && let Ok(ring) = packet.read()
        {
            self.fast.install(ring);
        }
        if let Some(far) = &self.far {
            match tail.kind {
                AnswerKind::Heard => {
                    far.was_heard(tail.call);
                    return Unasked::default();
                }
                AnswerKind::Ticket => {
                    if let Ok(ticket) = packet.read_item() {
                        far.admit(ticket);
                    }
                }
                _ => {}
            }
        }
        lock(&self.state).lay(packet, tail)
    }

    /// What comes in a batch are plain answers.
    fn file_all(&self, mut batch: Packet) -> Unasked {
        let mut unasked = Unasked::default();
        let mut state = lock(&self.state);
        while !batch.is_at_end() {
            let answer = batch.read_packet().and_then(|mut packet| Ok((packet.read_tail()?, packet)));
            let Ok((tail, packet)) = answer else {
                drop(state);
                unasked.add(self.close_for_nonsense());
                return unasked;
            };
            unasked.add(state.lay(packet, tail));
        }
        unasked
    }

    fn close_for_nonsense(&self) -> Unasked {
        drop(self.close("it sent what no manager sends"));
        Unasked::default()
    }

    /// Wakes one that sleeps, to read on, if nobody reads.
    fn hand_over(&self) {
        let state = lock(&self.state);
        if !state.has_reader
            && let Some(thread) = state.asleep.first()
        {
            thread.unpark();
        }
    }
}

fn sleep(until: Option<Instant>) {
    match until {
        None => std::thread::park(),
        Some(until) => std::thread::park_timeout(until.saturating_duration_since(Instant::now())),
    }
}

impl State {
    /// This thread sleeps until one of the calls has its answer, or it is to read.
    fn put_to_sleep(&mut self, calls: &[u64]) {
        let thread = std::thread::current();
        for call in calls {
            if let Some(call) = self.calls.get_mut(call) {
                call.asleep.push(thread.clone());
            }
        }
        self.asleep.push(thread);
    }

    /// This thread sleeps no more.
    fn wake(&mut self, calls: &[u64]) {
        let own = std::thread::current().id();
        for call in calls {
            if let Some(call) = self.calls.get_mut(call) {
                call.asleep.retain(|thread| thread.id() != own);
            }
        }
        self.asleep.retain(|thread| thread.id() != own);
    }

    /// Lays an answer in its place; returns what came with one that has none.
    fn lay(&mut self, packet: Packet, tail: Tail) -> Unasked {
        match self.calls.get_mut(&tail.call) {
            Some(call) if tail.kind == AnswerKind::Waiting => {
                call.heard_at = Instant::now();
                Unasked::default()
            }
            Some(call) if call.is_left => {
                self.calls.remove(&tail.call);
                Unasked::taken(tail)
            }
            Some(call) => {
                call.asleep.iter().for_each(Thread::unpark);
                call.answer = Some((packet, tail));
                Unasked::default()
            }
            None => Unasked::given_up(tail),
        }
    }
}

/// The right to read; given back also by a panic.
struct Turn<'a>(&'a Waiting);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).has_reader = false;
        if std::thread::panicking() {
            self.0.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(call: u64) -> Packet {
        let mut packet = Packet::new();
        packet.append_tail(&Tail { call, kind: AnswerKind::Item, objects: vec![call] }).unwrap();
        packet
    }

    #[test]
    fn only_the_items_of_calls_that_are_left_to_themselves_are_taken() {
        let waiting = Waiting::default();
        let enter = || (1..=4).for_each(|call| waiting.enter(call).unwrap());
        let is = |unasked: Unasked, objects: &[u64], items: &[u64]| {
            assert_eq!((unasked.objects.as_slice(), unasked.items.as_slice()), (objects, items));
        };
        enter();
        // Those that have come already, and those that come between this and what the manager is told of it.
        is(waiting.file(item(1)), &[], &[]);
        is(waiting.file(item(2)), &[], &[]);
        is(waiting.give_up(1), &[1], &[]);
        is(waiting.leave(2), &[2], &[2]);
        is(waiting.give_up(3), &[], &[]);
        is(waiting.leave(4), &[], &[]);
        is(waiting.file(item(3)), &[3], &[]);
        is(waiting.file(item(4)), &[4], &[4]);
        assert!(lock(&waiting.state).calls.is_empty());
        // So it is with one whose time is over.
        waiting.enter(5).unwrap();
        assert!(matches!(waiting.look(5, Duration::ZERO, false), Found::Late));
        is(waiting.file(item(5)), &[5], &[]);
    }
}
