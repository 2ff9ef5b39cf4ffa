//! The end of a child: its pidfd, `waitid(2)` and signals.

use std::io;
use std::sync::{Mutex, PoisonError};

use ipc_core::Handle;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid,
};

use crate::status::{Ending, ExitStatus};

/// A child of this process. Its descriptor names it for ever, unlike its id.
#[derive(Debug)]
pub(crate) struct Child {
    pid: u32,
    /// `None` if it had ended, and was collected by others, before it could be opened.
    pidfd: Option<Handle>,
    status: Mutex<Option<ExitStatus>>,
}

/// What can be asked of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    Interrupt,
    Terminate,
    Kill,
}

impl Child {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let (pidfd, status) = match pidfd_open(id, PidfdFlags::empty()) {
            Ok(fd) => (Some(Handle::from(fd)), None),
            // Not even a zombie is left: the program collects children by itself.
            Err(Errno::SRCH) => (None, Some(ExitStatus(Ending::Unknown))),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { pid, pidfd, status: Mutex::new(status) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes ready when the child has ended.
    pub(crate) fn sentinel(&self) -> Option<&Handle> {
        self.pidfd.as_ref()
    }

    /// How the child ended, if it has; collects it.
    pub(crate) fn try_status(&self) -> io::Result<Option<ExitStatus>> {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(pidfd)) = (*status, &self.pidfd) {
            *status = collect(pidfd)?;
        }
        Ok(*status)
    }

    pub(crate) fn signal(&self, request: Request) -> io::Result<()> {
        let signal = match request {
            Request::Interrupt => Signal::INT,
            Request::Terminate => Signal::TERM,
            Request::Kill => Signal::KILL,
        };
        let Some(pidfd) = &self.pidfd else { return Ok(()) };
        match pidfd_send_signal(pidfd, signal) {
            // It has ended already, which is what the signal was for.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Collects the child behind `pidfd` if it has ended.
pub(crate) fn collect(pidfd: &Handle) -> io::Result<Option<ExitStatus>> {
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        return match waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(pidfd)), options) {
            Ok(None) => Ok(None),
            Ok(Some(status)) => Ok(Some(ExitStatus(ending(&status)))),
            Err(Errno::INTR) => continue,
            // Somebody else has collected it.
            Err(Errno::CHILD) => Ok(Some(ExitStatus(Ending::Unknown))),
            Err(error) => Err(error.into()),
        };
    }
}

fn ending(status: &WaitIdStatus) -> Ending {
    if let Some(code) = status.exit_status() {
        Ending::Exited(code)
    } else if let Some(signal) = status.terminating_signal() {
        Ending::Signaled { signal, core_dumped: status.dumped() }
    } else {
        Ending::Unknown
    }
}
