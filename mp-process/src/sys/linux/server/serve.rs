//! The server's own life: fork on request, collect, and say how each child ended.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use ipc_core::link::{Link, SocketLink};
use ipc_core::{Handle, Packet, RecvError, Waitable, wait_deadline};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getppid, pidfd_open, wait};

use super::sibling::{self, Siblings};
use super::{Reply, Request, SPARE_NAME};
use crate::boot::{self, Answer};
use crate::status::Ending;
use crate::sys::linux::boot::{follow, set_process_name};
use crate::sys::linux::fork::{Forked, fork_process};
use crate::sys::linux::{leave, setup, signals, watch};

/// Serves until the owner closes the link, which is when this process ends.
pub(super) fn serve(siblings: Option<Siblings>) -> ! {
    leave::forks_without_earlier_handlers();
    if let Some(link) = boot::own_link()
        && let Err(error) = try_to_serve(link, siblings)
    {
        // Who waits for a child is told why there is none.
        let mut packet = Packet::new();
        let _ = packet.append(&Reply::Failed(format!("the server of forks cannot go on: {error}")));
        let _ = link.send(&mut packet, Some(Instant::now()));
    }
    leave::now(0)
}

fn try_to_serve(link: &'static SocketLink, siblings: Option<Siblings>) -> io::Result<()> {
    let mut server = Serving::new(link, siblings)?;
    loop {
        server.step()?;
    }
}

/// What is optional here a child gives up.
struct Serving {
    link: &'static SocketLink,
    /// How to fork children of the owner's, if that is possible.
    siblings: Option<Siblings>,
    parent: Pid,
    /// The process that asks for children, and with which they die.
    owner: Option<Handle>,
    /// Readable when a child has ended.
    ends: Option<Handle>,
    /// The children's own sockets: the owner learns by them how its child ended.
    children: HashMap<i32, SocketLink>,
}

impl Serving {
    fn new(link: &'static SocketLink, siblings: Option<Siblings>) -> io::Result<Self> {
        let parent = getppid().ok_or(io::ErrorKind::NotFound)?;
        let owner = Some(pidfd_open(parent, PidfdFlags::empty())?.into());
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        signals::restore_default(libc::SIGCHLD);
        let ends = Some(signals::as_descriptor(libc::SIGCHLD)?.into());
        Ok(Self { link, siblings, parent, owner, ends, children: HashMap::new() })
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
        let Request = request.read().map_err(io::Error::other)?;
        let reply = self.start().unwrap_or_else(|error| Reply::Failed(error.to_string()));
        let mut packet = Packet::new();
        packet.append(&reply).map_err(io::Error::other)?;
        self.link.send(&mut packet, None).map_err(io::Error::other)
    }

    fn start(&mut self) -> io::Result<Reply> {
        let (ours, theirs) = SocketLink::pair()?;
        let socket = ours.into_handle();
        if let Some(siblings) = self.siblings {
            match siblings.fork() {
                Ok(sibling::Forked::Parent { pid, end }) => {
                    #[cfg(test)]
                    super::tests::has_forked(pid);
                    return Ok(Reply::Started { pid, relayed: false, end, socket });
                }
                Ok(sibling::Forked::Child) => {
                    drop(socket);
                    self.become_sibling(theirs);
                }
                // It may be forbidden to this process.
                Err(_) => self.siblings = None,
            }
        }
        match fork_process()? {
            Forked::Child => {
                drop(socket);
                self.become_child(theirs)
            }
            Forked::Parent { pid, end } => {
                // It is not collected before `collect` below does it.
                let end = end.ok_or_else(|| io::Error::other("the child could not be watched"))?;
                let pid = i32::try_from(pid).unwrap_or(0);
                self.children.insert(pid, theirs);
                Ok(Reply::Started { pid, relayed: true, end, socket })
            }
        }
    }

    fn become_sibling(&mut self, link: SocketLink) -> ! {
        follow(self.parent);
        self.owner = None;
        self.live(link)
    }

    fn become_child(&mut self, link: SocketLink) -> ! {
        if !self.owner.take().is_some_and(watch::die_with) {
            std::process::exit(1);
        }
        self.live(link)
    }

    fn live(&mut self, link: SocketLink) -> ! {
        // The siblings' sockets, and the server's own, are not this process's.
        self.children.clear();
        self.ends = None;
        setup::abandon(self.link.handle());
        signals::unblock_all();
        set_process_name(SPARE_NAME);
        boot::live(link)
    }

    fn collect(&mut self) {
        if let Some(ends) = &self.ends {
            drain(ends);
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(link) = self.children.remove(&pid_number(pid)) else { continue };
            let raw = status.as_raw();
            let ending = if let Some(code) = status.exit_status() {
                Ending::Exited(code)
            } else {
                Ending::Signaled { signal: raw & 0x7f, core_dumped: raw & 0x80 != 0 }
            };
            let mut packet = Packet::new();
            let _ = packet.append(&Answer::Ended(ending));
            let _ = link.send(&mut packet, Some(Instant::now()));
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
