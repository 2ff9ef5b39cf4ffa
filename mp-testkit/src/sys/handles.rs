//! The open handles of this process.

use std::fs;
use std::process;

use crate::census::OpenHandle;

/// All of them, by number, save the one that the listing itself needs.
pub(crate) fn open() -> Vec<OpenHandle> {
    let listing = format!("/proc/{}/fd", process::id());
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut handles: Vec<OpenHandle> = entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some(OpenHandle { number, target: target.to_string_lossy().into_owned() })
        })
        .filter(|handle| handle.target != listing)
        .collect();
    handles.sort_by_key(|handle| handle.number);
    handles
}
