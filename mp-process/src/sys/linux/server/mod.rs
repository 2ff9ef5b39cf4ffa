//! The server of forks, as the process that uses it sees it.
//!
//! It is this program, started again, with a function that forks on request. It has
//! no thread but its first, and nothing in memory that `main` has made. Each process
//! has one of its own, started when it is first needed and again when it is found
//! dead.
//!
//! It forks one child ahead, so that whoever starts one need not wait for the fork.

mod orphans;
mod serve;
mod sibling;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::link::{Link, SocketLink};
use ipc_core::{Handle, Message, Packet, RecvError};
use serde::{Deserialize, Serialize};
use sibling::Siblings;

use super::end;
use super::fork::is_alone;
use super::start::Born;
use crate::boot::{self, Answer, OTHER_FORMAT};
use crate::function::Function;
use crate::start::Launch;

pub(super) use crate::fork_server::NAME as SERVER_NAME;
pub(crate) use orphans::{Told, tend};

const LEFT_THREADS: &str =
    "the function that prepares the server of forks has left threads behind, which a fork does not copy";

const BEFORE_INIT: &str = " before it reached `init()`: call `multiprocess::init()` first in `main`, before \
     anything that may end the program";

/// How long a server that is given up may take for its last answer.
const PATIENCE: Duration = Duration::from_millis(200);

/// What a child is called until it has its orders.
const SPARE_NAME: &str = "mp-fork-spare";

/// One more child, please.
#[derive(Debug, Serialize, Deserialize)]
struct Request;

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Started {
        pid: i32,
        /// The server is its parent, and passes its status on.
        relayed: bool,
        /// Becomes ready when it ends.
        end: Handle,
        /// Where it waits for its orders.
        socket: Handle,
    },
    Failed(String),
}

/// The server does not answer, or not in its own words, or its answer cannot be taken for this reason.
#[derive(Debug)]
pub(crate) struct Gone(Option<io::Error>);

impl From<Gone> for io::Error {
    fn from(Gone(why): Gone) -> Self {
        why.unwrap_or_else(|| Self::other("the server of forks has ended"))
    }
}

impl From<RecvError> for Gone {
    fn from(error: RecvError) -> Self {
        Self(if let RecvError::Io(why) = error { Some(why) } else { None })
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    link: SocketLink,
    pid: u32,
    end: Arc<Handle>,
    /// A child has been asked for of which it has not told yet.
    owes: bool,
}

impl Server {
    /// What the plain server's process does.
    pub(crate) fn serve((): ()) {
        serve::serve(Siblings::new())
    }

    /// What the process of a server does that is to be prepared. Its function may have
    /// left state behind for which the C library's own fork is needed.
    pub(crate) fn serve_prepared<A: Message>((prepare, arg): (Function<A, ()>, A)) {
        prepare(arg);
        if !is_alone() {
            return boot::refuse(LEFT_THREADS);
        }
        boot::announce();
        serve::serve(None)
    }

    /// Starts one that has these orders, and waits until it has begun.
    pub(crate) fn launch(launch: &Launch, mut orders: Packet) -> io::Result<Self> {
        let (ours, theirs) = SocketLink::pair()?;
        ours.send(&mut orders, deadline()).map_err(io::Error::other)?;
        let Born { pid, end, .. } = super::spawn::spawn(launch, theirs)?;
        let gone = || io::Error::other("the server of forks ended at once");
        let server = Self { link: ours, pid, end: Arc::new(end.ok_or_else(gone)?), owes: false };
        server.await_begin(deadline(), BEFORE_INIT)?;
        Ok(server)
    }

    /// Waits until the function that prepares it has returned.
    pub(crate) fn await_prepared(&self) -> io::Result<()> {
        self.await_begin(None, "")
    }

    /// One that exits instead is told with what is `wrong` then.
    fn await_begin(&self, deadline: Option<Instant>, wrong: &str) -> io::Result<()> {
        let mut packet = Packet::new();
        match self.link.recv(&mut packet, deadline) {
            Ok(()) => {}
            Err(RecvError::Protocol(_)) => return Err(io::Error::other(OTHER_FORMAT)),
            Err(_) => {
                let _ = ipc_core::wait_deadline(&[&*self.end], deadline);
                let how = match end::collect(&self.end)? {
                    Some((status, _)) if status.code().is_some() => format!("{status}{wrong}"),
                    Some((status, _)) => status.to_string(),
                    None => "does not begin".to_owned(),
                };
                return Err(io::Error::other(format!("the server of forks {how}")));
            }
        }
        match packet.read::<Answer>().map_err(io::Error::other)? {
            Answer::Begun => Ok(()),
            Answer::Panicked(panic) => Err(io::Error::other(format!(
                "the function that prepares the server of forks panicked: {panic}"
            ))),
            Answer::Refused(reason) => Err(io::Error::other(reason)),
            other => Err(io::Error::other(format!("the server of forks could not begin: {other:?}"))),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether there are children of which nobody else can tell how they end.
    pub(crate) fn has_relayed_children(&self) -> bool {
        Arc::strong_count(&self.end) > 1
    }

    /// Has its end noticed, and what it leaves behind collected, whether or not it is asked
    /// for another child.
    pub(crate) fn watch(&self) {
        orphans::watch(self.pid, &self.end);
    }

    /// Has the next child forked meanwhile; to be called when the one before has its orders.
    pub(crate) fn fork_ahead(&mut self) {
        if !self.owes {
            // A server that is gone is replaced when it is needed.
            let _ = self.ask();
        }
    }

    /// Takes the child that is there already, or else has one forked. Where it is gone, so is what it
    /// told of last: it is to be dropped.
    pub(crate) fn child(&mut self) -> Result<io::Result<(Born, SocketLink)>, Gone> {
        // Without room for its handles a child would be lost: what the server tells stays where it is.
        if let Err(error) = self.room_for_a_child() {
            return Ok(Err(error));
        }
        let spare = if self.owes { self.reply(deadline())?.ok() } else { None };
        if let Some(child) = spare.and_then(alive) {
            return Ok(Ok(child));
        }
        // There was none, or it was killed, or could not be had then.
        self.ask()?;
        self.reply(deadline())
    }

    /// An error if this process may not open as many handles as come with a child.
    fn room_for_a_child(&self) -> io::Result<()> {
        let (_end, _socket) = (self.end.try_clone()?, self.end.try_clone()?);
        #[cfg(test)]
        tests::has_found_room();
        Ok(())
    }

    fn ask(&mut self) -> Result<(), Gone> {
        let mut packet = Packet::new();
        packet.append(&Request).map_err(|_| Gone(None))?;
        self.link.send(&mut packet, deadline()).map_err(|_| Gone(None))?;
        self.owes = true;
        Ok(())
    }

    fn reply(&mut self, deadline: Option<Instant>) -> Result<io::Result<(Born, SocketLink)>, Gone> {
        let mut reply = Packet::new();
        self.link.recv(&mut reply, deadline)?;
        self.owes = false;
        match reply.read::<Reply>().map_err(|_| Gone(None))? {
            Reply::Started { pid, relayed, end, socket } => {
                let relay = relayed.then(|| Arc::clone(&self.end));
                let pid = pid.unsigned_abs();
                let born = Born { pid, end: Some(end), relay, told: Some(Told::of(pid)) };
                Ok(Ok((born, SocketLink::from_handle(socket).trust_peer())))
            }
            Reply::Failed(reason) => Ok(Err(io::Error::other(reason))),
        }
    }
}

/// The child, unless it has ended.
fn alive((born, link): (Born, SocketLink)) -> Option<(Born, SocketLink)> {
    let end = born.end.as_ref()?;
    let has_ended =
        ipc_core::wait_deadline(&[end], Some(Instant::now())).is_ok_and(|ready| !ready.is_empty());
    if has_ended {
        let _ = end::collect(end);
    }
    (!has_ended).then_some((born, link))
}

/// Gives up a child that has no orders.
pub(crate) fn discard(born: Born) {
    // The server collects its own.
    if let (None, Some(end)) = (born.relay, born.end) {
        let _ = end::signal(&end, end::Request::Kill);
        let _ = ipc_core::wait_deadline(&[&end], deadline());
        let _ = end::collect(&end);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The child that was forked ahead is this process's to collect: the server tells of
        // it at once, unless it is stuck.
        self.discard_what_it_owes(Instant::now().checked_add(PATIENCE));
        // One that does not answer any more is as good as dead.
        let _ = end::signal(&self.end, end::Request::Kill);
        let _ = ipc_core::wait_deadline(&[&*self.end], deadline());
        let _ = end::collect(&self.end);
        self.discard_what_it_owes(Some(Instant::now()));
        orphans::server_ended(self.pid, self.owes);
    }
}

impl Server {
    fn discard_what_it_owes(&mut self, deadline: Option<Instant>) {
        if self.owes
            && let Ok(Ok((born, link))) = self.reply(deadline)
        {
            drop(link);
            discard(born);
        }
    }
}

fn deadline() -> Option<Instant> {
    Instant::now().checked_add(boot::START_TIMEOUT)
}
