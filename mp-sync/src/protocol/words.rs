//! The words that protocols are written over, and sleeping on them: the real ones, or
//! loom's and a kernel that is played.

#[cfg(not(loom))]
pub(crate) use ipc_core::raw::{change_and_wake, wait_on, wake};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(loom)]
pub(crate) use super::kernel::{change_and_wake, wait_on, wake};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};
