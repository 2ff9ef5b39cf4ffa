//! Ways to make a process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::ManuallyDrop;
use std::time::Instant;

use ipc_core::link::{Link, SocketLink};
use ipc_core::{Packet, SendError};
use serde::{Deserialize, Serialize};

use crate::boot::{self, Kit};
use crate::error::{Kind, ProcessError};
use crate::exit;
use crate::fork_server::{ForkServer, Seat};
use crate::sys::setup;
use crate::sys::start::{self as sys, Born, Server};

/// How a process comes into being.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_process::{Process, StartMethod};
///
/// let child = Process::builder().start_method(StartMethod::ForkServer).spawn(|x: u32| x + 1, 1)?;
/// assert_eq!(child.join()?, 2);
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum StartMethod {
    /// The program is started again from its file. Nothing is inherited but what is
    /// given, so it is the safest, and the slowest: about a millisecond.
    #[default]
    Spawn,
    /// A server process without threads, started once, forks the children: fast, and
    /// independent of what this process has in memory. They see this process's
    /// environment, directory and arguments; what `main` set up they do not see. One child
    /// is forked ahead and waits for the next start.
    ForkServer,
    /// This process is forked: the child begins with a copy of all its memory. It is
    /// refused while the program has threads of its own, because whatever they have
    /// locked would stay locked in the child. One that has just ended is given half a second
    /// to be gone, which a refusal therefore takes.
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
    /// Instead of the plain one.
    pub(crate) server: Option<ForkServer>,
}

impl Launch {
    /// Whether the system can take it: by some start methods it is looked at only in the child.
    pub(crate) fn check(&self) -> Result<(), ProcessError> {
        let holds = |text: &OsStr, byte: u8| text.as_encoded_bytes().contains(&byte);
        let wrong = |what: String| Err(Kind::Start(io::Error::new(io::ErrorKind::InvalidInput, what)).into());
        for (name, value) in &self.env {
            if name.is_empty() || holds(name, b'=') || holds(name, 0) {
                return wrong(format!(
                    "{name:?} is no name of an environment variable, which is not empty and has no `=` and no \
                     zero byte"
                ));
            }
            if value.as_ref().is_some_and(|value| holds(value, 0)) {
                return wrong(format!(
                    "the environment variable {name:?} cannot have a value with a zero byte, at which it would end"
                ));
            }
        }
        if let Some(arg) = self.args.iter().flatten().chain(&self.program).find(|arg| holds(arg, 0)) {
            return wrong(format!("{arg:?} has a zero byte, at which an argument or a path would end"));
        }
        Ok(())
    }

    pub(crate) fn server(&self) -> ForkServer {
        self.server.clone().unwrap_or_else(ForkServer::plain)
    }
}

/// A variable of the environment, and its value unless it is removed.
pub(crate) type EnvChange = (OsString, Option<OsString>);

/// Starts a process, whose orders wait for it.
pub(crate) fn start(launch: &Launch, orders: &mut Packet) -> Result<Started, ProcessError> {
    if launch.method == StartMethod::ForkServer {
        return by_server(launch, orders);
    }
    // The orders wait in the socket until there is a child.
    let (ours, theirs) = SocketLink::pair().map_err(Kind::Start)?;
    send(&ours, orders).map_err(unsent)?;
    let born = sys::spawn(launch, theirs).map_err(Kind::Start)?;
    Ok(Started { born, link: ours })
}

/// A fork is this program, with the arguments that it was started with.
pub(crate) fn check_fork(launch: &Launch) -> Result<(), ProcessError> {
    if launch.args.is_none() && launch.program.is_none() {
        return Ok(());
    }
    let reason = "a fork is a copy of this process, so it has its program and its arguments: use \
                  `StartMethod::ForkServer` or `StartMethod::Spawn`";
    Err(Kind::Start(io::Error::new(io::ErrorKind::Unsupported, reason)).into())
}

/// Gives the orders to a child of the server. One that was forked ahead may be killed at
/// any time, and then has not read them.
fn by_server(launch: &Launch, orders: &mut Packet) -> Result<Started, ProcessError> {
    let server = launch.server();
    let mut tries = 0;
    loop {
        let (born, link) =
            server.seat(launch, |seat| child_of(&server, launch, seat)).map_err(Kind::Start)?;
        let Err(error) = send(&link, orders) else {
            server.seat(launch, |seat| seat.server.as_mut().map(Server::fork_ahead));
            return Ok(Started { born, link });
        };
        sys::discard(born);
        tries += 1;
        if tries == MOST_TRIES || !matches!(error, SendError::Closed) {
            return Err(unsent(error).into());
        }
    }
}

const MOST_TRIES: u32 = 3;

/// A child that waits for its orders. A server is started if there is none.
fn child_of(server: &ForkServer, launch: &Launch, seat: &mut Seat) -> io::Result<(Born, SocketLink)> {
    if let Some(running) = &mut seat.server {
        if let Ok(result) = running.child() {
            return result;
        }
        // What it leaves behind is looked for, whether or not there can be another one.
        seat.server = None;
    }
    let first = server.launch(launch, seat)?.child();
    first.unwrap_or_else(|gone| {
        // What it told of may have been lost here: nobody waits for that again.
        seat.server = None;
        Err(gone.into())
    })
}

/// Starts the server, so that it is known whether that can be done.
pub(crate) fn server_at_once(server: &ForkServer) -> Result<(), ProcessError> {
    let launch = Launch::default();
    server
        .seat(&launch, |seat| server.launch(&launch, seat).map(drop))
        .map_err(|error| Kind::Start(error).into())
}

/// They are short enough to fit the socket.
fn send(link: &SocketLink, orders: &mut Packet) -> Result<(), SendError> {
    link.send(orders, Instant::now().checked_add(boot::START_TIMEOUT))
}

fn unsent(error: SendError) -> Kind {
    match error {
        SendError::Encode(error) => Kind::Argument(error),
        error => Kind::Start(io::Error::other(error)),
    }
}

/// Forks this process and runs `live` in the child.
pub(crate) fn fork(live: impl FnOnce(Box<Kit>)) -> Result<Started, ProcessError> {
    let threads = sys::threads_of_the_program().map_err(Kind::Start)?;
    if !threads.is_empty() {
        return Err(Kind::Threads(threads.join(", ")).into());
    }
    let (ours, theirs) = SocketLink::pair().map_err(Kind::Start)?;
    let ours = ManuallyDrop::new(ours);
    // The program's logger runs on a thread that does not count.
    #[cfg(feature = "log")]
    let busy = std::cell::Cell::new(Some(crate::logs::busy()));
    let live = |kit| {
        #[cfg(feature = "log")]
        drop(busy.take());
        // The other end is not this process's, nor are those to the parent's other children.
        setup::abandon(ours.handle());
        exit::let_go_of_siblings(setup::blinding());
        live(kit);
    };
    let born = sys::fork(Box::new(Kit::new(theirs)), live);
    // Only the child has let go of it.
    let link = ManuallyDrop::into_inner(ours);
    Ok(Started { born: born.map_err(Kind::Start)?, link })
}

/// A process that was started, and this process's end of its link.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) born: Born,
    pub(crate) link: SocketLink,
}
