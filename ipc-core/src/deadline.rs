//! Deadlines: `None` is for ever, and all of them follow the monotonic clock.

use std::time::{Duration, Instant};

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
