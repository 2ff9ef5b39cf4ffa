//! Writing to a pipe that nobody reads, without the signal: `pthread_sigmask(3)`, `sigtimedwait(2)`.
//!
//! # Safety
//! The calls fill and read structures of this file's, for which all zeros are valid.

#![allow(unsafe_code)]

use std::mem;
use std::ptr;

/// Whether such a signal is ignored here, as it is in most Rust programs.
pub(super) fn is_ignored() -> bool {
    // SAFETY: the call only fills the structure.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        libc::sigaction(libc::SIGPIPE, ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Runs a write whose signal, if it brings one, this thread does not get.
pub(super) fn quietly<R>(write: impl FnOnce() -> rustix::io::Result<R>) -> rustix::io::Result<R> {
    // SAFETY: the sets are filled before they are read, and the thread's own mask is put back.
    unsafe {
        let (mut pipe, mut before, mut pending): (libc::sigset_t, libc::sigset_t, libc::sigset_t) =
            (mem::zeroed(), mem::zeroed(), mem::zeroed());
        libc::sigemptyset(&raw mut pipe);
        libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before);
        libc::sigpending(&raw mut pending);
        let was_pending = libc::sigismember(&raw const pending, libc::SIGPIPE) == 1;
        let result = write();
        // It also comes with a write of which a part went out before the last reader went.
        if !was_pending {
            let now: libc::timespec = mem::zeroed();
            libc::sigtimedwait(&raw const pipe, ptr::null_mut(), &raw const now);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        result
    }
}
