//! A process's connection to a manager: one for all its threads and proxies.
//!
//! Requests carry numbers. Whoever waits for an answer and finds nobody reading
//! reads for all: answers to others are laid in their places and their threads
//! woken. So a call wakes no third thread.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ipc_core::link::Outgoing;
use ipc_core::raw::fork_generation;
use ipc_core::{ConnectOptions, EncodeError, Greeted, Handle, Packet, RecvError, connect_link_with};

use crate::batch::Gathered;
use crate::context;
use crate::error::{FaultKind, Kind, ManagerError};
use crate::lease::{Lease, Route};
use crate::object_ref::Reply;
use crate::wire::{Access, AnswerKind, FULL, Patience, Request, Tail, VERSION, Welcome, request};

mod fast;
mod keeper;
mod line;
mod sending;
#[cfg(test)]
mod tests;
mod waiting;

use line::Line;
use sending::{Wake, slice};
use waiting::{Unasked, Waiting};

/// How long a call may take unless its proxy says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A longer answer gives the connection up.
const LONGEST: usize = 256 << 20;

/// A connection.
pub(crate) struct Client {
    access: Access,
    line: Line,
    waiting: Waiting,
    /// What could not be sent at once goes before what is sent next.
    unsent: Mutex<Vec<Packet>>,
    last_call: AtomicU64,
    generation: u32,
}

/// A call that was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    call: u64,
    object: u64,
}

/// The connections of this process, by its fork generation and their managers' epochs.
type Known = Mutex<HashMap<(u32, u128), Weak<Client>>>;
static KNOWN: LazyLock<Known> = LazyLock::new(Mutex::default);

impl Client {
    /// The connection that this process has to the manager `epoch`.
    pub(crate) fn known(epoch: u128) -> Option<Arc<Self>> {
        let client = lock(&KNOWN).get(&(fork_generation(), epoch)).and_then(Weak::upgrade)?;
        client.waiting.is_open().then_some(client)
    }

    /// Connects to the manager that `access` says; another one at its address is an error.
    pub(crate) fn to(access: Access, timeout: Duration) -> Result<Arc<Self>, ManagerError> {
        let epoch = access.epoch;
        let client = Self::connect(access, timeout)?;
        if client.access.epoch == epoch { Ok(client) } else { Err(Kind::OtherEpoch.into()) }
    }

    /// Connects to the manager at the address, whichever it is.
    pub(crate) fn connect(mut access: Access, timeout: Duration) -> Result<Arc<Self>, ManagerError> {
        let greeted = connect_link_with(&access.address, options(&access, timeout), None);
        let greeted = greeted.map_err(Kind::Connect)?;
        access.epoch = welcomed(&greeted)?.epoch;
        let line = Line::over(greeted.link);
        let client = Arc::new(Self {
            access,
            waiting: Waiting::over(&line),
            line,
            unsent: Mutex::default(),
            last_call: AtomicU64::new(0),
            generation: fork_generation(),
        });
        let mut known = lock(&KNOWN);
        known.retain(|_, client| client.strong_count() > 0);
        known.insert((client.generation, client.access.epoch), Arc::downgrade(&client));
        Ok(client)
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether calls can be sent, as far as can be told now.
    pub(crate) fn is_usable(&self) -> bool {
        if self.is_inherited() {
            return false;
        }
        self.look();
        if let Some(far) = self.line.far() {
            far.settle();
        }
        self.waiting.is_open()
    }

    /// Takes in what has come, if nobody else does.
    fn look(&self) {
        if self.line.has_news() {
            self.read_at_once();
        }
    }

    /// Reads all that has come, if nobody else reads.
    pub(crate) fn read_at_once(&self) {
        let read = |packet: &mut Packet, until| self.read(packet, until);
        self.let_go(self.waiting.read_some(Some(Instant::now()), read));
    }

    /// Whether a fork has it from its parent, whose connection it is.
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != fork_generation()
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(
        self: &Arc<Self>,
        request: Request,
        patience: Duration,
        write: impl FnOnce(&mut Packet) -> Result<(), EncodeError>,
    ) -> Result<Reply, ManagerError> {
        let (packet, objects) = self.exchange(request, patience, write)?;
        Ok(self.reply(packet, objects))
    }

    pub(crate) fn reply(self: &Arc<Self>, packet: Packet, objects: Vec<u64>) -> Reply {
        let lease = |object| Lease::counted(Route::Client(Arc::clone(self)), object);
        Reply { packet, leases: objects.into_iter().map(lease).collect() }
    }

    fn exchange(
        &self,
        asked: Request,
        patience: Duration,
        write: impl FnOnce(&mut Packet) -> Result<(), EncodeError>,
    ) -> Result<(Packet, Vec<u64>), ManagerError> {
        let (begun, arguments) = self.begin(asked, patience, write)?;
        let answer = self.finish(begun, patience);
        drop(arguments);
        answer
    }

    /// Sends a request, whose answer is to be [waited for](Self::finish), or
    /// [given up](Self::give_up). The references in it are to be kept until then.
    pub(crate) fn begin(
        &self,
        asked: Request,
        patience: Duration,
        write: impl FnOnce(&mut Packet) -> Result<(), EncodeError>,
    ) -> Result<(Begun, Vec<Arc<Lease>>), ManagerError> {
        let (packet, begun, arguments) = self.prepare(asked, write)?;
        self.send(packet, patience).inspect_err(|_| self.give_up(begun))?;
        Ok((begun, arguments))
    }

    /// As [`begin`](Self::begin), for a call to the object of `lease` that is sent with the batch.
    pub(crate) fn begin_in(
        &self,
        batch: &Gathered,
        lease: &Arc<Lease>,
        asked: Request,
        write: impl FnOnce(&mut Packet) -> Result<(), EncodeError>,
    ) -> Result<(Begun, Vec<Arc<Lease>>), ManagerError> {
        let (packet, begun, arguments) = self.prepare(asked, write)?;
        let leases = arguments.iter().chain([lease]).map(Arc::clone);
        batch.push(begun.call, packet, leases).inspect_err(|_| self.give_up(begun))?;
        Ok((begun, arguments))
    }

    fn prepare(
        &self,
        asked: Request,
        write: impl FnOnce(&mut Packet) -> Result<(), EncodeError>,
    ) -> Result<(Packet, Begun, Vec<Arc<Lease>>), ManagerError> {
        let call = self.next_call();
        let object = if let Request::Call { object, .. } = asked { object } else { 0 };
        let begun = Begun { call, object };
        let mut packet = request(call, asked).map_err(Kind::Encode)?;
        let (written, arguments) = context::collecting(self.access.epoch, || write(&mut packet));
        written.map_err(Kind::Encode)?;
        self.waiting.enter(call)?;
        if self.waiting.fast.is_wanted(call) {
            self.ask_for_ring(call);
        }
        Ok((packet, begun, arguments))
    }

    fn next_call(&self) -> u64 {
        self.last_call.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn finish(
        &self,
        begun: Begun,
        patience: Duration,
    ) -> Result<(Packet, Vec<u64>), ManagerError> {
        if self.is_inherited() {
            return Err(Kind::InFlight(INHERITED.to_owned()).into());
        }
        let (packet, tail) = self.await_answer(begun.call, patience).inspect_err(|_| self.give_up(begun))?;
        match tail.kind {
            AnswerKind::Fault(fault) => Err(fault.into()),
            AnswerKind::Item => {
                self.say_taken(begun.call, patience)?;
                Ok((packet, tail.objects))
            }
            _ => Ok((packet, tail.objects)),
        }
    }

    /// Says that an item has come, before anybody has it here. If that does not go any more, it is others': the
    /// manager gives it to them.
    fn say_taken(&self, call: u64, patience: Duration) -> Result<(), ManagerError> {
        let packet = || request(0, Request::Taken { call }).map_err(Kind::Encode);
        match self.send_with(packet()?, patience, Wake::Later) {
            Err(error) if error.is_gone() => Err(Kind::InFlight(GONE.to_owned()).into()),
            // It goes before what is sent next; said twice, it is heard once.
            Err(_) => {
                self.keep(packet()?);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Lets go of what came with answers that nobody waits for.
    fn let_go(&self, unasked: Unasked) {
        unasked.objects.into_iter().for_each(|object| self.release(object));
        for call in unasked.items {
            if let Ok(packet) = request(0, Request::Taken { call }) {
                self.post(packet);
            }
        }
    }

    /// Waits for a call no more.
    pub(crate) fn give_up(&self, begun: Begun) {
        self.give_up_in(begun, None);
    }

    /// As [`give_up`](Self::give_up), for a call that may still lie in a batch: that comes first.
    pub(crate) fn give_up_in(&self, Begun { call, object }: Begun, batch: Option<&Gathered>) {
        // An item that has come is the manager's again by this.
        self.let_go(self.waiting.give_up(call));
        let Ok(mut packet) = request(0, Request::Cancel { object, call }) else { return };
        if let Some(batch) = batch {
            match batch.add(packet) {
                Ok(()) => return,
                Err(unsent) => packet = unsent,
            }
        }
        self.post(packet);
    }

    /// Nobody waits for the call, which is not given up.
    pub(crate) fn leave(&self, begun: Begun) {
        self.let_go(self.waiting.leave(begun.call));
    }

    /// This thread waits for a call that another one may have begun.
    pub(crate) fn attend(&self, begun: Begun) {
        self.waiting.attend(begun.call);
    }

    /// Whether the answer is here, as far as some thread has read for all, or will not come.
    pub(crate) fn has_answer(&self, begun: Begun) -> bool {
        self.is_inherited() || self.waiting.has_answer(begun.call)
    }

    fn await_answer(&self, call: u64, patience: Duration) -> Result<(Packet, Tail), ManagerError> {
        self.waiting.wait(
            call,
            patience,
            |packet, deadline| self.read(packet, deadline),
            |unasked| self.let_go(unasked),
        )
    }

    /// Waits until one of the calls has its answer, or will get none; its place. `None` at the
    /// deadline.
    pub(crate) fn await_any(
        &self,
        calls: &[Begun],
        patience: Duration,
        deadline: Option<Instant>,
    ) -> Option<usize> {
        if self.is_inherited() {
            return (!calls.is_empty()).then_some(0);
        }
        calls.iter().for_each(|begun| self.waiting.attend(begun.call));
        let calls: Vec<u64> = calls.iter().map(|begun| begun.call).collect();
        self.waiting.wait_any(
            &calls,
            (patience, deadline),
            |packet, deadline| self.read(packet, deadline),
            |unasked| self.let_go(unasked),
        )
    }

    /// Receives what comes over the ring, if there is one, or the socket.
    fn read(&self, packet: &mut Packet, deadline: Option<Instant>) -> Result<(), RecvError> {
        let fast = &self.waiting.fast;
        if let Some(ring) = fast.inlet() {
            match ring.link.link().recv_at_most(packet, LONGEST, deadline) {
                Ok(()) if self.access.is_tree() => return Ok(()),
                Ok(()) => {
                    packet.mark_foreign();
                    return Ok(());
                }
                Err(RecvError::Closed | RecvError::Cut) => {
                    self.waiting.end_ring().into_iter().for_each(|late| self.post(late));
                }
                Err(error) => return Err(error),
            }
        }
        self.line.recv(packet, deadline)
    }

    /// This process calls often: from now on over shared memory, if the manager is on this machine.
    fn ask_for_ring(&self, call: u64) {
        let can = self.line.capabilities();
        let fast = &self.waiting.fast;
        let gate = (can.passes_handles && can.local).then(|| fast.close_gate()).flatten();
        if gate.is_none() {
            return;
        }
        // What comes meanwhile is given back when others may send again.
        let given_up = Mutex::new(Unasked::default());
        let asked_at = fast.now();
        let asked = self.next_call();
        let until = Instant::now().checked_add(fast::PATIENCE);
        let Ok(packet) = request(asked, Request::Ring { longest: LONGEST as u64 }) else { return };
        if self.waiting.enter(asked).is_err() {
            return;
        }
        let mut once = Once { packet, taken: false };
        if self.flush(until).and_then(|()| self.line.send(&mut once, until)).is_ok() {
            // Whether it comes or not, calls go on; one that comes late is only listened to.
            let read = |packet: &mut Packet, until| self.read(packet, until);
            let unasked = |unasked| lock(&given_up).add(unasked);
            let _ = self.waiting.wait(asked, fast::PATIENCE, read, unasked);
        }
        self.waiting.give_up(asked);
        fast.asked(call, asked_at);
        drop(gate);
        self.let_go(given_up.into_inner().unwrap_or_default());
    }

    /// Calls a method that has no answer; if it cannot be sent soon, with the next call.
    pub(crate) fn call_later(
        &self,
        object: u64,
        method: u64,
        write: impl FnOnce(&mut Packet) -> Result<(), EncodeError>,
    ) {
        let call = request(0, Request::Call { object, method, patience: Patience::default() });
        if let Ok(mut packet) = call
            && write(&mut packet).is_ok()
        {
            self.post(packet);
        }
    }

    /// Gives a reference back.
    pub(crate) fn release(&self, object: u64) {
        if let Ok(packet) = request(0, Request::Release { object }) {
            self.post(packet);
        }
    }

    /// Takes over the reference of a proxy that came in a message.
    pub(crate) fn claim(self: &Arc<Self>, object: u64, ticket: u128) -> Result<Lease, ManagerError> {
        self.call(Request::Claim { object, ticket }, PATIENCE, |_| Ok(()))?;
        Ok(Lease::counted(Route::Client(Arc::clone(self)), object))
    }
}

/// What a manager says of itself, if this client can talk to it and there is room for one more.
fn welcomed(greeted: &Greeted) -> Result<Welcome, ManagerError> {
    let welcome = Welcome::of(&greeted.word);
    match welcome {
        Welcome { version: VERSION, is_full: false, .. } => Ok(welcome),
        Welcome { version: VERSION, .. } => Err(FaultKind::Busy(FULL.to_owned()).into()),
        Welcome { version: 0, .. } => Err(FaultKind::Refused(NO_MANAGER.to_owned()).into()),
        Welcome { version, .. } => {
            let why = format!(
                "the manager speaks version {version} of its protocol, and this client {VERSION}: build both with one"
            );
            Err(FaultKind::Refused(why).into())
        }
    }
}

const NO_MANAGER: &str = "what listens there is no manager, though it has the same key";

fn options(access: &Access, timeout: Duration) -> ConnectOptions {
    let options = ConnectOptions::new().timeout(timeout).max_message(LONGEST);
    match access.authkey() {
        Some(key) if access.is_tree() => options.authkey(key.clone()).trust_peer(),
        Some(key) => options.authkey(key.clone()),
        None => options,
    }
}

/// A deadline for who does not wait: it has passed, and costs no look at the clock.
pub(crate) fn at_once() -> Option<Instant> {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Some(*BEGUN)
}

/// What a caller is told of a manager that takes and says nothing any more.
const GONE: &str = "it has ended, or the connection to it was cut; connect again when it is there again, or have \
                    `Manager::reconnect` do so";

/// What a fork is told of a call of its parent's.
const INHERITED: &str = "the process that this one was forked from has made it, and its answer goes there";

fn unreadable(error: &RecvError) -> String {
    match error {
        RecvError::Closed | RecvError::Cut => GONE.to_owned(),
        other => other.to_string(),
    }
}

/// References that a fork got for itself, in the place of its parent's; they stay
/// as long as the process does.
type Reclaimed = Mutex<HashMap<(u32, u128, u64), Arc<Lease>>>;
static RECLAIMED: LazyLock<Reclaimed> = LazyLock::new(Mutex::default);

/// In a fork: the reference that takes the place of the parent's.
pub(crate) fn reclaim(parents: &Client, object: u64) -> Result<Arc<Lease>, ManagerError> {
    let epoch = parents.access.epoch;
    let mut reclaimed = lock(&RECLAIMED);
    let key = (fork_generation(), epoch, object);
    if let Some(lease) = reclaimed.get(&key) {
        return Ok(Arc::clone(lease));
    }
    let client = match Client::known(epoch) {
        Some(client) => client,
        None => Client::to(parents.access.clone(), PATIENCE)?,
    };
    let lease = Arc::new(client.claim(object, 0)?);
    reclaimed.insert(key, Arc::clone(&lease));
    Ok(lease)
}

/// A packet that knows whether a link has taken it.
#[derive(Debug)]
pub(crate) struct Once {
    pub(crate) packet: Packet,
    pub(crate) taken: bool,
}

impl Outgoing for Once {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        self.packet.write_into(space)
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        Outgoing::bytes(&mut self.packet)
    }

    fn handles(&self) -> &[Handle] {
        self.packet.handles()
    }

    fn sent(&mut self) {
        self.taken = true;
        self.packet.sent();
    }

    fn unsent(&mut self) {
        self.packet.unsent();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.is_inherited() {
            self.line.detach();
        } else if self.line.far().is_some_and(|far| far.lasts()) {
            if let Ok(packet) = request(0, Request::Leave) {
                // A manager that does not take it waits for this client in vain, for a time.
                let _ = self.line.send(&mut Once { packet, taken: false }, slice(None));
            }
            keeper::ring();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.access.address).finish_non_exhaustive()
    }
}
