//! Processes that are stopped and killed on purpose, at random and repeatably.

mod driver;
mod rng;

use std::fmt;
use std::io;

use crate::sys::{proc, signal};

pub use driver::{Chaos, kill_at_random};
pub use rng::Rng;

/// A process below another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descendant {
    /// Its id.
    pub pid: u32,
    /// The id of its parent.
    pub parent: u32,
    /// Its short name, as the kernel keeps it.
    pub name: String,
    /// `R` running, `S` sleeping, `D` in the kernel, `T` stopped, `Z` a zombie.
    pub state: char,
    /// When it was started, in clock ticks since boot. With the id it is unique.
    pub started: u64,
}

impl Descendant {
    /// Whether it has ended and was not reaped.
    pub fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }

    /// Whether `other` is this process, and not a later one with the same id.
    pub fn is_same(&self, other: &Descendant) -> bool {
        self.pid == other.pid && self.started == other.started
    }
}

impl fmt::Display for Descendant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Descendant { pid, parent, name, state, .. } = self;
        write!(f, "{pid} `{name}` ({state}), child of {parent}")
    }
}

/// The processes below `pid`, zombies included, parents before their children.
pub fn descendants(pid: u32) -> Vec<Descendant> {
    proc::below(pid, &proc::all())
}

/// The state of process `pid`, or `None` when there is no such process.
pub fn state(pid: u32) -> Option<char> {
    proc::read(pid).map(|process| process.state)
}

/// Freezes a process, which it cannot refuse.
///
/// # Errors
///
/// When there is no such process, or it may not be signalled.
pub fn stop(pid: u32) -> io::Result<()> {
    signal::stop(pid)
}

/// Lets a frozen process go on.
///
/// # Errors
///
/// When there is no such process, or it may not be signalled.
pub fn cont(pid: u32) -> io::Result<()> {
    signal::cont(pid)
}

/// Kills a process, which it cannot refuse.
///
/// # Errors
///
/// When there is no such process, or it may not be signalled.
pub fn kill(pid: u32) -> io::Result<()> {
    signal::kill(pid)
}

/// Closes every handle of this process but the first three: whoever owns one finds
/// it gone. For a child that is to be given up by its parent.
pub fn cut_all_ties() {
    crate::sys::exit::close_handles();
}

/// From now on a write beyond the limit of a file's length is an error for who writes, and not its end,
/// in this process and in those that it starts: so a test can have a full disk.
pub fn long_files_are_errors() {
    crate::sys::disposition::long_files_are_errors();
}
