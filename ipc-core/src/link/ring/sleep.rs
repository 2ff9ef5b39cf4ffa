//! How a side of a ring waits for the other, and wakes it.
//!
//! First it polls for a bounded time, because waking a sleeper costs the kernel
//! microseconds to tens of them; but not while the peer was last seen on this
//! very CPU, where polling would only keep it from running. Then it says in the
//! shared header that it sleeps, looks once more, and sleeps on that word.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::handshake::{self, ASLEEP_ON_BELL, ASLEEP_ON_WORD};
use super::layout::Side;
use crate::deadline;
use crate::link::patience::Patience;
use crate::sys::companion::Companion;
use crate::sys::{cpu, futex};

/// How long a wait for a message polls: about what a wake-up from the kernel costs.
pub(super) const POLL_FOR: Duration = Duration::from_micros(20);
/// How long a wait for room polls: the consumer is busy with a message that it has,
/// and then takes what fills the ring in less than a wake-up costs.
pub(super) const POLL_FOR_ROOM: Duration = Duration::from_micros(60);
/// How long a wait for a message polls in a thread that has just woken somebody: whoever it was
/// is about to run, and may be the one who answers.
const POLL_FOR_ANSWER: Duration = Duration::from_micros(70);
/// Looks between two readings of the clock.
const LOOKS_PER_READING: u32 = 16;

thread_local! {
    /// Whether this thread has woken somebody since it last waited.
    static HAS_WOKEN: Cell<bool> = const { Cell::new(false) };
    /// Whether answers to that are worth waiting for awake.
    static FOR_ANSWERS: Cell<Patience> = const { Cell::new(Patience::NEW) };
}

/// One side's wait for the other.
pub(super) struct Sleeper<'a> {
    pub(super) own: &'a Side,
    pub(super) peer: &'a Side,
    /// How long to poll, if at all.
    pub(super) poll_for: Option<Duration>,
    pub(super) deadline: Option<Instant>,
}

impl Sleeper<'_> {
    /// Waits until `ready`; `false` at the deadline.
    ///
    /// `before_sleep` runs each time before the kernel is asked to sleep, and again if
    /// after it there is something new for it. One who only looks is watched for, too.
    pub(super) fn wait(
        &self,
        ready: impl Fn() -> bool,
        before_sleep: impl Fn() -> io::Result<()>,
        has_news: impl Fn() -> bool,
    ) -> io::Result<bool> {
        let polls = || self.poll_for.is_some_and(|long| self.poll(long, &ready));
        if ready() || polls() {
            return Ok(true);
        }
        let mut is_watched = false;
        while !deadline::expired(self.deadline) {
            before_sleep()?;
            is_watched = true;
            self.sleep_unless(&|| ready() || has_news());
            // Who is woken for nothing may have been woken early.
            if ready() || polls() {
                return Ok(true);
            }
        }
        if !is_watched {
            // Whoever never waits is told of the peer's death by a later look.
            let _ = before_sleep();
        }
        Ok(ready())
    }

    fn sleep_unless(&self, ready: &impl Fn() -> bool) {
        handshake::sleep_unless(&self.own.sleep, ready, |flags| {
            // An error of the kernel here means only that the caller looks again.
            let _ = futex::wait(&self.own.sleep, flags, self.deadline);
        });
    }

    fn poll(&self, long: Duration, ready: &impl Fn() -> bool) -> bool {
        let here = self.own.publish_cpu();
        if here != cpu::UNKNOWN && self.peer.cpu.load(Ordering::Relaxed) == here {
            return false;
        }
        let begun = Instant::now();
        let look_until = |until: Instant| {
            let until = self.deadline.map_or(until, |deadline| deadline.min(until));
            look_until(until, ready)
        };
        // At the thread's end nothing is known of it any more.
        let has_woken = HAS_WOKEN.try_with(|woken| woken.replace(false)).unwrap_or(false);
        if look_until(begun + long) {
            return true;
        }
        has_woken && look_for_answer(|| look_until(begun + POLL_FOR_ANSWER))
    }
}

fn look_until(until: Instant, ready: &impl Fn() -> bool) -> bool {
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

/// Looks for longer, where that has paid before.
fn look_for_answer(look: impl FnOnce() -> bool) -> bool {
    let Ok(mut patience) = FOR_ANSWERS.try_with(Cell::get) else { return false };
    let looks = patience.looks();
    let is_there = looks && look();
    if is_there {
        patience.was_rewarded();
    } else if looks {
        patience.was_in_vain();
    }
    let _ = FOR_ANSWERS.try_with(|kept| kept.set(patience));
    is_there
}

/// Wakes the other side if it sleeps; called after the counter has moved.
#[inline]
pub(super) fn wake(sleeper: &Side, companion: &Companion) {
    let flags = handshake::wake(&sleeper.sleep);
    if flags != 0 {
        wake_slowly(flags, sleeper, companion);
    }
}

#[cold]
fn wake_slowly(flags: u32, sleeper: &Side, companion: &Companion) {
    let _ = HAS_WOKEN.try_with(|woken| woken.set(true));
    if flags & ASLEEP_ON_WORD != 0 {
        wake_all(&sleeper.sleep);
    }
    if flags & ASLEEP_ON_BELL != 0 {
        companion.ring();
    }
}

/// Wakes the other side in every way, whatever its flags say.
#[cold]
pub(super) fn rouse(sleeper: &Side, companion: &Companion) {
    handshake::wake(&sleeper.sleep);
    wake_slowly(ASLEEP_ON_WORD | ASLEEP_ON_BELL, sleeper, companion);
}

/// Makes a sleeper of this very process look again, also one that is only about to sleep.
pub(super) fn disturb(own: &Side) {
    handshake::disturb(&own.sleep, || wake_all(&own.sleep));
}

/// Wakes whoever sleeps on `word` in this or another process.
fn wake_all(word: &AtomicU32) {
    futex::wake(word, u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_disturbed_after_the_last_look_does_not_sleep() {
        let (own, peer) = (Side::default(), Side::default());
        let deadline = deadline::after(Duration::from_secs(20));
        let sleeper = Sleeper { own: &own, peer: &peer, poll_for: None, deadline };
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            if looks.get() == 2 {
                // The last look before the sleep: what it missed happens now.
                disturb(&own);
            }
            looks.get() > 2
        };
        assert!(sleeper.wait(look, || Ok(()), || false).unwrap());
        assert!(!deadline::expired(deadline), "it slept until the deadline");
    }
}
