//! Handles under a number: a pair of sequenced-packet sockets, `SCM_RIGHTS`.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::Handle;
use super::companion::{HANDLES_PER_PACKET, receive_with_handles, send_with_handles};
use crate::raw::PostError;

pub(crate) const HANDLES_PER_BATCH: usize = HANDLES_PER_PACKET;

#[derive(Debug)]
pub(crate) struct Post {
    entry: Handle,
    exit: Handle,
}

impl Post {
    pub(crate) fn new() -> io::Result<Self> {
        let (entry, exit) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok(Self { entry: entry.into(), exit: exit.into() })
    }

    pub(crate) fn from_handles(entry: Handle, exit: Handle) -> Self {
        Self { entry, exit }
    }

    pub(crate) fn handles(&self) -> [&Handle; 2] {
        [&self.entry, &self.exit]
    }

    pub(crate) fn put(&self, number: u64, handles: &[Handle]) -> Result<(), PostError> {
        loop {
            match send_with_handles(self.entry.as_fd(), &number.to_ne_bytes(), handles) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // `TOOMANYREFS`: the user's limit of descriptors in flight.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => return Err(PostError::Full),
                Err(error) => return Err(PostError::Io(error.into())),
            }
        }
    }

    pub(crate) fn take(&self) -> io::Result<Option<(u64, Vec<Handle>)>> {
        let mut number = [0u8; 8];
        let mut handles = Vec::new();
        loop {
            match receive_with_handles(self.exit.as_fd(), &mut number, &mut handles) {
                Ok(8) => return Ok(Some((u64::from_ne_bytes(number), handles))),
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
