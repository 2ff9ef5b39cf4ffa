//! Several calls in one message.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipc_core::Packet;

use crate::client::{Client, lock};
use crate::error::{Kind, ManagerError};
use crate::lease::Lease;
use crate::manager::Manager;
use crate::proxy::Proxy;
use crate::wire::{Request, request};

/// So many bytes of calls go in one message; more go in several.
const LONGEST: usize = 256 * 1024;

/// Gathers calls of any objects of one manager; [`Manager::batch`] lends it.
pub struct Batch {
    gathered: Arc<Gathered>,
}

impl Batch {
    /// A proxy of the same object whose calls are gathered: those of its methods that return
    /// before they have run, `increment_async` and the like. Of another manager's object it is the
    /// same proxy.
    ///
    /// A method that waits for its value sends what was gathered before it, so that the order
    /// stays. When the batch has ended, the proxy is one like any other.
    pub fn of<P: Proxy>(&self, proxy: &P) -> P {
        P::from_object(proxy.object().clone().in_batch(Arc::clone(&self.gathered)))
    }

    /// How many calls are gathered and were not sent.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.gathered.calls).packets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends what was gathered so far.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn send(&self) -> Result<(), ManagerError> {
        self.gathered.send()
    }
}

impl Manager {
    /// Makes several calls at the cost of one: those that `calls` begins by proxies
    /// [of the batch](Batch::of) go in one message when it returns, and what is answered at once
    /// comes back in one.
    ///
    /// Each call has a value or an error of its own, and those that change an object run in their
    /// order; it is no transaction. A call that takes long holds up none of the others, and is
    /// answered when it is done. What does not fit into a quarter of a megabyte goes in several
    /// messages, and calls with handles go by themselves. A manager takes a bounded number of calls
    /// that have no answer yet from each process, and says `busy` to those beyond.
    ///
    /// # Errors
    /// What `calls` returns: then what was not sent yet is not sent. Or [`ManagerError`] if the
    /// calls cannot be sent.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let (scores, log) = (manager.dict::<String, u32>()?, manager.list::<String>()?);
    /// let ann = "ann".to_owned();
    /// let (old, count) = manager.batch(|batch| {
    ///     let (scores, log) = (batch.of(&scores), batch.of(&log));
    ///     let old = scores.insert_async(&ann, &3)?;
    ///     log.push_async(&"a goal".to_owned())?.detach();
    ///     Ok((old, log.len_async()?))
    /// })?;
    /// assert_eq!((old.get()?, count.get()?), (None, 1));
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    #[doc(alias = "pipeline")]
    pub fn batch<R>(&self, calls: impl FnOnce(&Batch) -> Result<R, ManagerError>) -> Result<R, ManagerError> {
        let gathered = Gathered::new(self.client()?, self.patience());
        let batch = Batch { gathered: Arc::new(gathered) };
        let _end = End(&batch.gathered);
        let value = calls(&batch)?;
        batch.send()?;
        Ok(value)
    }
}

/// However a batch ends, nothing more is gathered.
struct End<'a>(&'a Gathered);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Calls that were begun and not sent.
pub(crate) struct Gathered {
    client: Arc<Client>,
    patience: Duration,
    has_ended: AtomicBool,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    packets: Vec<Packet>,
    /// The number of the one that came last.
    last: u64,
    /// References that the calls need until the server has them.
    leases: Vec<Arc<Lease>>,
    bytes: usize,
}

impl Gathered {
    fn new(client: Arc<Client>, patience: Duration) -> Self {
        Self { client, patience, has_ended: AtomicBool::new(false), calls: Mutex::default() }
    }

    /// Whether it takes calls over this connection.
    pub(crate) fn takes(&self, client: &Arc<Client>) -> bool {
        Arc::ptr_eq(&self.client, client) && !self.has_ended.load(Ordering::Relaxed)
    }

    /// Takes a request. One that comes behind the end goes at once.
    pub(crate) fn push(
        &self,
        call: u64,
        packet: Packet,
        leases: impl IntoIterator<Item = Arc<Lease>>,
    ) -> Result<(), ManagerError> {
        let mut calls = lock(&self.calls);
        calls.bytes += packet.bytes().len();
        calls.packets.push(packet);
        calls.last = call;
        calls.leases.extend(leases);
        let is_full = calls.bytes >= LONGEST || self.has_ended.load(Ordering::Relaxed);
        drop(calls);
        if is_full { self.send() } else { Ok(()) }
    }

    /// Says something about a call that may not have been sent yet; `false` if all were.
    pub(crate) fn add(&self, packet: Packet) -> Result<(), Packet> {
        let mut calls = lock(&self.calls);
        if calls.packets.is_empty() {
            return Err(packet);
        }
        calls.packets.push(packet);
        Ok(())
    }

    pub(crate) fn send(&self) -> Result<(), ManagerError> {
        // Who holds the lock sends first: two threads' calls keep their order.
        let mut calls = lock(&self.calls);
        let Calls { packets, last, leases, .. } = std::mem::take(&mut *calls);
        let sent = self.send_all(packets, last);
        drop(calls);
        // Their going may have to be told to the server, by this very connection.
        drop(leases);
        sent
    }

    fn send_all(&self, packets: Vec<Packet>, last: u64) -> Result<(), ManagerError> {
        let mut together = Vec::new();
        for packet in packets {
            if packet.handle_count() == 0 && !packet.moves_ends() {
                together.push(packet);
                continue;
            }
            self.send_together(std::mem::take(&mut together), 0)?;
            self.send_one(packet)?;
        }
        self.send_together(together, last)
    }

    /// `last` is the number of the last call among them, if it is known: a message that a ring
    /// did not bring to the server is known by its want of an answer.
    fn send_together(&self, mut packets: Vec<Packet>, last: u64) -> Result<(), ManagerError> {
        if packets.len() < 2 {
            return packets.pop().map_or(Ok(()), |packet| self.send_one(packet));
        }
        let mut message = request(last, Request::Batch).map_err(Kind::Encode)?;
        for packet in &packets {
            message.append_packet(packet).map_err(Kind::Encode)?;
        }
        self.send_one(message)
    }

    fn send_one(&self, packet: Packet) -> Result<(), ManagerError> {
        self.client.send(packet, self.patience)
    }

    /// Gives up what was not sent.
    fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
        let left = std::mem::take(&mut *lock(&self.calls));
        drop(left);
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).finish()
    }
}
