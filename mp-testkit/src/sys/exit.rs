//! An end without exit handlers.
//!
//! # Safety
//!
//! `_exit` has no conditions.

#![allow(unsafe_code)]

/// Ends this process now: no exit handler runs, nothing is flushed.
pub(crate) fn at_once(code: i32) -> ! {
    // SAFETY: may be called at any time, from any thread.
    unsafe { libc::_exit(code) }
}

/// Closes every handle but the first three, whoever owns it.
pub(crate) fn close_handles() {
    // SAFETY: owners find their handles closed, which is what the caller wants of
    // a process that is about to be given up; no memory is touched.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}
