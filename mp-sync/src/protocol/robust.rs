//! The lock in the head of a slot: a robust mutex, who holds it, and a mark.
//!
//! The mutex is made consistent as soon as a death is found, so that no way out
//! of a function makes it unusable. That the guarded state may be half changed is
//! our own mark, which stays until somebody says that the state is sound. It is set
//! where the dead one had written down that it holds the lock, as it does before it
//! changes anything: one that died on its way in or out, or as it asked who holds the
//! lock, has left the state whole.

use std::sync::atomic::{Ordering, compiler_fence};
use std::time::{Duration, Instant};

use ipc_core::raw::{Acquired, LockFailure, RobustMutex, ThreadId};

use crate::memory::Slot;
use crate::timeout::{HELD_UP, expired};

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
    if acquired == Acquired::OwnerDied {
        bury_owner(slot);
    }
    head.owner.store(ThreadId::current().to_word(), Ordering::Relaxed);
    // ORDERING: as before a signal in this thread, which is what its death is: nothing that the
    // lock guards is changed before.
    compiler_fence(Ordering::SeqCst);
    Ok(head.mark.load(Ordering::Relaxed) == SOUND)
}

/// With the mutex taken from a dead one: whether it held the lock, as it had written down.
#[cold]
fn bury_owner(slot: &Slot) {
    let head = slot.head();
    if head.owner.load(Ordering::Relaxed) != 0 {
        // ORDERING: before the dead one is forgotten, as this thread may die too.
        head.mark.store(UNSOUND, Ordering::Relaxed);
        head.again.store(0, Ordering::Relaxed);
        head.owner.store(0, Ordering::Release);
    }
}

/// Unlocks; nothing happens if this thread does not hold it, as in a forked child.
#[inline]
pub(crate) fn unlock(slot: &Slot) {
    if is_mine(slot) {
        // ORDERING: after all that the lock guards was changed; see `lock`.
        slot.head().owner.store(0, Ordering::Release);
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
    let owner = ThreadId::from_word(slot.head().owner.load(Ordering::Relaxed))?;
    // The numbers of one who has died may be another one's by now: the mutex knows. It is
    // taken without a word about it, as nothing is changed.
    if !is_mine(slot)
        && let Ok(acquired) = slot.mutex().try_lock()
    {
        if acquired == Acquired::OwnerDied {
            bury_owner(slot);
        }
        slot.mutex().unlock();
        return None;
    }
    Some(owner)
}

/// Locks a mutex that others hold for some nanoseconds only, which is no refusal: one who holds it
/// longer has been stopped, and is not waited for. Nor is anybody where it would be `hopeless`.
pub(crate) fn try_briefly(
    mutex: RobustMutex<'_>,
    hopeless: impl Fn() -> bool,
) -> Result<Acquired, LockFailure> {
    let mut until = None;
    loop {
        match mutex.try_lock() {
            Err(LockFailure::Timeout) if !hopeless() => {}
            other => return other,
        }
        let until = *until.get_or_insert_with(|| Instant::now() + HELD_UP);
        match mutex.lock(Some(until.min(Instant::now() + LOOK_EVERY))) {
            Err(LockFailure::Timeout) if !expired(Some(until)) => {}
            other => return other,
        }
    }
}

/// How often to look whether it has become hopeless.
const LOOK_EVERY: Duration = Duration::from_millis(1);
