//! The server's own life: fork on request, collect, and say how each child ended.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use ipc_core::link::{Link, SocketLink};
use ipc_core::{Handle, Packet, RecvError, Waitable, wait_deadline};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getppid, pidfd_open, wait};

use super::{Reply, Request};
use crate::boot::{self, Answer};
use crate::status::Ending;
use crate::sys::linux::boot::settle;
use crate::sys::linux::fork::{Forked, fork_process};
use crate::sys::linux::{setup, signals, watch};

/// Serves until the owner closes the link, which is when it ends.
pub(super) fn serve((): ()) {
    let Some(link) = boot::own_link() else { return };
    if let Ok(mut server) = Serving::new(link) {
        while server.step().is_ok() {}
    }
}

/// What is optional here a child gives up.
struct Serving {
    link: &'static SocketLink,
    /// The process that asks for children, and with which they die.
    owner: Option<Handle>,
    /// Readable when a child has ended.
    ends: Option<Handle>,
    /// The children's own sockets: the owner learns by them how its child ended.
    children: HashMap<i32, Handle>,
}

impl Serving {
    fn new(link: &'static SocketLink) -> io::Result<Self> {
        let parent = getppid().ok_or(io::ErrorKind::NotFound)?;
        let owner = Some(pidfd_open(parent, PidfdFlags::empty())?.into());
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        signals::restore_default(libc::SIGCHLD);
        let ends = Some(signals::as_descriptor(libc::SIGCHLD)?.into());
        Ok(Self { link, owner, ends, children: HashMap::new() })
    }

    fn step(&mut self) -> io::Result<()> {
        let ready = {
            let ends = self.ends.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let items: [&dyn Waitable; 2] = [ends, self.link.handle()];
            wait_deadline(&items, None)?
        };
        if ready.contains(&0) {
            self.collect();
        }
        if ready.contains(&1) {
            let mut packet = Packet::new();
            match self.link.recv(&mut packet, Some(Instant::now())) {
                Ok(()) => self.answer(packet)?,
                Err(RecvError::Timeout) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(())
    }

    fn answer(&mut self, mut request: Packet) -> io::Result<()> {
        let request = request.read::<Request>().map_err(io::Error::other);
        let mut packet = Packet::new();
        match request.and_then(|Request { socket }| self.start(socket)) {
            Ok((pid, end)) => {
                packet.append(&Reply::Started { pid }).map_err(io::Error::other)?;
                // Without it the owner kills the child, which has its orders already.
                let _ = packet.append(&end);
            }
            Err(error) => packet.append(&Reply::Failed(error.to_string())).map_err(io::Error::other)?,
        }
        self.link.send(&mut packet, None).map_err(io::Error::other)
    }

    fn start(&mut self, socket: Handle) -> io::Result<(i32, Handle)> {
        match fork_process()? {
            Forked::Child => self.become_child(socket),
            Forked::Parent { pid, end } => {
                // It is not collected before `collect` below does it.
                let end = end.ok_or_else(|| io::Error::other("the child could not be watched"))?;
                let pid = i32::try_from(pid).unwrap_or(0);
                self.children.insert(pid, socket);
                Ok((pid, end))
            }
        }
    }

    fn become_child(&mut self, socket: Handle) -> ! {
        // The siblings' sockets, and the server's own, are not this process's.
        self.children.clear();
        self.ends = None;
        setup::blind(self.link.handle());
        settle();
        if !self.owner.take().is_some_and(watch::die_with) {
            std::process::exit(1);
        }
        boot::live(SocketLink::from_handle(socket).trust_peer())
    }

    fn collect(&mut self) {
        if let Some(ends) = &self.ends {
            drain(ends);
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(socket) = self.children.remove(&pid_number(pid)) else { continue };
            let raw = status.as_raw();
            let ending = if let Some(code) = status.exit_status() {
                Ending::Exited(code)
            } else {
                Ending::Signaled { signal: raw & 0x7f, core_dumped: raw & 0x80 != 0 }
            };
            let mut packet = Packet::new();
            let _ = packet.append(&Answer::Ended(ending));
            let _ = SocketLink::from_handle(socket).send(&mut packet, Some(Instant::now()));
        }
    }
}

fn pid_number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// Empties the descriptor of signals: they merge, so their number says nothing.
fn drain(ends: &Handle) {
    let mut bytes = [0; 1024];
    while rustix::io::read(ends.as_fd(), &mut bytes).is_ok_and(|count| count > 0) {}
}
