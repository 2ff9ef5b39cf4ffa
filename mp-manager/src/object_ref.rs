//! What every proxy is made of.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use ipc_core::raw::{deserialize_error, serialize_error};
use ipc_core::{EncodeError, Message, Packet};
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::async_reply::{AsyncReply, Read, State};
use crate::batch::Gathered;
use crate::builtin::by_name;
use crate::client::{self, Client};
use crate::context::{self, Arriving};
use crate::error::{Kind, ManagerError};
use crate::info::MethodInfo;
use crate::lease::{Lease, Route};
use crate::reconnect::{Found, Way};
use crate::server::{self, homes};
use crate::wire::{AccessWire, Patience, Request, method_id};

/// A proxy without its methods: which object it means, and how to reach it.
///
/// It is what the proxies that [`object`](crate::object) writes stand on.
/// Clones, and copies in other processes, mean the same object, which stays in
/// the manager until the last of them is gone.
#[derive(Clone)]
pub struct ObjectRef {
    epoch: u128,
    lease: Arc<Lease>,
    patience: Duration,
    /// Calls that are not waited for at once go there.
    batch: Option<Arc<Gathered>>,
    /// How it is found again when its manager has gone.
    found: Option<Arc<Found>>,
}

/// How long dropping a guard may take of a thread's time.
const PARTING: Duration = Duration::from_secs(1);

impl ObjectRef {
    pub(crate) fn new(epoch: u128, lease: Arc<Lease>, patience: Duration) -> Self {
        Self { epoch, lease, patience, batch: None, found: None }
    }

    /// The same object, whose calls go into a batch.
    pub(crate) fn in_batch(self, batch: Arc<Gathered>) -> Self {
        Self { batch: Some(batch), ..self }
    }

    /// It was found by its name, and will be so again.
    pub(crate) fn found_by(mut self, way: &Arc<Way>, name: &str) -> Self {
        self.found = Some(Arc::new(Found::new(way, name, self.patience, &self.lease)));
        self
    }

    /// The object where a call of it ran, for a value that holds something in it: not to be found
    /// again. `None` if it never is.
    pub(crate) fn there(&self, lease: Arc<Lease>) -> Option<Self> {
        self.found.as_ref()?;
        let epoch = lease.epoch().unwrap_or(self.epoch);
        Some(Self { epoch, lease, patience: self.patience, batch: None, found: None })
    }

    /// Runs a method of the object and brings its value.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn call<A: Message, R: Message>(&self, method: u64, args: &A) -> Result<R, ManagerError> {
        self.exchange(method, None, |packet| packet.append_item(args))?.read()
    }

    /// Begins a method of the object and returns at once: its value is fetched later.
    ///
    /// # Errors
    /// [`ManagerError`] if the call cannot be sent.
    pub fn call_async<A: Message, R: Message>(
        &self,
        method: u64,
        args: &A,
    ) -> Result<AsyncReply<R>, ManagerError> {
        self.begin(method, None, |packet| packet.append_item(args), |reply, _| reply?.read())
    }

    /// As [`call_async`](Self::call_async), with what is written and read raw, and a limit for
    /// waits in the object.
    pub(crate) fn begin<R>(
        &self,
        method: u64,
        limit: Option<Duration>,
        write: impl Fn(&mut Packet) -> Result<(), EncodeError>,
        read: Read<R>,
    ) -> Result<AsyncReply<R>, ManagerError> {
        self.unless_sent(|lease| {
            let object = lease.object();
            let (state, arguments) = match lease.route() {
                Route::Client(client) => {
                    let request = Request::Call { object, method, patience: patience(limit, self.patience) };
                    let batch = self.batch.as_ref().filter(|batch| batch.takes(client));
                    let (begun, arguments) = match batch {
                        Some(batch) => client.begin_in(batch, lease, request, &write)?,
                        None => client.begin(request, self.patience, &write)?,
                    };
                    (State::Away { client: Arc::clone(client), begun, batch: batch.cloned() }, arguments)
                }
                Route::Home(server) => {
                    let server = server.upgrade().ok_or_else(server_ended)?;
                    let place = (object, method);
                    (
                        State::Home(server::begin_at_home(&server, place, limit, self.patience, &write)?),
                        Vec::new(),
                    )
                }
            };
            let there = self.there(Arc::clone(lease));
            let object = there.unwrap_or_else(|| Self { batch: None, ..self.clone() });
            Ok(AsyncReply::new(state, object, arguments, read))
        })
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Runs a call; again, if it was not sent and the object can be found again.
    fn unless_sent<R>(
        &self,
        attempt: impl Fn(&Arc<Lease>) -> Result<R, ManagerError>,
    ) -> Result<R, ManagerError> {
        match &self.found {
            Some(found) => found.unless_sent(attempt),
            None => attempt(&self.here()?),
        }
    }

    /// The reference that was used last, or is to be.
    fn current(&self) -> Arc<Lease> {
        self.found.as_ref().map_or_else(|| Arc::clone(&self.lease), |found| found.current())
    }

    /// Runs a method by its name: for tools that have no proxy of the type. The arguments are a
    /// tuple, and they and the value of the types that [`methods`](Self::methods) tells.
    ///
    /// # Errors
    /// See [`ManagerError`]; one for which [`is_codec`](ManagerError::is_codec) holds if the types
    /// are others, and [`is_no_method`](ManagerError::is_no_method) if there is no such method, or it
    /// is one of the proxy alone: a lock is held by a guard, and functions are sent by a proxy.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_manager::{Manager, Proxy};
    ///
    /// struct Counter(u64);
    ///
    /// #[mp_manager::object]
    /// impl Counter {
    ///     pub fn new() -> Self { Self(0) }
    ///     pub fn add(&mut self, by: u64) -> u64 { self.0 += by; self.0 }
    /// }
    ///
    /// let manager = Manager::start()?;
    /// let counter = CounterProxy::create(&manager)?;
    /// let object = counter.object();
    /// assert_eq!(object.methods()?[0].signature, "fn add(&mut self, by: u64) -> u64");
    /// assert_eq!(object.call_by_name::<_, u64>("add", &(3u64,))?, 3);
    ///
    /// let scores = manager.dict::<String, u64>()?;
    /// let object = scores.object();
    /// object.call_by_name::<_, Option<u64>>("insert", &("ann".to_owned(), 3u64))?;
    /// assert_eq!(object.call_by_name::<_, Vec<String>>("keys", &())?, ["ann"]);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    #[doc(alias = "_callmethod")]
    pub fn call_by_name<A: Message, R: Message>(&self, name: &str, args: &A) -> Result<R, ManagerError> {
        let called = self.call(method_id(name), args);
        match called {
            Err(error) if error.is_no_method() => match error.built_in() {
                Some(of) => by_name::call(self, of, name, args),
                None => Err(by_name::none_of_users(name)),
            },
            other => other,
        }
    }

    /// The methods that the object has, and which of them [`call_by_name`](Self::call_by_name) takes.
    /// In signatures of this crate's objects `T`, `K` and `V` are the types of what is in them, which
    /// the manager does not know.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn methods(&self) -> Result<Vec<MethodInfo>, ManagerError> {
        let lease = self.here()?;
        match lease.route() {
            Route::Client(client) => {
                let request = Request::Describe { object: lease.object() };
                client.call(request, self.patience, |_| Ok(()))?.read()
            }
            Route::Home(server) => {
                let object = server.upgrade().and_then(|server| server.table().get(self.id()));
                let object = object.ok_or_else(server_ended)?;
                Ok(object.methods())
            }
        }
    }

    /// The same object, with another timeout for the calls made by this proxy.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    pub(crate) fn id(&self) -> u64 {
        self.current().object()
    }

    /// As [`call`](Self::call), with what is written raw, and a limit for waits in the object.
    pub(crate) fn exchange(
        &self,
        method: u64,
        limit: Option<Duration>,
        write: impl Fn(&mut Packet) -> Result<(), EncodeError>,
    ) -> Result<Reply, ManagerError> {
        self.exchange_there(method, limit, write).map(|(reply, _)| reply)
    }

    /// As [`exchange`](Self::exchange); brings the reference too over which the call went.
    pub(crate) fn exchange_there(
        &self,
        method: u64,
        limit: Option<Duration>,
        write: impl Fn(&mut Packet) -> Result<(), EncodeError>,
    ) -> Result<(Reply, Arc<Lease>), ManagerError> {
        if let Some(batch) = &self.batch {
            batch.send()?;
        }
        self.unless_sent(|lease| {
            let patience = patience(limit, self.patience);
            let object = lease.object();
            let reply = match lease.route() {
                Route::Client(client) => {
                    client.call(Request::Call { object, method, patience }, self.patience, &write)
                }
                Route::Home(server) => {
                    let server = server.upgrade().ok_or_else(server_ended)?;
                    server::begin_at_home(&server, (object, method), limit, self.patience, &write)?.finish()
                }
            };
            Ok((reply?, Arc::clone(lease)))
        })
    }

    /// Says something to the object, for guards that are dropped: others who learn of the
    /// drop find it done, unless the manager is stuck.
    pub(crate) fn tell<A: Message>(&self, method: u64, args: &A) {
        let hasty = self.clone().with_timeout(self.patience.min(PARTING));
        let client = match self.lease.route() {
            Route::Client(client) if self.found.is_none() && client.lasts() => Some(client),
            _ => None,
        };
        let told = client.is_none_or(|client| !client.is_cut())
            && hasty.exchange(method, None, |packet| packet.append_item(args)).is_ok();
        // The manager gives back what its clients hold when they end. One that may come back has it
        // told then; being told twice, the object lets go once.
        if let Some(client) = client.filter(|_| !told) {
            client.call_later(self.id(), method, |packet| packet.append_item(args));
        }
    }

    pub(crate) fn epoch(&self) -> u128 {
        match &self.found {
            Some(found) => found.current().epoch().unwrap_or(self.epoch),
            None => self.epoch,
        }
    }

    pub(crate) fn is_trusted(&self) -> bool {
        match self.lease.route() {
            Route::Client(client) => client.access().is_tree(),
            Route::Home(_) => true,
        }
    }

    /// The reference of this process: a fork has to get one of its own.
    fn here(&self) -> Result<Arc<Lease>, ManagerError> {
        if let Some(found) = &self.found {
            return found.lease();
        }
        match self.lease.route() {
            Route::Client(client) if client.is_inherited() => client::reclaim(client, self.id()),
            _ => Ok(Arc::clone(&self.lease)),
        }
    }

    fn flight(&self) -> Result<Wire, String> {
        let lease = self.here().map_err(|error| error.to_string())?;
        let object = lease.object();
        let (access, ticket) = match lease.route() {
            Route::Client(client) => {
                let reply = client.call(Request::Fly { object }, self.patience, |_| Ok(()));
                let ticket = reply.and_then(Reply::read).map_err(|error| error.to_string())?;
                (AccessWire::from(client.access()), ticket)
            }
            Route::Home(server) => {
                let server = server.upgrade().ok_or(context::NO_OBJECT)?;
                let ticket = server.fly(object, 0).map_err(|fault| fault.to_string())?;
                (AccessWire::from(server.access()), ticket)
            }
        };
        Ok(Wire::Flight { access, object, ticket })
    }

    fn land(access: AccessWire, object: u64, ticket: u128) -> Result<Arc<Lease>, String> {
        if let Some(server) = homes::find(access.epoch()) {
            server.claim(object, ticket).map_err(|fault| fault.to_string())?;
            let route = Route::Home(Arc::downgrade(&server));
            return Ok(Arc::new(Lease::counted(route, object)));
        }
        let client = match Client::known(access.epoch()) {
            Some(client) => client,
            None => Client::to(access.access()?, client::PATIENCE).map_err(|error| error.to_string())?,
        };
        client.claim(object, ticket).map(Arc::new).map_err(|error| error.to_string())
    }
}

fn server_ended() -> ManagerError {
    Kind::Gone("it has ended".to_owned()).into()
}

pub(crate) fn patience(limit: Option<Duration>, patience: Duration) -> Patience {
    Patience { limit: limit.map(in_micros), hear: in_micros(patience / 3).max(1000) }
}

/// As times travel; what is too long is for ever.
pub(crate) fn in_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// An answer with a value, and the references that came with it.
pub(crate) struct Reply {
    pub(crate) packet: Packet,
    pub(crate) leases: Vec<Lease>,
}

impl Reply {
    pub(crate) fn read<R: Message>(self) -> Result<R, ManagerError> {
        let Self { mut packet, leases } = self;
        let value = context::arriving(Arriving::Answer(leases), || packet.read_item::<R>());
        value.map_err(|error| Kind::Decode(error).into())
    }

    /// As [`read`](Self::read), with a second step that takes the references.
    pub(crate) fn read_with<R: Message, T>(
        self,
        second: impl FnOnce(R) -> Result<T, ipc_core::DecodeError>,
    ) -> Result<T, ManagerError> {
        let Self { mut packet, leases } = self;
        context::arriving(Arriving::Answer(leases), || packet.read_item::<R>().and_then(second))
            .map_err(|error| Kind::Decode(error).into())
    }
}

/// A proxy in a message.
#[derive(Serialize, Deserialize)]
enum Wire {
    /// To its manager, or from it.
    Here { object: u64 },
    /// To anybody else.
    Flight { access: AccessWire, object: u64, ticket: u128 },
}

impl Serialize for ObjectRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !ipc_core::encoding_message() {
            return Err(serialize_error("a proxy can be serialised only inside a message"));
        }
        let lease = self.current();
        if lease.epoch().is_some_and(|epoch| context::collect(epoch, &lease)) {
            return Wire::Here { object: lease.object() }.serialize(serializer);
        }
        if crate::durable::is_storing() {
            return Err(serialize_error("an object of another manager cannot be kept in this one's log"));
        }
        let wire = ipc_core::outside_messages(|| self.flight());
        wire.map_err(serialize_error)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ObjectRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lease = match Wire::deserialize(deserializer)? {
            Wire::Here { object } => context::arrived(object),
            Wire::Flight { access, object, ticket } => Self::land(access, object, ticket),
        };
        let lease = lease.map_err(deserialize_error)?;
        let epoch = lease.epoch().ok_or_else(|| deserialize_error(context::NO_OBJECT))?;
        Ok(Self::new(epoch, lease, client::PATIENCE))
    }
}

impl PartialEq for ObjectRef {
    fn eq(&self, other: &Self) -> bool {
        (self.epoch, self.lease.object()) == (other.epoch, other.lease.object())
    }
}

impl Eq for ObjectRef {}

impl Hash for ObjectRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.epoch, self.lease.object()).hash(state);
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectRef").field("object", &self.id()).finish_non_exhaustive()
    }
}
