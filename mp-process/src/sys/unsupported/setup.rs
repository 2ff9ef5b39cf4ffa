//! Nothing can be changed about a child that there cannot be.

use std::ffi::OsString;
use std::io;

use ipc_core::Handle;

use super::unsupported;
use crate::settings::Resource;
use crate::start::EnvChange;

pub(crate) fn change_environment(_whole: Option<&[(OsString, OsString)]>, _changes: &[EnvChange]) {}

pub(crate) fn own_input() -> io::Result<Handle> {
    unsupported()
}

pub(crate) fn silence_stream(_number: usize) -> io::Result<()> {
    unsupported()
}

pub(crate) fn replace_stream(_number: usize, _handle: Handle) -> io::Result<()> {
    unsupported()
}

pub(crate) fn abandon(_handle: &Handle) {}

pub(crate) fn blinding() -> impl Fn(&Place) {
    |_| {}
}

/// Of no use where there are no forks.
#[derive(Debug)]
pub(crate) struct Place;

impl Place {
    pub(crate) fn of(_handle: &Handle) -> Self {
        Self
    }

    pub(crate) fn clear(&self) {}
}

pub(crate) fn lead_group() -> io::Result<()> {
    unsupported()
}

pub(crate) fn set_niceness(_niceness: i32) -> io::Result<()> {
    unsupported()
}

pub(crate) fn bind_to(_cpus: &[usize]) -> io::Result<()> {
    unsupported()
}

pub(crate) fn limit(_resource: Resource, _most: u64) -> io::Result<()> {
    unsupported()
}
