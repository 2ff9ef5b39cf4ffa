//! The end of this process.
//!
//! A fork inherits the exit handlers of the process that it is a copy of, which are not for
//! it: they would remove files that are still needed, for one. Its own are run. So a fork
//! begins by registering one at which the others end. So it does for the values of its one
//! thread, which would write what they hold back a second time: those are dropped in the
//! reverse of the order in which they came, and a mark that came first ends that.
//!
//! # Safety
//! The functions registered take what they are declared with, and what they run does not
//! unwind. `exit` is called by the only thread of its process, `__cxa_finalize` by one that exits
//! already; `_exit` has no conditions.

#![allow(unsafe_code)]

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::fork::is_alone;

static TASK: OnceLock<fn()> = OnceLock::new();

/// Whether this process was forked from one that has handlers of its own.
static IS_FORK: AtomicBool = AtomicBool::new(false);

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

/// In a fork: the handlers registered up to now are not for it.
pub(super) fn without_earlier_handlers() {
    IS_FORK.store(true, Ordering::Relaxed);
    // It may have been forked by a handler.
    LEAVES_WITH.store(0, Ordering::Relaxed);
    last_handler::register();
}

/// As [`without_earlier_handlers`] in the process whose forks come later, where that can
/// be done once for all of them.
pub(super) fn forks_without_earlier_handlers() {
    if last_handler::IS_KNOWN {
        without_earlier_handlers();
        // So that they need not make it.
        flush();
    }
}

/// Ends this process.
pub(crate) fn now(code: i32) -> ! {
    if !IS_FORK.load(Ordering::Relaxed) {
        std::process::exit(code);
    }
    if last_handler::IS_KNOWN {
        LEAVES_WITH.store(code + 1, Ordering::Relaxed);
    }
    if !is_alone() {
        // This copes with threads that hold the lock of the output.
        std::process::exit(code);
    }
    if last_handler::IS_KNOWN {
        flush();
        // SAFETY: see the head of this file.
        unsafe { libc::exit(code) }
    }
    end(code)
}

/// One more than the code that [`now`] was told, by a fork, which is none below zero; zero before, so
/// that it lies among what else a fork writes to.
static LEAVES_WITH: AtomicI32 = AtomicI32::new(0);

/// Ends a fork, whose own handlers have run.
fn end(code: i32) -> ! {
    if let Some(task) = TASK.get() {
        task();
    }
    if is_alone() {
        flush();
    }
    // SAFETY: flushes what C code has written, and see the head of this file.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(code)
    }
}

fn flush() {
    let _ = std::io::stdout().flush();
}

/// `on_exit(3)`, which tells a handler the code, and what the values of threads are dropped by.
#[cfg(target_env = "gnu")]
mod last_handler {
    use std::ffi::{c_int, c_void};
    use std::ptr::null_mut;
    use std::sync::atomic::Ordering;

    pub(super) const IS_KNOWN: bool = true;

    unsafe extern "C" {
        fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
        fn __cxa_thread_atexit_impl(
            drop: extern "C" fn(*mut c_void),
            value: *mut c_void,
            library: *mut c_void,
        ) -> c_int;
        fn __cxa_finalize(library: *mut c_void);
    }

    extern "C" fn last(code: c_int, _: *mut c_void) {
        super::end(code)
    }

    /// What is told no code. It comes before `last`.
    extern "C" fn last_if_known() {
        let code = super::LEAVES_WITH.load(Ordering::Relaxed);
        if code > 0 {
            super::end(code - 1)
        }
    }

    /// The values that are left were here before the fork. Where the program has called `exit`
    /// itself nobody knows the code here, and they are dropped.
    extern "C" fn last_value(_: *mut c_void) {
        if super::LEAVES_WITH.load(Ordering::Relaxed) > 0 {
            // SAFETY: runs all handlers up to `last_if_known`.
            unsafe { __cxa_finalize(null_mut()) }
        }
    }

    pub(super) fn register() {
        // SAFETY: these have the signatures asked for; a failure means only that they will not
        // run. A null pointer is no library that could be unloaded.
        unsafe {
            on_exit(last, null_mut());
            libc::atexit(last_if_known);
            __cxa_thread_atexit_impl(last_value, null_mut(), null_mut());
        }
    }
}

/// Without it no handler is run when the function of a fork has returned, and all are when
/// it calls `exit`.
#[cfg(not(target_env = "gnu"))]
mod last_handler {
    pub(super) const IS_KNOWN: bool = false;

    pub(super) fn register() {}
}
