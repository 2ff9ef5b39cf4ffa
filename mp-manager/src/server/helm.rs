//! Waiting for all clients at once.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ipc_core::link::{Link, PipeLink};
use ipc_core::{Arm, Listener, Packet, WaitSet, Waitable};
use mp_process::catch_panic;

use super::alarms::Alarm;
use super::session::Session;
use super::table::Hasty;
use super::work::Work;
use super::{Server, crew};
use crate::client::lock;

/// What the thread at the helm has before it.
pub(super) struct Helm {
    /// All that is waited for: clients by their numbers, and those below.
    set: WaitSet,
    listener: Option<Arc<Listener>>,
    ear: Arc<Ear>,
    sessions: HashMap<u64, Arc<Session>>,
    /// Those that have said something.
    ready: VecDeque<Arc<Session>>,
}

const EAR: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

impl Helm {
    pub(super) fn new(listener: Listener, ear: PipeLink) -> io::Result<Self> {
        let (set, listener, ear) = (WaitSet::new()?, Arc::new(listener), Arc::new(Ear(ear)));
        set.add(EAR, Arc::clone(&ear))?;
        set.add(LISTENER, Arc::clone(&listener))?;
        Ok(Self { set, listener: Some(listener), ear, sessions: HashMap::new(), ready: VecDeque::new() })
    }

    /// Serves until there is something that this thread is to do itself, away from
    /// the helm, and another one is there to take it. `None`: the server ends.
    pub(super) fn lead(&mut self, server: &Arc<Server>) -> Option<Work> {
        let _hasty = Hasty::begin();
        loop {
            if server.is_stopping() {
                self.close(server);
                return None;
            }
            if let Some(work) = next_in_backlog(server) {
                return Some(work);
            }
            fire_alarms(server);
            self.part(server);
            self.listen_again(server);
            if let Some(work) = buried(server) {
                return Some(work);
            }
            match self.ready.pop_front() {
                None => self.wait(server),
                Some(session) => {
                    if let Some(work) = serve(server, &session) {
                        if crew::has_relief(server) {
                            return Some(work);
                        }
                        work.queue(server);
                    }
                }
            }
        }
    }

    fn wait(&mut self, server: &Arc<Server>) {
        // Memory is short for the kernel; there is no other error.
        let ready = self.set.wait_deadline(server.alarms.next()).unwrap_or_default();
        for key in ready {
            match key {
                EAR => self.hear(server),
                LISTENER => self.let_in(server),
                client => match self.sessions.get(&client) {
                    Some(session) if session.takes_requests() => self.ready.push_back(Arc::clone(session)),
                    // It is listened to again when it has read its answers.
                    _ => drop(self.set.remove(client)),
                },
            }
        }
    }

    /// Listens again to clients that have read their answers.
    fn listen_again(&self, server: &Server) {
        for id in std::mem::take(&mut *lock(&server.flushed)) {
            if let Some(session) = self.sessions.get(&id) {
                // One that was not even taken out is there already.
                let _ = self.set.add(id, Arc::clone(session));
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
        let Some(listener) = &self.listener else { return };
        while let Ok(accepted) = listener.accept_link(Some(Instant::now())) {
            if self.sessions.len() >= server.limits.clients {
                continue;
            }
            let id = server.last_session.fetch_add(1, Ordering::Relaxed) + 1;
            let session = Session::new(id, accepted.into_link(), server.access.is_tree(), server);
            // Without memory for it in the kernel it is put out.
            if self.set.add(id, Arc::clone(&session)).is_ok() {
                lock(&server.sessions).insert(id, Arc::clone(&session));
                self.sessions.insert(id, session);
            }
        }
    }

    /// Parts with clients that have ended.
    fn part(&mut self, server: &Server) {
        let ending = std::mem::take(&mut *lock(&server.ending));
        if ending.is_empty() {
            return;
        }
        for id in ending {
            self.set.remove(id);
            self.sessions.remove(&id);
            server.end_session(id);
        }
        let sessions = &self.sessions;
        self.ready.retain(|session| sessions.contains_key(&session.id()));
    }

    fn close(&mut self, server: &Server) {
        self.set.remove(LISTENER);
        self.listener = None;
        self.ready.clear();
        for (id, _) in self.sessions.drain() {
            self.set.remove(id);
            server.end_session(id);
        }
        lock(&server.backlog).clear();
    }
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

fn fire_alarms(server: &Arc<Server>) {
    server.alarms.prune(|alarm| match *alarm {
        Alarm::GiveUp { session, call, .. } => {
            server.session(session).is_some_and(|session| session.awaits(call))
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
            Alarm::Lost { ticket } => server.lose(ticket),
        }
    }
}

/// Takes one request of a client's.
fn serve(server: &Arc<Server>, session: &Arc<Session>) -> Option<Work> {
    let mut packet = Packet::new();
    match session.receive(&mut packet) {
        Ok(true) => {}
        Ok(false) => return None,
        Err(_) => {
            lock(&server.ending).push(session.id());
            return None;
        }
    }
    let obeyed = catch_panic(|| server.obey(session, packet));
    match obeyed {
        Ok(Ok(work)) => work,
        _ => {
            lock(&server.ending).push(session.id());
            None
        }
    }
}

struct Ear(PipeLink);

impl Waitable for Ear {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.0.arm(arm);
    }
}
