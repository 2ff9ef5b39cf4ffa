//! What a server is to be.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::link::PipeLink;
use ipc_core::{
    Address, AuthKey, BindError, Listener, ListenerOptions, Message, Packet, Receiver, Sender, pipe, wait,
};
use mp_process::{Function, Process, ProcessError};
use serde::{Deserialize, Serialize};

use crate::client::{self, Client};
use crate::durable::{self, Opened, StateError, StoredKind};
use crate::error::{Fault, Kind, ManagerError};
use crate::hosted::{Made, Make, Object};
use crate::manager::{Manager, ServerProcess};
use crate::server::{self, Limits, Server};
use crate::wire::{Access, Bytes, Key, VERSION, Welcome};

/// Sets what a server is to be; made by [`Manager::builder`].
pub struct Builder {
    address: Option<Address>,
    authkey: Option<AuthKey>,
    limits: Limits,
    name: String,
    registered: HashMap<&'static str, Make>,
    start: StartFn,
    state: Option<PathBuf>,
    syncs: bool,
    kinds: Vec<fn(()) -> StoredKind>,
}

type StartFn = Box<dyn FnOnce(mp_process::Builder, Orders) -> Result<Process<()>, ProcessError> + Send>;

/// How long a server may take to begin.
const START: Duration = Duration::from_secs(20);

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            address: None,
            authkey: None,
            limits: Limits::default(),
            name: "Manager".to_owned(),
            registered: HashMap::new(),
            start: Box::new(|builder, orders| builder.spawn(serve, orders)),
            state: None,
            syncs: false,
            kinds: Vec::new(),
        }
    }

    /// Where the server listens: at a local address of its own unless set.
    #[must_use]
    pub fn address(mut self, address: Address) -> Self {
        self.address = Some(address);
        self
    }

    /// What clients must prove. A server at a network address needs one.
    ///
    /// A started manager has a random one unless set, which its proxies carry; one that
    /// is chosen they do not, and other processes connect before they receive any.
    #[must_use]
    pub fn authkey(mut self, key: impl Into<AuthKey>) -> Self {
        self.authkey = Some(key.into());
        self
    }

    /// The name of the server's process: `Manager` unless set.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many threads run methods at one time: 32 unless set. Calls beyond that
    /// wait, and beyond some thousand they are [busy](ManagerError::is_busy).
    #[must_use]
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.limits.threads = threads.max(2);
        self
    }

    /// How many objects there may be: about a million unless set.
    #[must_use]
    pub fn max_objects(mut self, objects: usize) -> Self {
        self.limits.objects = objects;
        self
    }

    /// How many clients may be connected: 16,384 unless set. To one more the manager is
    /// [busy](ManagerError::is_busy), as it connects; to one that connects at the same moment as another one, at
    /// its first call.
    #[must_use]
    pub fn max_clients(mut self, clients: usize) -> Self {
        self.limits.clients = clients;
        self
    }

    /// How many clients on this machine may have a way through shared memory at one time: 256 unless set.
    ///
    /// A client gets it while it calls often, and one more is served over its socket, at a wake-up on each
    /// side for a call. A way takes some 70 kB while it is there. With 0 nobody gets one: for clients that
    /// are to share no memory with the server.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_manager::Manager;
    ///
    /// let manager = Manager::builder().max_rings(0).start()?;
    /// assert!(manager.list::<u8>()?.is_empty()?);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    #[must_use]
    pub fn max_rings(mut self, rings: usize) -> Self {
        self.limits.rings = rings;
        self
    }

    /// How many calls of one client may be without an answer: 4,096 unless set. Of items of queues that it
    /// has asked for, and not fetched, 64 times as many may be there.
    #[must_use]
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.limits.calls = calls.max(1);
        self
    }

    /// The longest request and answer: 64 MiB unless set.
    #[must_use]
    pub fn max_message(mut self, len: usize) -> Self {
        self.limits.message = len;
        self
    }

    /// How much may be kept, in bytes, of answers that clients have not read yet: 1 GiB for all of them
    /// together unless set. 64 KiB of each client's do not count.
    ///
    /// When it is more, the client for which most is kept is put out, as if its connection had ended,
    /// until it is no more; the others are served as before. So it should be several times as much as
    /// the longest answers are. Answers count that are kept for clients [that are
    /// away](Self::grace), and for those over TCP that could come back and have not said that the
    /// answers have come. For one client there are never more than 64 MiB unread, and 128 MiB of which it
    /// has not said so.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_manager::Manager;
    ///
    /// let manager = Manager::builder().max_unread(256 << 20).start()?;
    /// assert!(manager.list::<u8>()?.is_empty()?);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    #[must_use]
    pub fn max_unread(mut self, bytes: usize) -> Self {
        self.limits.unread = bytes;
        self
    }

    /// How long a client over TCP is waited for whose connection was cut: half a minute unless set,
    /// and not at all if it is zero.
    ///
    /// It is one that [connects again](Manager::reconnect). For so long it keeps what it holds, locks
    /// and permits included, and when it is back in time all is as if there had been no cut: calls
    /// that were under way have their answers, and nothing is done twice or lost. Of a process that
    /// was killed over there the cut is all that is seen, so what it held is free for others only then;
    /// the same goes for one that calls `exit` without having dropped its manager and proxies. An item of
    /// a queue that was given to a client while it was away is in its place again if that does not come back.
    /// A client on this machine has no time of grace, because its end is seen.
    ///
    /// At most 1,024 clients are waited for at a time; beyond that a cut is an end. The answers that are
    /// kept for them count for [`max_unread`](Self::max_unread). A client that does not say that its
    /// answers have come is put out when there are 128 MiB of them.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use ipc_core::Address;
    /// use mp_manager::{LockProxy, Manager, Reconnect};
    ///
    /// let address = Address::tcp("127.0.0.1", 0);
    /// let server =
    ///     Manager::builder().address(address).authkey("secret").grace(Duration::from_secs(60)).serve()?;
    /// let client = Manager::connect(server.address(), "secret")?;
    /// // From here on a cut that is mended within a minute is not seen.
    /// let client = client.reconnect(Reconnect::within(Duration::from_secs(60)));
    /// let lock: LockProxy = client.lock()?;
    /// let guard = lock.lock()?;
    /// # drop(guard);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.limits.grace = time;
        self
    }

    /// Lets clients of other programs create objects of a type; those of a started
    /// manager's own tree need no such leave.
    #[must_use]
    pub fn register<T: Object>(mut self) -> Self {
        self.registered.extend(T::CONSTRUCTORS.iter().map(|one| (one.name, one.make)));
        self
    }

    /// Gives the server a folder for what is to survive it: objects that are made
    /// [durable](Manager::make_durable), and their names.
    ///
    /// What was answered is there again after the server was killed and one is started with the
    /// same folder. A loss of power may take the last changes along, unless the server is also to
    /// [`sync`](Self::sync). The folder is made if need be; one server has it at a time.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_manager::{DictProxy, Manager};
    ///
    /// # let folder = std::env::temp_dir().join(format!("mp-state-example-{}", std::process::id()));
    /// for visits in 1..=3 {
    ///     let manager = Manager::builder().state(&folder).start()?;
    ///     let counts: DictProxy<String, u32> = manager.durable("counts", |manager| manager.dict())?;
    ///     let before = counts.get("visits")?.unwrap_or(0);
    ///     counts.insert(&"visits".to_owned(), &(before + 1))?;
    ///     assert_eq!(before + 1, visits);
    ///     // The server ends here, and its objects with it.
    /// }
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    #[must_use]
    pub fn state(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state = Some(folder.into());
        self
    }

    /// Calls of durable objects are answered only when the disk has what they tell of: nothing
    /// that was answered is lost with the power. One write to the disk serves all calls that have
    /// come meanwhile.
    #[must_use]
    pub fn sync(mut self) -> Self {
        self.syncs = true;
        self
    }

    /// Lets objects of a type of your own be durable. Each is written into the log whole, after
    /// each method that takes `&mut self`, and each [`update`](crate::object).
    ///
    /// A restarted server reads it with the same type, so a type that changes needs an encoding
    /// that knows of its versions.
    #[must_use]
    pub fn durable<T: Object + Message>(mut self) -> Self {
        self.kinds.push(StoredKind::of::<T>);
        self
    }

    /// Runs `function` with `arg` in the server's process before it serves; for
    /// [`start`](Self::start).
    #[must_use]
    pub fn initializer<A: Message + Send>(mut self, function: fn(A), arg: A) -> Self {
        self.start = Box::new(move |builder, orders| {
            builder.spawn(serve_initialized::<A>, (orders, Function::new(function), arg))
        });
        self
    }

    /// Starts the server in a child process.
    ///
    /// # Errors
    /// See [`Manager::start`].
    pub fn start(self) -> Result<Manager, ManagerError> {
        let key = match self.authkey {
            Some(key) => Key::Chosen(key),
            None => Key::Tree(AuthKey::random().map_err(Kind::System)?),
        };
        let address = self.address.map_or_else(Address::auto, Ok).map_err(Kind::System)?;
        let (ready, started) = pipe().map_err(Kind::System)?;
        let (stop, stopping) = PipeLink::pair().map_err(Kind::System)?;
        let orders = Orders {
            address,
            key: WireKey::from(&key),
            limits: (&self.limits).into(),
            registered: self
                .registered
                .into_iter()
                .map(|(name, make)| (name.to_owned(), Function::new(make)))
                .collect(),
            ready,
            stop: Receiver::over(stopping),
            state: self.state.map(|folder| (folder, self.syncs)),
            kinds: self.kinds.into_iter().map(Function::new).collect(),
        };
        let builder = Process::builder().name(self.name).kill_on_drop(true);
        let process = (self.start)(builder, orders).map_err(Kind::Process)?;
        let address = await_start(&started, &process)?;
        let client = Client::connect(Access { address, key, epoch: 0 }, client::PATIENCE)?;
        Ok(Manager::over(client, Some(Arc::new(ServerProcess::new(process, Sender::over(stop))))))
    }

    /// Serves in this process, on threads of the library's.
    ///
    /// # Errors
    /// [`ManagerError`] if the address cannot be had, or is on the network and there is
    /// no key.
    pub fn serve(self) -> Result<ManagerServer, ManagerError> {
        let key = self.authkey.map_or(Key::None, Key::Chosen);
        let address = self.address.map_or_else(Address::auto, Ok).map_err(Kind::System)?;
        let access = Access { address, key, epoch: 0 };
        let kinds = self.kinds.into_iter().map(|kind| kind(())).collect();
        let state = open_state(self.state.map(|folder| (folder, self.syncs)), kinds)?;
        open(access, self.limits, self.registered, state).map(ManagerServer)
    }
}

/// Waits until a server's process says that it serves, or ends.
fn await_start(
    started: &Receiver<Result<Address, NotStarted>>,
    process: &Process<()>,
) -> Result<Address, ManagerError> {
    let ready = wait(&[started, &process.sentinel()], Some(START)).map_err(Kind::System)?;
    if ready.is_empty() {
        return Err(Kind::Start(format!("it did not serve within {START:?}")).into());
    }
    match started.try_recv() {
        Ok(Ok(address)) => Ok(address),
        Ok(Err(NotStarted::State(error))) => Err(Kind::State(error).into()),
        Ok(Err(NotStarted::Other(error))) => Err(Kind::Start(error).into()),
        Err(error) => {
            let ended = process.join_timeout(START).err();
            Err(Kind::Start(ended.map_or_else(|| error.to_string(), |ended| ended.to_string())).into())
        }
    }
}

fn open(
    mut access: Access,
    limits: Limits,
    registered: HashMap<&'static str, Make>,
    state: Option<Opened>,
) -> Result<Arc<Server>, ManagerError> {
    access.epoch = server::random().map_err(Kind::System)?;
    let welcome = Welcome { version: VERSION, epoch: access.epoch, is_full: false };
    let options = ListenerOptions::new().max_message(limits.message).backlog(1024).max_handshakes(256);
    let mut options = options.word(welcome.word());
    if let Some(key) = access.authkey() {
        options = options.authkey(key.clone());
    }
    if access.is_tree() {
        options = options.trust_peers();
    }
    let listener = Listener::bind_with(&access.address, options).map_err(|error| match error {
        BindError::NeedsKey => Kind::NeedsKey,
        error => Kind::Bind(error),
    })?;
    Server::open(listener, access, limits, registered, state)
}

/// What a server's process is told.
#[derive(Serialize, Deserialize)]
struct Orders {
    address: Address,
    key: WireKey,
    limits: WireLimits,
    registered: Vec<Registered>,
    ready: Sender<Result<Address, NotStarted>>,
    /// A message, or its end, has the server end.
    stop: Receiver<()>,
    /// The folder, and whether answers wait for the disk.
    state: Option<(PathBuf, bool)>,
    kinds: Vec<Function<(), StoredKind>>,
}

/// Why a server's process does not serve.
#[derive(Serialize, Deserialize)]
enum NotStarted {
    State(StateError),
    Other(String),
}

impl From<ManagerError> for NotStarted {
    fn from(error: ManagerError) -> Self {
        match error.state() {
            Some(error) => Self::State(error.clone()),
            None => Self::Other(error.to_string()),
        }
    }
}

/// Takes the folder with the state, if there is to be one: before the address, which it is no
/// use to have without.
fn open_state(
    state: Option<(PathBuf, bool)>,
    kinds: Vec<StoredKind>,
) -> Result<Option<Opened>, ManagerError> {
    let opened = state.map(|(folder, syncs)| durable::open(&folder, syncs, kinds)).transpose();
    Ok(opened.map_err(Kind::State)?)
}

type Registered = (String, Function<Packet, Result<Made, Fault>>);

#[derive(Serialize, Deserialize)]
enum WireKey {
    None,
    Chosen(Bytes),
    Tree(Bytes),
}

impl From<&Key> for WireKey {
    fn from(key: &Key) -> Self {
        match key {
            Key::None => Self::None,
            Key::Chosen(key) => Self::Chosen(Bytes(key.bytes().to_vec())),
            Key::Tree(key) => Self::Tree(Bytes(key.bytes().to_vec())),
        }
    }
}

impl From<WireKey> for Key {
    fn from(key: WireKey) -> Self {
        match key {
            WireKey::None => Self::None,
            WireKey::Chosen(bytes) => Self::Chosen(AuthKey::from(bytes.0.as_slice())),
            WireKey::Tree(bytes) => Self::Tree(AuthKey::from(bytes.0.as_slice())),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct WireLimits([usize; 8], Duration);

impl From<&Limits> for WireLimits {
    fn from(limits: &Limits) -> Self {
        let Limits { objects, clients, threads, calls, backlog, rings, message, unread, .. } = *limits;
        let counts = [objects, clients, threads, calls, backlog, rings, message, unread];
        Self(counts, limits.grace)
    }
}

impl From<WireLimits> for Limits {
    fn from(WireLimits(counts, grace): WireLimits) -> Self {
        let [objects, clients, threads, calls, backlog, rings, message, unread] = counts;
        Self { objects, clients, threads, calls, backlog, rings, message, unread, grace }
    }
}

/// The function that a server's process runs.
fn serve(orders: Orders) {
    let Orders { address, key, limits, registered, ready, stop, state, kinds } = orders;
    let access = Access { address, key: key.into(), epoch: 0 };
    // A process that serves serves until its end: the names live as long.
    let registered = registered.into_iter().map(|(name, make)| (&*name.leak(), *make)).collect();
    let kinds = kinds.into_iter().map(|kind| kind(())).collect();
    let opened = open_state(state, kinds);
    match opened.and_then(|state| open(access, limits.into(), registered, state)) {
        Ok(server) => {
            let told = ready.send(&Ok(server.access().address.clone()));
            drop(ready);
            if told.is_ok() {
                // A message or an error: either way nobody wants the server any more.
                let _ = stop.recv();
                server.stop();
                server.wait_stopped(None);
            }
        }
        Err(error) => {
            // Whoever started it hears of its end otherwise.
            let _ = ready.send(&Err(error.into()));
        }
    }
}

fn serve_initialized<A: Message>((orders, function, arg): (Orders, Function<A, ()>, A)) {
    function(arg);
    serve(orders);
}

/// A server in this process; dropping it ends it.
pub struct ManagerServer(Arc<Server>);

impl ManagerServer {
    /// Where it listens; with the port that the system chose, if it was to choose one.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0.access().address
    }

    /// A manager for use in this process.
    ///
    /// # Errors
    /// See [`Manager::connect`].
    pub fn manager(&self) -> Result<Manager, ManagerError> {
        Ok(Manager::over(Client::to(self.0.access().clone(), client::PATIENCE)?, None))
    }

    /// How many objects it has.
    #[must_use]
    pub fn object_count(&self) -> usize {
        self.0.table().len()
    }

    /// Waits until it has ended: by [`shutdown`](Self::shutdown), from another thread.
    #[doc(alias = "serve_forever")]
    pub fn join(&self) {
        self.0.wait_stopped(None);
    }

    /// Parts with all clients, and waits for methods that run, up to `timeout`; whether
    /// all have ended.
    pub fn shutdown(&self, timeout: Duration) -> bool {
        self.0.stop();
        let all = self.0.wait_stopped(Instant::now().checked_add(timeout));
        if let Some(store) = self.0.store() {
            store.close();
        }
        all
    }
}

#[cfg(test)]
impl ManagerServer {
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.0
    }
}

impl Drop for ManagerServer {
    fn drop(&mut self) {
        self.shutdown(Duration::from_millis(500));
    }
}

impl fmt::Debug for ManagerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("address", &self.address)
            .field("limits", &self.limits)
            .field("registered", &self.registered.keys())
            .finish_non_exhaustive()
    }
}
