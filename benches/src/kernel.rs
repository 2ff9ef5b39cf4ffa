//! What only the C library gives: forks, and the processor time of children.
//!
//! # Safety
//! Forks are made by programs that have one thread, and the child calls back into
//! safe code and then leaves by `_exit`.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process made by a bare fork.
#[derive(Debug)]
pub struct Fork(libc::pid_t);

impl Fork {
    /// Forks. The child runs the closure and leaves; it ends with code 1 if that panics.
    /// The program must have no other thread.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(closure: impl FnOnce()) -> io::Result<Self> {
        // SAFETY: the caller's program has one thread, so no lock is held by another,
        // and the child leaves this function by `_exit` alone.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let code = i32::from(catch_unwind(AssertUnwindSafe(closure)).is_err());
                // SAFETY: ends the child, whatever it holds.
                unsafe { libc::_exit(code) }
            }
            pid => Ok(Self(pid)),
        }
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.unsigned_abs()
    }

    /// What becomes readable at its end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        let pid = Pid::from_raw(self.0).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }

    /// Kills it, and waits for its end.
    pub fn kill(self) {
        // SAFETY: the pid is that of a child not yet waited for, as `self` is used up here.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, ptr::null_mut(), 0);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The kernel's, and one if the child did not end well.
    pub fn join(self) -> io::Result<()> {
        let mut status = 0;
        // SAFETY: the pid is that of a child not yet waited for, as `self` is used up here.
        match unsafe { libc::waitpid(self.0, &mut status, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ if status == 0 => Ok(()),
            _ => Err(io::Error::other(format!("a forked process ended with status {status}"))),
        }
    }
}

/// The processor time of this process and of its children that are done.
#[must_use]
pub fn cpu_time() -> Duration {
    used(libc::RUSAGE_SELF) + used(libc::RUSAGE_CHILDREN)
}

/// The processor time of the calling thread.
#[must_use]
pub fn cpu_time_of_thread() -> Duration {
    used(libc::RUSAGE_THREAD)
}

/// How many page faults this process has had that needed no disk.
#[must_use]
pub fn page_faults() -> u64 {
    usage(libc::RUSAGE_SELF).ru_minflt as u64
}

fn used(who: libc::c_int) -> Duration {
    let usage = usage(who);
    of(usage.ru_utime) + of(usage.ru_stime)
}

fn usage(who: libc::c_int) -> libc::rusage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole `rusage`, for which zeros are a value as well,
    // should the call fail.
    unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    }
}

fn of(time: libc::timeval) -> Duration {
    Duration::from_micros(time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64)
}
