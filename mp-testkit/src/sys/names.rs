//! The names in shared memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const FOLDER: &str = "/dev/shm";
const ROOT: u32 = 0;

/// All names, also those of other programs: a name does not tell who made it.
pub(crate) fn shared_memory() -> BTreeSet<String> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// How the names begin that a program of its own makes, and leaves behind where it is killed:
/// nobody holds them any more, and the name alone tells whose they are.
const OF_OTHERS: [&str; 1] = ["iox2_"];

/// Whether a process of this suite may have made `name`, by what it tells: how it begins, and
/// which user's it is. Root's processes may have become anybody's.
pub(crate) fn may_be_ours(name: &str) -> bool {
    if OF_OTHERS.iter().any(|begin| name.starts_with(begin)) {
        return false;
    }
    // One that has gone meanwhile was somebody's who removes it.
    let Ok(found) = fs::symlink_metadata(Path::new(FOLDER).join(name)) else { return false };
    let me = fs::metadata("/proc/self").map_or(ROOT, |process| process.uid());
    me == ROOT || me == found.uid()
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
