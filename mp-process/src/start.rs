//! Ways to make a process.

use std::ffi::OsString;
use std::io;
use std::time::Instant;

use ipc_core::link::{Link, SocketLink};
use ipc_core::{Packet, SendError};
use serde::{Deserialize, Serialize};

use crate::boot;
use crate::error::{Kind, ProcessError};
use crate::exit;
use crate::settings::note_what_the_server_inherits;
use crate::sys::setup;
use crate::sys::start::{self as sys, Born};

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
    /// Instead of this process's executable.
    pub(crate) program: Option<OsString>,
    /// Instead of this process's own.
    pub(crate) args: Option<Vec<OsString>>,
}

/// A variable of the environment, and its value unless it is removed.
pub(crate) type EnvChange = (OsString, Option<OsString>);

/// Starts a process, whose orders wait for it.
pub(crate) fn start(launch: &Launch, orders: &mut Packet) -> Result<Started, ProcessError> {
    if (launch.args.is_some() || launch.program.is_some()) && launch.method != StartMethod::Spawn {
        let reason = "a fork has the program and the arguments of the process it was forked from: use \
                      `StartMethod::Spawn`";
        return Err(Kind::Start(io::Error::new(io::ErrorKind::Unsupported, reason)).into());
    }
    let (ours, theirs) = SocketLink::pair().map_err(Kind::Start)?;
    // They are short enough for the socket to hold them until there is a child.
    let deadline = Instant::now().checked_add(boot::START_TIMEOUT);
    ours.send(orders, deadline).map_err(|error| match error {
        SendError::Encode(error) => Kind::Argument(error),
        error => Kind::Start(io::Error::other(error)),
    })?;
    match launch.method {
        StartMethod::Spawn => sys::spawn(launch, theirs),
        StartMethod::ForkServer => sys::by_server(theirs, note_what_the_server_inherits),
        StartMethod::Fork => return fork_over(ours, theirs, |link| boot::live(link)),
    }
    .map(|born| Started { born, link: ours })
    .map_err(|error| Kind::Start(error).into())
}

/// Forks this process and runs `live` in the child.
pub(crate) fn fork(live: impl FnOnce(SocketLink)) -> Result<Started, ProcessError> {
    let (ours, theirs) = SocketLink::pair().map_err(Kind::Start)?;
    fork_over(ours, theirs, live)
}

fn fork_over(
    ours: SocketLink,
    theirs: SocketLink,
    live: impl FnOnce(SocketLink),
) -> Result<Started, ProcessError> {
    let threads = sys::threads_of_the_program().map_err(Kind::Start)?;
    if !threads.is_empty() {
        return Err(Kind::Threads(threads.join(", ")).into());
    }
    let not_its_own = ours.handle();
    let live = |link| {
        setup::blind(not_its_own);
        exit::let_go_of_siblings(setup::blind);
        live(link);
    };
    let born = sys::fork(theirs, live).map_err(Kind::Start)?;
    Ok(Started { born, link: ours })
}

/// A process that was started, and this process's end of its link.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) born: Born,
    pub(crate) link: SocketLink,
}
