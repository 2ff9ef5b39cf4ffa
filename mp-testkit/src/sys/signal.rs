//! Signals, and waiting for an end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
};

pub(crate) fn stop(pid: u32) -> io::Result<()> {
    send(pid, Signal::STOP)
}

pub(crate) fn cont(pid: u32) -> io::Result<()> {
    send(pid, Signal::CONT)
}

pub(crate) fn kill(pid: u32) -> io::Result<()> {
    send(pid, Signal::KILL)
}

pub(crate) fn interrupt(pid: u32) -> io::Result<()> {
    send(pid, Signal::INT)
}

pub(crate) fn terminate(pid: u32) -> io::Result<()> {
    send(pid, Signal::TERM)
}

pub(crate) fn interrupt_group(leader: u32) -> io::Result<()> {
    Ok(kill_process_group(to_pid(leader)?, Signal::INT)?)
}

pub(crate) fn kill_group(leader: u32) -> io::Result<()> {
    Ok(kill_process_group(to_pid(leader)?, Signal::KILL)?)
}

/// Kills process `pid` if `condition` holds of it. The handle is opened first: what the
/// condition then finds is the process that is killed, and not a later one with its id.
pub(crate) fn kill_if(pid: u32, condition: impl FnOnce() -> bool) -> io::Result<bool> {
    let process = open(pid)?;
    if !condition() {
        return Ok(false);
    }
    pidfd_send_signal(&process, Signal::KILL)?;
    Ok(true)
}

/// A handle that becomes readable when process `pid` ends.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    Ok(pidfd_open(to_pid(pid)?, PidfdFlags::empty())?)
}

/// Waits until `process` has ended; false when `limit` is over first.
pub(crate) fn ended(process: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(kill_process(to_pid(pid)?, signal)?)
}

fn to_pid(pid: u32) -> io::Result<Pid> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a process id"))
}
