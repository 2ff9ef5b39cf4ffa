//! Servers of forks, as programs hold them.

use std::fmt;
use std::io;
use std::sync::Arc;

use ipc_core::{EncodeError, Message, Packet};

use crate::boot::{self, Birth};
use crate::error::ProcessError;
use crate::function::Function;
use crate::init;
use crate::per_process::PerProcess;
use crate::process::ParentProcess;
use crate::settings::{Settings, Streams, Surroundings};
use crate::sys::start::Server;

pub(crate) const NAME: &str = "fork-server";

/// A server of forks of its own, in which a function has prepared what all its children
/// find in memory: a model that is loaded, tables, caches.
///
/// Children are started from it with [`Builder::fork_server`](crate::Builder::fork_server).
/// Other parts of the program are not affected: those that ask for
/// [`StartMethod::ForkServer`](crate::StartMethod::ForkServer) have theirs forked from a
/// server in which nothing has run.
///
/// When it is found dead, the next start makes a new one, where the function runs again.
/// It ends when its last clone is dropped; its children do not.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use std::sync::OnceLock;
/// use mp_process::{ForkServer, Process};
///
/// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
///
/// fn fill(size: u64) {
///     let _ = TABLE.set((0..size).map(|x| x * x).collect());
/// }
///
/// let server = ForkServer::start(fill, 1000)?;
/// let child = Process::builder().fork_server(&server).spawn(|i: usize| TABLE.get().unwrap()[i], 9)?;
/// assert_eq!(child.join()?, 81);
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[doc(alias = "set_forkserver_preload")]
#[derive(Clone)]
pub struct ForkServer(Arc<Shared>);

struct Shared {
    server: PerProcess<Option<Server>>,
    /// Where this process found itself when it started the server.
    inherited: PerProcess<Option<Surroundings>>,
    orders: Orders,
    /// A function runs in it first.
    is_prepared: bool,
}

/// Writes what the server is told.
type Orders = Box<dyn Fn(Birth) -> Result<Packet, EncodeError> + Send + Sync>;

impl ForkServer {
    /// Starts a server and runs `prepare` with `arg` in it; returns when that has returned.
    ///
    /// What it prepares is copied to each child as it is, so it must not start threads,
    /// which a fork does not copy.
    ///
    /// # Errors
    /// A [`ProcessError`] for which [`is_start_failure`](ProcessError::is_start_failure)
    /// holds: `prepare` panicked, ended the process or left threads behind, or as
    /// [`Builder::spawn`](crate::Builder::spawn).
    pub fn start<A: Message + Send + Sync>(prepare: fn(A), arg: A) -> Result<Self, ProcessError> {
        init::may_start()?;
        let given = (Function::new(prepare), arg);
        let orders =
            move |birth| boot::orders(birth, &Streams::default(), false, Server::serve_prepared::<A>, &given);
        let server = Self::with(Box::new(orders), true);
        crate::start::server_at_once(&server)?;
        Ok(server)
    }

    /// The one in which nothing has run, of this process.
    pub(crate) fn plain() -> Self {
        static PLAIN: PerProcess<Option<ForkServer>> = PerProcess::new();
        let orders = |birth| boot::orders(birth, &Streams::default(), false, Server::serve, &());
        PLAIN.with(|plain| plain.get_or_insert_with(|| Self::with(Box::new(orders), false)).clone())
    }

    fn with(orders: Orders, is_prepared: bool) -> Self {
        let (server, inherited) = (PerProcess::new(), PerProcess::new());
        Self(Arc::new(Shared { server, inherited, orders, is_prepared }))
    }

    /// Runs `run` with this process's server, if there is one.
    pub(crate) fn server<R>(&self, run: impl FnOnce(&mut Option<Server>) -> R) -> R {
        self.0.server.with(run)
    }

    /// A new server, in which its function has returned.
    pub(crate) fn launch(&self) -> io::Result<Server> {
        let birth = Birth {
            name: NAME.to_owned(),
            depth: init::may_start().map_err(io::Error::other)?,
            parent: ParentProcess::this(),
            settings: Settings::default(),
            announce: true,
            tail: 0,
        };
        let orders = (self.0.orders)(birth).map_err(io::Error::other)?;
        let here = Surroundings::of_this_process();
        self.0.inherited.with(|inherited| *inherited = Some(here));
        let server = Server::launch(orders)?;
        if self.0.is_prepared {
            server.await_prepared()?;
        }
        Ok(server)
    }

    /// Adds to `settings` what a child would have inherited from this process, where the
    /// server has it otherwise.
    pub(crate) fn take_along(&self, settings: &mut Settings) {
        self.0.inherited.with(|inherited| settings.take_along(inherited.as_ref()));
    }
}

impl fmt::Debug for ForkServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.server(|server| server.as_ref().map(Server::pid));
        f.debug_struct("ForkServer").field("pid", &pid).finish()
    }
}
