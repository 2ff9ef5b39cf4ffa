//! Waiting for descriptors: `ppoll(2)`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

/// What a waiter wants of one handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest<'a> {
    fd: BorrowedFd<'a>,
    flags: PollFlags,
}

impl<'a> Interest<'a> {
    pub(crate) fn readable(handle: &'a impl AsFd) -> Self {
        Self { fd: handle.as_fd(), flags: PollFlags::IN }
    }

    pub(crate) fn writable(handle: &'a impl AsFd) -> Self {
        Self { fd: handle.as_fd(), flags: PollFlags::OUT }
    }

    /// The handle once more, for a set that takes each only once.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone_to_owned()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'a> {
        self.fd
    }

    pub(super) fn is_readable(&self) -> bool {
        self.flags.contains(PollFlags::IN)
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.flags.contains(PollFlags::OUT)
    }

    /// The peer sends no more, or is gone; what it has sent does not count.
    pub(crate) fn ended(handle: &'a impl AsFd) -> Self {
        Self { fd: handle.as_fd(), flags: PollFlags::RDHUP }
    }

    pub(super) fn is_end(&self) -> bool {
        self.flags.contains(PollFlags::RDHUP)
    }

    /// The kernel reports a hang-up always; nothing else is asked for.
    pub(crate) fn hangup(handle: &'a impl AsFd) -> Self {
        Self { fd: handle.as_fd(), flags: PollFlags::empty() }
    }
}

/// Waits until one of `interests` is ready, or its other end has gone, or the
/// deadline has passed; says of each whether it is ready.
pub(crate) fn poll(interests: &[Interest<'_>], deadline: Option<Instant>) -> io::Result<Vec<bool>> {
    let mut fds: Vec<PollFd<'_>> =
        interests.iter().map(|one| PollFd::from_borrowed_fd(one.fd, one.flags)).collect();
    super::retry(|| rustix::event::poll(&mut fds, super::remaining(deadline).as_ref()))?;
    Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// As [`poll`], for one.
pub(crate) fn poll_one(interest: Interest<'_>, deadline: Option<Instant>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(interest.fd, interest.flags)];
    super::retry(|| rustix::event::poll(&mut fds, super::remaining(deadline).as_ref()))?;
    Ok(!fds[0].revents().is_empty())
}
