//! A thread that ends this process with another one that is not its parent.
//!
//! The kernel tells a process of its parent's end alone, and the parent of a fork of
//! the server is the server. The thread is made without the standard library, whose
//! threads cost as much as all else that such a fork does: it has a stack that is
//! there already, no name of its own, and runs nothing but the two functions below.
//!
//! # Safety
//! The stack is static, and given to one thread: `STARTED` sees to that, also in the
//! copies of it that forks have, because only forks without such a thread come here.
//! The thread calls `poll`, `kill` and `_exit`, and its signals are blocked.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use ipc_core::Handle;

use super::signals;

/// Room for the thread-local variables of the program too, which lie in the stack.
/// Only what is touched takes memory.
const STACK: usize = 512 << 10;

#[repr(align(4096))]
struct Stack(UnsafeCell<[u8; STACK]>);

// SAFETY: nobody but the thread that it is given to touches it.
unsafe impl Sync for Stack {}

static SPACE: Stack = Stack(UnsafeCell::new([0; STACK]));
static STARTED: AtomicBool = AtomicBool::new(false);

/// Dies with the process behind `owner`. Without the thread it is refused.
pub(super) fn die_with(owner: Handle) -> bool {
    if STARTED.swap(true, Ordering::Relaxed) {
        return false;
    }
    let owner = OwnedFd::from(owner);
    let number = owner.as_raw_fd();
    // The thread has it until the process ends.
    std::mem::forget(owner);
    signals::blocked(|| start(number))
}

fn start(descriptor: i32) -> bool {
    // SAFETY: the attributes are initialised first and destroyed last; the stack is as
    // the head of this file says; `watch` takes a number in the place of a pointer.
    unsafe {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed();
        let mut thread = MaybeUninit::zeroed();
        let attributes = attributes.as_mut_ptr();
        if libc::pthread_attr_init(attributes) != 0 {
            return false;
        }
        let argument = ptr::without_provenance_mut(descriptor.unsigned_abs() as usize);
        let started = libc::pthread_attr_setstack(attributes, SPACE.0.get().cast(), STACK) == 0
            && libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED) == 0
            && libc::pthread_create(thread.as_mut_ptr(), attributes, watch, argument) == 0;
        libc::pthread_attr_destroy(attributes);
        started
    }
}

extern "C" fn watch(argument: *mut libc::c_void) -> *mut libc::c_void {
    let mut item = libc::pollfd { fd: argument.addr() as i32, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid item; the calls after it take numbers.
    unsafe {
        while libc::poll(&mut item, 1, -1) < 1 {}
        libc::kill(libc::getpid(), libc::SIGKILL);
        libc::_exit(1)
    }
}
