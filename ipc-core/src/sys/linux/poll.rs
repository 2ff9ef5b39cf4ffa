//! Waiting for descriptors: `ppoll(2)`, and `epoll(7)` for a set that lasts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, epoll};

use super::Handle;

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
    #[cfg(feature = "async")]
    pub(crate) fn duplicate(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.fd.try_clone_to_owned()
    }

    #[cfg(feature = "async")]
    pub(crate) fn is_writable(&self) -> bool {
        self.flags.contains(PollFlags::OUT)
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

/// A set of interests that lasts, each under a number.
#[derive(Debug)]
pub(crate) struct Set(Handle);

impl Set {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?.into()))
    }

    /// Reports `interest` once, as `number`; it must be removed before its handle is closed.
    pub(crate) fn add(&self, interest: Interest<'_>, number: u64) -> io::Result<()> {
        let readable = if interest.flags.contains(PollFlags::IN) {
            epoll::EventFlags::IN
        } else {
            epoll::EventFlags::empty()
        };
        let flags = readable | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::add(&self.0, interest.fd, data, flags)?)
    }

    pub(crate) fn remove(&self, interest: Interest<'_>) {
        // One that is not there is as good as one removed.
        let _ = epoll::delete(&self.0, interest.fd);
    }

    /// Waits for the first, and says the numbers of those that are ready.
    pub(crate) fn wait(&self) -> io::Result<Vec<u64>> {
        let mut events = Vec::with_capacity(64);
        super::retry(|| {
            let space = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.0, space, None)
        })?;
        Ok(events.iter().map(|event: &epoll::Event| event.data.u64()).collect())
    }
}
