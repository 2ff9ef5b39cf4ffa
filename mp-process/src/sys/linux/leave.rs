//! The end of this process.
//!
//! # Safety
//! The function registered with `atexit(3)` takes nothing, and what it runs does not
//! unwind. `_exit` has no conditions.

#![allow(unsafe_code)]

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static TASK: OnceLock<fn()> = OnceLock::new();

/// Whether this process was forked from one that has handlers of its own.
static WITHOUT_HANDLERS: AtomicBool = AtomicBool::new(false);

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

/// Has this process end without the exit handlers that it has inherited: they are its
/// parent's, which removes the same files later.
pub(super) fn without_handlers() {
    WITHOUT_HANDLERS.store(true, Ordering::Relaxed);
}

/// Ends this process.
pub(crate) fn now(code: i32) -> ! {
    if !WITHOUT_HANDLERS.load(Ordering::Relaxed) {
        std::process::exit(code);
    }
    if let Some(task) = TASK.get() {
        task();
    }
    let _ = std::io::stdout().flush();
    // SAFETY: see the head of this file.
    unsafe { libc::_exit(code) }
}
