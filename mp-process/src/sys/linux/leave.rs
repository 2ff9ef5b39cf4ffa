//! Something to do when `main` has returned: `atexit(3)`.
//!
//! # Safety
//! The function registered takes nothing, and what it runs does not unwind.

#![allow(unsafe_code)]

use std::sync::OnceLock;

static TASK: OnceLock<fn()> = OnceLock::new();

/// Runs `task` when the process exits by itself; the first call counts.
pub(crate) fn at_exit(task: fn()) {
    extern "C" fn run() {
        if let Some(task) = TASK.get() {
            task();
        }
    }
    if TASK.set(task).is_ok() {
        // SAFETY: `run` has the signature asked for; a failure means only that it will not run.
        let _ = unsafe { libc::atexit(run) };
    }
}
