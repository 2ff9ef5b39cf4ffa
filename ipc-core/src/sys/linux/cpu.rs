//! Which CPU a thread runs on: one read of the thread's restartable-sequence
//! area in glibc 2.35 and later, a vDSO call elsewhere.
//!
//! # Safety
//! `sched_getcpu` takes nothing and touches nothing of ours.

#![allow(unsafe_code)]

/// The answer where the kernel does not say.
pub(crate) const UNKNOWN: u32 = u32::MAX;

pub(crate) fn current() -> u32 {
    // SAFETY: the call has no preconditions.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu).unwrap_or(UNKNOWN)
}

/// Whether this process may run on more than one CPU: on one, polling only
/// keeps the other side from running. Asked once.
pub(crate) fn several() -> bool {
    static SEVERAL: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SEVERAL.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from) > 1)
}
