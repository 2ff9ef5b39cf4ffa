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
    Started { pid: u32, end: Handle },
    Failed(String),
}

/// A running server.
#[derive(Debug)]
struct Server {
    link: SocketLink,
    end: Arc<Handle>,
}

static SERVER: PerProcess<Option<Server>> = PerProcess::new();

/// Has a child forked that waits for its orders.
pub(crate) fn by_server(link: SocketLink) -> io::Result<Born> {
    let socket = link.into_handle()?;
    SERVER.with(|slot| {
        if let Some(server) = slot.as_ref() {
            match server.start(&socket) {
                Err(error) if server.is_dead() => drop(error),
                result => return result,
            }
        }
        let server = slot.insert(Server::launch()?);
        server.start(&socket)
    })
}

impl Server {
    fn launch() -> io::Result<Self> {
        let birth = Birth {
            name: SERVER_NAME.to_owned(),
            depth: crate::init::may_start().map_err(io::Error::other)?,
            parent: ParentProcess::this(),
            settings: Settings::default(),
            announce: true,
        };
        let mut orders =
            boot::orders(birth, &Streams::default(), false, serve::serve, &()).map_err(io::Error::other)?;
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

    fn start(&self, socket: &Handle) -> io::Result<Born> {
        let mut packet = Packet::new();
        packet.append(&Request { socket: socket.try_clone()? }).map_err(io::Error::other)?;
        self.link.send(&mut packet, deadline()).map_err(io::Error::other)?;
        drop(packet);
        let mut reply = Packet::new();
        self.link.recv(&mut reply, deadline()).map_err(io::Error::other)?;
        match reply.read::<Reply>().map_err(io::Error::other)? {
            Reply::Started { pid, end } => {
                Ok(Born { pid, end: Some(end), relay: Some(Arc::clone(&self.end)) })
            }
            Reply::Failed(reason) => Err(io::Error::other(reason)),
        }
    }

    fn is_dead(&self) -> bool {
        // A server that does not answer any more is as good as dead.
        let _ = end::signal(&self.end, end::Request::Kill);
        let ended = ipc_core::wait_deadline(&[&*self.end], deadline());
        ended.is_ok_and(|ready| !ready.is_empty())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = end::collect(&self.end);
    }
}

fn deadline() -> Option<Instant> {
    Instant::now().checked_add(boot::START_TIMEOUT)
}
