//! Ways to make a process.

use std::ffi::OsString;
use std::io;

use ipc_core::link::SocketLink;
use serde::{Deserialize, Serialize};

use crate::boot;
use crate::error::{Kind, ProcessError};
use crate::exit;
use crate::sys::setup;
use crate::sys::start::{self as sys, Started};

/// How a process comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum StartMethod {
    /// The program is started again from its file. Nothing is inherited but what is
    /// given, so it is the safest, and the slowest: about a millisecond.
    #[default]
    Spawn,
    /// A server process without threads, started once, forks the children: fast, and
    /// independent of what this process has in memory. They see this process's
    /// environment, directory and arguments; what `main` set up they do not see.
    ForkServer,
    /// This process is forked: the child begins with a copy of all its memory. It is
    /// refused while the program has threads of its own, because whatever they have
    /// locked would stay locked in the child.
    Fork,
}

impl StartMethod {
    /// Those that work on this platform, the default first.
    #[must_use]
    pub fn available() -> &'static [Self] {
        sys::AVAILABLE
    }
}

/// What must be known before there is a process.
#[derive(Debug, Default, Clone)]
pub(crate) struct Launch {
    pub(crate) method: StartMethod,
    pub(crate) env: Vec<EnvChange>,
    /// Instead of this process's own.
    pub(crate) args: Option<Vec<OsString>>,
}

/// A variable of the environment, and its value unless it is removed.
pub(crate) type EnvChange = (OsString, Option<OsString>);

/// Starts a process that waits for its orders.
pub(crate) fn start(launch: &Launch) -> Result<Started, ProcessError> {
    if launch.args.is_some() && launch.method != StartMethod::Spawn {
        let reason = "a fork has the arguments of the process it was forked from: use `StartMethod::Spawn`";
        return Err(Kind::Start(io::Error::new(io::ErrorKind::Unsupported, reason)).into());
    }
    match launch.method {
        StartMethod::Spawn => sys::spawn(launch),
        StartMethod::ForkServer => sys::by_server(),
        StartMethod::Fork => return fork(|link| boot::live(link)),
    }
    .map_err(|error| Kind::Start(error).into())
}

/// Forks this process and runs `live` in the child.
pub(crate) fn fork(live: impl FnOnce(SocketLink)) -> Result<Started, ProcessError> {
    let threads = sys::threads_of_the_program().map_err(Kind::Start)?;
    if !threads.is_empty() {
        return Err(Kind::Threads(threads.join(", ")).into());
    }
    let live = |link| {
        exit::let_go_of_siblings(setup::blind);
        live(link);
    };
    sys::fork(live).map_err(|error| Kind::Start(error).into())
}
