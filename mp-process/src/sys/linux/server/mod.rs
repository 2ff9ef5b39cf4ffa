//! The server of forks, as the process that uses it sees it.
//!
//! It is this program, started again, with a function that forks on request. It has
//! no thread but its first, and nothing in memory that `main` has made. Each process
//! has one of its own, started when it is first needed and again when it is found
//! dead.

mod serve;

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

/// A child to be forked, which gets this socket.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    socket: Handle,
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// A handle follows that becomes ready at its end.
    Started {
        pid: i32,
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
}

static SERVER: PerProcess<Option<Server>> = PerProcess::new();

/// Has a child forked at the other end of `link`. A server is started if there is none,
/// and `before_launch` is called then.
pub(crate) fn by_server(link: SocketLink, before_launch: fn()) -> io::Result<Born> {
    let socket = link.into_handle()?;
    SERVER.with(|slot| {
        if let Some(server) = slot.as_ref()
            && let Ok(result) = server.start(&socket)
        {
            return result;
        }
        // What is left of it goes before the next one comes.
        *slot = None;
        let server = slot.insert(Server::launch(before_launch)?);
        server.start(&socket).unwrap_or_else(|Gone| Err(io::Error::other("the server of forks has ended")))
    })
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
        let server = Self { link: ours, end: Arc::new(born.end.ok_or_else(gone)?) };
        let mut packet = Packet::new();
        server.link.recv(&mut packet, deadline()).map_err(io::Error::other)?;
        match packet.read::<Answer>().map_err(io::Error::other)? {
            Answer::Begun => Ok(server),
            other => Err(io::Error::other(format!("the server of forks could not begin: {other:?}"))),
        }
    }

    fn start(&self, socket: &Handle) -> Result<io::Result<Born>, Gone> {
        let mut packet = Packet::new();
        let request = || Ok(Request { socket: socket.try_clone()? });
        if let Err(error) = request().and_then(|request| packet.append(&request).map_err(io::Error::other)) {
            return Ok(Err(error));
        }
        self.link.send(&mut packet, deadline()).map_err(|_| Gone)?;
        drop(packet);
        let mut reply = Packet::new();
        self.link.recv(&mut reply, deadline()).map_err(|_| Gone)?;
        match reply.read::<Reply>().map_err(|_| Gone)? {
            Reply::Started { pid } => Ok(self.born(pid, &mut reply)),
            Reply::Failed(reason) => Ok(Err(io::Error::other(reason))),
        }
    }

    fn born(&self, pid: i32, reply: &mut Packet) -> io::Result<Born> {
        match reply.read::<Handle>() {
            Ok(end) => {
                Ok(Born { pid: pid.unsigned_abs(), end: Some(end), relay: Some(Arc::clone(&self.end)) })
            }
            Err(error) => {
                // This process had no room for the handle. Nobody could wait for the
                // child, and it has its orders.
                end::kill_and_collect(pid);
                Err(io::Error::other(error))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that does not answer any more is as good as dead.
        let _ = end::signal(&self.end, end::Request::Kill);
        let _ = ipc_core::wait_deadline(&[&*self.end], deadline());
        let _ = end::collect(&self.end);
    }
}

fn deadline() -> Option<Instant> {
    Instant::now().checked_add(boot::START_TIMEOUT)
}
