//! Bytes behind a handle: a memfd that is written once and read once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use ipc_core::Handle;
use rustix::fs::{MemfdFlags, memfd_create};

pub(crate) fn store(bytes: &[u8]) -> io::Result<Handle> {
    let mut file = File::from(memfd_create(c"mp-process", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(OwnedFd::from(file).into())
}

pub(crate) fn load(handle: Handle) -> io::Result<Vec<u8>> {
    let mut file = File::from(OwnedFd::from(handle));
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
