//! Knowing a process and its end: `pidfd_open(2)` and `/proc/PID/stat`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Handle;
use super::poll::Interest;

/// A descriptor that becomes readable when its process ends.
#[derive(Debug)]
pub(crate) struct Watch(Handle);

impl Watch {
    /// A watch on process `id`; the error is [`io::ErrorKind::NotFound`] if there is none such.
    pub(crate) fn open(id: u32) -> io::Result<Self> {
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        match pidfd_open(pid.ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty()) {
            Ok(fd) => Ok(Self(fd.into())),
            Err(Errno::SRCH) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(error.into()),
        }
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

/// This process's id and start time; a start time of zero is unknown.
pub(crate) fn current() -> (u32, u64) {
    // Kept, because the kernel writes a page of text for each question.
    static KNOWN: Mutex<(u32, u64)> = Mutex::new((0, 0));
    let id = current_id();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.0 != id {
        *known = (id, start_time(id).unwrap_or(0));
    }
    *known
}

/// In which space of process ids this process lives: an id says nothing in another one.
pub(crate) fn id_space() -> u64 {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    *KNOWN.get_or_init(|| fs::metadata("/proc/self/ns/pid").map_or(0, |space| space.ino()))
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use crate::raw::{ProcessId, Roll, ask_and_hold};

    /// A raw fork beside a thread that asks: its child has that thread's mutex, and not the thread.
    #[test]
    fn a_forked_child_asks_by_itself() {
        let own = ProcessId::current().unwrap();
        let held = ask_and_hold();
        // SAFETY: the child asks, which takes nothing that the other threads of this test hold, and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the calls take numbers; the default action of the signal ends a child that hangs.
            unsafe {
                libc::alarm(10);
                libc::_exit(i32::from(!Roll::default().ended([own]).is_empty()));
            }
        }
        drop(held);
        let mut status = -1;
        // SAFETY: the call writes the status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
    }
}
