//! Files that stand for something of a process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device and inode.
pub(crate) fn identity(path: &Path) -> io::Result<[u64; 2]> {
    let found = fs::symlink_metadata(path)?;
    Ok([found.dev(), found.ino()])
}

/// Removes the file if it is this one, and then its folder, if that was made for it.
pub(crate) fn remove(path: &Path, is: [u64; 2], has_own_folder: bool) {
    if identity(path).is_ok_and(|found| found == is) {
        let _ = fs::remove_file(path);
    }
    if let Some(folder) = path.parent().filter(|_| has_own_folder) {
        // One that others use as well is not empty, and stays.
        let _ = fs::remove_dir(folder);
    }
}
