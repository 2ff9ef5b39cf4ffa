//! Who sleeps and who wakes it, over one borrowed word.
//!
//! Nothing here knows what is waited for or how the system sleeps, so that the
//! model checker runs these very lines (`tests/loom_ring.rs`).

use super::atomic::{AtomicU32, Ordering, fence};

/// This side sleeps on the word itself.
pub(super) const ASLEEP_ON_WORD: u32 = 1;
/// This side waits for the companion socket's bell.
pub(super) const ASLEEP_ON_BELL: u32 = 2;

/// Announces the sleep, looks once more, and sleeps unless that found something.
///
/// `sleep` gets what the word holds, and is to return at once if it changes.
#[inline]
pub(super) fn sleep_unless(word: &AtomicU32, ready: impl Fn() -> bool, sleep: impl FnOnce(u32)) {
    // ORDERING: the flag is set before `ready` looks again, and the peer changes
    // its counter before it looks at the flag (`wake`); the fences let at least
    // one of the two see the other.
    let flags = word.fetch_or(ASLEEP_ON_WORD, Ordering::SeqCst) | ASLEEP_ON_WORD;
    fence(Ordering::SeqCst);
    if ready() {
        word.fetch_and(!ASLEEP_ON_WORD, Ordering::Relaxed);
    } else {
        sleep(flags);
    }
}

/// Takes the flags of a sleeper that must be told of what was stored before; none if nobody sleeps.
#[inline]
pub(super) fn wake(word: &AtomicU32) -> u32 {
    // ORDERING: see `sleep_unless`.
    fence(Ordering::SeqCst);
    if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::SeqCst) }
}

/// Has a sleeper of this very process look again, also one that is only about to
/// sleep: its word changes. It is to be woken in any case, because a peer that was
/// killed may have taken the flag and not have come to the wake.
pub(super) fn disturb(word: &AtomicU32, wake: impl FnOnce()) {
    // ORDERING: see `sleep_unless`; what the sleeper is to see was stored before.
    fence(Ordering::SeqCst);
    word.fetch_and(!ASLEEP_ON_WORD, Ordering::SeqCst);
    wake();
}
