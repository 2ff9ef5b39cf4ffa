//! The names in shared memory.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const FOLDER: &str = "/dev/shm";

/// All names, also those of other programs: a name does not tell who made it.
pub(crate) fn shared_memory() -> BTreeSet<String> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether process `pid` has `name` open or mapped.
pub(crate) fn is_held_by(name: &str, pid: u32) -> bool {
    let path = format!("{FOLDER}/{name}");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mapped =
        maps.lines().any(|line| line.strip_suffix(path.as_str()).is_some_and(|rest| rest.ends_with(' ')));
    let open = || {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == Path::new(&path))
    };
    mapped || open()
}
