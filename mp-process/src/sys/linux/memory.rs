//! What the kernel tells of processes that it killed for want of memory: it counts them,
//! for each control group.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// How many processes were killed so in this process's control group, or on the whole
/// machine where the group has no count; `None` where there is none.
pub(crate) fn kills() -> Option<u64> {
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let place = PLACE.get_or_init(|| places().into_iter().find(|place| count_in(place).is_some()));
    count_in(place.as_ref()?)
}

fn places() -> Vec<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = |line: &str| {
        // Its number, its controllers, its path.
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/').to_owned());
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.events")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.oom_control")
        } else {
            return None;
        };
        Some(Path::new(root).join(path).join(file))
    };
    groups.lines().filter_map(group).chain(["/proc/vmstat".into()]).collect()
}

fn count_in(place: &Path) -> Option<u64> {
    let text = fs::read_to_string(place).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}
