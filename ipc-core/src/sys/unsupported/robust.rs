//! # Safety
//! Nothing is done with the pointers.

#![allow(unsafe_code)]

use std::io;
use std::time::Instant;

use super::unsupported;
use crate::raw::{Acquired, LockFailure};

/// # Safety
/// None is needed.
pub(crate) unsafe fn init(_mutex: *mut u8) -> io::Result<()> {
    unsupported()
}

/// # Safety
/// None is needed.
pub(crate) unsafe fn lock(
    _mutex: *mut u8,
    _deadline: Option<Instant>,
    _is_over: impl FnMut() -> bool,
) -> Result<Acquired, LockFailure> {
    unsupported().map_err(LockFailure::Io)
}

/// # Safety
/// None is needed.
pub(crate) unsafe fn try_lock(_mutex: *mut u8) -> Result<Acquired, LockFailure> {
    unsupported().map_err(LockFailure::Io)
}

/// # Safety
/// None is needed.
pub(crate) unsafe fn unlock(_mutex: *mut u8) -> bool {
    false
}
