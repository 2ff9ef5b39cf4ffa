//! Files that stand for something of a process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::socket_file::lock;

/// Whatever file is there.
pub(crate) const ANY: [u64; 3] = [0; 3];

/// No file: what is there stays, and only an empty folder goes.
pub(crate) const NONE: [u64; 3] = [u64::MAX; 3];

/// Device, inode and time of birth, where the file system knows that: an inode's number
/// is soon given to another file.
pub(crate) fn identity(path: &Path) -> io::Result<[u64; 3]> {
    let found = fs::symlink_metadata(path)?;
    let born = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok([found.dev(), found.ino(), born.map_or(0, |at| at.as_nanos() as u64)])
}

/// Removes the file if it is this one, and then its folder, if that was made for it.
pub(crate) fn remove(path: &Path, is: [u64; 3], has_own_folder: bool) {
    // No other listener takes the place of a dead one meanwhile.
    let _lock = path.parent().and_then(lock);
    if is == ANY || identity(path).is_ok_and(|found| found == is) {
        let _ = fs::remove_file(path);
    }
    if let Some(folder) = path.parent().filter(|_| has_own_folder) {
        // One that others use as well is not empty, and stays.
        let _ = fs::remove_dir(folder);
    }
}
