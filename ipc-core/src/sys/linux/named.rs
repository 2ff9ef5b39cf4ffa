//! Shared memory with a name: a file of `/dev/shm`, by the `shared_memory` crate.
//!
//! The crate makes and finds the segment. It is then opened once more by our own
//! means, because the crate does not lend its descriptor, which is needed to set
//! memory aside and to travel. It would also remove a name by its text alone,
//! and not at all if its descriptor is number 0; so that is done here too.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, fallocate, fstat};
use rustix::io::Errno;
use rustix::shm;
use shared_memory::{ShmemConf, ShmemError};

use super::memory::Segment;
use super::{names, process};
use crate::names::OwnedName;
use crate::raw::is_handing_over;

/// Where the C library keeps the names.
const FOLDER: &str = "/dev/shm";

/// A name in shared memory, and which segment it was given to.
#[derive(Debug)]
pub(crate) struct Name {
    text: String,
    /// Device and inode: the name may have been given to another segment since.
    identity: (u64, u64),
    /// The process that made the segment or adopted it, and what its janitor knows; a fork of
    /// it removes nothing.
    maker: Option<(u32, OwnedName)>,
}

impl Name {
    /// As [`create`](Self::create), under a name that nobody else thinks of.
    pub(crate) fn create_unique(text: &str, len: usize) -> io::Result<(Self, Segment)> {
        let _expected = OwnedName::expected(&Path::new(FOLDER).join(text));
        Self::create(text, len)
    }

    /// Makes a segment of `len` bytes, all of them set aside now.
    pub(crate) fn create(text: &str, len: usize) -> io::Result<(Self, Segment)> {
        let mut made = ShmemConf::new().os_id(slashed(text)).size(len).create().map_err(explain)?;
        // From here on, an error drops it and removes the name.
        let fd = open(text)?;
        let all = u64::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        super::retry(|| fallocate(&fd, FallocateFlags::empty(), 0, all))?;
        let mut name = Self::of(text, &fd)?;
        made.set_owner(false);
        name.own();
        Ok((name, Segment::unsealed(fd.into(), len)))
    }

    /// Takes over the name of a segment that another process made.
    pub(crate) fn adopt(text: &str) -> io::Result<Self> {
        let mut name = Self::of(text, &open(text)?)?;
        name.own();
        Ok(name)
    }

    /// This process removes it, or its janitor.
    fn own(&mut self) {
        let path = Path::new(FOLDER).join(&self.text);
        // Of one that has gone already there is nothing to keep.
        if let Ok(identity) = names::identity(&path) {
            self.maker = Some((process::current_id(), OwnedName::made(&path, identity, false)));
        }
    }

    /// Opens a segment that anybody made.
    pub(crate) fn open(text: &str) -> io::Result<(Self, Segment)> {
        let found = ShmemConf::new().os_id(slashed(text)).open().map_err(explain)?;
        let fd = open(text)?;
        let len = usize::try_from(fstat(&fd)?.st_size).map_err(|_| io::ErrorKind::InvalidData)?;
        if len != found.len() || len == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its size is changing at this moment"));
        }
        Ok((Self::of(text, &fd)?, Segment::unsealed(fd.into(), len)))
    }

    fn of(text: &str, fd: &OwnedFd) -> io::Result<Self> {
        Ok(Self { text: text.to_owned(), identity: identity(fd)?, maker: None })
    }

    /// Under which a segment received from another process goes.
    pub(crate) fn received(text: String, segment: &Segment) -> io::Result<Self> {
        Ok(Self { identity: identity(segment.handle())?, text, maker: None })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether dropping it in this process removes the name.
    pub(crate) fn is_ours(&self) -> bool {
        self.maker.as_ref().is_some_and(|(maker, _)| *maker == process::current_id())
    }

    pub(crate) fn disown(&mut self) {
        if let Some((_, owned)) = self.maker.take() {
            owned.gone();
        }
    }

    /// Removes the name, if it still is this segment's; the memory lives on where
    /// it is mapped.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        match open(&self.text).and_then(|fd| identity(&fd)) {
            Ok(found) if found == self.identity => match shm::unlink(slashed(&self.text)) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.is_ours() && !is_handing_over() {
            let _ = self.unlink();
            self.disown();
        }
    }
}

fn slashed(text: &str) -> String {
    format!("/{text}")
}

fn open(text: &str) -> io::Result<OwnedFd> {
    Ok(shm::open(slashed(text), shm::OFlags::RDWR, Mode::empty())?)
}

fn identity(fd: &impl std::os::fd::AsFd) -> io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn explain(error: ShmemError) -> io::Error {
    match error {
        ShmemError::MappingIdExists => io::ErrorKind::AlreadyExists.into(),
        ShmemError::MapSizeZero => io::ErrorKind::InvalidInput.into(),
        ShmemError::MapCreateFailed(code)
        | ShmemError::MapOpenFailed(code)
        | ShmemError::UnknownOsError(code) => io::Error::from_raw_os_error(code.cast_signed()),
        other => io::Error::other(other),
    }
}
