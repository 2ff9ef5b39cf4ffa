//! Waiting for all clients at once.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, PipeLink};
use ipc_core::{Arm, Listener, Packet, RecvError, WaitSet, Waitable};
use mp_process::catch_panic;

use super::alarms::Alarm;
use super::grace::Claim;
use super::hot::{Hot, Seen};
use super::requests::Orders;
use super::ring::Ring;
use super::session::Session;
use super::table::Hasty;
use super::work::Work;
use super::{Server, crew};
use crate::client::lock;
use crate::error::FaultKind;
use crate::wire::{Head, RING_IDLE, Request, VERSION, Welcome};

/// What the thread at the helm has before it.
pub(super) struct Helm {
    /// All that is waited for: clients by their numbers, and those below.
    set: WaitSet,
    listener: Option<Arc<Listener>>,
    /// Those who connect are told that there is no room.
    is_full: bool,
    ear: Arc<Ear>,
    sessions: HashMap<u64, Arc<Session>>,
    /// Of the clients that have one.
    rings: HashMap<u64, Arc<Ring>>,
    hot: Hot,
    /// How often in a row the kernel was not asked, and since when.
    looks: u32,
    asked: Instant,
    /// Those that have said something.
    ready: VecDeque<Ready>,
    /// How many requests were taken since there was more to do than that.
    taken: u32,
}

/// A client that has said something, and where.
struct Ready {
    session: Arc<Session>,
    source: Source,
}

enum Source {
    Socket,
    Ring(Arc<Ring>),
    /// Requests that came in one message. The answers to them go in one, as far as they are there
    /// when all have been begun.
    Batch(Packet),
}

/// The thread at the helm, which lets nobody sleep when it leaves.
struct Watch<'a> {
    helm: &'a mut Helm,
    leaves: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.leaves {
            self.helm.hot.wake_all();
        }
    }
}

/// What the thread at the helm is to do next.
pub(super) enum Turn {
    /// Something that may take long: another thread takes the helm.
    Leave(Work),
    /// A method that is most likely quick: it comes back.
    Dash(Work),
}

const EAR: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;
/// A client's ring is waited for under the client's number with this bit.
const RING: u64 = 1 << 62;

/// After so many requests whoever is at the helm sees to all else, if the bell does not call before.
pub(super) const CHORES: u32 = 32;

/// So many clients beyond those that may be connected are told so, at a time, when they ask something: those that
/// came before that could be said while they connected.
const TO_BE_TOLD: usize = 16;
/// And for so long that is waited for.
const TO_ASK: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 5000 });

/// So many requests of a client that has ended are looked through for what it says of items.
const LAST: u32 = 1 << 16;

/// So often in a row rings are looked at before the kernel is asked of all the others.
pub(super) const LOOKS: u32 = 64;
/// And for so long: one who calls now and then is waited for at his ring, and others come meanwhile.
const ASK_EVERY: Duration = Duration::from_micros(250);

impl Helm {
    pub(super) fn new(listener: Listener, ear: PipeLink) -> io::Result<Self> {
        let (set, listener, ear) = (WaitSet::new()?, Arc::new(listener), Arc::new(Ear(ear)));
        set.add(EAR, Arc::clone(&ear))?;
        set.add(LISTENER, Arc::clone(&listener))?;
        Ok(Self {
            set,
            listener: Some(listener),
            is_full: false,
            ear,
            sessions: HashMap::new(),
            rings: HashMap::new(),
            hot: Hot::new(),
            looks: 0,
            asked: Instant::now(),
            ready: VecDeque::new(),
            taken: CHORES,
        })
    }

    /// Serves until there is something that this thread is to do itself, and if it may take long,
    /// another one is there to take the helm. `None`: the server ends.
    pub(super) fn lead(&mut self, server: &Arc<Server>) -> Option<Turn> {
        let _hasty = Hasty::begin();
        // Also if this panics, nobody is to sleep beside an answer.
        let mut watch = Watch { helm: self, leaves: true };
        let turn = watch.helm.lead_on(server);
        // From a dash it comes back soon.
        watch.leaves = !matches!(turn, Some(Turn::Dash(_)));
        turn
    }

    fn lead_on(&mut self, server: &Arc<Server>) -> Option<Turn> {
        loop {
            if !self.goes_straight_on(server) {
                if server.is_stopping() {
                    self.close(server);
                    return None;
                }
                if let Some(work) = next_in_backlog(server) {
                    return Some(Turn::Leave(work));
                }
                self.fire_alarms(server);
                // Before it parts with those that have ended: it hears what came over their rings.
                self.listen_again(server);
                self.part(server);
                if let Some(work) = buried(server) {
                    return Some(Turn::Leave(work));
                }
                self.taken = 0;
            }
            match self.ready.pop_front() {
                None => self.wait(server),
                Some(ready) => {
                    self.taken += 1;
                    if let Some(work) = self.serve(server, ready) {
                        if work.is_quick() {
                            return Some(Turn::Dash(work));
                        }
                        if crew::has_relief(server) {
                            return Some(Turn::Leave(work));
                        }
                        work.queue(server);
                    }
                }
            }
        }
    }

    /// Whether there is a request to be taken before all else.
    fn goes_straight_on(&mut self, server: &Server) -> bool {
        if self.taken >= CHORES || server.has_rung.load(Ordering::Relaxed) {
            return false;
        }
        if self.ready.is_empty() && self.looks < LOOKS {
            let (sessions, ready) = (&self.sessions, &mut self.ready);
            self.looks += u32::from(self.hot.look_once(|ring| take(sessions, ready, ring)));
        }
        !self.ready.is_empty()
    }

    fn wait(&mut self, server: &Arc<Server>) {
        let (sessions, ready) = (&self.sessions, &mut self.ready);
        let seen = self.hot.look(server, |ring| take(sessions, ready, ring));
        if seen == Seen::Ready && self.looks < LOOKS && self.hot.now() < self.asked + ASK_EVERY {
            self.looks += 1;
            return;
        }
        self.looks = 0;
        let deadline = if seen == Seen::Nothing {
            self.hot.doze();
            server.alarms.next()
        } else {
            self.hot.cool_some();
            Some(Instant::now())
        };
        // Memory is short for the kernel; there is no other error.
        let ready = self.set.wait_deadline(deadline).unwrap_or_default();
        self.asked = Instant::now();
        if ready.iter().filter(|key| **key != EAR).count() > 1 {
            self.hot.note_other();
        }
        for key in ready {
            match key {
                EAR => self.hear(server),
                LISTENER => {
                    self.hot.note_other();
                    self.let_in(server);
                }
                client => self.note(client),
            }
        }
    }

    /// A client has said something, or one that is not to be listened to.
    fn note(&mut self, key: u64) {
        let id = key & !RING;
        let ring = if key & RING == 0 { None } else { self.rings.get(&id).cloned() };
        self.hot.note(ring.as_deref());
        match self.sessions.get(&id) {
            Some(session) if session.takes_requests() && (key & RING == 0 || ring.is_some()) => {
                let source = ring.map_or(Source::Socket, Source::Ring);
                self.ready.push_back(Ready { session: Arc::clone(session), source });
            }
            // It is listened to again when it has read its answers.
            _ => drop(self.set.remove(key)),
        }
    }

    /// Takes one request of a client's.
    fn serve(&mut self, server: &Arc<Server>, Ready { session, source }: Ready) -> Option<Work> {
        let mut packet = Packet::new();
        let received = match &source {
            Source::Batch(_) => Ok(true),
            // What it sent before comes first. It will be told again that there is more.
            _ if session.is_corked() => Ok(false),
            Source::Socket => session.receive(&mut packet),
            Source::Ring(ring) => ring.receive(&mut packet),
        };
        match (received, source) {
            (Ok(true), Source::Socket) => {}
            (Ok(true), Source::Ring(ring)) => self.hot.heat(ring),
            (_, Source::Batch(batch)) => return self.serve_batch(server, session, batch),
            (Ok(false), _) => return None,
            (Err(RecvError::Closed | RecvError::Cut), Source::Ring(_)) => {
                self.drop_ring(server, session.id());
                return None;
            }
            (Err(_), _) => {
                self.put_out(server, &session);
                return None;
            }
        }
        self.obey(server, session, packet)
    }

    /// Takes the next request of a batch; other clients have their turns between two.
    fn serve_batch(
        &mut self,
        server: &Arc<Server>,
        session: Arc<Session>,
        mut batch: Packet,
    ) -> Option<Work> {
        let Ok(packet) = batch.read_packet() else {
            session.give_up_waiting();
            self.put_out(server, &session);
            return None;
        };
        let work = self.obey(server, Arc::clone(&session), packet);
        if batch.is_at_end() {
            session.uncork();
        } else {
            self.ready.push_back(Ready { session, source: Source::Batch(batch) });
        }
        work
    }

    fn obey(&mut self, server: &Arc<Server>, session: Arc<Session>, packet: Packet) -> Option<Work> {
        match catch_panic(|| server.obey(&session, packet)) {
            Ok(Ok(Orders::Done)) => None,
            Ok(Ok(Orders::Work(work))) => Some(work),
            Ok(Ok(Orders::Batch(batch))) if !session.is_corked() => {
                session.cork();
                self.ready.push_back(Ready { session, source: Source::Batch(batch) });
                None
            }
            Ok(Ok(Orders::Resume(claim))) => {
                self.resume(server, &session, &claim);
                None
            }
            _ => {
                session.give_up_waiting();
                self.put_out(server, &session);
                None
            }
        }
    }

    /// Gives the connection of a new client to one that was here before, if it is that.
    fn resume(&mut self, server: &Arc<Server>, session: &Arc<Session>, claim: &Claim) {
        let known = self.sessions.get(&claim.ticket.session).filter(|_| claim.epoch == server.access.epoch);
        // Who comes back comes over TCP, as before.
        let link = session.link().filter(|link| !link.capabilities().local);
        let known = known.cloned();
        if let (Some(known), Some(link)) = (&known, link) {
            self.set.remove(session.id());
            self.set.remove(known.id());
            if let Some(was_away) = known.resume(link, claim) {
                server.wait_no_more(was_away);
                server.relieve();
                self.sessions.remove(&session.id());
                server.end_session(session.id());
                server.flush_later(known.id());
                return;
            }
            self.listen_to(known);
        }
        let why = if claim.epoch == server.access.epoch {
            "the manager does not know the connection before any more: it was away for longer than the time of grace, \
             or too much was kept for it that it had not read"
        } else {
            "another manager is at the address by now"
        };
        session.turn_away(claim.call, FaultKind::Refused(why.to_owned()));
        self.put_out(server, session);
    }

    /// A session that is listened to already, or has no connection, stays as it is.
    fn listen_to(&self, session: &Session) -> bool {
        session.link().is_none_or(|link| self.set.add(session.id(), Arc::new(link)).is_ok())
    }

    /// Parts with a client before anything else is taken.
    fn put_out(&mut self, server: &Server, session: &Session) {
        lock(&server.ending).push(session.id());
        self.taken = CHORES;
    }

    /// Listens to new rings, and again to clients that have read their answers.
    fn listen_again(&mut self, server: &Server) {
        for ring in std::mem::take(&mut *lock(&server.rings)) {
            let id = ring.session();
            if self.sessions.contains_key(&id) && self.set.add(id | RING, Arc::clone(&ring)).is_ok() {
                self.rings.insert(id, ring);
            } else {
                lock(&server.ending).push(id);
            }
        }
        server.ring_count.store(self.rings.len(), Ordering::Relaxed);
        for id in std::mem::take(&mut *lock(&server.flushed)) {
            if let Some(session) = self.sessions.get(&id) {
                // One that was not even taken out is there already.
                self.listen_to(session);
            }
            if let Some(ring) = self.rings.get(&id) {
                let _ = self.set.add(id | RING, Arc::clone(ring));
            }
        }
    }

    /// The client and the server go back to the socket.
    fn drop_ring(&mut self, server: &Server, id: u64) {
        self.set.remove(id | RING);
        self.hot.remove(id);
        let is_others = |ready: &Ready| !matches!(&ready.source, Source::Ring(ring) if ring.session() == id);
        self.ready.retain(is_others);
        self.rings.remove(&id);
        server.ring_count.store(self.rings.len(), Ordering::Relaxed);
        if let Some(session) = self.sessions.get(&id) {
            session.take_ring();
        }
    }

    /// Drops a ring that was not used; `true` if it was, or calls wait for their answers, so that
    /// it is to be asked again.
    fn keep_ring(&mut self, server: &Server, id: u64, number: u64) -> bool {
        let (Some(ring), Some(session)) = (self.rings.get(&id), self.sessions.get(&id)) else { return false };
        if ring.number() != number {
            return false;
        }
        if ring.is_ready() == Some(true) {
            // Something that was not to wake anybody.
            let (session, source) = (Arc::clone(session), Source::Ring(Arc::clone(ring)));
            if session.takes_requests() {
                self.ready.push_back(Ready { session, source });
            }
            return true;
        }
        if ring.was_used() || !session.retire_ring() {
            return true;
        }
        self.drop_ring(server, id);
        false
    }

    fn fire_alarms(&mut self, server: &Arc<Server>) {
        server.alarms.prune(|alarm| match *alarm {
            Alarm::GiveUp { session, call, .. } => {
                server.session(session).is_some_and(|session| session.awaits(call))
            }
            Alarm::Grace { session, turn } => {
                server.session(session).is_some_and(|session| session.is_away_since(turn))
            }
            _ => true,
        });
        while let Some(alarm) = server.alarms.due() {
            match alarm {
                Alarm::GiveUp { session, call, object } => {
                    if server.session(session).is_some_and(|session| session.awaits(call)) {
                        server.give_up(super::CallKey { session, call }, object);
                    }
                }
                Alarm::Hear { session, period } => {
                    if server.session(session).is_some_and(|session| session.tell_waiting(period)) {
                        server.set_alarm(Instant::now() + period, alarm);
                    }
                }
                Alarm::Grace { session, turn } => {
                    let session = server.session(session);
                    if let Some(session) = session.filter(|session| session.is_away_since(turn)) {
                        session.give_up_waiting();
                        lock(&server.ending).push(session.id());
                    }
                }
                Alarm::Lost { ticket } => server.lose(ticket),
                Alarm::Surplus { session } => lock(&server.ending).push(session),
                #[cfg(test)]
                Alarm::Panic => panic!("as the test has it"),
                #[cfg(test)]
                Alarm::Hold => {
                    server.holds.iter().for_each(|hold| _ = hold.wait());
                    return;
                }
                Alarm::Idle { session, ring } => {
                    if self.keep_ring(server, session, ring) {
                        server.set_alarm(Instant::now() + RING_IDLE, alarm);
                    }
                }
            }
        }
    }

    fn hear(&self, server: &Server) {
        let mut packet = Packet::new();
        while self.ear.0.recv(&mut packet, Some(Instant::now())).is_ok() {}
        // ORDERING: see `Server::ring`. The bell is taken off last: who finds it rung has
        // made its change before, and everything is looked at after this.
        server.has_rung.swap(false, Ordering::AcqRel);
    }

    fn let_in(&mut self, server: &Arc<Server>) {
        let Some(listener) = self.listener.clone() else { return };
        while let Ok(accepted) = listener.accept_link(Some(Instant::now())) {
            let beyond = (self.sessions.len() + 1).saturating_sub(Self::most(server));
            if beyond > TO_BE_TOLD {
                continue;
            }
            let id = server.last_session.fetch_add(1, Ordering::Relaxed) + 1;
            let session = Session::new(id, accepted.into_link(), server.access.is_tree(), server);
            if beyond > 0 {
                session.set_surplus();
            }
            // Without memory for it in the kernel it is put out.
            if self.listen_to(&session) {
                lock(&server.sessions).insert(id, Arc::clone(&session));
                self.sessions.insert(id, Arc::clone(&session));
                if beyond > 0 {
                    server.set_alarm(Instant::now() + TO_ASK, Alarm::Surplus { session: id });
                }
                // Its first request most likely came with the end of the handshake.
                self.ready.push_back(Ready { session, source: Source::Socket });
            }
        }
        self.say_room(server);
    }

    /// How many may be connected. Those who are away have their places.
    fn most(server: &Server) -> usize {
        server.limits.clients.saturating_add(server.grace.clients())
    }

    /// Tells those who connect from now on whether there is room for them.
    fn say_room(&mut self, server: &Server) {
        let is_full = self.sessions.len() >= Self::most(server);
        if is_full != self.is_full {
            self.is_full = is_full;
            let welcome = Welcome { version: VERSION, epoch: server.access.epoch, is_full };
            self.listener.iter().for_each(|listener| listener.set_word(welcome.word()));
        }
    }

    /// Parts with clients that have ended.
    fn part(&mut self, server: &Arc<Server>) {
        let ending = std::mem::take(&mut *lock(&server.ending));
        if ending.is_empty() {
            return;
        }
        for id in ending {
            let session = self.sessions.get(&id);
            if session.is_some_and(|session| session.is_seen_to()) {
                continue;
            }
            let session = session.map(Arc::clone);
            let ring = self.rings.get(&id).cloned();
            self.drop_ring(server, id);
            self.set.remove(id);
            if let Some(session) = session.as_ref().filter(|session| session.may_come_back()) {
                self.hear_out(server, session);
            }
            if session.is_some_and(|session| server.wait_for(&session)) {
                continue;
            }
            if let Some(session) = self.sessions.remove(&id) {
                hear_last(server, &session, ring.as_deref());
            }
            server.end_session(id);
        }
        let sessions = &self.sessions;
        self.ready.retain(|ready| sessions.contains_key(&ready.session.id()));
        self.say_room(server);
    }

    /// Does what a client has asked before its connection was cut, as far as it has come: an answer that could
    /// not be sent may have told of the cut before all was read. What stands behind a batch that is not done
    /// stays unread, and is said again by the client.
    fn hear_out(&mut self, server: &Arc<Server>, session: &Arc<Session>) {
        for _ in 0..LAST {
            let mut packet = Packet::new();
            if session.is_corked() || !matches!(session.receive(&mut packet), Ok(true)) {
                break;
            }
            if let Some(work) = self.obey(server, Arc::clone(session), packet) {
                work.queue(server);
            }
        }
    }

    fn close(&mut self, server: &Server) {
        self.set.remove(LISTENER);
        self.listener = None;
        self.ready.clear();
        self.listen_again(server);
        for (id, session) in self.sessions.clone() {
            let ring = self.rings.get(&id).cloned();
            self.drop_ring(server, id);
            self.set.remove(id);
            hear_last(server, &session, ring.as_deref());
            server.end_session(id);
        }
        self.sessions.clear();
        server.clear_backlog();
    }
}

/// Hears what a client has said of items that it took before it ended, so that nobody else gets them. What it
/// asked for last is not done any more.
fn hear_last(server: &Server, session: &Session, ring: Option<&Ring>) {
    let mut packet = Packet::new();
    let mut left = LAST;
    // One that is parted with may be there still, and go on.
    while left > 0
        && session.has_given()
        && (ring.is_some_and(|ring| matches!(ring.receive(&mut packet), Ok(true)))
            || matches!(session.receive(&mut packet), Ok(true)))
    {
        left -= 1;
        match packet.read().map(|Head { request, .. }| request) {
            Ok(Request::Taken { call }) => session.was_taken(call),
            Ok(Request::Cancel { call, .. }) => server.take_back(session, call),
            _ => {}
        }
        packet = Packet::new();
    }
}

/// Has the request that came over a ring be the next, if it is to be taken now.
fn take(sessions: &HashMap<u64, Arc<Session>>, ready: &mut VecDeque<Ready>, ring: &Arc<Ring>) -> bool {
    let session = sessions.get(&ring.session()).filter(|session| session.takes_requests());
    session.is_some_and(|session| {
        ready.push_back(Ready { session: Arc::clone(session), source: Source::Ring(Arc::clone(ring)) });
        true
    })
}

/// Objects of users' types that fell here, to be dropped by a thread that may take long.
fn buried(server: &Arc<Server>) -> Option<Work> {
    let graves = server.table.take_graves()?;
    if crew::has_relief(server) {
        return Some(Work::Bury(graves));
    }
    lock(&server.backlog).push_back(Work::Bury(graves));
    None
}

fn next_in_backlog(server: &Arc<Server>) -> Option<Work> {
    let has_work = !lock(&server.backlog).is_empty();
    if has_work && crew::has_relief(server) { lock(&server.backlog).pop_front() } else { None }
}

struct Ear(PipeLink);

impl Waitable for Ear {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.0.arm(arm);
    }
}

#[cfg(test)]
mod tests {
    use ipc_core::{Address, ConnectOptions, connect_link};

    use super::*;
    use crate::Manager;

    #[test]
    fn surplus_clients_that_say_nothing_are_parted_with() {
        let builder = Manager::builder().address(Address::tcp("127.0.0.1", 0)).authkey("key");
        let server = builder.max_clients(1).serve().unwrap();
        let _only = Manager::connect(server.address(), "key").unwrap();
        let connect = |_| connect_link(server.address(), ConnectOptions::new().authkey("key".into())).ok();
        let silent: Vec<_> = (0..2 * TO_BE_TOLD).filter_map(connect).collect();
        assert!(silent.len() >= TO_BE_TOLD);
        for link in &silent {
            let deadline = Some(Instant::now() + Duration::from_secs(60));
            let end = link.recv(&mut Packet::new(), deadline).unwrap_err();
            assert!(!matches!(end, RecvError::Timeout), "it stays");
        }
        // There is room again for one that is told.
        let error = Manager::connect(server.address(), "key").unwrap_err();
        assert!(error.is_busy(), "{error}");
    }
}
