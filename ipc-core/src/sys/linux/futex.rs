//! Sleeping on a word of shared memory: `futex(2)`, the shared kind, because a
//! private futex never wakes a waiter in another process.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::raw::Change;

/// Sleeps while `word` holds `expected`, until a wake, a signal, a change of the
/// word or the deadline. Returns for no reason at times: the caller loops.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> io::Result<()> {
    sleep(word, expected, super::remaining(deadline).as_ref())
}

/// As [`wait`], for so long at most.
pub(crate) fn wait_for(word: &AtomicU32, expected: u32, time: Duration) -> io::Result<()> {
    sleep(word, expected, Some(&super::timespec(time)))
}

fn sleep(word: &AtomicU32, expected: u32, timeout: Option<&Timespec>) -> io::Result<()> {
    match futex::wait(word, futex::Flags::empty(), expected, timeout) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The kernel takes a number with a sign, and for a negative one wakes one.
const MOST: u32 = u32::MAX >> 1;

/// Wakes up to `count` sleepers of `word`.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    // The only failures are a bad address and bad flags: neither can happen here.
    let _ = futex::wake(word, futex::Flags::empty(), count.min(MOST));
}

/// Changes `word` and wakes up to `count` of its sleepers in one step of the
/// kernel: a process that is killed has done both or neither.
pub(crate) fn change_and_wake(word: &AtomicU32, change: Change, count: u32) -> io::Result<()> {
    let (op, argument) = match change {
        Change::Add(n) => (futex::WakeOp::Add, n),
        Change::Or(bits) => (futex::WakeOp::Or, bits),
        Change::Clear(bits) => (futex::WakeOp::AndN, bits),
        Change::Set(value) => (futex::WakeOp::Set, value),
    };
    let never = (futex::WakeOpCmp::Lt, 0);
    futex::wake_op(word, futex::Flags::empty(), count.min(MOST), 0, word, op, never.0, argument, never.1)?;
    Ok(())
}
