//! What a server leaves behind that was killed.
//!
//! The server itself is to be collected, and so is a child that it made and could not tell
//! of any more: that one is a child of this process, sees that the server has gone and ends, and
//! nobody here knows its id. So it is looked for, by its parent and by its name, which no
//! child has any more that has its orders, among those that no server has told of. Until it has ended it is looked at again
//! whenever a process is started, joined or listed. A look needs a descriptor or two: where there is
//! none, nothing is known, and the next one tells.

use std::io;
use std::sync::{Arc, Weak};

use ipc_core::Handle;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::{SERVER_NAME, SPARE_NAME, end};
use crate::per_process::PerProcess;
use crate::sys::linux::end::Stat;

static KNOWN: PerProcess<Known> = PerProcess::new();

#[derive(Debug, Default)]
struct Known {
    /// Those that have begun, each with what becomes ready at its end.
    servers: Vec<(u32, Weak<Handle>)>,
    /// Children that may be such ones.
    strays: Vec<u32>,
    /// Children that servers have told of: others wait for their ends.
    told: Vec<u32>,
    /// There may be strays that are not found yet.
    is_to_look: bool,
}

/// A server has told of this child, whose end its holder waits for: it is none that is left
/// behind, whatever it is called still.
#[derive(Debug)]
pub(crate) struct Told(u32);

impl Told {
    pub(super) fn of(pid: u32) -> Self {
        KNOWN.with(|known| known.told.push(pid));
        Self(pid)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        KNOWN.with(|known| {
            if let Some(at) = known.told.iter().position(|pid| *pid == self.0) {
                known.told.swap_remove(at);
            }
        });
    }
}

/// Has the server's end noticed.
pub(super) fn watch(pid: u32, end: &Arc<Handle>) {
    KNOWN.with(|known| known.servers.push((pid, Arc::downgrade(end))));
}

#[cfg(test)]
pub(super) fn told() -> Vec<u32> {
    KNOWN.with(|known| known.told.clone())
}

/// Says that a server has been collected, and whether it may have made a child that it has
/// not told of.
pub(super) fn server_ended(pid: u32, may_leave_one: bool) {
    KNOWN.with(|known| {
        known.servers.retain(|(server, _)| *server != pid);
        if may_leave_one {
            known.is_to_look = true;
            known.look_for_strays();
            known.collect_strays();
        }
    });
}

/// Collects the servers that have ended, and what they left behind.
pub(crate) fn tend() {
    KNOWN.with(Known::tend);
}

impl Known {
    fn tend(&mut self) {
        let before = self.servers.len();
        // What its post holds, if it is there still, can do without its status.
        let runs = |(_, end): &(u32, Weak<Handle>)| {
            end.upgrade().is_some_and(|end| matches!(end::collect(&end), Ok(None)))
        };
        self.servers.retain(runs);
        self.is_to_look |= self.servers.len() < before;
        self.look_for_strays();
        self.collect_strays();
    }

    fn look_for_strays(&mut self) {
        if self.is_to_look {
            self.is_to_look = self.try_to_look().is_err();
        }
    }

    fn try_to_look(&mut self) -> io::Result<()> {
        for (pid, _) in end::everyone()? {
            if !self.strays.contains(&pid) && is_stray(pid)?.is_some() {
                self.strays.push(pid);
            }
        }
        Ok(())
    }

    fn collect_strays(&mut self) {
        let (servers, told) = (&self.servers, &self.told);
        self.strays.retain(|pid| {
            let is_known = told.contains(pid) || servers.iter().any(|(server, _)| server == pid);
            match is_stray(*pid) {
                _ if is_known => false,
                Ok(Some(has_ended)) => !has_ended || collect(*pid).is_none(),
                Ok(None) => false,
                Err(_) => true,
            }
        });
    }
}

/// Whether `pid`, if it is a child of this process that has no orders, has ended. An error says that
/// this cannot be known now.
fn is_stray(pid: u32) -> io::Result<Option<bool>> {
    let Some(Stat { name, state, parent }) = end::stat_of(pid)? else { return Ok(None) };
    let is_one = parent == std::process::id() && [SPARE_NAME, SERVER_NAME].contains(&&*name);
    Ok(is_one.then_some(state == 'Z'))
}

/// No other process has its id before this.
fn collect(pid: u32) -> Option<()> {
    waitpid(Pid::from_raw(pid.cast_signed()), WaitOptions::NOHANG).is_ok().then_some(())
}
