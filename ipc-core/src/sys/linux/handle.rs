//! File descriptors, always close-on-exec.
//!
//! # Safety
//! A descriptor is exchanged under its number, which stays its owner's and open.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// An owned system handle: on Unix a file descriptor.
///
/// It is closed when dropped and is never inherited by a child by accident. It
/// may stand anywhere inside a message: the receiver gets a duplicate, and the
/// sender keeps its own. Serialising one outside a message is an error.
///
/// On Unix it converts from and into [`OwnedFd`], and so from and into files,
/// sockets and pipes of the standard library.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// A second handle to the same object.
    ///
    /// # Errors
    /// What the system says, for one that the limit of open descriptors is reached.
    pub fn try_clone(&self) -> io::Result<Self> {
        // `OwnedFd::try_clone` duplicates with `F_DUPFD_CLOEXEC`.
        self.0.try_clone().map(Self)
    }

    /// Lets go of the object while the handle may still be in use here: it stands for
    /// nothing from now on. Without a free descriptor it keeps it until it is dropped.
    pub(crate) fn let_go(&self) {
        if let Ok(nothing) = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            // SAFETY: the number belongs to `self`, and is that of an open descriptor before
            // and afterwards; no memory is touched.
            unsafe { libc::dup3(nothing.as_raw_fd(), self.0.as_raw_fd(), libc::O_CLOEXEC) };
        }
    }
}

impl From<OwnedFd> for Handle {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Handle> for OwnedFd {
    fn from(handle: Handle) -> Self {
        handle.0
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
