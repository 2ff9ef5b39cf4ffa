//! Deadlines: `None` is for ever.

use std::time::{Duration, Instant};

/// How long those who are not to wait, or whose time is over, wait for one who is about to let go
/// of an object's inner mutex: longer than a processor is waited for, so that who holds it still
/// has been stopped.
pub(crate) const HELD_UP: Duration = Duration::from_millis(100);

/// The instant `timeout` from now; one too large to add means for ever.
pub(crate) fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Whether `deadline` has passed.
pub(crate) fn expired(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| Instant::now() >= at)
}
