//! Deadlines: `None` is for ever, and all of them follow the monotonic clock.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long an end that is about to leave waits at most for a thread that is in the middle of
/// sending on it. Two threads may wait for each other's ends, and neither knows of the other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The sending that this thread is about.
#[derive(Clone, Copy)]
struct Sending {
    /// When it must have ended.
    latest: Option<Instant>,
    /// A thread that is in the middle of sending on an end in the message was waited for in vain.
    in_vain: bool,
}

thread_local! {
    static SENDING: Cell<Sending> = const { Cell::new(Sending { latest: None, in_vain: false }) };
}

/// Runs a sending, of which the ends in the message are told when it must have ended: what comes of
/// it, and whether a thread was in the middle of sending on one of them for so long.
pub(crate) fn within<R>(latest: Option<Instant>, send: impl FnOnce() -> R) -> (R, bool) {
    struct Outer(Sending);

    impl Drop for Outer {
        fn drop(&mut self) {
            SENDING.set(self.0);
        }
    }

    let outer = Outer(SENDING.get());
    let latest = earlier(latest, outer.0.latest);
    SENDING.set(Sending { latest, in_vain: false });
    let result = send();
    (result, SENDING.get().in_vain)
}

/// How long an end in a message that is being sent may wait for a thread.
pub(crate) fn for_a_thread() -> Option<Instant> {
    earlier(after(PATIENCE), SENDING.get().latest)
}

/// It has waited in vain.
pub(crate) fn waited_in_vain() {
    SENDING.set(Sending { in_vain: true, ..SENDING.get() });
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// The instant `timeout` from now; a timeout too large to add means for ever.
pub(crate) fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// A deadline that has passed already: the call looks once and does not wait.
pub(crate) fn now() -> Option<Instant> {
    Some(Instant::now())
}

/// Whether `deadline` has passed.
pub(crate) fn expired(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| Instant::now() >= at)
}
