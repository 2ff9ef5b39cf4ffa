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
/// them and none of them loses its parent. What is stopped is killed, also where others could
/// not be found.
pub(crate) fn kill_tree(pid: u32, end: &Handle) -> io::Result<()> {
    send(end, Signal::STOP)?;
    let mut stopped = BTreeMap::new();
    let found = stop_below(pid, &mut stopped);
    let below = stopped.values().map(|handle| send(handle, Signal::KILL)).fold(Ok(()), io::Result::and);
    send(end, Signal::KILL).and(below).and(found)
}

/// Stops all that descend from `pid`, which is stopped.
fn stop_below(pid: u32, stopped: &mut BTreeMap<u32, Handle>) -> io::Result<()> {
    loop {
        let before = stopped.len();
        for (child, parent) in everyone()? {
            let is_below = parent == pid || stopped.contains_key(&parent);
            if is_below
                && !stopped.contains_key(&child)
                && let Some(handle) = of_process(child)?
                // The id may have been given to another process meanwhile.
                && stat_of(child)?.is_some_and(|stat| stat.parent == parent)
                && send(&handle, Signal::STOP).is_ok()
            {
                stopped.insert(child, handle);
            }
        }
        if stopped.len() == before {
            return Ok(());
        }
    }
}

/// All processes, each with its parent.
pub(super) fn everyone() -> io::Result<Vec<(u32, u32)>> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // The directory is closed before others are opened.
    let pids: Vec<u32> = pids.collect();
    let known = pids.into_iter().map(|pid| Ok(stat_of(pid)?.map(|stat| (pid, stat.parent))));
    known.filter_map(io::Result::transpose).collect()
}

/// What the system tells of a process.
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) state: char,
    pub(super) parent: u32,
}

/// `None` if there is no such process, or nothing is told of it. An error says that this process has
/// not what it takes to ask, a descriptor for one.
pub(super) fn stat_of(pid: u32) -> io::Result<Option<Stat>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(parse(&String::from_utf8_lossy(&stat))),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Err(error),
            _ => Ok(None),
        },
    }
}

fn parse(stat: &str) -> Option<Stat> {
    // The name in the second field may hold spaces and brackets; its last `)` ends it.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut rest = rest.split_ascii_whitespace();
    let (state, parent) = (rest.next()?.chars().next()?, rest.next()?.parse().ok()?);
    Some(Stat { name: name.to_owned(), state, parent })
}
