//! The files of local sockets: stale ones give way, ours are removed.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::{Handle, names, process, socket};
use crate::listener::{AUTOMATIC_FILE, is_automatic};
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
        static HAS_SWEPT: AtomicBool = AtomicBool::new(false);
        if let Some(among) = folder_of(path).parent().filter(|_| is_automatic(path)) {
            // Nobody waits for the one who does it.
            if !HAS_SWEPT.swap(true, Ordering::Relaxed) {
                sweep(among);
            }
        }
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
        // A kill between two of the steps below leaves an empty folder to the keeper.
        let _expected = (!folder.exists()).then(|| OwnedName::expected_folder(path));
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

/// Folders of automatic addresses are swept away only when they are older.
const OLD: Duration = Duration::from_secs(3600);
/// No more than these are looked at.
const MOST_SWEPT: usize = 256;

/// Removes what listeners of this user left behind under automatic addresses, that were killed
/// where no keeper followed them.
fn sweep(among: &Path) {
    let Ok(entries) = fs::read_dir(among) else { return };
    let sockets = entries.flatten().map(|entry| entry.path().join(AUTOMATIC_FILE));
    sockets.filter(|path| is_automatic(path)).take(MOST_SWEPT).for_each(|path| sweep_one(&path));
}

fn sweep_one(path: &Path) {
    let folder = folder_of(path);
    let is_old = |found: &fs::Metadata| {
        let age = found.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        age.is_some_and(|age| age > OLD)
    };
    let is_left =
        |found: &fs::Metadata| found.is_dir() && found.uid() == socket::current_user() && is_old(found);
    if !fs::symlink_metadata(folder).is_ok_and(|found| is_left(&found)) {
        return;
    }
    // One that somebody is about to listen at is not free, and stays.
    let Some(_lock) = try_lock(folder) else { return };
    if is_stale(path) {
        let _ = fs::remove_file(path);
    }
    // If anything is in it, it stays.
    let _ = fs::remove_dir(folder);
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
    lock_within(folder, TRIES.0)
}

fn try_lock(folder: &Path) -> Option<Handle> {
    lock_within(folder, 1)
}

fn lock_within(folder: &Path, tries: u32) -> Option<Handle> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder, flags, Mode::empty()).ok()?;
    for again in (0..tries).rev() {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder.into()),
            Err(Errno::WOULDBLOCK | Errno::INTR) if again > 0 => std::thread::sleep(TRIES.1),
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
