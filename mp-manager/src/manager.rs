//! Managers: started, served, connected to.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipc_core::raw::{deserialize_error, serialize_error};
use ipc_core::{Address, AuthKey, EncodeError, Message, Packet, Sender};
use mp_process::{Function, Process};
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::builder::Builder;
use crate::client::{self, Client, lock};
use crate::durable;
use crate::error::{Kind, ManagerError};
use crate::hosted::Constructor;
use crate::info::ObjectInfo;
use crate::lease::Lease;
use crate::object_ref::{ObjectRef, Reply};
use crate::proxy::Proxy;
use crate::reconnect::{Reconnect, Way};
use crate::wire::{Access, AccessWire, Key, Request};

/// A way to a server of objects: makes them, and finds them by name.
///
/// Clones are the same manager. It travels inside messages, as proxies do. The
/// server of a [started](Self::start) manager ends with the last clone in the
/// process that started it, or with [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Manager {
    client: Arc<Client>,
    process: Option<Arc<ServerProcess>>,
    patience: Duration,
    /// How it is found again when it has gone.
    way: Option<Arc<Way>>,
}

impl Manager {
    /// Starts a server in a child process.
    ///
    /// # Errors
    /// [`ManagerError`] if the process cannot be started, for one because `init`
    /// was not called, or does not serve within twenty seconds.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_manager::Manager;
    ///
    /// let manager = Manager::start()?;
    /// let scores = manager.dict::<String, u32>()?;
    /// scores.insert(&"ann".to_owned(), &3)?;
    /// assert_eq!(scores.get("ann")?, Some(3));
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    pub fn start() -> Result<Self, ManagerError> {
        Self::builder().start()
    }

    /// Sets more before a server is started, or served here.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Connects to a manager at an address, with the key that it was given.
    ///
    /// A process needs to connect only to create or find objects: a proxy that it
    /// receives brings its way along, but never a key that was chosen.
    ///
    /// Waits for up to thirty seconds; [`connect_timeout`](Self::connect_timeout) for as long as it is
    /// told.
    ///
    /// # Errors
    /// [`ManagerError`] if nobody listens there or answers in time, or the key is wrong.
    pub fn connect(address: &Address, authkey: impl Into<AuthKey>) -> Result<Self, ManagerError> {
        Self::connect_with(address, Key::Chosen(authkey.into()), client::PATIENCE)
    }

    /// As [`connect`](Self::connect), for up to `timeout`. Calls by the proxies that the manager makes
    /// have their [own](Self::with_timeout).
    ///
    /// # Errors
    /// As [`connect`](Self::connect); when the time is up, one for which
    /// [`is_timeout`](ManagerError::is_timeout) holds.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    /// use mp_manager::Manager;
    ///
    /// // It listens, and nobody is there to answer.
    /// let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = ipc_core::Address::tcp("127.0.0.1", silent.local_addr()?.port());
    /// let error = Manager::connect_timeout(&address, "secret", Duration::from_millis(50)).unwrap_err();
    /// assert!(error.is_timeout());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_timeout(
        address: &Address,
        authkey: impl Into<AuthKey>,
        timeout: Duration,
    ) -> Result<Self, ManagerError> {
        Self::connect_with(address, Key::Chosen(authkey.into()), timeout)
    }

    /// As [`connect`](Self::connect), to a manager that has no key.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_without_key(address: &Address) -> Result<Self, ManagerError> {
        Self::connect_with(address, Key::None, client::PATIENCE)
    }

    /// As [`connect_timeout`](Self::connect_timeout), to a manager that has no key.
    ///
    /// # Errors
    /// As [`connect_timeout`](Self::connect_timeout).
    pub fn connect_without_key_timeout(address: &Address, timeout: Duration) -> Result<Self, ManagerError> {
        Self::connect_with(address, Key::None, timeout)
    }

    fn connect_with(address: &Address, key: Key, timeout: Duration) -> Result<Self, ManagerError> {
        let access = Access { address: address.clone(), key, epoch: 0 };
        Ok(Self::over(Client::connect(access, timeout)?, None))
    }

    pub(crate) fn over(client: Arc<Client>, process: Option<Arc<ServerProcess>>) -> Self {
        Self { client, process, patience: client::PATIENCE, way: None }
    }

    /// The same manager, with another timeout for the proxies that it makes: thirty
    /// seconds unless set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// The same manager, for which another one is sought at its address when it has gone.
    ///
    /// Without this, calls of a manager that has gone are errors at once, for good. With it a call
    /// of this manager, and of a proxy that it [found](Self::find) by a name, connects again as
    /// the policy says, and finds the object under its name. A call that was not sent is then sent; one that was under way is an error for which
    /// [`may_have_run`](ManagerError::may_have_run) holds, and is never sent twice. So is a call
    /// that waits: for an item, for one. What the client held is gone with the old manager: a
    /// guard of a lock is one of nothing.
    ///
    /// Over TCP the manager may still be there when the connection is cut. Then this client comes back
    /// by itself within the [time of grace](crate::Builder::grace), and all is as if there had been no
    /// cut: what it holds, calls under way, and calls that wait. Calls are sent late meanwhile, or are
    /// errors at their deadlines; those may have run. This asks the manager once, and so waits for its answer.
    ///
    /// A proxy that was found is equal to what it was equal to before. The key of a started manager
    /// is of no use for another one, so both are started with one that was
    /// [chosen](crate::Builder::authkey). Proxies in messages do not take the policy along.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    /// use ipc_core::Address;
    /// use mp_manager::{Manager, QueueProxy, Reconnect};
    ///
    /// # let folder = std::env::temp_dir().join(format!("mp-reconnect-example-{}", std::process::id()));
    /// let address = Address::auto()?;
    /// let start = || Manager::builder().address(address.clone()).authkey("secret").state(&folder).start();
    /// let server = start()?;
    /// let jobs: QueueProxy<u32> = server.durable("jobs", |manager| manager.queue())?;
    ///
    /// let client = Manager::connect(&address, "secret")?.reconnect(Reconnect::within(Duration::from_secs(10)));
    /// let found: QueueProxy<u32> = client.find("jobs")?;
    /// found.put(&1)?;
    /// drop((jobs, server)); // the server ends
    /// let server = start()?;
    /// found.put(&2)?;
    /// assert_eq!((found.get()?, found.get()?), (1, 2));
    /// # drop(server);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.way = Some(Arc::new(Way::new(&self.client, policy)));
        self
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.client.access().address
    }

    /// The id of the server's process, in the process that started it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }

    /// How many objects the manager has.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "_number_of_objects")]
    pub fn object_count(&self) -> Result<usize, ManagerError> {
        let count: u64 = self.ask(Request::Count)?.read()?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// All objects, with what holds them: to find out who keeps what.
    ///
    /// # Errors
    /// See [`ManagerError`].
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// # let manager = mp_manager::Manager::start()?;
    /// let list = manager.list::<u8>()?;
    /// let all = manager.objects()?;
    /// assert_eq!((all[0].type_name.as_str(), all[0].references), ("list", 1));
    /// # drop(list);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    #[doc(alias = "_debug_info")]
    pub fn objects(&self) -> Result<Vec<ObjectInfo>, ManagerError> {
        self.ask(Request::List)?.read()
    }

    /// Lets everybody who is connected find the object under a name. The name holds a
    /// reference; an object that had it before loses it.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn publish(&self, name: &str, proxy: &impl Proxy) -> Result<(), ManagerError> {
        let object = proxy.object();
        let publish = |client: &Arc<Client>| {
            if object.epoch() != client.access().epoch {
                return Err(Kind::OtherEpoch.into());
            }
            let request = Request::Publish { name: name.to_owned(), object: object.id() };
            client.call(request, self.patience, |_| Ok(()))
        };
        self.with_client(publish)?.1.read()
    }

    /// Has an object survive the server: what it is now and all that changes it from now on is
    /// written into the log in the server's folder before it is answered.
    ///
    /// After a restart the objects are there that names, and other durable objects, refer to; so
    /// one is [published](Self::publish) as well, or [`durable`](Self::durable) does both. What it
    /// refers to is to be durable before it. Locks come back free, permits whole, and barriers
    /// empty: who held them was connected. An item that was taken out of a queue is not there
    /// again.
    ///
    /// # Errors
    /// [`ManagerError`] if the manager has no [folder](crate::Builder::state) or does not know the
    /// type as [durable](crate::Builder::durable), or if the object refers to one that is not
    /// durable.
    pub fn make_durable(&self, proxy: &impl Proxy) -> Result<(), ManagerError> {
        proxy.object().exchange(durable::KEEP, None, |_| Ok(()))?.read()
    }

    /// The durable object under a name; if there is none, one is made, and made durable. Of those
    /// who do that at once, all get the same.
    ///
    /// # Errors
    /// As [`make_durable`](Self::make_durable).
    ///
    /// # Examples
    /// See [`Builder::state`](crate::Builder::state).
    pub fn durable<P: Proxy>(
        &self,
        name: &str,
        make: impl FnOnce(&Self) -> Result<P, ManagerError>,
    ) -> Result<P, ManagerError> {
        match self.find(name) {
            Err(error) if error.is_no_name() => {}
            found => return found,
        }
        let made = make(self)?;
        self.make_durable(&made)?;
        let adopt = || Request::Adopt { name: name.to_owned(), object: made.object().id() };
        self.named(name, adopt).map(P::from_object)
    }

    /// Of the log of a manager with a [folder](crate::Builder::state): how many bytes it has, and
    /// how many objects are durable. `None` without one.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn state_size(&self) -> Result<Option<(u64, u64)>, ManagerError> {
        self.ask(Request::State)?.read()
    }

    /// Takes a name back.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn unpublish(&self, name: &str) -> Result<(), ManagerError> {
        self.ask(Request::Unpublish { name: name.to_owned() })?.read()
    }

    /// The object that was published under a name, as a proxy of the type that it is.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn find<P: Proxy>(&self, name: &str) -> Result<P, ManagerError> {
        let find = || Request::Find { name: name.to_owned() };
        self.named(name, find).map(P::from_object)
    }

    /// Ends the server: asks it to, and kills it if it has not ended by `timeout`.
    /// Returns when it has ended; doing it again is no error.
    ///
    /// # Errors
    /// [`ManagerError`] if this process is not the one that started it, or the system
    /// refuses.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ManagerError> {
        match &self.process {
            Some(process) => process.end(timeout),
            None => Err(Kind::Start("only the process that started it can end it".to_owned()).into()),
        }
    }

    /// Waits until the server has ended, and does not end it: it serves others meanwhile.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub fn join(&self) -> Result<(), ManagerError> {
        self.join_deadline(None).map(drop)
    }

    /// As [`join`](Self::join), for up to `timeout`; whether it has ended.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ManagerError> {
        self.join_deadline(Some(timeout))
    }

    fn join_deadline(&self, timeout: Option<Duration>) -> Result<bool, ManagerError> {
        match &self.process {
            Some(process) => process.wait(timeout),
            None => {
                Err(Kind::Start("only the process that started it can wait for its end".to_owned()).into())
            }
        }
    }

    /// Makes an object; for code that [`object`](crate::object) writes.
    #[doc(hidden)]
    pub fn __create<A: Message>(
        &self,
        constructor: &Constructor,
        args: &A,
    ) -> Result<ObjectRef, ManagerError> {
        let by_function = self.client.access().is_tree();
        self.create(constructor.name, by_function, |packet| {
            if by_function {
                packet.append(&Function::new(constructor.make))?;
            }
            packet.append_item(args)
        })
    }

    pub(crate) fn create(
        &self,
        name: &str,
        by_function: bool,
        write: impl Fn(&mut Packet) -> Result<(), EncodeError>,
    ) -> Result<ObjectRef, ManagerError> {
        let request = || Request::Create { name: name.to_owned(), by_function };
        let (epoch, reply) = self.with_client(|client| client.call(request(), self.patience, &write))?;
        self.proxy_of(epoch, reply)
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the manager takes functions of this process's.
    pub(crate) fn is_trusted(&self) -> bool {
        self.client.access().is_tree()
    }

    /// Of the manager that is there now, as far as is known.
    pub(crate) fn epoch(&self) -> u128 {
        self.client().map_or(self.client.access().epoch, |client| client.access().epoch)
    }

    fn proxy_of(&self, epoch: u128, mut reply: Reply) -> Result<ObjectRef, ManagerError> {
        let lease = reply.leases.pop().ok_or_else(|| Kind::InFlight("it gave no reference".to_owned()))?;
        Ok(ObjectRef::new(epoch, Arc::<Lease>::new(lease), self.patience))
    }

    /// The object that has the name after a request.
    fn named(&self, name: &str, request: impl Fn() -> Request) -> Result<ObjectRef, ManagerError> {
        let (epoch, reply) = self.with_client(|client| client.call(request(), self.patience, |_| Ok(())))?;
        let object = self.proxy_of(epoch, reply)?;
        Ok(match &self.way {
            Some(way) => object.found_by(way, name),
            None => object,
        })
    }

    fn ask(&self, request: Request) -> Result<Reply, ManagerError> {
        let ask = |client: &Arc<Client>| client.call(request.clone(), self.patience, |_| Ok(()));
        Ok(self.with_client(ask)?.1)
    }

    /// Asks the manager that is there, and says which that was.
    fn with_client<R>(
        &self,
        ask: impl Fn(&Arc<Client>) -> Result<R, ManagerError>,
    ) -> Result<(u128, R), ManagerError> {
        let ask = |client: &Arc<Client>| ask(client).map(|reply| (client.access().epoch, reply));
        match &self.way {
            Some(way) => way.ask(ask),
            None => ask(&self.client()?),
        }
    }

    /// The connection of this process: a fork makes its own.
    pub(crate) fn client(&self) -> Result<Arc<Client>, ManagerError> {
        match &self.way {
            Some(way) => way.client(),
            None if self.client.is_inherited() => reach(self.client.access().clone()),
            None => Ok(Arc::clone(&self.client)),
        }
    }
}

fn reach(access: Access) -> Result<Arc<Client>, ManagerError> {
    match Client::known(access.epoch) {
        Some(client) => Ok(client),
        None => Client::to(access, client::PATIENCE),
    }
}

/// The process of a manager that was started.
pub(crate) struct ServerProcess {
    pid: u32,
    /// Gone once it has ended.
    running: Mutex<Option<Running>>,
    generation: u32,
}

struct Running {
    process: Process<()>,
    /// Dropped, it has the server end: not a request, which a server takes from anybody.
    stop: Sender<()>,
}

/// How long a server may take to end by itself when its manager is dropped.
const PARTING: Duration = Duration::from_millis(500);

impl ServerProcess {
    pub(crate) fn new(process: Process<()>, stop: Sender<()>) -> Self {
        let generation = ipc_core::raw::fork_generation();
        Self { pid: process.pid(), running: Mutex::new(Some(Running { process, stop })), generation }
    }

    /// Whether it has ended by then. The others may end it meanwhile.
    fn wait(&self, timeout: Option<Duration>) -> Result<bool, ManagerError> {
        let sentinel = lock(&self.running).as_ref().map(|running| running.process.sentinel());
        let Some(sentinel) = sentinel else { return Ok(true) };
        let ended = ipc_core::wait(&[&sentinel], timeout).map_err(Kind::System)?;
        Ok(!ended.is_empty())
    }

    fn end(&self, timeout: Duration) -> Result<(), ManagerError> {
        let mut running = lock(&self.running);
        let Some(Running { process, stop }) = running.as_ref() else { return Ok(()) };
        // One that is gone already does not hear it.
        let _ = stop.send_timeout(&(), Duration::ZERO);
        if process.join_timeout(timeout).is_err_and(|error| error.is_timeout()) {
            process.kill_tree().map_err(Kind::Process)?;
            let _ = process.join_timeout(Duration::from_secs(5));
        }
        *running = None;
        Ok(())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let Some(process) = &self.process else { return };
        let is_forks = process.generation != ipc_core::raw::fork_generation();
        if Arc::strong_count(process) == 1 && !is_forks && !ipc_core::raw::is_handing_over() {
            // Nothing is left to be done about a failure.
            let _ = process.end(PARTING);
        }
    }
}

impl Serialize for Manager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !ipc_core::encoding_message() {
            return Err(serialize_error("a manager can be serialised only inside a message"));
        }
        let client = self.client().map_err(serialize_error)?;
        AccessWire::from(client.access()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Manager {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = AccessWire::deserialize(deserializer)?;
        let client = match Client::known(wire.epoch()) {
            Some(client) => Ok(client),
            None => Client::to(wire.access().map_err(deserialize_error)?, client::PATIENCE),
        };
        Ok(Self::over(client.map_err(deserialize_error)?, None))
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("address", self.address()).field("pid", &self.pid()).finish()
    }
}
