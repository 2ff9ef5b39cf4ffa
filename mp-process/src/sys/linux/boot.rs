//! A child's first steps.
//!
//! A child of `spawn` finds two things: a variable that says whose it is, and its
//! orders' socket in the place of its standard input. A fork knows both.
//!
//! # Safety
//! The environment is changed only here, by a process that has one thread, as
//! `init` asks.

#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::exit;

use ipc_core::Handle;
use ipc_core::link::SocketLink;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use super::{setup, signals};

/// The parent's process id, in the environment of a child until it has read it.
pub(crate) const VARIABLE: &str = "MULTIPROCESS_CHILD";

/// If this process is a child: its link.
pub(crate) fn summons() -> Option<SocketLink> {
    let parent = Pid::from_raw(std::env::var(VARIABLE).ok()?.parse().ok()?)?;
    let stdin = rustix::stdio::stdin();
    // Somebody else may have set the variable. Then standard input is no socket that
    // this parent has made, and this process is no child.
    if socket_peercred(stdin).ok()?.pid != parent {
        return None;
    }
    // SAFETY: `init` comes before threads, so nobody else reads the environment.
    unsafe { std::env::remove_var(VARIABLE) };
    follow(parent);
    let socket = move_stdin_away(stdin)?;
    settle();
    Some(SocketLink::from_handle(Handle::from(socket)).trust_peer())
}

/// Dies when the thread that started this process ends: one that lives as long
/// as the parent's process.
pub(super) fn follow(parent: Pid) {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have died before the line above.
    if getppid() != Some(parent) {
        die();
    }
}

/// Ends this process as whoever kills its parent would: nothing of it runs any more.
fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    exit(1)
}

/// What every child does about signals and streams.
pub(super) fn settle() {
    setup::fill_streams();
    signals::keep_interrupts_out();
    signals::unblock_all();
}

/// Moves the socket out of the way and puts the null device there.
fn move_stdin_away(stdin: BorrowedFd<'_>) -> Option<OwnedFd> {
    let socket = fcntl_dupfd_cloexec(stdin, 3).ok()?;
    setup::silence_stream(0).ok()?;
    Some(socket)
}

/// Before `main` the standard library has not yet ignored SIGPIPE, and a write to
/// a peer that has gone would kill the process.
pub(crate) fn stand_in_for_std() {
    signals::ignore(libc::SIGPIPE);
}

/// Names the process for `ps` and `top`; the kernel keeps fifteen bytes.
pub(crate) fn set_process_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}
