//! What a child changes about itself: environment, streams, limits.
//!
//! # Safety
//! The environment is changed before the child's function begins, while no thread
//! of the child reads it.

#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use ipc_core::Handle;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process as sys;
use rustix::process::Rlimit;
use rustix::stdio;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::settings::Resource;
use crate::start::EnvChange;

pub(crate) fn change_environment(whole: Option<&[(OsString, OsString)]>, changes: &[EnvChange]) {
    let is_wanted = |key: &OsString| whole.is_none_or(|whole| whole.iter().any(|(wanted, _)| wanted == key));
    let superfluous = std::env::vars_os().map(|(key, _)| key).filter(|key| !is_wanted(key));
    let removed = superfluous.collect::<Vec<_>>().into_iter().map(|key| (key, None));
    let whole = whole.unwrap_or_default().iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    let differs = |(key, value): &EnvChange| std::env::var_os(key) != *value;
    for (key, value) in removed.chain(whole.filter(differs)).chain(changes.iter().cloned()) {
        // SAFETY: see the head of this file.
        unsafe {
            match value {
                Some(value) => std::env::set_var(key, value),
                None => std::env::remove_var(key),
            }
        }
    }
}

/// A duplicate of this process's standard input.
pub(crate) fn own_input() -> io::Result<Handle> {
    Ok(stdio::stdin().try_clone_to_owned()?.into())
}

/// Opens the streams that the parent has closed, so that no other descriptor gets
/// their numbers.
pub(super) fn fill_streams() {
    for (number, stream) in [stdio::stdin(), stdio::stdout(), stdio::stderr()].into_iter().enumerate() {
        if fcntl_getfd(stream).is_err() {
            let _ = silence_stream(number);
        }
    }
}

/// Leads standard stream `number` nowhere.
pub(crate) fn silence_stream(number: usize) -> io::Result<()> {
    replace_stream(number, null(number != 0)?.into())
}

fn null(for_output: bool) -> io::Result<OwnedFd> {
    let mode = if for_output { OFlags::WRONLY } else { OFlags::RDONLY };
    Ok(open(c"/dev/null", mode | OFlags::CLOEXEC, Mode::empty())?)
}

/// Leads standard stream `number` to `handle`.
pub(crate) fn replace_stream(number: usize, handle: Handle) -> io::Result<()> {
    if usize::try_from(handle.as_fd().as_raw_fd()) == Ok(number) {
        fcntl_setfd(&handle, FdFlags::empty())?;
        // It is in its place, and stays open.
        mem::forget(handle);
        return Ok(());
    }
    match number {
        0 => stdio::dup2_stdin(&handle)?,
        1 => stdio::dup2_stdout(&handle)?,
        _ => stdio::dup2_stderr(&handle)?,
    }
    // By the kernel's own call: the C library's lies where a fork comes by for nothing else.
    abandon(&ManuallyDrop::new(handle));
    Ok(())
}

/// Puts the null device in the place of descriptors that others in this process own and
/// never use: they close them when they please, and what they led to is let go of.
pub(crate) fn blinding() -> impl Fn(&Place) {
    let opened = OnceCell::new();
    move |place: &Place| {
        let number = place.0.load(Ordering::Relaxed);
        if number == NOWHERE {
            return;
        }
        let Some(null) = opened.get_or_init(|| null(false).ok()) else { return };
        // SAFETY: the number stays open and stays its owner's.
        unsafe { libc::dup3(null.as_raw_fd(), number, libc::O_CLOEXEC) };
    }
}

/// Where a handle is found by a fork, which only reads it: to take the locks of all that it is not
/// concerned with, and to count itself among their owners, it would have to copy their memory.
#[derive(Debug)]
pub(crate) struct Place(AtomicI32);

const NOWHERE: i32 = -1;

impl Place {
    pub(crate) fn of(handle: &Handle) -> Self {
        Self(AtomicI32::new(handle.as_fd().as_raw_fd()))
    }

    /// The handle is about to be closed.
    pub(crate) fn clear(&self) {
        self.0.store(NOWHERE, Ordering::Relaxed);
    }
}

/// Closes a descriptor whose owner lies in memory that nobody uses any more.
pub(crate) fn abandon(handle: &Handle) {
    // SAFETY: the owner is leaked, so nobody closes the number again.
    unsafe { rustix::io::close(handle.as_fd().as_raw_fd()) };
}

pub(crate) fn lead_group() -> io::Result<()> {
    Ok(sys::setpgid(None, None)?)
}

pub(crate) fn set_niceness(niceness: i32) -> io::Result<()> {
    Ok(sys::setpriority_process(None, niceness)?)
}

pub(crate) fn bind_to(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

pub(crate) fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let resource = match resource {
        Resource::Memory => sys::Resource::As,
        Resource::CpuSeconds => sys::Resource::Cpu,
        Resource::OpenFiles => sys::Resource::Nofile,
        Resource::CoreSize => sys::Resource::Core,
        Resource::FileSize => sys::Resource::Fsize,
    };
    let own = sys::getrlimit(resource).maximum;
    let most = Some(own.map_or(most, |own| own.min(most)));
    // At the end of the time comes SIGXCPU, which says why, unless it is that of the final limit.
    let spare = u64::from(resource == sys::Resource::Cpu);
    let last = most.map(|most| own.unwrap_or(u64::MAX).min(most.saturating_add(spare)));
    Ok(sys::setrlimit(resource, Rlimit { current: most, maximum: last })?)
}
