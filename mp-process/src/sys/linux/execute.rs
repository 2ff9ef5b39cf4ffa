//! Executing a program in a new process, which dies with the calling thread from its
//! first instruction on.
//!
//! `std::process::Command` could ask for that only by a fork of the whole process, and
//! else there would be a time in which a child does not notice its parent's death. So
//! the child is made as `posix_spawn(3)` makes one: by a `clone(2)` that shares all
//! memory, while the calling thread sleeps until the program is executed.
//!
//! # Safety
//! The child runs `in_child` alone, on a stack of its own and with all signals blocked
//! until no handler is left. It makes system calls that signal-safety(7) allows, and
//! writes to nothing but that stack, its `Call` and `errno`, whose owner sleeps.

#![allow(unsafe_code)]

use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use ipc_core::Handle;
use ipc_core::raw::PerProcess;

use super::signals;

/// A program to be executed, with all that it begins with.
#[derive(Debug)]
pub(super) struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    pub(super) fn new(path: OsString) -> io::Result<Self> {
        Ok(Self { path: text(path)?, arguments: Vec::new(), environment: Vec::new() })
    }

    /// The arguments, the program's own name first.
    pub(super) fn arguments(mut self, all: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        self.arguments = all.into_iter().map(text).collect::<io::Result<_>>()?;
        Ok(self)
    }

    pub(super) fn variable(&mut self, key: OsString, value: OsString) -> io::Result<()> {
        let mut both = key.into_vec();
        both.push(b'=');
        both.extend(value.into_vec());
        self.environment.push(text(OsString::from_vec(both))?);
        Ok(())
    }

    /// Executes it, with `input` as its standard input: its id, and a handle on its end.
    pub(super) fn execute(&self, input: &Handle) -> io::Result<(u32, Handle)> {
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let mut call = Call {
            path: self.path.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            input: input.as_fd().as_raw_fd(),
            parent: std::process::id(),
            error: 0,
        };
        let (pid, end) = signals::blocked(|| call.make())?;
        if call.error == 0 {
            return Ok((pid.unsigned_abs(), end.into()));
        }
        // SAFETY: collects the child, whatever its status.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        Err(io::Error::from_raw_os_error(call.error))
    }
}

fn text(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

/// What `execve(2)` takes: it ends with a null.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// What the child is given, and what it says of a failure.
struct Call {
    path: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    input: c_int,
    parent: u32,
    error: c_int,
}

/// The child's stack: pages that are touched again and again.
#[repr(align(64))]
struct Stack([u8; 32 << 10]);

impl Stack {
    const fn new() -> Mutex<Self> {
        Mutex::new(Self([0; 32 << 10]))
    }
}

impl Call {
    fn make(&mut self) -> io::Result<(libc::pid_t, OwnedFd)> {
        static STACK: PerProcess<Mutex<Stack>> = PerProcess::new(Stack::new(), |_| Stack::new());
        let mut stack = STACK.here().lock().unwrap_or_else(PoisonError::into_inner);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        let mut end: c_int = -1;
        // SAFETY: see the head of this file. The stack grows down from its end, `self`
        // outlives the child's use of it, and the descriptor is new and nobody else's.
        unsafe {
            let top = stack.0.as_mut_ptr_range().end.cast();
            match libc::clone(in_child, top, flags, ptr::from_mut(self).cast(), &mut end) {
                -1 => Err(io::Error::last_os_error()),
                pid => Ok((pid, OwnedFd::from_raw_fd(end))),
            }
        }
    }
}

extern "C" fn in_child(call: *mut c_void) -> c_int {
    // SAFETY: the pointer is that of `make`, whose thread sleeps; the calls take numbers,
    // and pointers to what `execute` keeps.
    unsafe {
        let call = &mut *call.cast::<Call>();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // The parent may have died before the line above.
        if libc::getppid().unsigned_abs() != call.parent {
            libc::_exit(1);
        }
        signals::forget_all_handlers();
        // That of Ctrl-C would end it before `init` lets it through again.
        signals::unblock_all_but(libc::SIGINT);
        let placed = match call.input {
            0 => libc::fcntl(0, libc::F_SETFD, 0),
            input => libc::dup2(input, 0),
        };
        if placed != -1 {
            libc::execve(call.path, call.arguments, call.environment);
        }
        call.error = *libc::__errno_location();
        libc::_exit(127)
    }
}
