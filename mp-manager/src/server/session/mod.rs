//! A client, as the server sees it: its connection, and what it holds.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use ipc_core::link::{Capabilities, Link};
use ipc_core::{Packet, RecvError, SendError};

use super::Server;
use super::answer::Untaken;
use super::grace::Lasting;
use super::ring::Ring;
use super::table::Table;
use crate::client::{Once, at_once, lock};
use crate::error::FaultKind;
use crate::wire::{self, AnswerKind, Tail};

mod outbox;
mod quiet;
mod resume;
#[cfg(test)]
mod tests;

use outbox::Outbox;
pub(in crate::server) use quiet::Quiet;

/// One connected client.
pub(crate) struct Session {
    id: u64,
    /// `None` while it is waited for a client whose connection was cut.
    link: RwLock<Option<Arc<dyn Link>>>,
    /// What outlives the connection, if it is one that lasts.
    lasting: OnceLock<Lasting>,
    trusted: bool,
    table: Arc<Table>,
    server: Weak<Server>,
    state: Mutex<State>,
    outbox: Mutex<Outbox>,
    /// How much of the outbox counts for what is kept for all clients; set while that is locked.
    kept: AtomicUsize,
    /// It does not read its answers: no more requests are taken from it.
    choked: AtomicBool,
    /// Requests of a batch of its are being served.
    is_corked: AtomicBool,
    has_spoken: AtomicBool,
    /// There are as many clients as may be, and it is to be told so.
    is_surplus: AtomicBool,
    /// Calls that want no answer and have not ended.
    quiet: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    /// References, by object.
    leases: HashMap<u64, u64>,
    /// Calls without an answer.
    calls: HashMap<u64, Open>,
    /// Items that were sent as answers, and of which it has not said that they have come.
    given: HashMap<u64, Untaken>,
    /// How often calls that wait in an object are to be told so.
    hear: Option<Duration>,
    /// Objects that may hold something of this client's: a lock, a place in a queue.
    touched: HashSet<u64>,
    flights: usize,
}

impl State {
    /// Whether the client is to say nothing more of what it was sent, or waits for.
    fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.given.is_empty()
    }
}

/// A call without an answer.
#[derive(Debug)]
struct Open {
    object: u64,
    /// It waits in the object, and nothing runs for it.
    parked: bool,
}

/// What a client held when it ended.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) leases: HashMap<u64, u64>,
    pub(crate) calls: HashMap<u64, u64>,
    pub(crate) given: Vec<Untaken>,
    pub(crate) touched: HashSet<u64>,
}

/// For each call that may be without an answer, so many items may be sent and not taken: a client may ask
/// for many and look at them later.
const UNTAKEN: usize = 64;

impl Session {
    pub(crate) fn new(id: u64, link: Box<dyn Link>, trusted: bool, server: &Arc<Server>) -> Arc<Self> {
        Arc::new(Self {
            id,
            link: RwLock::new(Some(link.into())),
            lasting: OnceLock::new(),
            trusted,
            table: Arc::clone(server.table()),
            server: Arc::downgrade(server),
            state: Mutex::default(),
            outbox: Mutex::default(),
            kept: AtomicUsize::new(0),
            choked: AtomicBool::new(false),
            is_corked: AtomicBool::new(false),
            has_spoken: AtomicBool::new(false),
            is_surplus: AtomicBool::new(false),
            quiet: AtomicUsize::new(0),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Whether it has said nothing before this.
    pub(crate) fn begin_talk(&self) -> bool {
        !self.has_spoken.load(Ordering::Relaxed) && !self.has_spoken.swap(true, Ordering::Relaxed)
    }

    pub(super) fn set_surplus(&self) {
        self.is_surplus.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_surplus(&self) -> bool {
        self.is_surplus.load(Ordering::Relaxed)
    }

    /// Takes what has come, if it is a whole request.
    pub(crate) fn receive(&self, packet: &mut Packet) -> Result<bool, RecvError> {
        let Some(received) = self.over_link(|link| link.recv(packet, at_once())) else { return Ok(false) };
        match received {
            Ok(()) => {}
            Err(RecvError::Timeout) => return Ok(false),
            Err(error) => {
                if matches!(error, RecvError::Closed | RecvError::Cut | RecvError::Io(_)) {
                    self.note_cut();
                } else {
                    self.give_up_waiting();
                }
                return Err(error);
            }
        }
        if let Some(count) = self.lasting.get().and_then(|lasting| lasting.note(packet)) {
            self.tell_heard(count);
        }
        Ok(true)
    }

    pub(super) fn link(&self) -> Option<Arc<dyn Link>> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something with the connection that does not wait.
    fn over_link<R>(&self, act: impl FnOnce(&dyn Link) -> R) -> Option<R> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).as_deref().map(act)
    }

    fn set_link(&self, link: Option<Arc<dyn Link>>) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link;
    }

    fn send_at_once(&self, once: &mut Once) -> Result<(), SendError> {
        self.over_link(|link| link.send(once, at_once())).unwrap_or(Err(SendError::Closed))
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.over_link(|link| link.capabilities()).unwrap_or(Capabilities::BYTES)
    }

    /// Answers a call with a ring, over which all answers go from then on; `false` if the client
    /// is to go on as it is.
    pub(super) fn give_ring(&self, call: u64, ours: &Arc<Ring>, theirs: &wire::Ring) -> bool {
        let mut packet = Packet::new();
        let tail = Tail { call, kind: AnswerKind::Ring, objects: Vec::new() };
        if packet.append(theirs).and_then(|()| packet.append_tail(&tail)).is_err() {
            return false;
        }
        let mut outbox = lock(&self.outbox);
        if self.choked.load(Ordering::Relaxed) || outbox.ring.is_some() {
            return false;
        }
        let mut once = Once { packet, taken: false };
        let sent = self.send_at_once(&mut once);
        if sent.is_err() && !once.taken {
            return false;
        }
        lock(&self.state).calls.remove(&call);
        outbox.ring = Some(Arc::clone(ours));
        if sent.is_err() {
            // A part is on its way, and the client waits for the rest: that goes before all else.
            outbox.is_cut = true;
            self.choked.store(true, Ordering::Relaxed);
            drop(outbox);
            if let Some(server) = self.server.upgrade() {
                server.flush_later(self.id);
            }
        }
        true
    }

    /// Answers go over the socket again.
    pub(super) fn take_ring(&self) {
        lock(&self.outbox).ring = None;
    }

    /// Takes the ring away, if nothing is to come over it: no call is without its answer, and no item without
    /// the client's word for it, which would be lost in a ring that nobody looks at any more.
    pub(super) fn retire_ring(&self) -> bool {
        let mut outbox = lock(&self.outbox);
        let is_done = outbox.packets.is_empty() && lock(&self.state).is_idle();
        if is_done {
            outbox.ring = None;
        }
        is_done
    }

    pub(crate) fn takes_requests(&self) -> bool {
        !self.choked.load(Ordering::Relaxed)
    }

    /// Notes a call; `false` if there are too many without an answer, or items that it has not taken.
    pub(crate) fn begin(&self, call: u64, object: u64, most: usize) -> bool {
        let mut state = lock(&self.state);
        if call == 0 || state.ended {
            return true;
        }
        let is_full = state.calls.len() >= most || state.given.len() >= most.saturating_mul(UNTAKEN);
        if is_full || state.calls.contains_key(&call) || state.given.contains_key(&call) {
            return false;
        }
        state.calls.insert(call, Open { object, parked: false });
        true
    }

    /// Whether a call still has no answer.
    pub(crate) fn awaits(&self, call: u64) -> bool {
        lock(&self.state).calls.contains_key(&call)
    }

    /// Notes that a call waits in its object; `false` if it has its answer.
    pub(crate) fn park(&self, call: u64) -> bool {
        let mut state = lock(&self.state);
        state.calls.get_mut(&call).map(|open| open.parked = true).is_some()
    }

    /// The client waits for it no more.
    pub(crate) fn give_up(&self, call: u64) {
        lock(&self.state).calls.remove(&call);
    }

    /// The client may hold something of the object's from now on; `false` if it has ended.
    pub(crate) fn touch(&self, object: u64) -> bool {
        let mut state = lock(&self.state);
        if !state.ended {
            state.touched.insert(object);
        }
        !state.ended
    }

    /// One reference more that the server has counted; `false` if the client has ended.
    pub(crate) fn lend(&self, object: u64) -> bool {
        let mut state = lock(&self.state);
        if !state.ended {
            *state.leases.entry(object).or_default() += 1;
        }
        !state.ended
    }

    /// Takes a reference back; `false` if the client had none.
    pub(crate) fn take_back(&self, object: u64) -> bool {
        let mut state = lock(&self.state);
        let Some(count) = state.leases.get_mut(&object) else { return false };
        *count -= 1;
        if *count == 0 {
            state.leases.remove(&object);
        }
        true
    }

    /// Whether the client may have one more proxy on its way in a message.
    pub(crate) fn may_fly(&self, most: usize) -> bool {
        let mut state = lock(&self.state);
        state.flights += 1;
        state.flights <= most
    }

    pub(crate) fn landed(&self) {
        let mut state = lock(&self.state);
        state.flights = state.flights.saturating_sub(1);
    }

    /// Says that calls wait so often from now on; `false` if that is done already.
    pub(crate) fn start_hearing(&self, period: Duration) -> bool {
        let mut state = lock(&self.state);
        let is_new = state.hear.is_none_or(|known| period < known);
        if is_new {
            state.hear = Some(period);
        }
        is_new
    }

    /// Tells the client which calls still wait; whether to go on with it.
    pub(crate) fn tell_waiting(&self, period: Duration) -> bool {
        let is_away = self.is_away();
        let mut state = lock(&self.state);
        if state.hear != Some(period) {
            return false;
        }
        if is_away {
            return true;
        }
        let parked = state.calls.iter().filter(|(_, open)| open.parked);
        let calls: Vec<u64> = parked.map(|(call, _)| *call).collect();
        if calls.is_empty() {
            state.hear = None;
            return false;
        }
        drop(state);
        for call in calls {
            self.say(Packet::new(), &Tail { call, kind: AnswerKind::Waiting, objects: Vec::new() });
        }
        true
    }

    /// Answers a call that was not even noted.
    pub(crate) fn turn_away(&self, call: u64, fault: FaultKind) {
        self.say(Packet::new(), &Tail { call, kind: AnswerKind::Fault(fault), objects: Vec::new() });
    }

    /// Sends an answer, with references to the objects in it; `false` if nobody gets it.
    pub(crate) fn answer(&self, packet: Packet, tail: Tail, counted: bool) -> bool {
        if !self.close_call(&tail, counted, None) {
            return false;
        }
        // References that were counted before are given back as well when it is refused: nobody is
        // to do so again.
        self.say(packet, &tail) || self.refuse(&tail) || counted
    }

    /// Sends an item, and keeps it until the client says that it has come, gives the call up or ends; the item, if
    /// it does not even leave.
    pub(crate) fn answer_item(&self, packet: Packet, tail: Tail, item: Untaken) -> Option<Untaken> {
        let mut item = Some(item);
        if !self.close_call(&tail, false, Some(&mut item)) {
            return item;
        }
        // If the client has ended meanwhile, others have it already.
        if self.say(packet, &tail) { None } else { self.refuse_item(&tail) }
    }

    fn refuse_item(&self, tail: &Tail) -> Option<Untaken> {
        let item = self.take_back_item(tail.call);
        self.refuse(tail);
        item
    }

    /// A call has its answer, and the client the references in that; `false` if nobody waits for it. An item is
    /// kept for the client.
    fn close_call(&self, tail: &Tail, counted: bool, item: Option<&mut Option<Untaken>>) -> bool {
        let mut state = lock(&self.state);
        if state.calls.remove(&tail.call).is_none() || state.ended {
            return false;
        }
        for object in &tail.objects {
            if counted || self.table.raise(*object) {
                *state.leases.entry(*object).or_default() += 1;
            }
        }
        if let Some(item) = item.and_then(Option::take) {
            state.given.insert(tail.call, item);
        }
        true
    }

    /// An item has come to the client.
    pub(in crate::server) fn was_taken(&self, call: u64) {
        let item = self.take_back_item(call);
        // What was in it may go with it, and that is not to be under the lock.
        drop(item);
    }

    /// An item that the client has not said to have come.
    pub(in crate::server) fn take_back_item(&self, call: u64) -> Option<Untaken> {
        lock(&self.state).given.remove(&call)
    }

    /// Whether there are such items.
    pub(in crate::server) fn has_given(&self) -> bool {
        !lock(&self.state).given.is_empty()
    }

    /// An answer that cannot be sent, because it is too long for one, is an error.
    fn refuse(&self, tail: &Tail) -> bool {
        for object in &tail.objects {
            if self.take_back(*object) {
                self.table.lower(*object);
            }
        }
        let kind = AnswerKind::Fault(FaultKind::Reply("the link to the caller does not take it".to_owned()));
        self.say(Packet::new(), &Tail { call: tail.call, kind, objects: Vec::new() });
        false
    }

    /// The client has ended: what it held is to be given back.
    pub(crate) fn end(&self) -> Estate {
        let mut state = lock(&self.state);
        state.ended = true;
        Estate {
            leases: std::mem::take(&mut state.leases),
            calls: state.calls.drain().map(|(call, open)| (call, open.object)).collect(),
            given: state.given.drain().map(|(_, item)| item).collect(),
            touched: std::mem::take(&mut state.touched),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}
