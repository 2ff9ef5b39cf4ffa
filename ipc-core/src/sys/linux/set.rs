//! Waiting for many descriptors, again and again: `epoll(7)`, whose cost does not grow with them.
//!
//! # Safety
//! A descriptor is taken out of a set by its number, in a call that reads no memory
//! of ours. Should its owner have closed it meanwhile, the kernel has taken it out
//! already, and answers so.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::Handle;
use super::poll::Interest;

/// How many numbers one look brings at most; the others come with the next.
const AT_ONCE: usize = 256;

/// A set of interests that lasts, each under a number.
#[derive(Debug)]
pub(crate) struct Set(Handle);

/// An interest in a set, until it is [forgotten](Set::forget).
#[derive(Debug)]
pub(crate) struct Place {
    /// What its owner knows it by.
    fd: RawFd,
    flags: EventFlags,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The owner's own descriptor is in the set.
    Itself,
    /// It stands there for something else already, so that a copy stands for this.
    Copy(OwnedFd),
    /// It never waits, as a regular file, and the kernel takes none of these.
    Always,
}

impl Place {
    /// Whether it is this very interest's.
    pub(crate) fn is_of(&self, interest: Interest<'_>) -> bool {
        self.fd == interest.fd().as_raw_fd() && self.flags == flags(interest)
    }

    /// Whether it is ready at any time, and never reported.
    pub(crate) fn is_always_ready(&self) -> bool {
        matches!(self.kind, Kind::Always)
    }
}

impl Set {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?.into()))
    }

    /// Reports `interest` once, as `number`; it must be removed before its handle is closed.
    pub(crate) fn add(&self, interest: Interest<'_>, number: u64) -> io::Result<()> {
        let flags = flags(interest) | EventFlags::ONESHOT;
        Ok(epoll::add(&self.0, interest.fd(), EventData::new_u64(number), flags)?)
    }

    pub(crate) fn remove(&self, interest: Interest<'_>) {
        // One that is not there is as good as one removed.
        let _ = epoll::delete(&self.0, interest.fd());
    }

    /// Reports `interest` as `number` whenever it is ready, until its place is forgotten.
    pub(crate) fn keep(&self, interest: Interest<'_>, number: u64) -> io::Result<Place> {
        let data = EventData::new_u64(number);
        let kind = match epoll::add(&self.0, interest.fd(), data, flags(interest)) {
            Ok(()) => Kind::Itself,
            Err(Errno::PERM) => Kind::Always,
            Err(Errno::EXIST) => {
                let copy = interest.duplicate()?;
                epoll::add(&self.0, &copy, data, flags(interest))?;
                Kind::Copy(copy)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Place { fd: interest.fd().as_raw_fd(), flags: flags(interest), kind })
    }

    /// Reports it no more.
    pub(crate) fn forget(&self, place: &Place) {
        let fd = match &place.kind {
            Kind::Itself => place.fd,
            Kind::Copy(copy) => copy.as_raw_fd(),
            Kind::Always => return,
        };
        // SAFETY: for this operation the kernel reads no memory.
        unsafe { libc::epoll_ctl(self.0.as_fd().as_raw_fd(), libc::EPOLL_CTL_DEL, fd, ptr::null_mut()) };
    }

    /// Waits for the first, and says the numbers of those that are ready; none at the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<Vec<u64>> {
        let mut events = Vec::with_capacity(AT_ONCE);
        super::retry(|| {
            let space = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.0, space, super::remaining(deadline).as_ref())
        })?;
        Ok(events.iter().map(|event: &epoll::Event| event.data.u64()).collect())
    }
}

fn flags(interest: Interest<'_>) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.is_readable());
    flags.set(EventFlags::OUT, interest.is_writable());
    flags.set(EventFlags::RDHUP, interest.is_end());
    flags
}
