//! What processes use.

pub(crate) use super::reap::own_peak;

/// Bytes of this process's memory that are resident; `None` where `/proc` does not tell.
pub(crate) fn resident() -> Option<u64> {
    resident_in("/proc/self/statm")
}

/// As [`resident`], of another process.
pub(crate) fn resident_of(pid: u32) -> Option<u64> {
    resident_in(&format!("/proc/{pid}/statm"))
}

fn resident_in(path: &str) -> Option<u64> {
    let pages = std::fs::read_to_string(path).ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
