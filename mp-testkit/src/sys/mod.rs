//! What the platform supplies. Today that is Linux, through `/proc`.
//!
//! - `proc`: all processes, with parent, name, state and start.
//! - `tag`: a mark that the whole tree inherits, and the family that wears it.
//! - `handles`: the open handles of this process.
//! - `names`: the names in shared memory, and who holds them.
//! - `signal`: stop, continue, interrupt, end, kill; wait for an end.
//! - `autopsy`: what a process and its threads are waiting for, in words.
//! - `disposition`: limits that are errors and not the end; interrupts that are heard.
//! - `exit`: an end without exit handlers.

pub(crate) mod autopsy;
pub(crate) mod disposition;
pub(crate) mod exit;
pub(crate) mod handles;
pub(crate) mod names;
pub(crate) mod proc;
pub(crate) mod signal;
pub(crate) mod tag;
