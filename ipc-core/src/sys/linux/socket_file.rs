//! The files of local sockets: stale ones give way, ours are removed.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::{Handle, names, process};
use crate::names::OwnedName;

/// The file of a socket that this process made; removed when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    /// Another process may put a file of its own in the place.
    name: OwnedName,
    /// A fork of this process removes nothing.
    owner: u32,
}

impl SocketFile {
    /// Calls `listen`, which makes the file. A folder that is not there is made,
    /// for this user alone; a socket where nobody listens any more gives way.
    pub(crate) fn bind<T>(path: &Path, listen: impl Fn() -> io::Result<T>) -> io::Result<(Self, T)> {
        loop {
            match Self::try_bind(path, &listen) {
                // The janitor of one that was killed has taken its folder away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound && has_gone(folder_of(path)) => {}
                other => return other,
            }
        }
    }

    fn try_bind<T>(path: &Path, listen: impl Fn() -> io::Result<T>) -> io::Result<(Self, T)> {
        let folder = folder_of(path);
        let made_folder = make_folder(folder)?;
        // Two processes that find one stale file must not remove each other's new
        // one, nor take one for stale that does not listen yet.
        let lock = lock(folder);
        let result = match listen() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && lock.is_some() && is_stale(path) => {
                remove(path).and_then(|()| listen())
            }
            other => other,
        };
        let listener = result.inspect_err(|_| {
            if made_folder {
                let _ = fs::remove_dir(folder);
            }
        })?;
        let name = OwnedName::made(path, names::identity(path)?, made_folder);
        Ok((Self { name, owner: process::current_id() }, listener))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == process::current_id() {
            self.name.remove();
            self.name.gone();
        }
    }
}

/// Connects without waiting.
pub(super) fn try_connect(address: &SocketAddrUnix) -> rustix::io::Result<Handle> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, address)?;
    Ok(socket.into())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the folder has gone, and another one can be made.
fn has_gone(folder: &Path) -> bool {
    !folder.is_dir() && folder.parent().is_some_and(Path::is_dir)
}

/// Removes what another one may have removed.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether it was made now.
fn make_folder(folder: &Path) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(true),
        Err(_) if folder.is_dir() => Ok(false),
        Err(error) => Err(error),
    }
}

/// How often, and after what pause, a lock is tried that somebody else may hold for ever.
const TRIES: (u32, Duration) = (100, Duration::from_millis(10));

/// Keeps other listeners of this crate out of the folder until it is dropped;
/// `None` where that cannot be had.
pub(super) fn lock(folder: &Path) -> Option<Handle> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder, flags, Mode::empty()).ok()?;
    for _ in 0..TRIES.0 {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder.into()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(TRIES.1),
            Err(_) => return None,
        }
    }
    None
}

/// Whether it is a socket on which nobody listens.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = || {
        let address = SocketAddrUnix::new(path);
        address.is_ok_and(|address| matches!(try_connect(&address), Err(Errno::CONNREFUSED)))
    };
    is_socket && refused()
}
