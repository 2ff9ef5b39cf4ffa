//! Knowing a process and its end: `pidfd_open(2)` and `/proc/PID/stat`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Handle;
use super::poll::Interest;
use crate::raw::{PerProcess, Settled};

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

    pub(crate) fn into_handle(self) -> Handle {
        self.0
    }
}

pub(crate) fn current_id() -> u32 {
    std::process::id()
}

/// When the process started, in clock ticks since boot: with the id it names a
/// process for ever, while an id alone is given out again.
pub(crate) fn start_time(id: u32) -> io::Result<u64> {
    start_time_in(&fs::read_to_string(format!("/proc/{id}/stat"))?)
}

/// As [`start_time`] of this process. Every new process asks, so it is one read on the stack.
fn own_start_time() -> io::Result<u64> {
    let mut text = [0; 1024];
    let file = open(c"/proc/self/stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let len = read(file, &mut text)?;
    start_time_in(&String::from_utf8_lossy(&text[..len]))
}

fn start_time_in(stat: &str) -> io::Result<u64> {
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
    static KNOWN: PerProcess<Mutex<(u32, u64)>> = PerProcess::new(Mutex::new((0, 0)), |_| Mutex::default());
    let id = current_id();
    let mut known = KNOWN.here().lock().unwrap_or_else(PoisonError::into_inner);
    if known.0 != id {
        *known = (id, own_start_time().unwrap_or(0));
    }
    *known
}

/// In which space of process ids this process lives: an id says nothing in another one.
pub(crate) fn id_space() -> u64 {
    static KNOWN: Settled<u64> = Settled::new();
    *KNOWN.get_or_make(|| fs::metadata("/proc/self/ns/pid").map_or(0, |space| space.ino()))
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use crate::arena::keep_and_hold;
    use crate::raw::{ProcessId, Region, Roll, ask_and_hold, map_and_hold};
    use crate::{Arena, pipe};

    /// How a fork of this process ends that only asks `question`, beside a thread which has `held`:
    /// the child has that thread's mutex, and not the thread.
    fn status_of_fork(held: impl Sized, question: impl FnOnce() -> bool) -> i32 {
        // SAFETY: the child asks, which takes nothing that the other threads of this test hold, and leaves.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the calls take numbers; the default action of the signal ends a child that hangs.
            unsafe {
                libc::alarm(10);
                libc::_exit(i32::from(!question()));
            }
        }
        drop(held);
        let mut status = -1;
        // SAFETY: the call writes the status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        status
    }

    #[test]
    fn this_process_began_when_others_say() {
        assert_eq!(super::own_start_time().unwrap(), super::start_time(std::process::id()).unwrap());
    }

    #[test]
    fn a_forked_child_asks_by_itself() {
        let own = ProcessId::current().unwrap();
        assert_eq!(status_of_fork(ask_and_hold(), || Roll::default().ended([own]).is_empty()), 0);
    }

    #[test]
    fn a_forked_child_maps_by_itself() {
        assert_eq!(status_of_fork(map_and_hold(), || Region::create(4096).is_ok()), 0);
    }

    #[test]
    fn a_forked_child_keeps_arenas_by_itself() {
        let keeps = || {
            let (tx, rx) = pipe().unwrap();
            tx.send(&Arena::new(4096).unwrap().copy_of(&[7u8]).unwrap()).unwrap();
            rx.recv().is_ok_and(|block| *block == [7])
        };
        assert_eq!(status_of_fork(keep_and_hold(), keeps), 0);
    }

    #[test]
    fn a_forked_child_knows_what_its_parent_has_mapped() {
        let region = Region::create(4096).unwrap();
        let knows = || {
            let (tx, rx) = pipe().unwrap();
            tx.send(&region).unwrap();
            rx.recv().is_ok_and(|received: Region| received.is(&region))
        };
        assert_eq!(status_of_fork((), knows), 0);
    }
}
