//! What the system does to who oversteps a limit.
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
