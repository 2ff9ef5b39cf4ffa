//! The names in shared memory.

use std::collections::BTreeSet;
use std::fs;

/// All names, also those of other programs: a name does not tell who made it.
pub(crate) fn shared_memory() -> BTreeSet<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
