//! What is told of a deadlock.

use std::fmt;

use ipc_core::raw::ThreadId;

use super::name_of;
use crate::protocol::board::{NAME, Seen};

/// Threads that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlock {
    waits: Vec<DeadlockWait>,
}

/// One thread in a [`Deadlock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlockWait {
    thread: ThreadId,
    lock: String,
    holder: ThreadId,
}

impl Deadlock {
    pub(super) fn of(circle: &[Seen], name: impl Fn(usize) -> [u64; NAME]) -> Self {
        let wait = |seen: &Seen| DeadlockWait::new(seen.thread, seen.holder, &name(seen.place));
        Self { waits: circle.iter().filter_map(wait).collect() }
    }

    /// Those who wait: this thread first, then the one that holds what it waits for,
    /// and so on to the one that waits for what this thread holds.
    #[must_use]
    pub fn waits(&self) -> &[DeadlockWait] {
        &self.waits
    }
}

impl DeadlockWait {
    pub(super) fn new(thread: u64, holder: u64, name: &[u64; NAME]) -> Option<Self> {
        let (thread, holder) = (ThreadId::from_word(thread)?, ThreadId::from_word(holder)?);
        Some(Self { thread, lock: name_of(name), holder })
    }

    /// The thread that waits.
    #[must_use]
    pub fn thread(&self) -> ThreadId {
        self.thread
    }

    /// The name of the lock that it waits for.
    #[must_use]
    pub fn lock(&self) -> &str {
        &self.lock
    }

    /// The thread that holds the lock.
    #[must_use]
    pub fn holder(&self) -> ThreadId {
        self.holder
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a deadlock: ")?;
        for (place, DeadlockWait { thread, lock, holder }) in self.waits.iter().enumerate() {
            let comma = if place == 0 { "" } else { "; " };
            write!(f, "{comma}{thread:?} waits for the lock `{lock}`, which {holder:?} holds")?;
        }
        Ok(())
    }
}
