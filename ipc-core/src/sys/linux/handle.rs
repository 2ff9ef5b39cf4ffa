//! File descriptors, always close-on-exec.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
