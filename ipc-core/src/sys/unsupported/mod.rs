//! Answers every call with [`std::io::ErrorKind::Unsupported`].
//!
//! What can be had only from such a call is a type without values, so that
//! nothing need be written for what can then be done with it.

pub(crate) mod companion;
pub(crate) mod cpu;
pub(crate) mod futex;
pub(crate) mod handle;
pub(crate) mod identity;
pub(crate) mod memory;
#[cfg(feature = "named")]
pub(crate) mod named;
pub(crate) mod names;
pub(crate) mod poll;
pub(crate) mod post;
pub(crate) mod process;
#[cfg(feature = "async")]
pub(crate) mod reactor;
pub(crate) mod robust;
pub(crate) mod set;
pub(crate) mod socket;
pub(crate) mod stream;

pub use handle::Handle;

use std::io;

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}
