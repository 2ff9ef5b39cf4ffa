//! What the system does with signals that nobody handles.
//!
//! # Safety
//!
//! A disposition that runs no code of this process has no conditions.

#![allow(unsafe_code)]

/// A file that would become too long is an error for who writes, here and in programs that are started
/// from now on.
pub(crate) fn long_files_are_errors() {
    // SAFETY: see the head of this file.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// An interrupt ends this process, and programs that are started from now on: whoever runs the tests in the
/// background may have told the system to ignore it.
pub(crate) fn interrupts_are_heard() {
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
}
