//! Knowing a process and its end: `pidfd_open(2)` and `/proc/PID/stat`.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Handle;
use super::poll::Interest;

/// A descriptor that becomes readable when its process ends.
#[derive(Debug)]
pub(crate) struct Watch(Handle);

impl Watch {
    pub(crate) fn open(id: u32) -> io::Result<Self> {
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self(fd.into()))
    }

    pub(crate) fn interest(&self) -> Interest<'_> {
        Interest::readable(&self.0)
    }
}

pub(crate) fn current_id() -> u32 {
    std::process::id()
}

/// When the process started, in clock ticks since boot: with the id it names a
/// process for ever, while an id alone is given out again.
pub(crate) fn start_time(id: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in the second field may hold spaces and brackets; its last `)` ends it.
    let after_name = stat.rsplit(')').next().unwrap_or("");
    after_name
        .split_ascii_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected text in /proc/PID/stat"))
}
