//! Answers on their way: to a client, or to a thread of the server's own process.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ipc_core::{Message, Packet};

use super::session::Session;
use super::table::Table;
use crate::client::lock;
use crate::error::{Fault, FaultKind};
use crate::wire::{AnswerKind, Tail};

/// Whose call it is: a client's number, zero for the server's own process, and the
/// number of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CallKey {
    pub(crate) session: u64,
    pub(crate) call: u64,
}

/// The right and the duty to answer one call; dropped, it says that nobody did.
pub(crate) struct Answer {
    to: Option<To>,
    key: CallKey,
    /// The references in it are counted already.
    counted: bool,
}

enum To {
    Client(Arc<Session>),
    Home(Arc<Slot>),
    /// A call that wants no answer.
    Nobody,
}

impl Answer {
    pub(crate) fn to_client(session: &Arc<Session>, call: u64) -> Self {
        let to = if call == 0 { To::Nobody } else { To::Client(Arc::clone(session)) };
        Self { to: Some(to), key: CallKey { session: session.id(), call }, counted: false }
    }

    pub(crate) fn at_home(slot: &Arc<Slot>, call: u64) -> Self {
        Self { to: Some(To::Home(Arc::clone(slot))), key: CallKey { session: 0, call }, counted: false }
    }

    pub(crate) fn key(&self) -> CallKey {
        self.key
    }

    /// The client that gets it, if it is one.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        if let Some(To::Client(session)) = &self.to { Some(Arc::clone(session)) } else { None }
    }

    /// Answers with a value; whoever is gone does not get it.
    pub(crate) fn say<T: Message>(self, value: &T) {
        self.value(value);
    }

    /// Answers with a value; `false` if the caller is gone.
    pub(crate) fn value<T: Message>(self, value: &T) -> bool {
        self.value_with(value, Vec::new())
    }

    /// Answers with a value in which `objects` stand; `false` if the caller is gone.
    pub(crate) fn value_with<T: Message>(self, value: &T, objects: Vec<u64>) -> bool {
        let mut packet = Packet::new();
        match packet.append_item(value) {
            Ok(()) => self.packet(packet, objects),
            Err(error) => {
                self.fail(Fault::reply(error));
                true
            }
        }
    }

    /// Answers with a value in which an object stands, and gives the caller the reference
    /// that this thread has; `false` if there is no caller that took it.
    pub(crate) fn hand_over<T: Message>(mut self, value: &T, object: u64) -> bool {
        self.counted = true;
        !matches!(self.to, Some(To::Nobody)) && self.value_with(value, vec![object])
    }

    /// Answers with a value that is written already.
    pub(crate) fn packet(mut self, packet: Packet, objects: Vec<u64>) -> bool {
        self.send(packet, AnswerKind::Value, objects)
    }

    pub(crate) fn fail(mut self, fault: impl Into<Fault>) {
        self.send(Packet::new(), AnswerKind::Fault(fault.into().0), Vec::new());
    }

    fn send(&mut self, packet: Packet, kind: AnswerKind, objects: Vec<u64>) -> bool {
        let tail = Tail { call: self.key.call, kind, objects };
        match self.to.take() {
            Some(To::Client(session)) => session.answer(packet, tail, self.counted),
            Some(To::Home(slot)) => slot.fill(packet, tail, self.counted),
            _ => true,
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let fault = FaultKind::Refused("the call was dropped in the manager".to_owned());
        self.send(Packet::new(), AnswerKind::Fault(fault), Vec::new());
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Where a thread of the server's own process waits for an answer.
#[derive(Debug)]
pub(crate) struct Slot {
    place: Mutex<Place>,
    thread: Thread,
    table: Arc<Table>,
}

#[derive(Debug)]
enum Place {
    Empty,
    Full(Packet, Tail),
    /// The caller has gone.
    Left,
}

impl Slot {
    pub(crate) fn new(table: &Arc<Table>) -> Arc<Self> {
        let thread = std::thread::current();
        Arc::new(Self { place: Mutex::new(Place::Empty), thread, table: Arc::clone(table) })
    }

    fn fill(&self, packet: Packet, tail: Tail, counted: bool) -> bool {
        let mut place = lock(&self.place);
        if !matches!(*place, Place::Empty) {
            return false;
        }
        for object in tail.objects.iter().filter(|_| !counted) {
            self.table.raise(*object);
        }
        *place = Place::Full(packet, tail);
        drop(place);
        self.thread.unpark();
        true
    }

    /// Waits for the answer; `None` after the time, from when on it is left.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> Option<(Packet, Tail)> {
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        loop {
            let mut place = lock(&self.place);
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let after = if is_late { Place::Left } else { Place::Empty };
            match std::mem::replace(&mut *place, after) {
                Place::Full(packet, tail) => return Some((packet, tail)),
                _ if is_late => return None,
                _ => {}
            }
            drop(place);
            match deadline {
                None => std::thread::park(),
                Some(deadline) => {
                    std::thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
                }
            }
        }
    }
}
