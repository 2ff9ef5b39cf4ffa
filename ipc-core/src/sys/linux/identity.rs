//! Who this thread is, and knowing that a fork has made its process: `gettid(2)`,
//! `tgkill(2)` with no signal, `pthread_atfork(3)`.
//!
//! # Safety
//! The handlers that the C library calls at a fork add to atomics;
//! the system calls take numbers only.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static EPOCH: AtomicU32 = AtomicU32::new(0);

/// Never zero, and another number in the child of a fork.
#[inline]
pub(crate) fn generation() -> u32 {
    match GENERATION.load(Ordering::Relaxed) {
        0 => begin(),
        generation => generation,
    }
}

#[cold]
fn begin() -> u32 {
    // Threads that come at one time each do it, and the numbers then change by more than one: a fork in this
    // very moment would wait in vain for the one thread that does it for all.
    // SAFETY: the handlers only add to numbers, which is safe also in the child of a
    // process with threads.
    unsafe { libc::pthread_atfork(Some(around), Some(around), Some(in_child)) };
    let _ = GENERATION.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    GENERATION.load(Ordering::Relaxed)
}

/// Changes with every fork, in parent and child.
pub(crate) fn epoch() -> u32 {
    generation();
    EPOCH.load(Ordering::Relaxed)
}

unsafe extern "C" fn around() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn in_child() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// What the handlers do, for a process that was forked without them.
pub(crate) fn note_fork() {
    // Zero has been told to nobody yet.
    if GENERATION.load(Ordering::Relaxed) != 0 {
        // SAFETY: it only adds to numbers.
        unsafe { in_child() };
    }
}

pub(crate) fn current_thread() -> u32 {
    // SAFETY: the call has no preconditions.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    u32::try_from(id).unwrap_or(0)
}

/// Whether such a thread runs now; one that may not be asked does.
pub(crate) fn thread_exists(process: u32, thread: u32) -> bool {
    let (Ok(process), Ok(thread)) = (i32::try_from(process), i32::try_from(thread)) else {
        return false;
    };
    // SAFETY: no signal is sent; the call only looks.
    let code = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, 0) };
    code == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}
