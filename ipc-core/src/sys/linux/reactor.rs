//! Readiness of descriptors for futures, by the `async-io` crate.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use async_io::Async;

use super::poll::Interest;

/// An interest that a future waits on; it holds a duplicate of the descriptor,
/// because the reactor takes each only once.
#[derive(Debug)]
pub(crate) struct Watch {
    source: Async<OwnedFd>,
    wants_room: bool,
}

impl Watch {
    pub(crate) fn new(interest: Interest<'_>) -> io::Result<Self> {
        // Whether it waits is asked call by call, so the descriptor keeps its mode.
        let source = Async::new_nonblocking(interest.duplicate()?)?;
        Ok(Self { source, wants_room: interest.is_writable() })
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wants_room { self.source.poll_writable(context) } else { self.source.poll_readable(context) }
    }
}

/// Ready once one of `watches` is.
pub(crate) fn first_of(watches: &[Watch], context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut first = Poll::Pending;
    for watch in watches {
        if let Poll::Ready(result) = watch.poll(context) {
            first = Poll::Ready(result);
        }
    }
    first
}
