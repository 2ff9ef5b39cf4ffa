//! Messages over byte streams of the kernel.
//!
//! A frame is a header of sixteen bytes and the message, and no frame is shorter than
//! [`UNIT`]: so much is read in one step whatever has come, and a small message needs
//! no second one.
//!
//! Where several processes send, a message is written in chunks that the kernel takes whole
//! or not at all, so that one who is killed leaves whole chunks behind; a message that does
//! not go on when the next one begins is dropped. If somebody makes a socket's buffer smaller in
//! the very moment of a chunk, the kernel takes that in two, and a kill may come between them: a
//! mark at each chunk's end, which follows from its header, tells such a one.

mod frame;
mod framed;
mod incoming;
mod pipe;
mod reading;
mod socket;
mod writing;

pub(super) use framed::Framed;
pub use pipe::PipeLink;
pub use socket::SocketLink;

/// The longest messages that an end takes from its peer, and its peer from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Limits {
    pub(crate) receives: u64,
    pub(crate) sends: u64,
}

impl Limits {
    pub(crate) const NONE: Self = Self { receives: u64::MAX, sends: u64::MAX };
}
