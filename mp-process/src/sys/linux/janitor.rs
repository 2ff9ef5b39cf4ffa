//! The janitor's life: a pipe of notes, and a pidfd of whom it serves.
//!
//! # Safety
//! The fork runs on the one thread of a process that was started for it. Descriptors
//! are closed by number in that fork, which owns none but those it keeps.

#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ipc_core::raw::OwnedName;
use ipc_core::{Handle, Waitable, wait};
use rustix::process::{Pid, PidfdFlags, pidfd_open, setsid};

use super::fork::{Forked, fork_process};

const MADE: u8 = b'+';
const GONE: u8 = b'-';
const FAREWELL: u8 = b'.';

/// What stands before a path: the kind, three numbers that tell the file from others, whether
/// the folder is its own, and the path's length.
const HEAD: usize = 1 + 3 * 8 + 1 + 4;

/// The owner's end of the pipe.
#[derive(Debug)]
pub(crate) struct Notes(PipeWriter);

impl Notes {
    /// A pipe, and the janitor's end of it.
    pub(crate) fn open() -> io::Result<(Self, Handle)> {
        let (reader, writer) = io::pipe()?;
        Ok((Self(writer), OwnedFd::from(reader).into()))
    }

    pub(crate) fn made(&mut self, name: &OwnedName) -> io::Result<()> {
        self.0.write_all(&note(MADE, name))
    }

    pub(crate) fn gone(&mut self, name: &OwnedName) -> io::Result<()> {
        self.0.write_all(&note(GONE, name))
    }

    /// Nothing is left to do. Forks may hold copies of this end, so it is said.
    pub(crate) fn farewell(&mut self) {
        let _ = self.0.write_all(&[FAREWELL; HEAD]);
    }
}

fn note(kind: u8, name: &OwnedName) -> Vec<u8> {
    let (path, identity, has_own_folder) = name.to_parts();
    let path = path.as_os_str().as_bytes();
    let mut note = Vec::with_capacity(HEAD + path.len());
    note.push(kind);
    note.extend(identity.iter().flat_map(|number| number.to_le_bytes()));
    note.push(has_own_folder.into());
    note.extend((path.len() as u32).to_le_bytes());
    note.extend(path);
    note
}

/// In a process started for it: makes the janitor, a child that this process leaves alone
/// in the world, and says whether that was possible.
pub(crate) fn begin((notes, owner): (Handle, u32)) -> bool {
    let owner = i32::try_from(owner).ok().and_then(Pid::from_raw);
    let Some(watch) = owner.and_then(|owner| pidfd_open(owner, PidfdFlags::empty()).ok()) else {
        return false;
    };
    match fork_process() {
        Ok(Forked::Parent { .. }) => true,
        Ok(Forked::Child) => {
            let _ = setsid();
            let (notes, watch) = (File::from(OwnedFd::from(notes)), Handle::from(watch));
            keep_only([notes.as_raw_fd(), std::os::fd::AsFd::as_fd(&watch).as_raw_fd()]);
            serve(notes, &watch);
            // SAFETY: nothing of the process that it was forked from is to be run.
            unsafe { libc::_exit(0) }
        }
        Err(_) => false,
    }
}

/// Closes what its parent had open, above all the socket to the owner.
fn keep_only(kept: [RawFd; 2]) {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let open: Vec<RawFd> = entries.filter_map(number).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && !kept.contains(fd)) {
        // SAFETY: nothing in this process uses it any more.
        unsafe { libc::close(fd) };
    }
}

/// Takes notes until the owner says farewell, or has ended: then it removes what is left.
fn serve(mut notes: File, owner: &Handle) {
    let mut names: Vec<OwnedName> = Vec::new();
    let mut bytes = Vec::new();
    let Ok(pipe) = notes.try_clone().map(|pipe| Handle::from(OwnedFd::from(pipe))) else { return };
    loop {
        let items: [&dyn Waitable; 2] = [&pipe, owner];
        let Ok(ready) = wait(&items, None) else { return };
        // What was noted before the end is read first.
        if ready.contains(&0) {
            let mut more = [0; 4096];
            match notes.read(&mut more) {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(&more[..count]),
            }
            while let Some((kind, name, len)) = first_of(&bytes) {
                match kind {
                    MADE => names.push(name),
                    GONE => names.retain(|known| *known != name),
                    _ => return,
                }
                bytes.drain(..len);
            }
        } else if ready.contains(&1) {
            break;
        }
    }
    names.iter().for_each(OwnedName::remove);
}

/// The first note in `bytes`, if all of it is there, and how long it is.
fn first_of(bytes: &[u8]) -> Option<(u8, OwnedName, usize)> {
    let head = bytes.first_chunk::<HEAD>()?;
    let word = |at: usize| head[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    if head[0] == FAREWELL {
        return Some((FAREWELL, OwnedName::from_parts(PathBuf::new(), [0; 3], false), HEAD));
    }
    let len = HEAD + head[26..].try_into().map_or(0, u32::from_le_bytes) as usize;
    let path = Path::new(OsStr::from_bytes(bytes.get(HEAD..len)?));
    Some((head[0], OwnedName::from_parts(path.to_owned(), [1, 9, 17].map(word), head[25] != 0), len))
}
