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
use ipc_core::raw::threads_are_starting;
use rustix::io::Errno;
use rustix::process::getpid;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::server::SERVER_NAME;
use super::start::Born;
use super::{boot, end, leave, signals, spawn};
use crate::boot::Kit;

/// How the names of threads begin that this library starts, and that run none of the
/// program's functions. The last is what a thread finds itself called that a fork of
/// the server starts (`watch.rs`).
const OURS: [&str; 6] = ["ipc-core-", "mp-spawner", "mp-pool", "mp-keeper", "mp-logs", SERVER_NAME];

/// For how long a thread of the program may take to end that has nothing left to do, as one of a scope:
/// on a busy machine it is out of turn for long.
const SETTLING: Duration = Duration::from_millis(500);
/// For how long one of this library's may take that has not taken its name yet.
const NAMING: Duration = Duration::from_secs(20);

/// The names of the threads of this process beside the calling one that are not
/// this library's.
pub(crate) fn threads_of_the_program() -> io::Result<Vec<String>> {
    if is_alone() {
        return Ok(Vec::new());
    }
    settled(foreign_threads, threads_are_starting)
}

/// What stays of `foreign` threads, once none of the library's is to take its name.
fn settled(
    foreign: impl Fn() -> io::Result<Vec<String>>,
    are_starting: impl Fn() -> bool,
) -> io::Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        // Asked first: one that takes its name in between is no stranger.
        let patience = if are_starting() { NAMING } else { SETTLING };
        let names = foreign()?;
        if names.is_empty() || begun.elapsed() >= patience {
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
        // A thread that has ended meanwhile has no state any more.
        let Ok(state) = fs::read(task.path().join("stat")) else { continue };
        let (name, is_ending) = name_and_end(&String::from_utf8_lossy(&state));
        if !is_ending && !OURS.iter().any(|prefix| name.starts_with(prefix)) {
            names.push(name);
        }
    }
    Ok(names)
}

/// What a thread is called, and whether it has run its last: one that was joined may be listed for
/// as long as it takes the kernel to put it away.
fn name_and_end(state: &str) -> (String, bool) {
    /// `PF_EXITING` among the flags, which are the seventh word behind the name; see proc_pid_stat(5).
    const EXITING: u64 = 4;
    let Some((head, tail)) = state.rsplit_once(')') else { return (String::new(), false) };
    let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
    let flags = tail.split_whitespace().nth(6).and_then(|flags| flags.parse::<u64>().ok());
    (name, flags.is_some_and(|flags| flags & EXITING != 0))
}

/// Forks this process; the child runs `live`.
pub(crate) fn fork(mut kit: Box<Kit>, live: impl FnOnce(Box<Kit>)) -> io::Result<Born> {
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
            if !moved_above_streams(&mut kit.link) {
                leave::now(1);
            }
            boot::settle();
            live(kit);
            leave::now(0)
        }
    }
}

/// Where the program has closed its streams, the link must not lie in their place.
fn moved_above_streams(link: &mut SocketLink) -> bool {
    if link.handle().as_fd().as_raw_fd() > 2 {
        return true;
    }
    // A duplicate never has the number of a stream.
    let Ok(handle) = link.handle().try_clone() else { return false };
    *link = SocketLink::from_handle(handle).trust_peer();
    true
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::per_process::PerProcess;

    #[test]
    fn a_thread_that_is_slow_to_take_its_name_is_no_stranger() {
        let begun = Instant::now();
        let is_late = || begun.elapsed() > 4 * SETTLING;
        let foreign = || Ok(if is_late() { Vec::new() } else { vec!["program".to_owned()] });
        assert!(settled(foreign, || !is_late()).unwrap().is_empty());
    }

    #[test]
    fn a_thread_named_between_two_looks_is_no_stranger() {
        let looks = Cell::new(0);
        let foreign = || {
            looks.set(looks.get() + 1);
            std::thread::sleep(2 * SETTLING);
            Ok(if looks.get() == 1 { vec!["program".to_owned()] } else { Vec::new() })
        };
        assert!(settled(foreign, || looks.get() == 0).unwrap().is_empty());
    }

    #[test]
    fn a_stranger_is_named_beside_them() {
        let begun = Instant::now();
        let foreign = || Ok(vec!["stranger".to_owned()]);
        assert_eq!(settled(foreign, || begun.elapsed() < 2 * SETTLING).unwrap(), ["stranger"]);
    }

    #[test]
    fn a_thread_that_ends_is_told_from_one_that_runs() {
        let line = |flags: u64| format!("7 (a) (b c) R 1 2 3 4 -1 {flags} 0 0");
        assert_eq!(name_and_end(&line(0x40_0040)), ("a) (b c".to_owned(), false));
        assert_eq!(name_and_end(&line(0x40_0044)), ("a) (b c".to_owned(), true));
        assert!(!name_and_end("").1);
    }

    /// A raw fork beside a thread that holds what there is one of in a process: the child has that
    /// thread's mutexes, and not the thread.
    #[test]
    fn a_raw_fork_waits_for_no_thread_of_its_parent() {
        static ONE: PerProcess<u32> = PerProcess::new();
        let gate = spawn::keep_forks_out();
        let status = ONE.with(|one| {
            *one = 5;
            // SAFETY: the child takes nothing that other threads of this test program hold, and leaves.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: the call takes a number; the default action of the signal ends a child that hangs.
                unsafe { libc::alarm(10) };
                let is_left_alone = ONE.inherited(|_| ()).is_none() && ONE.with(|one| *one) == 0;
                drop(spawn::keep_forks_out());
                // SAFETY: the call takes a number.
                unsafe { libc::_exit(i32::from(!is_left_alone)) };
            }
            let mut status = -1;
            // SAFETY: the call writes the status.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            status
        });
        drop(gate);
        assert_eq!(status, 0);
    }

    #[test]
    fn a_joined_thread_is_not_listed() {
        for _ in 0..500 {
            let name = "is-joined".to_owned();
            std::thread::Builder::new().name(name.clone()).spawn(|| ()).unwrap().join().unwrap();
            assert!(!foreign_threads().unwrap().contains(&name));
        }
    }
}
