//! Signal masks and handlers.
//!
//! # Safety
//! All structures are plain data for which zeroes are valid, and live through the
//! calls that get pointers to them.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;

/// Runs `run` with all signals blocked: threads and forks made in it begin so, and
/// no handler of the program runs in them.
pub(crate) fn blocked<T>(run: impl FnOnce() -> T) -> T {
    blocked_in_child(|| (run(), false))
}

/// As [`blocked`], and if `run` says so the signals stay blocked.
pub(super) fn blocked_in_child<T>(run: impl FnOnce() -> (T, bool)) -> T {
    // SAFETY: see the head of this file.
    let before = unsafe {
        let (mut all, mut before) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    };
    let (result, stay_blocked) = run();
    if !stay_blocked {
        set_mask(&before);
    }
    result
}

/// Lets all signals through: a child begins so, whatever its parent's threads block.
pub(crate) fn unblock_all() {
    set_mask(&none());
}

/// Lets all signals through but `signal`, which waits.
pub(super) fn unblock_all_but(signal: libc::c_int) {
    let mut one = none();
    // SAFETY: see the head of this file.
    unsafe { libc::sigaddset(&mut one, signal) };
    set_mask(&one);
}

fn none() -> libc::sigset_t {
    // SAFETY: see the head of this file.
    unsafe {
        let mut none = MaybeUninit::zeroed();
        libc::sigemptyset(none.as_mut_ptr());
        none.assume_init()
    }
}

/// Blocks `signal` and makes it readable instead.
pub(super) fn as_descriptor(signal: libc::c_int) -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: see the head of this file; the descriptor is new and nobody else's.
    unsafe {
        let mut set = MaybeUninit::zeroed();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        match libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(std::io::Error::last_os_error()),
            fd => Ok(std::os::fd::OwnedFd::from_raw_fd(fd)),
        }
    }
}

fn set_mask(mask: &libc::sigset_t) {
    // SAFETY: see the head of this file.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

/// Ctrl-C is for the program that owns the tree. A handler that does nothing,
/// unlike an ignored signal, is not inherited by programs that a child executes.
pub(super) fn keep_interrupts_out() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    set_handler(libc::SIGINT, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t);
}

pub(super) fn ignore(signal: libc::c_int) {
    set_handler(signal, libc::SIG_IGN);
}

pub(super) fn restore_default(signal: libc::c_int) {
    set_handler(signal, libc::SIG_DFL);
}

/// In a fork: the handlers of the program that it is a copy of are not for it. One
/// that writes to a pipe of its own would tell the parent of this process's signals.
pub(super) fn forget_handlers() {
    // What the standard library does about faults holds here too; two have no handler, and the last two are
    // seen to before signals are let through.
    use libc::{SIGBUS, SIGCHLD, SIGINT, SIGKILL, SIGSEGV, SIGSTOP};
    forget_handlers_but(&[SIGSEGV, SIGBUS, SIGKILL, SIGSTOP, SIGINT, SIGCHLD]);
}

/// Before a program is executed: none runs any more when signals are let through.
pub(super) fn forget_all_handlers() {
    forget_handlers_but(&[]);
    // The standard library ignores it, which others do not expect to inherit.
    restore_default(libc::SIGPIPE);
}

fn forget_handlers_but(kept: &[libc::c_int]) {
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !kept.contains(signal)) {
        // SAFETY: see the head of this file; what is no signal of ours is refused.
        let handler = unsafe {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
            action.assume_init().sa_sigaction
        };
        if handler != libc::SIG_DFL && handler != libc::SIG_IGN {
            restore_default(signal);
        }
    }
}

fn set_handler(signal: libc::c_int, handler: libc::sighandler_t) {
    // SAFETY: see the head of this file; the handlers above touch nothing, and system
    // calls that they interrupt are restarted.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}
