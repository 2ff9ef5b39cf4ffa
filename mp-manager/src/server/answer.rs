//! Answers on their way: to a client, or to a thread of the server's own process.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ipc_core::{Message, Packet};

use super::object::{Object, Parting};
use super::session::{Quiet, Session};
use super::table::{Kept, Table};
use crate::client::lock;
use crate::durable::{Store, not_kept};
use crate::error::{Fault, FaultKind};
use crate::lease::Lease;
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
    /// It waits until the disk has what was logged before it, if that is asked for.
    store: Option<Arc<Store>>,
    /// The call has changed nothing.
    looks: bool,
}

enum To {
    Client(Arc<Session>),
    Home(Arc<Slot>),
    /// A call that wants no answer.
    Nobody(#[expect(dead_code, reason = "it counts as long as it is there")] Quiet),
    /// A call that is done again: why it fails, if it does.
    Again(Arc<OnceLock<Fault>>),
}

impl Answer {
    fn new(to: To, session: u64, call: u64) -> Self {
        Self { to: Some(to), key: CallKey { session, call }, counted: false, store: None, looks: false }
    }

    /// Does a call again, when a server begins; the fault that it answers with, if it does.
    pub(crate) fn again(call: impl FnOnce(Self)) -> Result<(), Fault> {
        let fault = Arc::new(OnceLock::new());
        call(Self::new(To::Again(Arc::clone(&fault)), 0, 0));
        fault.get().cloned().map_or(Ok(()), Err)
    }

    /// The call's object is durable.
    pub(crate) fn of_durable(&mut self, store: &Arc<Store>) {
        self.store = Some(Arc::clone(store));
    }

    /// The call changes nothing: a disk that has refused does not keep its answer back.
    pub(crate) fn of_look(mut self) -> Self {
        self.looks = true;
        self
    }

    pub(crate) fn to_client(session: &Arc<Session>, call: u64) -> Self {
        let to = if call == 0 { To::Nobody(Quiet::of(session)) } else { To::Client(Arc::clone(session)) };
        Self::new(to, session.id(), call)
    }

    pub(crate) fn at_home(slot: &Arc<Slot>, call: u64) -> Self {
        Self::new(To::Home(Arc::clone(slot)), 0, call)
    }

    pub(crate) fn key(&self) -> CallKey {
        self.key
    }

    /// Whether the caller is still there.
    pub(crate) fn is_awaited(&self) -> bool {
        match &self.to {
            Some(To::Client(session)) => session.awaits(self.key.call),
            _ => true,
        }
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
        !matches!(self.to, Some(To::Nobody(_))) && self.value_with(value, vec![object])
    }

    /// Answers with an item that was taken out of `queue`, as how many-eth, where it is given back if it is known
    /// that the caller does not get it; at once, as what this returns, or when the disk has what
    /// tells of it.
    pub(crate) fn item(mut self, item: Kept, queue: u64, number: u64) -> Option<Kept> {
        let raw = item.raw();
        let objects = raw.objects.clone();
        let mut packet = Packet::new();
        if let Err(error) = packet.append_item(&Some(raw)) {
            self.fail(Fault::reply(error));
            return Some(item);
        }
        let tail = Tail { call: self.key.call, kind: AnswerKind::Item, objects };
        let to = self.to.take()?;
        let untaken = Untaken { object: queue, item, number };
        let untaken = match self.store.take().filter(|store| store.holds_back()) {
            None => to.deliver_item(packet, tail, untaken),
            Some(store) => HeldAnswer::hold(&store, to, packet, tail, false, Some(untaken)).err()?,
        };
        untaken.map(|untaken| untaken.item)
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
        let Some(to) = self.to.take() else { return true };
        let is_held = |store: &Arc<Store>| store.holds_back() && !(self.looks && store.is_refused());
        match self.store.take().filter(is_held) {
            None => to.deliver(packet, tail, self.counted),
            Some(store) => HeldAnswer::hold(&store, to, packet, tail, self.counted, None).is_ok(),
        }
    }
}

/// An item that was taken out for somebody, and is given back if he does not get it.
#[derive(Debug)]
pub(crate) struct Untaken {
    /// The queue.
    pub(super) object: u64,
    pub(super) item: Kept,
    /// As how many-eth it was taken.
    pub(super) number: u64,
}

impl Untaken {
    /// Its queue, if that is still there.
    pub(super) fn home(&self, table: &Table) -> Option<Arc<Object>> {
        table.get(self.object)
    }

    /// Gives it back, if its queue is still there, which may be waited for.
    pub(super) fn give_back(self, table: &Arc<Table>) {
        if let Some(Object::BuiltIn(shelf)) = table.get(self.object).as_deref() {
            lock(&shelf.object).part_with(table, Parting::Item(self));
        }
    }
}

impl To {
    fn deliver(self, packet: Packet, tail: Tail, counted: bool) -> bool {
        match self {
            Self::Client(session) => session.answer(packet, tail, counted),
            Self::Home(slot) => slot.fill(packet, tail, counted, None).is_ok(),
            Self::Nobody(_) => true,
            Self::Again(fault) => {
                if let AnswerKind::Fault(kind) = tail.kind {
                    let _ = fault.set(Fault(kind));
                }
                true
            }
        }
    }

    /// As [`deliver`](Self::deliver), for an item that was taken out for this; the item, if nobody gets it.
    fn deliver_item(self, packet: Packet, tail: Tail, item: Untaken) -> Option<Untaken> {
        match self {
            Self::Client(session) => session.answer_item(packet, tail, item),
            Self::Home(slot) => slot.fill(packet, tail, false, Some(item)).err().flatten(),
            other => {
                other.deliver(packet, tail, false);
                None
            }
        }
    }
}

/// An answer that waits for the disk.
pub(crate) struct HeldAnswer {
    to: To,
    packet: Packet,
    tail: Tail,
    table: Arc<Table>,
    item: Option<Untaken>,
}

impl HeldAnswer {
    /// An error: nobody waits for it any more; the item, if there is one.
    fn hold(
        store: &Store,
        to: To,
        packet: Packet,
        tail: Tail,
        counted: bool,
        item: Option<Untaken>,
    ) -> Result<(), Option<Untaken>> {
        let (table, is_awaited) = match &to {
            To::Client(session) => (session.table(), session.awaits(tail.call)),
            To::Home(slot) => (&slot.table, true),
            To::Nobody(_) | To::Again(_) => return Ok(()),
        };
        if !is_awaited {
            return Err(item);
        }
        // The objects in it stay until it is delivered.
        for object in tail.objects.iter().filter(|_| !counted) {
            table.raise(*object);
        }
        let table = Arc::clone(table);
        let Some(held) = store.hold(Self { to, packet, tail, table, item }) else { return Ok(()) };
        match held.fail(not_kept("the manager ends")) {
            Some(NotRead { item, .. }) => Err(Some(item)),
            None => Ok(()),
        }
    }

    /// Sends it; what is to be given back, as nobody has got it.
    #[must_use]
    pub(crate) fn deliver(self) -> Option<NotRead> {
        let Self { to, packet, tail, table, item } = self;
        let objects = tail.objects.clone();
        let item = match item {
            Some(item) => to.deliver_item(packet, tail, item),
            None => {
                to.deliver(packet, tail, false);
                None
            }
        };
        objects.into_iter().for_each(|object| table.lower(object));
        item.map(|item| NotRead { table, item })
    }

    /// What it tells of is not on the disk; what is to be given back.
    #[must_use]
    pub(crate) fn fail(self, fault: Fault) -> Option<NotRead> {
        let Self { to, tail, table, item, .. } = self;
        tail.objects.iter().for_each(|object| table.lower(*object));
        let tail = Tail { call: tail.call, kind: AnswerKind::Fault(fault.0), objects: Vec::new() };
        to.deliver(Packet::new(), tail, false);
        item.map(|item| NotRead { table, item })
    }
}

/// What was in an answer that nobody has got.
#[derive(Debug)]
#[must_use = "it is lost unless it is given back"]
pub(crate) struct NotRead {
    table: Arc<Table>,
    item: Untaken,
}

impl NotRead {
    pub(crate) fn give_back(self) {
        self.item.give_back(&self.table);
    }
}

impl fmt::Debug for HeldAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldAnswer").field("call", &self.tail.call).finish_non_exhaustive()
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
    state: Mutex<Waiter>,
    table: Arc<Table>,
    /// What stands in the arguments.
    _arguments: Vec<Arc<Lease>>,
}

#[derive(Debug)]
struct Waiter {
    place: Place,
    thread: Thread,
    /// Others that have waited since.
    others: Vec<Thread>,
}

#[derive(Debug)]
enum Place {
    Empty,
    /// With the item that it brings, if it is one.
    Full(Packet, Tail, Option<Box<Untaken>>),
    /// The answer was taken.
    Taken,
    /// The caller has gone.
    Left,
    /// The call was left to itself: what it brings is taken, and nobody gets it.
    Alone,
}

impl Slot {
    pub(crate) fn new(table: &Arc<Table>, arguments: Vec<Arc<Lease>>) -> Arc<Self> {
        let waiter = Waiter { place: Place::Empty, thread: std::thread::current(), others: Vec::new() };
        Arc::new(Self { state: Mutex::new(waiter), table: Arc::clone(table), _arguments: arguments })
    }

    /// An error: nobody waits for it any more; the item, if there is one.
    fn fill(
        &self,
        packet: Packet,
        tail: Tail,
        counted: bool,
        item: Option<Untaken>,
    ) -> Result<(), Option<Untaken>> {
        let mut state = lock(&self.state);
        match state.place {
            Place::Empty => {}
            Place::Alone if item.is_some() => return Ok(()),
            _ => return Err(item),
        }
        for object in tail.objects.iter().filter(|_| !counted) {
            self.table.raise(*object);
        }
        state.place = Place::Full(packet, tail, item.map(Box::new));
        let (thread, others) = (state.thread.clone(), std::mem::take(&mut state.others));
        drop(state);
        thread.unpark();
        others.iter().for_each(Thread::unpark);
        Ok(())
    }

    /// This thread is woken by the answer, as those before it are.
    pub(crate) fn attend(&self) {
        let mut state = lock(&self.state);
        let own = std::thread::current();
        if state.thread.id() != own.id() && state.others.iter().all(|other| other.id() != own.id()) {
            state.others.push(own);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        matches!(lock(&self.state).place, Place::Full(..))
    }

    /// Waits for the answer; `None` after the time.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> Option<(Packet, Tail)> {
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        loop {
            let mut state = lock(&self.state);
            if matches!(state.place, Place::Full(..))
                && let Place::Full(packet, tail, item) = std::mem::replace(&mut state.place, Place::Taken)
            {
                drop(state);
                drop(item);
                return Some((packet, tail));
            }
            drop(state);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match left {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return None,
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    /// Nobody takes the answer any more; `false` if it was taken, or left before.
    pub(crate) fn leave(&self) -> bool {
        let place = {
            let mut state = lock(&self.state);
            if matches!(state.place, Place::Alone) {
                return false;
            }
            std::mem::replace(&mut state.place, Place::Left)
        };
        let is_left = matches!(place, Place::Empty | Place::Full(..));
        if let Place::Full(_, tail, item) = place {
            tail.objects.iter().for_each(|object| self.table.lower(*object));
            if let Some(item) = item {
                item.give_back(&self.table);
            }
        }
        is_left
    }

    /// Nobody takes the answer, and an item that it brings is not given back.
    pub(crate) fn leave_alone(&self) {
        let place = std::mem::replace(&mut lock(&self.state).place, Place::Alone);
        if let Place::Full(_, tail, item) = place {
            tail.objects.iter().for_each(|object| self.table.lower(*object));
            drop(item);
        }
    }
}
