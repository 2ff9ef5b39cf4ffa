//! The server: objects, clients, and the threads that serve them.
//!
//! ```text
//! helm     one thread at a time waits for all clients and reads their requests
//!   | a method of this crate's objects runs right there: it is short and never waits
//!   | a user's method that was quick lately too: another thread watches, and takes the helm if need be
//!   | any other: the thread gives the helm to another one and runs it
//! crew     the threads that take the helm in turn; grows to a bound
//! backlog  calls for which no thread was free
//! ```
//!
//! An answer is sent by the thread that has it, without waiting; what a client
//! does not take is kept for it, and no more requests are read from it until it has.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipc_core::link::{Link, PipeLink};
use ipc_core::{AuthKey, Listener, Packet};

use crate::client::lock;
use crate::durable::{Opened, Store};
use crate::error::{Fault, FaultKind, Kind, ManagerError};
use crate::hosted::Make;
use crate::lease::{Lease, Route};
use crate::wire::Access;

mod alarms;
mod answer;
pub(crate) mod builtin;
mod crew;
mod flights;
pub(crate) mod grace;
mod helm;
mod home_call;
pub(crate) mod homes;
mod hot;
mod object;
mod requests;
mod ring;
pub(crate) mod session;
pub(crate) mod table;
#[cfg(test)]
mod turns;
mod unread;
mod work;

use alarms::{Alarm, Alarms};
use answer::Untaken;
pub(crate) use answer::{Answer, CallKey, HeldAnswer, NotRead};
use crew::Crew;
use flights::Flights;
use grace::Grace;
use helm::Helm;
pub(crate) use home_call::{HomeCall, begin_at_home};
use object::Parting;
pub(crate) use object::{Hosted, Object, Shelf, Shelved};
use ring::Ring;
use session::Session;
use table::Table;
use unread::Unread;
use work::Work;

/// What a server may take on.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) objects: usize,
    pub(crate) clients: usize,
    pub(crate) threads: usize,
    /// Calls of one client without an answer.
    pub(crate) calls: usize,
    /// Calls that wait for a thread.
    pub(crate) backlog: usize,
    /// Clients with a way through shared memory, at one time.
    pub(crate) rings: usize,
    /// The longest request and answer.
    pub(crate) message: usize,
    /// What is kept for clients that have not read it.
    pub(crate) unread: usize,
    /// How long a client over TCP is waited for whose connection was cut.
    pub(crate) grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            objects: 1 << 20,
            clients: 16_384,
            threads: 32,
            calls: 4096,
            backlog: 4096,
            rings: ring::MOST,
            message: 64 << 20,
            unread: unread::MOST,
            grace: grace::GRACE,
        }
    }
}

pub(crate) struct Server {
    access: Access,
    limits: Limits,
    registered: HashMap<&'static str, Make>,
    table: Arc<Table>,
    names: Mutex<HashMap<String, u64>>,
    flights: Flights,
    grace: Grace,
    unread: Unread,
    pub(crate) sessions: Mutex<HashMap<u64, Arc<Session>>>,
    last_session: AtomicU64,
    alarms: Alarms,
    helm: Mutex<Helm>,
    crew: Crew,
    backlog: Mutex<VecDeque<Work>>,
    /// Clients to part with, found where the helm was not at hand.
    ending: Mutex<Vec<u64>>,
    flushing: Mutex<Flushing>,
    /// Clients that have read their answers, and are to be listened to again.
    flushed: Mutex<Vec<u64>>,
    /// Rings that are to be listened to, and how many are.
    rings: Mutex<Vec<Arc<Ring>>>,
    ring_count: AtomicUsize,
    last_ring: AtomicU64,
    bell: PipeLink,
    has_rung: AtomicBool,
    stopping: AtomicBool,
    home_calls: AtomicU64,
    /// The state that survives it, if it has a folder for that.
    store: Option<Arc<Store>>,
    /// Where a test meets whoever is at the helm, and lets it go on.
    #[cfg(test)]
    holds: [std::sync::Barrier; 2],
}

/// Clients that do not read their answers, and whether a thread sees to them.
#[derive(Debug, Default)]
struct Flushing {
    sessions: Vec<(u64, Instant)>,
    runs: bool,
}

/// How long a client may leave its answers unread.
const UNREAD: Duration = Duration::from_secs(60);

impl Server {
    /// Serves those that come to `listener`.
    pub(crate) fn open(
        listener: Listener,
        mut access: Access,
        limits: Limits,
        registered: HashMap<&'static str, Make>,
        state: Option<Opened>,
    ) -> Result<Arc<Self>, ManagerError> {
        access.address = listener.address().clone();
        let (bell, ear) = PipeLink::pair().map_err(Kind::System)?;
        let server = Arc::new(Self {
            access,
            table: Arc::new(Table::new(limits.objects)),
            limits,
            registered,
            names: Mutex::default(),
            flights: Flights::default(),
            grace: Grace::default(),
            unread: Unread::default(),
            sessions: Mutex::default(),
            last_session: AtomicU64::new(0),
            alarms: Alarms::default(),
            helm: Mutex::new(Helm::new(listener, ear).map_err(Kind::System)?),
            crew: Crew::default(),
            backlog: Mutex::default(),
            ending: Mutex::default(),
            flushing: Mutex::default(),
            flushed: Mutex::default(),
            rings: Mutex::default(),
            ring_count: AtomicUsize::new(0),
            last_ring: AtomicU64::new(0),
            bell,
            has_rung: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            home_calls: AtomicU64::new(0),
            store: state.as_ref().map(|state| Arc::clone(&state.store)),
            #[cfg(test)]
            holds: [std::sync::Barrier::new(2), std::sync::Barrier::new(2)],
        });
        homes::enrol(&server);
        if let Some(state) = state {
            state.restore(&server).map_err(Kind::State)?;
        }
        crew::grow(&server).map_err(Kind::System)?;
        Ok(server)
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub(crate) fn store(&self) -> Option<&Arc<Store>> {
        self.store.as_ref()
    }

    /// A name that was there before the server began.
    pub(crate) fn restore_name(&self, name: &str, object: u64) {
        if self.table.raise(object) {
            lock(&self.names).insert(name.to_owned(), object);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Parts with all clients; methods that run are not stopped.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.ring();
    }

    /// Waits until all threads have ended; `false` at the deadline.
    pub(crate) fn wait_stopped(&self, deadline: Option<Instant>) -> bool {
        self.crew.wait_empty(deadline)
    }

    /// Has whoever is at the helm look around.
    fn ring(&self) {
        // ORDERING: what was changed before the bell is seen by who hears it.
        if !self.has_rung.swap(true, Ordering::AcqRel) {
            // The pipe has room: there are no more than two of these in it. Who rang last
            // may not be back from it, which is waited for.
            let _ = self.bell.send(&mut Packet::new(), None);
        }
    }

    /// Has some thread do `work`, soon.
    fn submit(&self, work: Work) {
        lock(&self.backlog).push_back(work);
        self.ring();
    }

    fn set_alarm(&self, at: Instant, alarm: Alarm) {
        // Who is at the helm looks at the alarms before it waits.
        if self.alarms.set(at, alarm) && !table::Hasty::is_now() {
            self.ring();
        }
    }

    fn session(&self, id: u64) -> Option<Arc<Session>> {
        lock(&self.sessions).get(&id).map(Arc::clone)
    }

    /// Has the session ended by whoever is at the helm.
    fn end_later(&self, session: u64) {
        lock(&self.ending).push(session);
        self.ring();
    }

    /// Gives back what a client held, at once.
    fn end_session(&self, id: u64) {
        let Some(session) = lock(&self.sessions).remove(&id) else { return };
        self.wait_no_more(session.drop_link());
        let estate = session.end();
        for object in estate.touched {
            if let Some(object) = self.table.get(object) {
                self.part_with(object, Parting::Client(id));
            }
        }
        // Before the references: with the last one a queue goes.
        for item in estate.given {
            self.give_back(item);
        }
        for object in estate.calls.into_values() {
            if let Some(Object::Hosted(hosted)) = self.table.get(object).as_deref() {
                hosted.forget(|answer| answer.key().session == id);
            }
        }
        for (object, count) in estate.leases {
            self.table.lower_by(object, count);
        }
        let lost_at = Instant::now() + flights::GRACE;
        for ticket in self.flights.of(id) {
            self.set_alarm(lost_at, Alarm::Lost { ticket });
        }
    }

    /// An item that was sent to a client, and is not wanted there, is its queue's again.
    fn take_back(&self, session: &Session, call: u64) {
        if let Some(item) = session.take_back_item(call) {
            self.give_back(item);
        }
    }

    fn give_back(&self, item: Untaken) {
        if let Some(object) = item.home(&self.table) {
            self.part_with(object, Parting::Item(item));
        }
    }

    /// Has a thread send what a client has not taken.
    fn flush_later(self: &Arc<Self>, session: u64) {
        let mut flushing = lock(&self.flushing);
        flushing.sessions.push((session, Instant::now()));
        if !flushing.runs {
            let server = Arc::clone(self);
            let thread = std::thread::Builder::new().name("mp-manager-flush".into());
            flushing.runs = thread.spawn(move || server.flush()).is_ok();
        }
    }

    fn flush(&self) {
        loop {
            let sessions = {
                let mut flushing = lock(&self.flushing);
                if flushing.sessions.is_empty() || self.is_stopping() {
                    flushing.runs = false;
                    return;
                }
                std::mem::take(&mut flushing.sessions)
            };
            for (id, since) in sessions {
                let Some(session) = self.session(id) else { continue };
                if session.flush(Duration::from_millis(10)) {
                    lock(&self.flushed).push(id);
                    self.ring();
                } else if since.elapsed() > UNREAD {
                    session.give_up_waiting();
                    self.end_later(id);
                } else {
                    lock(&self.flushing).sessions.push((id, since));
                }
            }
        }
    }

    /// A reference for a proxy that leaves in a message of a client's.
    pub(crate) fn fly(&self, object: u64, session: u64) -> Result<u128, Fault> {
        if !self.table.raise(object) {
            return Err(FaultKind::NoObject.into());
        }
        let ticket = random().map_err(Fault::refused)?;
        self.flights.start(ticket, object, session);
        if session == 0 {
            // No end of a client tells that it is lost.
            self.set_alarm(Instant::now() + flights::GRACE, Alarm::Lost { ticket });
        }
        Ok(ticket)
    }

    /// One reference for a proxy that has arrived: its ticket's, or a new one.
    pub(crate) fn claim(&self, object: u64, ticket: u128) -> Result<(), Fault> {
        match self.flights.land(ticket, object) {
            Some(session) => {
                if let Some(session) = self.session(session) {
                    session.landed();
                }
                Ok(())
            }
            None if self.table.raise(object) => Ok(()),
            None => Err(FaultKind::NoObject.into()),
        }
    }

    fn lose(&self, ticket: u128) {
        if let Some(object) = self.flights.lose(ticket) {
            self.table.lower(object);
        }
    }
}

/// A number that nobody guesses.
pub(crate) fn random() -> io::Result<u128> {
    let key = AuthKey::random()?;
    let bytes = key.bytes().first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(u128::from_le_bytes(*bytes))
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.access.address)
            .field("objects", &self.table.len())
            .finish_non_exhaustive()
    }
}

/// Gives an object a place in the server whose method this thread runs.
#[doc(hidden)]
pub fn host<T: crate::Object>(object: T) -> Result<crate::ObjectRef, ManagerError> {
    let server = homes::current().ok_or(Kind::OutsideServer)?;
    let hosted = object::Hosted::new(crate::Made::new(object).0);
    let number = server.table.add(Object::Hosted(hosted))?;
    let lease = Lease::counted(Route::Home(Arc::downgrade(&server)), number);
    Ok(crate::ObjectRef::new(server.access.epoch, Arc::new(lease), crate::client::PATIENCE))
}
