//! Forking this process, as long as it has no threads but the library's.
//!
//! # Safety
//! `fork(2)` in a process with threads copies what they have locked. The program has
//! none (`threads_of_the_program`), and the library's own wait in the kernel holding
//! nothing: the spawner is kept out by its gate. It is the C library's `fork`, which
//! keeps its own locks and its cached thread id right.

#![allow(unsafe_code)]

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use ipc_core::Handle;
use ipc_core::link::SocketLink;
use rustix::io::Errno;
use rustix::process::getpid;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::server::SERVER_NAME;
use super::start::Born;
use super::{boot, end, leave, signals, spawn};

/// How the names of threads begin that this library starts, and that run none of the
/// program's functions. The last is what a thread finds itself called that a fork of
/// the server starts (`watch.rs`).
const OURS: [&str; 6] = ["ipc-core-", "mp-spawner", "mp-pool", "mp-keeper", "mp-logs", SERVER_NAME];

/// For how long a thread is listed that was joined, or has not taken its name yet.
const SETTLING: Duration = Duration::from_millis(50);

/// The names of the threads of this process beside the calling one that are not
/// this library's.
pub(crate) fn threads_of_the_program() -> io::Result<Vec<String>> {
    if is_alone() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + SETTLING;
    loop {
        let names = foreign_threads()?;
        if names.is_empty() || Instant::now() >= deadline {
            return Ok(names);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether there is no other thread: quicker than a look into `/proc`, which is taken where
/// containers forbid the call to all programs.
pub(super) fn is_alone() -> bool {
    let threads = UnshareFlags::from_bits_retain(libc::CLONE_THREAD as u32);
    // SAFETY: changes nothing in a process with one thread, and is refused in others.
    match unsafe { unshare_unsafe(threads) } {
        Ok(()) => true,
        Err(Errno::INVAL) => false,
        Err(_) => fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1),
    }
}

fn foreign_threads() -> io::Result<Vec<String>> {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut names = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        if task.file_name() == *own {
            continue;
        }
        // A thread that has ended meanwhile has no name any more.
        let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
        if !OURS.iter().any(|prefix| name.starts_with(prefix)) {
            names.push(name.trim_end().to_owned());
        }
    }
    Ok(names)
}

/// Forks this process; the child runs `live`.
pub(crate) fn fork(link: SocketLink, live: impl FnOnce(SocketLink)) -> io::Result<Born> {
    let _ = io::stdout().flush();
    // SAFETY: flushes what C code has written.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    // The spawner's gate is closed only where there may be a spawner: it is one page less
    // that the child and this process have to part with.
    let gate = (!is_alone()).then(spawn::keep_forks_out);
    let parent = getpid();
    match fork_process()? {
        Forked::Parent { pid, end } => Ok(Born { pid, end, relay: None, told: None }),
        Forked::Child => {
            drop(gate);
            boot::follow(parent);
            leave::without_earlier_handlers();
            signals::forget_handlers();
            let Some(link) = above_streams(link) else { leave::now(1) };
            boot::settle();
            live(link);
            leave::now(0)
        }
    }
}

/// Where the program has closed its streams, the link must not lie in their place.
fn above_streams(link: SocketLink) -> Option<SocketLink> {
    if link.handle().as_fd().as_raw_fd() > 2 {
        return Some(link);
    }
    // A duplicate never has the number of a stream.
    let handle = link.handle().try_clone().ok()?;
    Some(SocketLink::from_handle(handle).trust_peer())
}

/// Which of the two this process is.
pub(super) enum Forked {
    Parent {
        pid: u32,
        end: Option<Handle>,
    },
    /// With all signals blocked.
    Child,
}

pub(super) fn fork_process() -> io::Result<Forked> {
    signals::blocked_in_child(|| {
        // SAFETY: see the head of this file.
        match unsafe { libc::fork() } {
            -1 => (Err(io::Error::last_os_error()), false),
            0 => (Ok(Forked::Child), true),
            pid => {
                let end = end::open(pid.unsigned_abs());
                if end.is_err() {
                    // Nobody could wait for it, and it has its orders.
                    end::kill_and_collect(pid);
                }
                (end.map(|end| Forked::Parent { pid: pid.unsigned_abs(), end }), false)
            }
        }
    })
}
