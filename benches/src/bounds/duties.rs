//! A bare fork with the duties of a child that is to be more than a copy.
//!
//! What `mp-process` does for a fork beside `fork` and `_exit`, by hand, without a type, an error or a line
//! of its code: so much of the distance between the two is what a user gets for it.
//!
//! # Safety
//! The program has one thread, so a fork copies no lock that another one holds. All structures are plain data
//! for which zeroes are values, and live through the calls that get pointers to them; the handlers touch
//! nothing, and the signal stack is the child's alone.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::io;
use std::mem::zeroed;
use std::panic::catch_unwind;
use std::ptr::{null, null_mut};

use libc::{c_int, pid_t, sigaction, sigset_t};

use crate::clock::time_each;
use crate::contest::{Answer, Failure, Job, Mode};

/// What a message begins with: a word that says what it is, its length, and whether handles come with it.
const HEAD: usize = 24;
const MESSAGE: usize = HEAD + size_of::<u64>();

/// Forks a child that answers with a number, and waits for it.
pub(super) fn fork(job: &Job) -> Result<Answer, Failure> {
    time_each(Mode::Free, job.budget, |turn| {
        if fork_for(turn)? == turn { Ok(()) } else { Err("the value is another one".into()) }
    })
}

fn fork_for(turn: u64) -> io::Result<u64> {
    // SAFETY: see the head of this file; each descriptor is closed once.
    unsafe {
        // Whether there are other threads.
        checked(libc::unshare(libc::CLONE_THREAD))?;
        let mut ends = [0; 2];
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        checked(libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()))?;
        libc::fflush(null_mut());
        let (parent, before) = (libc::getpid(), block_all());
        let pid = checked(libc::fork())?;
        if pid == 0 {
            libc::close(ends[0]);
            live(parent, ends[1], turn)
        }
        let end = checked(libc::syscall(libc::SYS_pidfd_open, pid, 0) as c_int)?;
        // The program may collect its children by itself.
        collect(end, libc::WNOWAIT)?;
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut());
        libc::close(ends[1]);
        let mut ended = libc::pollfd { fd: end, events: libc::POLLIN, revents: 0 };
        checked(libc::poll(&mut ended, 1, -1))?;
        let is_well = collect(end, 0)?;
        let value = receive(ends[0]);
        libc::close(ends[0]);
        libc::close(end);
        if is_well { value } else { Err(io::Error::other("the fork did not end well")) }
    }
}

/// The child's life.
///
/// # Safety
/// See the head of this file.
unsafe fn live(parent: pid_t, socket: c_int, turn: u64) -> ! {
    // SAFETY: see the head of this file.
    unsafe {
        // It dies with its parent.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(1);
        }
        libc::atexit(at_exit);
        forget_handlers();
        // Streams that are closed would be taken by other files.
        (0..3).for_each(|stream| _ = libc::fcntl(stream, libc::F_GETFD));
        set_handler(libc::SIGCHLD, libc::SIG_DFL, 0);
        set_handler(libc::SIGINT, ignore as extern "C" fn(c_int) as usize, libc::SA_RESTART);
        let none: sigset_t = zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, null_mut());
        let nowhere = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        libc::dup2(nowhere, 0);
        libc::close(nowhere);
        libc::prctl(libc::PR_SET_NAME, c"bound".as_ptr());
        tell_overflows();
        let Ok(value) = catch_unwind(|| turn) else { libc::_exit(1) };
        let mut message = [0; MESSAGE];
        message[..4].copy_from_slice(b"mpf2");
        message[8] = 8;
        message[HEAD..].copy_from_slice(&value.to_ne_bytes());
        libc::send(socket, message.as_ptr().cast(), MESSAGE, libc::MSG_NOSIGNAL);
        // What it has registered and written is seen to.
        libc::exit(0)
    }
}

/// # Safety
/// See the head of this file.
unsafe fn block_all() -> sigset_t {
    // SAFETY: see the head of this file.
    unsafe {
        let (mut all, mut before) = (zeroed(), zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    }
}

/// The handlers of the program that it is a copy of are not for it.
///
/// # Safety
/// See the head of this file.
unsafe fn forget_handlers() {
    use libc::{SIGBUS, SIGCHLD, SIGINT, SIGKILL, SIGSEGV, SIGSTOP};
    let kept = [SIGSEGV, SIGBUS, SIGKILL, SIGSTOP, SIGINT, SIGCHLD];
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| !kept.contains(signal)) {
        // SAFETY: see the head of this file.
        unsafe {
            let mut action: sigaction = zeroed();
            libc::sigaction(signal, null(), &mut action);
            if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN {
                set_handler(signal, libc::SIG_DFL, 0);
            }
        }
    }
}

/// # Safety
/// See the head of this file.
unsafe fn set_handler(signal: c_int, handler: libc::sighandler_t, flags: c_int) {
    // SAFETY: see the head of this file.
    unsafe {
        let mut action: sigaction = zeroed();
        (action.sa_sigaction, action.sa_flags) = (handler, flags);
        libc::sigaction(signal, &action, null_mut());
    }
}

/// A handler, on a stack of its own, that would say where the stack ends.
///
/// # Safety
/// See the head of this file.
unsafe fn tell_overflows() {
    // SAFETY: see the head of this file.
    unsafe {
        let mut before: sigaction = zeroed();
        libc::sigaction(libc::SIGSEGV, null(), &mut before);
        let mut limit = zeroed();
        libc::getrlimit(libc::RLIMIT_STACK, &mut limit);
        let stack = libc::stack_t { ss_sp: STACK.0.get().cast(), ss_flags: 0, ss_size: STACK_BYTES };
        libc::sigaltstack(&stack, null_mut());
        set_handler(libc::SIGSEGV, ignore as extern "C" fn(c_int) as usize, libc::SA_ONSTACK);
    }
}

extern "C" fn ignore(_signal: c_int) {}

extern "C" fn at_exit() {}

const STACK_BYTES: usize = 64 << 10;

#[repr(align(4096))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only the kernel is told of it.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// Whether the child behind `end` ended well, and with what it used.
///
/// # Safety
/// See the head of this file.
unsafe fn collect(end: c_int, how: c_int) -> io::Result<bool> {
    // SAFETY: see the head of this file.
    unsafe {
        let mut info: libc::siginfo_t = zeroed();
        let mut usage: libc::rusage = zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | how;
        let usage = (&raw mut usage).cast::<c_void>();
        checked(libc::syscall(libc::SYS_waitid, libc::P_PIDFD, end, &raw mut info, flags, usage) as c_int)?;
        Ok(info.si_code == libc::CLD_EXITED && info.si_status() == 0)
    }
}

/// The value, behind which there is nothing more.
///
/// # Safety
/// See the head of this file.
unsafe fn receive(socket: c_int) -> io::Result<u64> {
    let mut message = [0u8; MESSAGE];
    // SAFETY: see the head of this file.
    let mut next = || unsafe { libc::recv(socket, message.as_mut_ptr().cast(), MESSAGE, libc::MSG_DONTWAIT) };
    let came = [next(), next()];
    let value = message.last_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    match value {
        Some(value) if came == [MESSAGE as isize, 0] && message.starts_with(b"mpf2") => Ok(value),
        _ => Err(io::Error::other("the value is not whole")),
    }
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
