//! Words in shared memory, for those who build locks and queues: `mp-sync` does.
//!
//! Programs want `mp-sync` or `multiprocess` instead. Nothing here keeps a
//! protocol; it is what a protocol stands on, under names that no platform owns.
//!
//! * [`Region`]: shared memory that is mapped once in a process, however often it
//!   is received, because a robust mutex must be locked and unlocked at one address;
//! * [`RobustMutex`]: a mutex between processes whose holder may die;
//! * [`wait_on`], [`wait_on_for`], [`wake`], [`change_and_wake`]: sleep on a word, wake its sleepers;
//! * [`ProcessId`]: who a process is, and whether it still lives;
//! * [`Roll`]: ask of many processes whether they still live, again and again;
//! * [`DeathNotice`]: have a word bumped and its sleepers woken when a process ends;
//! * [`Post`]: handles on their way from any process to any other;
//! * [`PerProcess`]: what each process has one of, also in the child of a fork;
//! * [`Settled`]: what is made once, and waited for by nobody, also if a fork comes between;
//! * [`start_thread`]: a thread of the library's own, of which a fork is told;
//! * [`hand_over`]: drop what a fork goes on with;
//! * [`keep_names_by`]: be told of the names that a process makes, to remove them after it;
//! * [`serialize_error`], [`deserialize_error`]: errors of values.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use crate::sys;

mod death;
mod handover;
mod identity;
mod per_process;
mod post;
mod region;
mod robust;
mod roll;
mod settled;
mod threads;

pub use crate::names::{NameKeeper, OwnedName, keep_names_by};
pub use crate::transfer::{deserialize_error, serialize_error};
pub use death::DeathNotice;
pub use handover::{hand_over, is_handing_over};
pub use identity::{ProcessId, ThreadId, fork_epoch, fork_generation, note_fork};
pub use per_process::PerProcess;
pub(crate) use per_process::inherited;
pub use post::{Post, PostError};
pub use region::Region;
pub use robust::{Acquired, LockFailure, MAX_HELD, RobustMutex};
pub use roll::Roll;
pub use settled::Settled;
pub use threads::{start_thread, threads_are_starting};
#[cfg(test)]
pub(crate) use {region::map_and_hold, roll::ask_and_hold};

/// Sleeps while `word` holds `expected`, until a wake, a signal or the deadline.
///
/// It returns for no reason at times: the caller loops.
///
/// # Errors
/// What the system says, for one that this platform has no such call.
pub fn wait_on(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> io::Result<()> {
    sys::futex::wait(word, expected, deadline)
}

/// As [`wait_on`], for so long at most; no clock is read.
///
/// # Errors
/// As [`wait_on`].
pub fn wait_on_for(word: &AtomicU32, expected: u32, time: Duration) -> io::Result<()> {
    sys::futex::wait_for(word, expected, time)
}

/// Wakes up to `count` of those that sleep on `word`, in whatever process.
pub fn wake(word: &AtomicU32, count: u32) {
    sys::futex::wake(word, count);
}

/// What [`change_and_wake`] does to a word; the numbers are below 2,048.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Adds, wrapping.
    Add(u16),
    /// Sets bits.
    Or(u16),
    /// Takes bits away.
    Clear(u16),
    /// Replaces.
    Set(u16),
}

/// Changes `word` and wakes up to `count` of its sleepers as one step: a process
/// that is killed meanwhile has done both or neither, so that nobody sleeps on
/// beside a change that was made for him.
///
/// # Errors
/// What the system says; nothing is changed then.
pub fn change_and_wake(word: &AtomicU32, change: Change, count: u32) -> io::Result<()> {
    sys::futex::change_and_wake(word, change, count)
}

/// The CPU that this thread runs on, as of now; `None` where the system does not say.
#[inline]
#[must_use]
pub fn current_cpu() -> Option<u32> {
    Some(sys::cpu::current()).filter(|cpu| *cpu != sys::cpu::UNKNOWN)
}

/// How many CPUs this thread may use at a time; of more than one, what was true when it
/// was first asked.
#[must_use]
pub fn cpu_count() -> usize {
    sys::cpu::count()
}
