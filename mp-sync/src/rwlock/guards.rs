//! The rights that a read-write lock gives.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use ipc_core::raw::fork_generation;

use super::RwLock;
use crate::protocol::robust;

/// The right to read.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReadGuard<'a> {
    pub(super) lock: &'a RwLock,
    pub(super) entry: usize,
    pub(super) generation: u32,
    /// Where a watched lock knows that this thread reads.
    pub(super) place: Option<usize>,
}

/// The right to write. It stays in its thread.
#[must_use = "the lock is released when the guard is dropped"]
pub struct WriteGuard<'a> {
    pub(super) lock: &'a RwLock,
    pub(super) stays: PhantomData<*const ()>,
}

impl WriteGuard<'_> {
    /// Whether no writer has died since the last [`mark_sound`](Self::mark_sound).
    #[must_use]
    pub fn is_sound(&self) -> bool {
        robust::is_sound(&self.lock.slot)
    }

    /// Says that what the lock guards is whole.
    pub fn mark_sound(&self) {
        if robust::is_mine(&self.lock.slot) {
            robust::mark_sound(&self.lock.slot);
        }
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        if self.generation == fork_generation() {
            if let Some(place) = self.place {
                self.lock.readers_known()[place].store(0, Ordering::SeqCst);
            }
            self.lock.end_read(self.entry);
        }
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if robust::is_mine(&self.lock.slot) {
            // ORDERING: after all that the lock guards was changed.
            self.lock.words().writing.store(0, Ordering::Release);
            self.lock.unlock_gate();
        }
    }
}

impl fmt::Debug for ReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGuard").finish_non_exhaustive()
    }
}

impl fmt::Debug for WriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteGuard").field("is_sound", &self.is_sound()).finish_non_exhaustive()
    }
}
