//! Bytes, handles and memory between processes, and waiting for them.
//!
//! Programs that start processes and share work among them want the crate
//! `multiprocess`, which contains this one. Use `ipc-core` by itself for typed
//! channels between processes that you start in a way of your own, or to bring a
//! transport of your own to the crates above.
//!
//! ```
//! let (tx, rx) = ipc_core::pipe::<String>()?;
//! tx.send(&"hello".to_owned())?;
//! assert_eq!(rx.recv()?, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Channels
//! [`pipe`] makes a [`Sender`] and a [`Receiver`], [`duplex`] two
//! [`Connection`]s. They carry any serde type, and an end may itself stand in a
//! message: it *moves* to the receiver. Every call that blocks has a form with a
//! timeout, and the timeout covers the whole call. The death of the process at
//! the other end is an end of the channel, noticed at once.
//!
//! # Links
//! Under a channel is a [`link::Link`]: shared memory, a pipe, a socket, or one
//! of your own.
//!
//! # Large values
//! Vectors of numbers travel as they lie in memory. An [`Arena`] is shared memory in
//! which a large value is built in place, sent by handle, and read in place.
//!
//! # Listening
//! A [`Listener`] waits at an [`Address`] for processes that [`connect`], on this
//! machine or over TCP, and lets in those that prove a key.
//!
//! # Waiting
//! [`wait`] waits for the first of many channels, handles and processes; a
//! [`WaitSet`] keeps thousands of them, at the cost of those that are ready.
//!
//! # Who is trusted
//! A peer that writes nonsense into a channel gets an error, not a panic, and
//! memory is set aside only for what has arrived. Values that travel are decoded,
//! never run.

mod arena;
#[cfg(feature = "async")]
mod asynchronous;
mod buffer;
mod bulk;
mod bytes;
mod channel;
mod codec;
mod deadline;
mod ends;
mod error;
mod items;
pub mod link;
mod listener;
mod memory;
#[cfg(feature = "named")]
mod named;
mod names;
mod noted;
mod packet;
mod plain;
pub mod raw;
mod sys;
mod transfer;
mod values;
mod wait;
mod wait_set;
mod wary;
mod watch;

pub use arena::{Arena, ArenaError, Block, BlockMut};
#[cfg(feature = "async")]
pub use asynchronous::ready;
pub use bulk::Bulk;
pub use bytemuck;
pub use channel::{Connection, Messages, Receiver, Sender, duplex, pipe};
pub use codec::{DecodeError, EncodeError, Message};
pub use error::{ExportError, RecvError, SendError};
pub use items::{Reader, Writer, item_bytes, skip_item};
pub use listener::{
    AcceptError, Accepted, Address, AddressError, AuthKey, BindError, ConnectError, ConnectOptions, Greeted,
    Listener, ListenerOptions, connect, connect_link, connect_link_with,
};
pub use memory::SharedMemory;
#[cfg(feature = "named")]
pub use named::{Item, ListError, ShareableList, SharedName};
pub use packet::Packet;
pub use plain::{Plain, is_vector, item_width};
pub use sys::Handle;
pub use transfer::{decoding_from_own_tree, encoding_message, outside_messages};
pub use wait::{Arm, Waitable, wait, wait_deadline};
pub use wait_set::{PeerEnd, Room, WaitSet};
