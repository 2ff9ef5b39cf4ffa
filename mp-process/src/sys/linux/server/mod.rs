//! The server of forks, as the process that uses it sees it.
//!
//! It is this program, started again, with a function that forks on request. It has
//! no thread but its first, and nothing in memory that `main` has made. Each process
//! has one of its own, started when it is first needed and again when it is found
//! dead.
//!
//! It forks one child ahead, so that whoever starts one need not wait for the fork.

mod serve;
mod sibling;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use ipc_core::link::{Link, SocketLink};
use ipc_core::{Handle, Packet};
use serde::{Deserialize, Serialize};

use super::end;
use super::start::Born;
use crate::boot::{self, Answer, Birth};
use crate::per_process::PerProcess;
use crate::process::ParentProcess;
use crate::settings::{Settings, Streams};
use crate::start::Launch;

pub(super) const SERVER_NAME: &str = "fork-server";

/// What a child is called until it has its orders.
const SPARE_NAME: &str = "fork-spare";

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

/// The server does not answer, or not in its own words.
struct Gone;

/// A running server.
#[derive(Debug)]
struct Server {
    link: SocketLink,
    end: Arc<Handle>,
    /// A child has been asked for that nobody needs yet.
    ahead: bool,
}

static SERVER: PerProcess<Option<Server>> = PerProcess::new();

/// A child that waits for its orders at the other end of a link. A server is started if
/// there is none, and `before_launch` is called then.
pub(crate) fn by_server(before_launch: fn()) -> io::Result<(Born, SocketLink)> {
    SERVER.with(|slot| {
        if let Some(server) = slot
            && let Ok(result) = server.child()
        {
            return result;
        }
        // What is left of it goes before the next one comes.
        *slot = None;
        let server = slot.insert(Server::launch(before_launch)?);
        server.child().unwrap_or_else(|Gone| Err(io::Error::other("the server of forks has ended")))
    })
}

/// Has the next child forked meanwhile; to be called when the one before has its orders.
pub(crate) fn fork_ahead() {
    SERVER.with(|slot| {
        if let Some(server) = slot
            && !server.ahead
        {
            // A server that is gone is replaced when it is needed.
            server.ahead = server.ask().is_ok();
        }
    });
}

impl Server {
    fn launch(before: fn()) -> io::Result<Self> {
        let birth = Birth {
            name: SERVER_NAME.to_owned(),
            depth: crate::init::may_start().map_err(io::Error::other)?,
            parent: ParentProcess::this(),
            settings: Settings::default(),
            announce: true,
        };
        let mut orders =
            boot::orders(birth, &Streams::default(), false, serve::serve, &()).map_err(io::Error::other)?;
        before();
        let (ours, theirs) = SocketLink::pair()?;
        ours.send(&mut orders, deadline()).map_err(io::Error::other)?;
        let born = super::spawn::spawn(&Launch::default(), theirs)?;
        let gone = || io::Error::other("the server of forks ended at once");
        let server = Self { link: ours, end: Arc::new(born.end.ok_or_else(gone)?), ahead: false };
        let mut packet = Packet::new();
        server.link.recv(&mut packet, deadline()).map_err(io::Error::other)?;
        match packet.read::<Answer>().map_err(io::Error::other)? {
            Answer::Begun => Ok(server),
            other => Err(io::Error::other(format!("the server of forks could not begin: {other:?}"))),
        }
    }

    /// Takes the child that is there already, or else has one forked.
    fn child(&mut self) -> Result<io::Result<(Born, SocketLink)>, Gone> {
        let spare = if std::mem::take(&mut self.ahead) { self.reply(deadline())?.ok() } else { None };
        if let Some(child) = spare.and_then(alive) {
            return Ok(Ok(child));
        }
        // There was none, or it was killed, or could not be had then.
        self.ask()?;
        self.reply(deadline())
    }

    fn ask(&self) -> Result<(), Gone> {
        let mut packet = Packet::new();
        packet.append(&Request).map_err(|_| Gone)?;
        self.link.send(&mut packet, deadline()).map_err(|_| Gone)
    }

    fn reply(&self, deadline: Option<Instant>) -> Result<io::Result<(Born, SocketLink)>, Gone> {
        let mut reply = Packet::new();
        self.link.recv(&mut reply, deadline).map_err(|_| Gone)?;
        match reply.read::<Reply>().map_err(|_| Gone)? {
            Reply::Started { pid, relayed, end, socket } => {
                let relay = relayed.then(|| Arc::clone(&self.end));
                let born = Born { pid: pid.unsigned_abs(), end: Some(end), relay };
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
    if born.relay.is_none() {
        end::kill_and_collect(i32::try_from(born.pid).unwrap_or(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ahead
            && let Ok(Ok((born, link))) = self.reply(Some(Instant::now()))
        {
            drop(link);
            discard(born);
        }
        // One that does not answer any more is as good as dead.
        let _ = end::signal(&self.end, end::Request::Kill);
        let _ = ipc_core::wait_deadline(&[&*self.end], deadline());
        let _ = end::collect(&self.end);
    }
}

fn deadline() -> Option<Instant> {
    Instant::now().checked_add(boot::START_TIMEOUT)
}
