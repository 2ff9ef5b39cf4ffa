//! Children that nobody holds any more, and what happens to all of them at the end.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ipc_core::{Handle, Waitable, wait_deadline};

use crate::child::Child;
use crate::sys::end;
use crate::sys::leave;

/// Children that ended, or will end, without anyone to collect them.
static ORPHANS: Mutex<Vec<Handle>> = Mutex::new(Vec::new());

/// Children that the end of `main` waits for, and how long.
static AWAITED: Mutex<Vec<(Weak<Child>, Duration)>> = Mutex::new(Vec::new());

/// Notes a child whose last handle is dropped while it runs: it is collected when
/// the next one is started, and at the end.
pub(crate) fn collect_later(child: &end::Child) {
    if let (Ok(None), Some(sentinel)) = (child.try_status(), child.sentinel())
        && let Ok(handle) = sentinel.try_clone()
    {
        lock(&ORPHANS).push(handle);
    }
}

/// Collects those that have ended.
pub(crate) fn collect_orphans() {
    lock(&ORPHANS).retain(|pidfd| matches!(end::collect(pidfd), Ok(None)));
    lock(&AWAITED).retain(|(child, _)| child.strong_count() > 0);
}

/// Has the end of `main` wait for `child` up to `grace`.
pub(crate) fn await_at_exit(child: &Arc<Child>, grace: Duration) {
    leave::at_exit(wait_for_all);
    lock(&AWAITED).push((Arc::downgrade(child), grace));
}

/// Waits for each child as long as it was granted. What still runs then ends with
/// this process.
fn wait_for_all() {
    let began = Instant::now();
    let awaited = std::mem::take(&mut *lock(&AWAITED));
    for (child, grace) in awaited {
        if let Some(child) = child.upgrade() {
            let _ = child.wait(began.checked_add(grace));
        }
    }
    let orphans = std::mem::take(&mut *lock(&ORPHANS));
    let deadline = began.checked_add(DEFAULT_GRACE);
    for orphan in &orphans {
        let items: [&dyn Waitable; 1] = [orphan];
        let _ = wait_deadline(&items, deadline);
    }
}

/// How long the end of `main` waits for a child unless told otherwise.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(10);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
