//! The lock in the head of a slot: a robust mutex, who holds it, and a mark.
//!
//! The mutex is made consistent as soon as a death is found, so that no way out
//! of a function makes it unusable. That the guarded state may be half changed is
//! our own mark, which stays until somebody says that the state is sound.

use std::sync::atomic::Ordering;
use std::time::Instant;

use ipc_core::raw::{Acquired, LockFailure, ThreadId};

use crate::memory::Slot;

const SOUND: u32 = 0;
const UNSOUND: u32 = 1;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    Until(Option<Instant>),
}

/// Locks; whether the state is sound.
#[inline]
pub(crate) fn lock(slot: &Slot, patience: Patience) -> Result<bool, LockFailure> {
    let acquired = match patience {
        Patience::None => slot.mutex().try_lock()?,
        Patience::Until(deadline) => slot.mutex().lock(deadline)?,
    };
    let head = slot.head();
    head.owner.store(ThreadId::current().to_word(), Ordering::Relaxed);
    if acquired == Acquired::OwnerDied {
        head.mark.store(UNSOUND, Ordering::Relaxed);
        head.again.store(0, Ordering::Relaxed);
    }
    Ok(head.mark.load(Ordering::Relaxed) == SOUND)
}

/// Unlocks; nothing happens if this thread does not hold it, as in a forked child.
#[inline]
pub(crate) fn unlock(slot: &Slot) {
    if is_mine(slot) {
        slot.head().owner.store(0, Ordering::Relaxed);
        slot.mutex().unlock();
    }
}

/// Whether this thread holds it.
#[inline]
pub(crate) fn is_mine(slot: &Slot) -> bool {
    slot.head().owner.load(Ordering::Relaxed) == ThreadId::current().to_word()
}

pub(crate) fn is_sound(slot: &Slot) -> bool {
    slot.head().mark.load(Ordering::Relaxed) == SOUND
}

/// For the holder: the guarded state is whole.
pub(crate) fn mark_sound(slot: &Slot) {
    slot.head().mark.store(SOUND, Ordering::Relaxed);
}

/// For the holder: whoever held it before died while it changed the guarded state.
pub(crate) fn mark_unsound(slot: &Slot) {
    slot.head().mark.store(UNSOUND, Ordering::Relaxed);
}

/// Who holds it, as of now.
pub(crate) fn owner(slot: &Slot) -> Option<ThreadId> {
    ThreadId::from_word(slot.head().owner.load(Ordering::Relaxed)).filter(|owner| owner.is_alive())
}
