//! Forking a child for this process's own parent: it dies with that one, and that one
//! collects it, as if it had been forked there.
//!
//! # Safety
//! The C library's `fork` cannot do this, so what it does is done here: it keeps the id
//! of the thread, which the kernel writes to the place that it was told, and it tells the
//! kernel again where held robust mutexes are listed. It keeps its locks right too, and
//! calls the handlers of `pthread_atfork(3)`; both are for the sake of other threads and
//! of state that a program has built up, and the server has neither. A server that has
//! run a function of the program, or a C library that keeps its thread's id elsewhere, is
//! not served here, but by `fork`.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use ipc_core::Handle;

use crate::sys::linux::signals;

/// How this process's C library knows its one thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Siblings {
    thread_id: *mut c_int,
    mutexes: *mut c_void,
    mutexes_size: usize,
}

/// Which of the two this process is.
pub(super) enum Forked {
    Parent {
        pid: i32,
        end: Handle,
    },
    /// With all signals blocked.
    Child,
}

impl Siblings {
    /// How to make them; `None` where the C library's ways are not known.
    pub(super) fn new() -> Option<Self> {
        const GET_TID_ADDRESS: c_int = 40;
        let mut found = Self { thread_id: ptr::null_mut(), mutexes: ptr::null_mut(), mutexes_size: 0 };
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        // SAFETY: the pointers are to places of the sizes that the kernel fills. What it
        // is to clear when this thread ends is memory of this process, and aligned.
        unsafe {
            let told = libc::prctl(GET_TID_ADDRESS, &raw mut found.thread_id);
            if told != 0 || found.thread_id.is_null() || found.thread_id.read() != own {
                return None;
            }
            let told =
                libc::syscall(libc::SYS_get_robust_list, 0, &mut found.mutexes, &mut found.mutexes_size);
            (told == 0 && KNOWS_THE_ORDER && found.mutexes_size <= size_of::<[usize; 8]>()).then_some(found)
        }
    }

    pub(super) fn fork(self) -> io::Result<Forked> {
        signals::blocked_in_child(|| match self.clone_process() {
            (0, _) => {
                self.begin();
                (Ok(Forked::Child), true)
            }
            (-1, _) => (Err(io::Error::last_os_error()), false),
            (pid, end) => {
                // SAFETY: the kernel made the descriptor for this process just now.
                let end = unsafe { OwnedFd::from_raw_fd(end) };
                (Ok(Forked::Parent { pid: pid as i32, end: end.into() }), false)
            }
        })
    }

    fn clone_process(self) -> (c_long, c_int) {
        let flags = libc::CLONE_PARENT
            | libc::CLONE_PIDFD
            | libc::CLONE_CHILD_SETTID
            | libc::CLONE_CHILD_CLEARTID
            | libc::SIGCHLD;
        let mut end: c_int = -1;
        let (none, flags) = (ptr::null_mut::<c_void>(), flags as c_long);
        // SAFETY: see the head of this file. Without shared memory the child returns here
        // on a copy of the stack, as from a fork.
        let pid = unsafe {
            if cfg!(target_arch = "x86_64") {
                libc::syscall(libc::SYS_clone, flags, none, &mut end, self.thread_id, none)
            } else {
                libc::syscall(libc::SYS_clone, flags, none, &mut end, none, self.thread_id)
            }
        };
        (pid, end)
    }

    fn begin(self) {
        // SAFETY: the list is this thread's own, at the same place as in the parent.
        unsafe { libc::syscall(libc::SYS_set_robust_list, self.mutexes, self.mutexes_size) };
        ipc_core::raw::note_fork();
    }
}

/// Whether the order of the parameters of `clone(2)` is known, which is not the same
/// everywhere.
const KNOWS_THE_ORDER: bool =
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"));
