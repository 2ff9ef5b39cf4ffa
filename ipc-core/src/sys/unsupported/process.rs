use std::io;

use super::handle::{Handle, Never};
use super::poll::Interest;
use super::unsupported;

#[derive(Debug)]
pub(crate) struct Watch(Never);

impl Watch {
    pub(crate) fn open(_id: u32) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn interest(&self) -> Interest<'_> {
        match self.0 {}
    }

    pub(crate) fn into_handle(self) -> Handle {
        match self.0 {}
    }
}

pub(crate) fn current_id() -> u32 {
    std::process::id()
}

pub(crate) fn current() -> (u32, u64) {
    (current_id(), 0)
}

pub(crate) fn start_time(_id: u32) -> io::Result<u64> {
    unsupported()
}

pub(crate) fn id_space() -> u64 {
    0
}
