//! Coming back to a manager when the connection to it is cut.
//!
//! One thread of the process waits for the ends of all connections that last, so that a client which
//! says nothing and holds something comes back as well. While one is cut, a thread of its own tries to
//! come back, as the policy says.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use ipc_core::link::{Link, PipeLink};
use ipc_core::raw::{PerProcess, start_thread};
use ipc_core::{Packet, Waitable, connect_link_with, wait};

use super::{Client, PATIENCE, lock, options};
use crate::error::{Fault, Kind, ManagerError};
use crate::reconnect::Reconnect;
use crate::wire::{AnswerKind, Request, Resumed, Tail, VERSION, request};

/// How long saying that this client comes back may take.
const SAYING: Duration = Duration::from_secs(5);

impl Client {
    /// Has the manager keep what this client holds for a time when the connection is cut, if that is
    /// one over TCP; then the client comes back by itself.
    pub(crate) fn last(self: &Arc<Self>, policy: &Reconnect) {
        let Some(far) = self.line.far().filter(|far| !far.lasts() && !self.is_inherited()) else { return };
        let call = self.next_call();
        let (client, policy) = (Arc::downgrade(self), policy.clone());
        let on_cut = move || come_back_later(&client, &policy);
        let Ok(packet) = request(call, Request::Last) else { return };
        if self.waiting.enter(call).is_err() || !far.begin(packet, on_cut) {
            self.waiting.give_up(call);
            return;
        }
        match self.await_answer(call, SAYING) {
            Ok((_, tail)) if tail.kind == AnswerKind::Ticket => watch(self),
            Ok(_) => far.refused(),
            // It may still come, and is of no use without one who watches.
            Err(_) => {
                self.waiting.give_up(call);
            }
        }
    }

    /// What came of the last try to come back, if to nothing, for the first that asks.
    pub(crate) fn take_lost(&self) -> Option<String> {
        self.line.far()?.take_lost()
    }

    /// Whether a cut need not be the end of the connection.
    pub(crate) fn lasts(&self) -> bool {
        self.line.far().is_some_and(|far| far.lasts())
    }

    /// Whether the connection is cut, and may come back.
    pub(crate) fn is_cut(&self) -> bool {
        self.line.far().is_some_and(|far| far.is_cut())
    }

    /// One try to come back.
    fn come_back(&self, time: Duration) -> Result<(), ManagerError> {
        let deadline = Instant::now().checked_add(time);
        let (far, (ticket, heard)) =
            self.line.far().and_then(|far| Some((far, far.claim()?))).ok_or_else(ended)?;
        let epoch = self.access.epoch;
        let mut first =
            request(1, Request::Resume { version: VERSION, epoch, ticket, heard }).map_err(Kind::Encode)?;
        let options = options(&self.access, time);
        let greeted = connect_link_with(&self.access.address, options, Some(&mut first));
        let link = greeted.map_err(Kind::Connect)?.link;
        let mut answer = Packet::new();
        link.recv(&mut answer, deadline)
            .map_err(|_| Kind::Gone("the connection was cut again".to_owned()))?;
        let tail: Tail = answer.read_tail().map_err(Kind::Decode)?;
        if let AnswerKind::Fault(fault) = tail.kind {
            return Err(fault.into());
        }
        let Resumed { heard } = answer.read_item().map_err(Kind::Decode)?;
        if far.resume(link.into(), heard) { Ok(()) } else { Err(ended()) }
    }
}

fn ended() -> ManagerError {
    Fault::refused("what the manager says of the connection before does not fit to what was said").into()
}

/// Whether another try may come to something.
fn is_passing(error: &ManagerError) -> bool {
    error.is_gone() && !error.is_authentication()
}

/// Whether a thread sees to it.
fn come_back_later(client: &Weak<Client>, policy: &Reconnect) -> bool {
    let (client, policy) = (Weak::clone(client), policy.clone());
    let thread = std::thread::Builder::new().name("mp-keeper-resume".into()).stack_size(256 << 10);
    start_thread(thread, move || come_back(&client, &policy)).is_ok()
}

fn come_back(client: &Weak<Client>, policy: &Reconnect) {
    let attempt = |left| match client.upgrade() {
        Some(client) => client.come_back(left),
        None => Ok(()),
    };
    let result = policy.go_on(attempt, is_passing);
    let Some(client) = client.upgrade() else { return };
    match result {
        Ok(()) => {
            ring();
            // What has to be sent again goes before it.
            if let Ok(packet) = request(0, Request::Cancel { object: 0, call: 0 }) {
                let _ = client.send(packet, PATIENCE);
            }
        }
        Err(error) => {
            let why = error.to_string();
            client.waiting.close(&why);
            if let Some(far) = client.line.far() {
                far.end(is_passing(&error).then_some(why));
            }
        }
    }
}

/// The thread that waits for the ends of connections.
#[derive(Default)]
struct Watch {
    /// There is a thread, and this has it look around.
    bell: Option<PipeLink>,
    clients: Vec<Weak<Client>>,
}

static WATCH: PerProcess<Mutex<Watch>> =
    PerProcess::new(Mutex::new(Watch { bell: None, clients: Vec::new() }), |_| Mutex::default());

/// Has a cut connection noticed also while nobody asks anything.
fn watch(client: &Arc<Client>) {
    let mut watch = lock(WATCH.here());
    watch.clients.push(Arc::downgrade(client));
    if let Some(bell) = &watch.bell {
        let _ = bell.send(&mut Packet::new(), super::at_once());
        return;
    }
    // Without a thread, the next call notices it.
    let Ok((bell, ear)) = PipeLink::pair() else { return };
    let thread = std::thread::Builder::new().name("mp-keeper".into()).stack_size(256 << 10);
    if start_thread(thread, move || wait_for_cuts(&Arc::new(ear))).is_ok() {
        watch.bell = Some(bell);
    }
}

/// Has the thread look around: a connection has come back, or has ended.
pub(super) fn ring() {
    if let Some(bell) = &lock(WATCH.here()).bell {
        // A full pipe rings loud enough.
        let _ = bell.send(&mut Packet::new(), super::at_once());
    }
}

fn wait_for_cuts(ear: &Arc<PipeLink>) {
    loop {
        let clients = {
            let mut watch = lock(WATCH.here());
            watch.clients.retain(|client| client.strong_count() > 0);
            if watch.clients.is_empty() {
                watch.bell = None;
                return;
            }
            watch.clients.clone()
        };
        let ends: Vec<_> = clients
            .iter()
            .filter_map(|client| {
                let end = client.upgrade()?.line.far()?.peer_end()?;
                Some((client, end))
            })
            .collect();
        let ear_first = [ear as &dyn Waitable];
        let items: Vec<&dyn Waitable> =
            ear_first.into_iter().chain(ends.iter().map(|(_, end)| end as &dyn Waitable)).collect();
        // Memory is short for the kernel; there is no other error.
        for place in wait(&items, None).unwrap_or_default() {
            match place.checked_sub(1).map(|place| &ends[place]) {
                None => while ear.recv(&mut Packet::new(), super::at_once()).is_ok() {},
                Some((client, _)) => {
                    // Answers that came before the end are read first. If another thread reads, it
                    // notices the end by itself.
                    if let Some(client) = client.upgrade() {
                        client.look();
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}
