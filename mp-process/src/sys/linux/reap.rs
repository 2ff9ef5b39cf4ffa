//! Collecting a child with what it used, which `waitid(2)` tells by a fifth argument that only
//! the kernel's own call has.
//!
//! # Safety
//! The call gets pointers to a `siginfo_t` and a `rusage` of this frame, which the kernel fills;
//! both are made of numbers, so zeroes are values of them.

#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd};

use ipc_core::Handle;

use crate::status::Ending;

/// How the child behind `end` ended, and its peak of resident memory in bytes; `None` while it
/// runs. Collects it.
pub(super) fn reap(end: &Handle) -> io::Result<Option<(Ending, u64)>> {
    // SAFETY: see the head of this file.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { (zeroed(), zeroed()) };
    // SAFETY: see the head of this file; the descriptor is open for as long as `end` lives.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            end.as_fd().as_raw_fd(),
            &raw mut info,
            libc::WEXITED | libc::WNOHANG,
            &raw mut usage,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: these fields are those of a child's end, and zero where there was none.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let ending = match info.si_code {
        libc::CLD_EXITED => Ending::Exited(status),
        code => Ending::Signaled { signal: status, core_dumped: code == libc::CLD_DUMPED },
    };
    Ok(Some((ending, in_bytes(&usage))))
}

/// The peak of this process's own resident memory in bytes.
pub(crate) fn own_peak() -> u64 {
    // SAFETY: see the head of this file.
    unsafe {
        let mut usage: libc::rusage = zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        in_bytes(&usage)
    }
}

/// The kernel counts in units of a KiB.
fn in_bytes(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}
