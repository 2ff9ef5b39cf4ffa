//! Until when the task should be done that this worker runs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static DEADLINE: Mutex<Option<Instant>> = Mutex::new(None);

/// In a task: when it should be done, if its pool was built with a
/// [`soft_timeout`](crate::Builder::soft_timeout) or a
/// [`task_timeout`](crate::Builder::task_timeout); the nearer of the two. Elsewhere
/// `None`. All threads of the worker are told the same.
///
/// Nothing happens to a task that overruns a soft limit. It is for tasks that can
/// stop early with what they have, or tidy up before the hard limit kills their
/// worker.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use std::time::{Duration, Instant};
///
/// /// Refines a guess for as long as there is time.
/// fn root(x: f64) -> f64 {
///     let deadline = mp_pool::task_deadline();
///     let mut guess = x;
///     while (guess * guess - x).abs() > 1e-9 && deadline.is_none_or(|at| Instant::now() < at) {
///         guess = (guess + x / guess) / 2.0;
///     }
///     guess
/// }
///
/// let pool = mp_pool::Pool::builder().processes(1).soft_timeout(Duration::from_secs(5)).build()?;
/// assert!((pool.apply(root, 2.0)? - 1.414_213_562).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn task_deadline() -> Option<Instant> {
    *DEADLINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An item begins that should take no longer than `limit`.
pub(super) fn begin(limit: Duration) {
    *DEADLINE.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(limit);
}
