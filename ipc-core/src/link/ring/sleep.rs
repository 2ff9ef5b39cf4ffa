//! How a side of a ring waits for the other, and wakes it.
//!
//! First it polls for a bounded time, because waking a sleeper costs the kernel
//! microseconds to tens of them; but not while the peer was last seen on this
//! very CPU, where polling would only keep it from running. Then it says in the
//! shared header that it sleeps, looks once more, and sleeps on that word.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use super::layout::Side;
use crate::deadline;
use crate::sys::companion::Companion;
use crate::sys::{cpu, futex};

/// This side sleeps on its `sleep` word.
pub(super) const ASLEEP_ON_WORD: u32 = 1;
/// This side waits for the companion socket's bell.
pub(super) const ASLEEP_ON_BELL: u32 = 2;

/// How long a wait polls: about what a wake-up from the kernel costs.
const POLL_FOR: Duration = Duration::from_micros(20);
/// Looks between two readings of the clock.
const LOOKS_PER_READING: u32 = 16;

/// Waits until `ready`; `false` at the deadline.
pub(super) fn wait(
    own: &Side,
    peer: &Side,
    polls: bool,
    deadline: Option<Instant>,
    ready: impl Fn() -> bool,
) -> bool {
    if ready() || (polls && poll(own, peer, deadline, &ready)) {
        return true;
    }
    while !deadline::expired(deadline) {
        // ORDERING: the flag is set before `ready` looks again, and the peer
        // changes its counter before it looks at the flag (`wake`); the fences
        // let at least one of the two see the other.
        let flags = own.sleep.fetch_or(ASLEEP_ON_WORD, Ordering::SeqCst) | ASLEEP_ON_WORD;
        fence(Ordering::SeqCst);
        if ready() {
            own.sleep.fetch_and(!ASLEEP_ON_WORD, Ordering::Relaxed);
            return true;
        }
        // An error of the kernel here means only that the loop looks again.
        let _ = futex::wait(&own.sleep, flags, deadline);
        if ready() {
            return true;
        }
    }
    ready()
}

fn poll(own: &Side, peer: &Side, deadline: Option<Instant>, ready: &impl Fn() -> bool) -> bool {
    let here = own.publish_cpu();
    if here != cpu::UNKNOWN && peer.cpu.load(Ordering::Relaxed) == here {
        return false;
    }
    let until = Instant::now() + POLL_FOR;
    let until = deadline.map_or(until, |deadline| deadline.min(until));
    loop {
        for _ in 0..LOOKS_PER_READING {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if Instant::now() >= until {
            return false;
        }
    }
}

/// Wakes the other side if it sleeps; called after the counter has moved.
pub(super) fn wake(sleeper: &Side, companion: &Companion) {
    // ORDERING: see `wait`.
    fence(Ordering::SeqCst);
    if sleeper.sleep.load(Ordering::Relaxed) != 0 {
        wake_slowly(sleeper, companion);
    }
}

#[cold]
fn wake_slowly(sleeper: &Side, companion: &Companion) {
    let flags = sleeper.sleep.swap(0, Ordering::SeqCst);
    if flags & ASLEEP_ON_WORD != 0 {
        wake_all(&sleeper.sleep);
    }
    if flags & ASLEEP_ON_BELL != 0 {
        companion.ring();
    }
}

/// Wakes whoever sleeps on `word` in this or another process.
pub(super) fn wake_all(word: &AtomicU32) {
    futex::wake(word, u32::MAX >> 1);
}
