//! Deadlines: `None` is for ever.

use std::time::{Duration, Instant};

/// The instant `timeout` from now; one too large to add means for ever.
pub(crate) fn after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Whether `deadline` has passed.
pub(crate) fn expired(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|at| Instant::now() >= at)
}
