//! A stream that a test reads.

use std::io::{Read, pipe};
use std::os::fd::OwnedFd;

use ipc_core::Handle;
use mp_process::Stdio;

pub(crate) fn stream() -> (std::io::PipeReader, Stdio) {
    let (reader, writer) = pipe().unwrap();
    (reader, Handle::from(OwnedFd::from(writer)).into())
}

pub(crate) fn text(mut reader: impl Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}
