//! The errors of listening and connecting.

use std::io;

use super::Address;

/// A listener could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody listens there, or a file that is no socket stands there.
    #[error("the address {0} is in use: somebody listens there, or a file that is no socket is in the way")]
    InUse(Address),
    /// A network address without a key lets everybody in.
    #[error(
        "a listener on the network needs an authkey that is not empty; \
         `ListenerOptions::anyone` lets everybody in"
    )]
    NeedsKey,
    /// Peers that prove nothing cannot be trusted.
    #[error("peers can be trusted only if they prove an authkey that is not empty")]
    NothingToTrust,
    /// The system refused.
    #[error("listening on {address} failed: {source}")]
    Io {
        /// Where.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

/// No connection was taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The deadline passed first.
    #[error("nobody connected before the deadline")]
    Timeout,
    /// The listener was closed, or belongs to the process that forked this one.
    #[error("the listener is closed")]
    Closed,
    /// The system refused.
    #[error("waiting for a connection failed: {0}")]
    Io(#[from] io::Error),
}

/// A connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("nobody listens on {0}")]
    NoListener(Address),
    /// The deadline passed first.
    #[error("the listener did not answer before the deadline")]
    Timeout,
    /// The listener has a key, and this side has none.
    #[error("the listener asks for an authkey, and none was given: use `ConnectOptions::authkey`")]
    KeyMissing,
    /// This side has a key, and the listener has none.
    #[error("an authkey was given, and the listener has none: it cannot prove that it is the right one")]
    KeyUnexpected,
    /// The keys differ.
    #[error("the listener refused the authkey")]
    WrongKey,
    /// The listener took our proof and could not prove the key itself.
    #[error("the listener does not know the authkey: it is not the right one")]
    Impostor,
    /// Something else listens there.
    #[error("what listens there does not speak this protocol")]
    NotAListener,
    /// The listener was made with another version of this crate.
    #[error("the listener speaks version {0} of the protocol, which this side does not")]
    Version(u8),
    /// A process of another user listens there.
    #[error(
        "user {user} listens there, and this process runs for another one; \
         `ConnectOptions::anyone` connects nevertheless"
    )]
    OtherUser {
        /// The number of the user.
        user: u32,
    },
    /// The listener closed the connection, because it ends or has no room.
    #[error("the listener closed the connection before it was made")]
    Closed,
    /// Peers that prove nothing cannot be trusted.
    #[error("a listener can be trusted only if it proves an authkey that is not empty")]
    NothingToTrust,
    /// The system refused.
    #[error("connecting failed: {0}")]
    Io(#[from] io::Error),
}
