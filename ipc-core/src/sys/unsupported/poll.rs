use std::io;
use std::marker::PhantomData;
use std::time::Instant;

use super::handle::{Handle, Never};
use super::unsupported;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest<'a>(Never, PhantomData<&'a Handle>);

impl<'a> Interest<'a> {
    pub(crate) fn readable(handle: &'a Handle) -> Self {
        handle.never()
    }

    pub(crate) fn writable(handle: &'a Handle) -> Self {
        handle.never()
    }

    pub(crate) fn hangup(handle: &'a Handle) -> Self {
        handle.never()
    }

    #[cfg(feature = "async")]
    pub(crate) fn never(&self) -> ! {
        match self.0 {}
    }
}

pub(crate) fn poll(_interests: &[Interest<'_>], _deadline: Option<Instant>) -> io::Result<Vec<bool>> {
    unsupported()
}

pub(crate) fn poll_one(_interest: Interest<'_>, _deadline: Option<Instant>) -> io::Result<bool> {
    unsupported()
}
