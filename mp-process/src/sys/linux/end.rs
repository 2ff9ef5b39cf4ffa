//! The end of a child: its pidfd, `waitid(2)` and signals.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;

use ipc_core::Handle;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, pidfd_open, pidfd_send_signal,
    waitid, waitpid,
};

use super::reap;
use crate::status::{Ending, ExitStatus};

/// What can be asked of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    Interrupt,
    Terminate,
    Kill,
}

/// A handle that names the child `pid` for ever, unlike its id, and becomes ready at
/// its end. `None` if it has ended, and the program collects children by itself.
pub(crate) fn open(pid: u32) -> io::Result<Option<Handle>> {
    let Some(handle) = of_process(pid)? else { return Ok(None) };
    // Where children are collected at once, the id may be a stranger's by now.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::PidFd(handle.as_fd()), look) {
        Err(Errno::CHILD) => Ok(None),
        _ => Ok(Some(handle)),
    }
}

/// As [`open`] for any process, which the id does not name for ever.
pub(crate) fn of_process(pid: u32) -> io::Result<Option<Handle>> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Collects the child behind `end` if it has ended: how, and the peak of its resident memory
/// in bytes, if that was told.
pub(crate) fn collect(end: &Handle) -> io::Result<Option<(ExitStatus, Option<u64>)>> {
    loop {
        return match reap::reap(end) {
            Ok(None) => Ok(None),
            Ok(Some((ending, peak))) => Ok(Some((ExitStatus::new(ending), Some(peak)))),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => continue,
                // Somebody else has collected it.
                Some(Errno::CHILD) => Ok(Some((ExitStatus::new(Ending::Unknown), None))),
                _ => Err(error),
            },
        };
    }
}

pub(crate) fn signal(end: &Handle, request: Request) -> io::Result<()> {
    send(
        end,
        match request {
            Request::Interrupt => Signal::INT,
            Request::Terminate => Signal::TERM,
            Request::Kill => Signal::KILL,
        },
    )
}

fn send(end: &Handle, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(end, signal) {
        // It has ended already, which is what the signal was for.
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// For a new child that cannot be watched.
pub(super) fn kill_and_collect(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
}

/// Kills the process `pid` behind `end` and all that descends from it.
///
/// Each is stopped before its children are looked for, so that it starts no more of
/// them and none of them loses its parent.
pub(crate) fn kill_tree(pid: u32, end: &Handle) -> io::Result<()> {
    send(end, Signal::STOP)?;
    let mut stopped: BTreeMap<u32, Handle> = BTreeMap::new();
    loop {
        let mut found = 0;
        for (child, parent) in everyone()? {
            let is_below = parent == pid || stopped.contains_key(&parent);
            if is_below
                && !stopped.contains_key(&child)
                && let Ok(Some(handle)) = of_process(child)
                // The id may have been given to another process meanwhile.
                && parent_of(child) == Some(parent)
                && send(&handle, Signal::STOP).is_ok()
            {
                stopped.insert(child, handle);
                found += 1;
            }
        }
        if found == 0 {
            break;
        }
    }
    let below = stopped.values().try_for_each(|handle| send(handle, Signal::KILL));
    send(end, Signal::KILL).and(below)
}

/// All processes, each with its parent.
pub(super) fn everyone() -> io::Result<Vec<(u32, u32)>> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in the second field may hold spaces and brackets; its last `)` ends it.
    stat.rsplit(')').next()?.split_ascii_whitespace().nth(1)?.parse().ok()
}
