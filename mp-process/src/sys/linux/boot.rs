//! A child's first steps.
//!
//! A child of `spawn` finds two things: a variable that says whose it is, and its
//! orders' socket in the place of its standard input. A fork knows both.
//!
//! # Safety
//! The environment is changed only here, by a process that has one thread, as
//! `init` asks.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::exit;

use ipc_core::Handle;
use ipc_core::link::SocketLink;
use rustix::fs::{FileType, fstat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use super::{setup, signals};

/// `PARENT:SOCKET`, in the environment of a child until it has read it: the parent's
/// process id, and the number of the socket that is the child's standard input.
pub(crate) const VARIABLE: &str = "MULTIPROCESS_CHILD";

/// What a parent writes into the variable.
pub(super) fn summons_for(link: &Handle) -> io::Result<String> {
    Ok(format!("{}:{}", std::process::id(), fstat(link)?.st_ino))
}

/// If this process is a child: its link.
pub(crate) fn summons() -> Option<SocketLink> {
    let text = std::env::var(VARIABLE).ok()?;
    let (parent, socket) = text.split_once(':')?;
    let (parent, socket) = (Pid::from_raw(parent.parse().ok()?)?, socket.parse::<u64>().ok()?);
    let stdin = rustix::stdio::stdin();
    let found = fstat(stdin).ok()?;
    // Somebody else may have set the variable. Then standard input is not the socket
    // that it names, and this process is no child.
    if !FileType::from_raw_mode(found.st_mode).is_socket() || found.st_ino != socket {
        return None;
    }
    // SAFETY: `init` comes before threads, so nobody else reads the environment.
    unsafe { std::env::remove_var(VARIABLE) };
    follow(parent);
    let Some(socket) = move_stdin_away(stdin) else { exit(1) };
    settle();
    Some(SocketLink::from_handle(Handle::from(socket)).trust_peer())
}

/// Dies when the thread that started this process ends: one that lives as long
/// as the parent's process.
pub(super) fn follow(parent: Pid) {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have died before the line above. None is one in another namespace.
    if getppid().is_some_and(|now| now != parent) {
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
    // Ignoring the ends of children is inherited, and would cost this one their statuses.
    signals::restore_default(libc::SIGCHLD);
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
    // On the stack, as every fork does this.
    let mut text = [0; 16];
    let bytes = name.bytes().take_while(|byte| *byte != 0);
    text[..15].iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    if let Ok(name) = CStr::from_bytes_until_nul(&text) {
        let _ = rustix::thread::set_name(name);
    }
}
