//! Memory that a process shares with those it forks.
//!
//! # Safety
//! The memory is zeroed, lives until the object is dropped, and is reached only as
//! atomics or by copies in and out.

#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::thread::futex;

/// The words of different writers lie this far apart.
pub(super) const APART: usize = 128;

/// A shared mapping, zeroed.
pub(super) struct Shared {
    base: NonNull<u8>,
    len: usize,
}

impl Shared {
    /// One that is already faulted in.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        Self::map(len, MapFlags::SHARED | MapFlags::POPULATE)
    }

    /// One whose pages are faulted in as they are touched: for a short life.
    pub(super) fn untouched(len: usize) -> io::Result<Self> {
        Self::map(len, MapFlags::SHARED)
    }

    fn map(len: usize, flags: MapFlags) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), len, protection, flags)? };
        Ok(Self { base: NonNull::new(base.cast()).expect("a mapping is not at null"), len })
    }

    pub(super) fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the mapping and aligned, and memory there is used as atomics only.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }

    pub(super) fn small_word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    /// Copies bytes in. Nobody may read or write there now.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: inside the mapping, and the ring's counters keep others away.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset, bytes.len()), bytes.len()) }
    }

    /// Copies bytes out. Nobody may write there now.
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) {
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(self.at(offset, bytes.len()), bytes.as_mut_ptr(), bytes.len()) }
    }

    /// The place of an object of the C library.
    pub(super) fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset + len <= self.len, "outside of the mapping");
        // SAFETY: inside the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and all borrows have ended.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Sleeps while the word has this value, or less long.
pub(super) fn sleep_on(word: &AtomicU32, value: u32) {
    let _ = futex::wait(word, futex::Flags::empty(), value, None);
}

/// Wakes those who sleep on the word.
pub(super) fn wake(word: &AtomicU32, count: u32) {
    let _ = futex::wake(word, futex::Flags::empty(), count);
}
