//! A child's first steps.
//!
//! A child finds two things: a variable that says it is one, and its orders'
//! socket in the place of its standard input.
//!
//! # Safety
//! The environment is changed only here, by a process that has one thread, as
//! `init` asks. Signal dispositions are plain system calls.

#![allow(unsafe_code)]

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;

use ipc_core::Handle;
use ipc_core::link::SocketLink;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// `PARENT:DEPTH`, in the environment of a child until it has read it.
pub(crate) const VARIABLE: &str = "MULTIPROCESS_CHILD";

/// A child's beginning.
pub(crate) struct Summons {
    pub(crate) link: SocketLink,
    pub(crate) depth: u32,
}

/// Whether this process is a child, and if so what it needs.
pub(crate) fn summons() -> Option<Summons> {
    let text = std::env::var(VARIABLE).ok()?;
    // SAFETY: `init` comes before threads, so nobody else reads the environment.
    unsafe { std::env::remove_var(VARIABLE) };
    let (parent, depth) = text.split_once(':')?;
    let (parent, depth) = (parent.parse().ok()?, depth.parse().ok()?);
    let stdin = rustix::stdio::stdin();
    // Somebody else may have set the variable: then standard input is what it always was.
    rustix::net::sockopt::socket_type(stdin).ok()?;
    follow(parent);
    keep_interrupts_out();
    let socket = move_stdin_away(stdin)?;
    Some(Summons { link: SocketLink::from_handle(Handle::from(socket)).trust_peer(), depth })
}

/// Dies when the thread that started this process ends: one that lives as long
/// as the parent's process (`spawn`).
fn follow(parent: i32) {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have died before the line above.
    if getppid() != Pid::from_raw(parent) {
        std::process::exit(1);
    }
}

/// Ctrl-C is for the program that owns the tree. A handler that does nothing,
/// unlike an ignored signal, is not inherited by programs that a child executes.
fn keep_interrupts_out() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    set_handler(libc::SIGINT, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t);
}

fn set_handler(signal: libc::c_int, handler: libc::sighandler_t) {
    // SAFETY: the structure is plain data for which zeroes are valid; the handler
    // touches nothing, and system calls it interrupts are restarted.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

/// Moves the socket out of the way and puts the null device there.
fn move_stdin_away(stdin: BorrowedFd<'_>) -> Option<OwnedFd> {
    let socket = fcntl_dupfd_cloexec(stdin, 3).ok()?;
    let null = File::open("/dev/null").ok()?;
    let _ = rustix::stdio::dup2_stdin(null.as_fd());
    let _ = fcntl_setfd(rustix::stdio::stdin(), FdFlags::empty());
    Some(socket)
}

/// Before `main` the standard library has not yet ignored SIGPIPE, and a write to
/// a peer that has gone would kill the process.
pub(crate) fn stand_in_for_std() {
    set_handler(libc::SIGPIPE, libc::SIG_IGN);
}

/// Names the process for `ps` and `top`; the kernel keeps fifteen bytes.
pub(crate) fn set_process_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}
