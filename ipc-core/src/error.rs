//! The errors of sending, receiving and waiting.

use std::io;

use crate::{DecodeError, EncodeError};

/// A message was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The other end is closed, or its process has ended.
    #[error("the receiving end is closed: nobody will read this message")]
    Closed,
    /// The deadline passed first. A message of which a part had gone out still arrives, if
    /// another one follows it.
    #[error("the message could not be sent before the deadline: the receiver does not keep up")]
    Timeout,
    /// The value could not be turned into bytes; the link is as it was.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The message holds handles, and this link cannot carry them.
    #[error(
        "the message holds {count} handles, and this link carries bytes only: send it over a ring or a local socket"
    )]
    NoHandles {
        /// How many there are.
        count: usize,
    },
    /// A `Serialize` implementation sent on the very end it was being sent on.
    #[error("a value being sent on this end tried to send on it as well")]
    Reentrant,
    /// This end was sent to another process.
    #[error("this end has moved to another process with a message")]
    Moved,
    /// This end only receives.
    #[error("this end of the link only receives")]
    WrongDirection,
    /// The system refused.
    #[error("sending failed: {0}")]
    Io(#[from] io::Error),
}

/// No message was received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The other end is closed, or its process has ended, and everything sent has been received.
    #[error("the sending end is closed and everything it sent has been received")]
    Closed,
    /// The peer ended in the middle of a message, which is lost.
    #[error("the sending end was closed in the middle of a message")]
    Cut,
    /// The deadline passed first; nothing is lost.
    #[error("no message arrived before the deadline")]
    Timeout,
    /// The next message is longer than the buffer; it stays, and the next call receives it.
    #[error(
        "the next message is {needed} bytes long and the buffer is shorter: call again with a longer one"
    )]
    BufferTooShort {
        /// How long the message is.
        needed: usize,
    },
    /// The message is not a value of the type expected; it is gone, and the next can be received.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer does not keep to the protocol; the link cannot be used any more.
    #[error("the peer sent what no correct peer sends ({0}): the link is given up")]
    Protocol(&'static str),
    /// A `Deserialize` implementation received on the very end it was received on.
    #[error("a value being received on this end tried to receive on it as well")]
    Reentrant,
    /// This end was sent to another process.
    #[error("this end has moved to another process with a message")]
    Moved,
    /// This end only sends.
    #[error("this end of the link only sends")]
    WrongDirection,
    /// The system refused.
    #[error("receiving failed: {0}")]
    Io(#[from] io::Error),
}

/// An end cannot move to another process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The link is not one that another process could take over.
    #[error("this link cannot move to another process")]
    Unsupported,
    /// A part of a message has been received and waits for the rest.
    #[error("this end holds a part of a message: receive it first")]
    InMessage,
    /// Another thread is sending or receiving on it at this moment, and does not come to an end.
    #[error("this end is in use by another thread: an end moves while nobody waits on it")]
    InUse,
    /// It has moved already.
    #[error("this end has moved to another process already")]
    Moved,
    /// It stands in the message already, or in one around it that is being made.
    #[error(
        "this end stands in a message that is being made already, and goes to one place: put it there once, or, of a sender, a clone of its own in each place"
    )]
    Twice,
    /// Clones of it stay behind, and the link is not one that several processes could send over.
    #[error(
        "clones of this sender are in use, and over this link only one process can send: move the last one"
    )]
    Shared,
    /// The system refused.
    #[error("the end could not be duplicated: {0}")]
    Io(#[from] io::Error),
}
