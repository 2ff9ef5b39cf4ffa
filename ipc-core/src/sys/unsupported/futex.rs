use std::io;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::unsupported;
use crate::raw::Change;

/// There is no shared memory here to sleep on. A word of this process alone is
/// looked at again and again by its waiters, so some time passes before the answer.
pub(crate) fn wait(_word: &AtomicU32, _expected: u32, _deadline: Option<Instant>) -> io::Result<()> {
    std::thread::sleep(Duration::from_millis(1));
    unsupported()
}

pub(crate) fn wait_for(word: &AtomicU32, expected: u32, _time: Duration) -> io::Result<()> {
    wait(word, expected, None)
}

pub(crate) fn wake(_word: &AtomicU32, _count: u32) {}

pub(crate) fn change_and_wake(_word: &AtomicU32, _change: Change, _count: u32) -> io::Result<()> {
    unsupported()
}
