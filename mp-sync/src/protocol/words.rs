//! The words that protocols are written over, and sleeping on them: the real ones, or
//! loom's and a kernel that is played.

#[cfg(not(under_loom))]
pub(crate) use ipc_core::raw::{change_and_wake, wait_on, wait_on_for, wake};
#[cfg(not(under_loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(under_loom)]
pub(crate) use super::kernel::{change_and_wake, wait_on, wait_on_for, wake};
#[cfg(under_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};

/// What a word holds now, in the one order of all such operations.
#[cfg(not(under_loom))]
#[inline]
pub(crate) fn read(word: &AtomicU64) -> u64 {
    word.load(std::sync::atomic::Ordering::SeqCst)
}

/// The checker's loads find old values at times, whatever their ordering; exchanges do not.
#[cfg(under_loom)]
pub(crate) fn read(word: &AtomicU64) -> u64 {
    word.fetch_or(0, std::sync::atomic::Ordering::SeqCst)
}

/// Changes a word, in the same order.
#[cfg(not(under_loom))]
#[inline]
pub(crate) fn write(word: &AtomicU64, value: u64) {
    word.store(value, std::sync::atomic::Ordering::SeqCst);
}

/// The checker has its exchanges find what was there before a store, at times.
#[cfg(under_loom)]
pub(crate) fn write(word: &AtomicU64, value: u64) {
    word.swap(value, std::sync::atomic::Ordering::SeqCst);
}

/// As [`read`], of a small word.
#[cfg(not(under_loom))]
#[inline]
pub(crate) fn read_small(word: &AtomicU32) -> u32 {
    word.load(std::sync::atomic::Ordering::SeqCst)
}

/// As [`read`], of a small word.
#[cfg(under_loom)]
pub(crate) fn read_small(word: &AtomicU32) -> u32 {
    word.fetch_or(0, std::sync::atomic::Ordering::SeqCst)
}

/// As [`write`], of a small word.
#[cfg(not(under_loom))]
#[inline]
pub(crate) fn write_small(word: &AtomicU32, value: u32) {
    word.store(value, std::sync::atomic::Ordering::SeqCst);
}

/// As [`write`], of a small word.
#[cfg(under_loom)]
pub(crate) fn write_small(word: &AtomicU32, value: u32) {
    word.swap(value, std::sync::atomic::Ordering::SeqCst);
}
