//! Message links: what the typed ends stand on, and what a transport of your own implements.
//!
//! | link | one way or both | passes handles | what it is |
//! |---|---|---|---|
//! | [`RingLink`] | both | yes | shared memory; the fast one |
//! | [`PipeLink`] | one | no | a kernel pipe: two descriptors and no memory |
//! | [`SocketLink`] | both | yes | a local stream socket |
//! | [`TcpLink`] | both | no | a connection over the network |
//!
//! # A transport of your own
//! Six methods of [`Link`] have to be written: [`capabilities`](Link::capabilities),
//! [`send`](Link::send), [`recv_at_most`](Link::recv_at_most), [`poll`](Link::poll),
//! [`arm`](Link::arm), and [`flush`](Link::flush), which has nothing to do where a send leaves no
//! part of its message behind. Over something that carries bytes and has a descriptor:
//!
//! * The stream does not block; whoever finds nothing sleeps in
//!   [`wait_deadline`](crate::wait_deadline), on a [`Handle`] to it for reading, and for writing on a
//!   [`Waitable`](crate::Waitable) of a line, which calls [`Arm::writable`].
//! * Each direction has a turn, since threads may share an end: a mutex whose lock gives up at a
//!   deadline. What of a message has come, and what of one has not gone, is kept under it.
//! * `send` takes the turn, sends what an earlier one left, asks the message for its
//!   [`bytes`](Outgoing::bytes) and after that for its [`handles`](Outgoing::handles): if there are
//!   any and the link passes none, it is [`SendError::NoHandles`]. A message whose last part is
//!   kept for later has been taken: it is told [`sent`](Outgoing::sent), though the call is
//!   [`SendError::Timeout`].
//! * `recv_at_most` [clears](Packet::clear) the packet once the message is whole, and
//!   [fills](Packet::extend_bytes) it.
//! * If more is read than one message, [`is_ready`](Link::is_ready) says so: the handle that `arm`
//!   names does not know of it.
//!
//! The crate `mp-testkit` has a suite that tries all of it, and the folder `example-links` of this
//! crate's repository two such links, to copy from. [`Sender::over`](crate::Sender::over) and its
//! kin make typed ends of a link; `Builder::transport` of `mp-pool` reaches workers over it.

use std::fmt;
use std::time::Instant;

use crate::Packet;
use crate::codec::EncodeError;
use crate::error::{ExportError, RecvError, SendError};
use crate::raw::Region;
use crate::sys::Handle;
use crate::sys::stream::Stream;
use crate::transfer;
use crate::wait::Arm;

mod boxed;
mod patience;
mod ring;
pub(crate) mod share;
mod stream;
mod tcp;
mod turn;

pub use ring::{RingLink, RingOptions};
pub(crate) use share::Share;
pub(crate) use stream::Limits;
pub use stream::{PipeLink, SocketLink};
pub use tcp::TcpLink;

/// What turns are made of; the model checker has its own.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

    /// A number that no other living thread has: the address of a thread-local.
    #[inline]
    pub(super) fn this_thread() -> u64 {
        thread_local!(static PLACE: u8 = const { 0 });
        PLACE.with(|place| std::ptr::from_ref(place).addr() as u64)
    }
}

/// What a link can do; asked of it, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Link::send`] works.
    pub sends: bool,
    /// [`Link::recv`] works.
    pub receives: bool,
    /// Handles travel beside the bytes.
    pub passes_handles: bool,
    /// The peer runs on this machine.
    pub local: bool,
}

impl Capabilities {
    /// Both directions, to anywhere, bytes only: what a plain byte transport can do.
    pub const BYTES: Self = Self { sends: true, receives: true, passes_handles: false, local: false };
}

/// A way for whole messages from here to a peer, and back.
///
/// All methods take `&self`: threads may share a link, and a send may run
/// beside a receive. Two sends wait for each other, as do two receives. A
/// deadline of `None` is for ever, one in the past looks once and does not wait.
///
/// Whoever implements it keeps these promises:
/// * messages arrive whole, in order, each once, an empty one too;
/// * a receive that reaches its deadline has lost nothing: what arrived of a
///   message so far is kept for the next call, as is a message that is longer
///   than was asked for;
/// * a send that reaches its deadline has either not begun, or its message is
///   completed by the next send, or withdrawn;
/// * the end of the peer is told from a message cut off by it
///   ([`RecvError::Closed`], [`RecvError::Cut`]);
/// * nothing that a peer sends makes the link panic, or set aside more memory
///   than has arrived, within a constant.
pub trait Link: Send + Sync + fmt::Debug {
    /// What this link can do.
    fn capabilities(&self) -> Capabilities;

    /// Sends one message.
    ///
    /// Blocks while the link is full. Asks `message` for what it is, and then tells it what
    /// became of it: [`sent`](Outgoing::sent), or with an error that withdraws it
    /// [`unsent`](Outgoing::unsent). Until then the ends that stand in it are out of use.
    /// One that is cut by the deadline, and will be completed, has been sent.
    ///
    /// # Errors
    /// See [`SendError`].
    fn send(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError>;

    /// As [`send`](Self::send), but a peer that sleeps need not be woken for it: it
    /// finds the message when something else wakes it. For news that can wait, while
    /// the CPU has better to do. Once the link fills up the peer is woken all the same.
    ///
    /// By default it is `send`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn send_unhurried(&self, message: &mut dyn Outgoing, deadline: Option<Instant>) -> Result<(), SendError> {
        self.send(message, deadline)
    }

    /// Wakes a peer that sleeps, for what was sent by [`send_unhurried`](Self::send_unhurried).
    fn hurry(&self) {}

    /// Receives the next message into `packet`, whose old content goes.
    ///
    /// Blocks while there is none.
    ///
    /// # Errors
    /// See [`RecvError`].
    fn recv(&self, packet: &mut Packet, deadline: Option<Instant>) -> Result<(), RecvError> {
        self.recv_at_most(packet, usize::MAX, deadline)
    }

    /// As [`recv`](Self::recv), of a message of at most `most` bytes. A longer one
    /// is the error [`RecvError::BufferTooShort`], as soon as its length is known;
    /// it stays, and so does everything behind it.
    ///
    /// # Errors
    /// See [`RecvError`].
    fn recv_at_most(
        &self,
        packet: &mut Packet,
        most: usize,
        deadline: Option<Instant>,
    ) -> Result<(), RecvError>;

    /// Waits until [`recv`](Self::recv) would find a message, or the beginning
    /// of one, or the end; takes nothing. `false` at the deadline.
    ///
    /// # Errors
    /// What the system says.
    fn poll(&self, deadline: Option<Instant>) -> Result<bool, RecvError>;

    /// Whether there is something to receive, or the end, as far as can be told
    /// without asking the kernel; `None` if it cannot.
    fn is_ready(&self) -> Option<bool> {
        None
    }

    /// Whether the peer was last seen on the CPU of this thread: then it runs only
    /// while this one does not, and looking for its messages again and again is in vain.
    /// `false` if nothing tells, which is the default.
    fn is_peer_here(&self) -> bool {
        false
    }

    /// Names the handle that becomes ready when there is something to receive,
    /// and makes the peer ring from now on.
    fn arm<'a>(&'a self, arm: &mut Arm<'a>);

    /// The wait is over: the peer need not ring any more.
    fn disarm(&self) {}

    /// Completes a message that an earlier [`send`](Self::send) began and did not
    /// finish before its deadline, if there is one.
    ///
    /// Pools and managers send with a deadline in the past and finish by this: a link that forgets it
    /// lets their peers wait for the rest for ever. `Ok(())` is right for a link whose `send` never
    /// leaves a part of a message behind, and for no other.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn flush(&self, deadline: Option<Instant>) -> Result<(), SendError>;

    /// Names the handle that becomes ready when there is room to send; `false` if
    /// nothing does, which is the default.
    fn arm_room<'a>(&'a self, _arm: &mut Arm<'a>) -> bool {
        false
    }

    /// Names the handle that becomes ready when the peer has ended the connection, and not when
    /// it has sent something; `false` if nothing does, which is the default. For [`PeerEnd`](crate::PeerEnd).
    fn arm_end<'a>(&'a self, _arm: &mut Arm<'a>) -> bool {
        false
    }

    /// How long a wait may poll before it sleeps. A link that cannot poll ignores it.
    fn set_polling(&self, _polling: Polling) {}

    /// The peer's death ends this process too, by other means, so that nobody need
    /// watch for it.
    fn leave_unwatched(&self) {}

    /// Whoever waits here for a message waits beside it for the peer's death, by other means. A
    /// wait for room to send is still ended by that; a receive that waits for nothing else may, from
    /// now on, sleep past the peer's death.
    fn leave_receiving_unwatched(&self) {}

    /// The end is about to leave with a message: whoever uses it waits until
    /// [`let_go`](Self::let_go), and then finds it [gone](Self::detach) or still here. Called
    /// before [`export`](Self::export), by one thread at a time; nothing by default.
    ///
    /// # Errors
    /// [`ExportError::InUse`] if another thread is in the middle of an operation and does not
    /// come to an end soon, [`ExportError::InMessage`] if a part of a message would be lost.
    fn hold(&self) -> Result<(), ExportError> {
        Ok(())
    }

    /// The other half of [`hold`](Self::hold).
    fn let_go(&self) {}

    /// What a process needs to go on with this end, if it can move to another one.
    ///
    /// # Errors
    /// [`ExportError`] if it cannot: the default.
    fn export(&self) -> Result<Export, ExportError> {
        Err(ExportError::Unsupported)
    }

    /// What a process needs to send over this end too, while this one goes on sending, if
    /// the link can bring them in order. The peer sees one end, which is closed with the
    /// last of those that hold it.
    ///
    /// # Errors
    /// [`ExportError`] if it cannot: the default.
    fn share(&self) -> Result<Export, ExportError> {
        Err(ExportError::Unsupported)
    }

    /// This end has left for another process: dropping it must tell the peer nothing.
    fn detach(&self) {}

    /// This process got the end by a fork, and holds it from now on; the parent's
    /// copy is to be [detached](Self::detach) or leaked.
    fn adopt(&self) {}

    /// This process is a fork that has a copy of the end, and is about to use it: adopts it if
    /// the parent has let go of it, and else says that it has not. A link that several
    /// processes may use is always there: the default.
    fn inherit(&self) -> bool {
        true
    }
}

/// How a wait on a link begins, before it sleeps in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Polling {
    /// Look again and again for some microseconds, while the peer was last seen
    /// on another CPU. The default: a quick answer costs no wake-up. Each look at a
    /// pipe or a socket is a system call, and where it is in vain again and again it
    /// is seldom tried.
    #[default]
    Adaptive,
    /// Sleep at once: for waits that are known to be long, and where the CPU
    /// has other work.
    Off,
}

/// A message on its way out: a link asks it for its bytes.
pub trait Outgoing {
    /// Writes the whole message into `space` and says how long it is; `None` if
    /// it does not fit, in which case `space` may hold anything.
    ///
    /// # Errors
    /// [`EncodeError`] if the value refuses to be encoded.
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError>;

    /// The whole message.
    ///
    /// # Errors
    /// [`EncodeError`] if the value refuses to be encoded.
    fn bytes(&mut self) -> Result<&[u8], EncodeError>;

    /// The whole message in pieces, to be sent one behind the other: a large value
    /// need not be put together for it. One piece, unless overridden.
    ///
    /// # Errors
    /// [`EncodeError`] if the value refuses to be encoded.
    fn parts(&mut self) -> Result<[&[u8]; 4], EncodeError> {
        Ok([self.bytes()?, &[], &[], &[]])
    }

    /// How long the message is, if that is known before it is encoded.
    fn size(&self) -> Option<usize> {
        None
    }

    /// The handles in the message, known after one of the calls above.
    fn handles(&self) -> &[Handle];

    /// The link has taken the message; called once, when nothing can fail any more.
    fn sent(&mut self);

    /// The link has not taken the message, and is done with it for now: ends that stand in it
    /// are this process's again. Nothing by default.
    fn unsent(&mut self) {}
}

/// An end on its way to another process.
#[derive(Debug)]
pub struct Export {
    pub(crate) kind: ExportKind,
    pub(crate) handles: Vec<Handle>,
    /// Where those who send take turns, if they are several processes.
    pub(crate) share: Option<Share>,
}

/// Which of our links an [`Export`] is of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum ExportKind {
    /// With the places of the frames that its further handles belong to.
    Ring(ring::Roles, Vec<u64>),
    PipeReader,
    PipeWriter,
    Socket {
        trusted: bool,
        limits: Limits,
    },
    Tcp {
        trusted: bool,
        limits: Limits,
    },
}

/// Builds the link again in the process that received an export.
pub(crate) fn import(
    kind: ExportKind,
    handles: Vec<Handle>,
    share: Option<Region>,
) -> Result<Box<dyn Link>, String> {
    let unusable = |error| format!("the channel end received cannot be used: {error}");
    let share = share.map(Share::in_region).transpose().map_err(unusable)?;
    let link: std::io::Result<Box<dyn Link>> = match kind {
        ExportKind::Ring(roles, places) => {
            RingLink::import(roles, places, handles, share).map(|link| Box::new(link) as _)
        }
        ExportKind::PipeReader => one(handles).map(|handle| Box::new(PipeLink::reader(handle)) as _),
        ExportKind::PipeWriter => one(handles).map(|handle| Box::new(PipeLink::writer(handle, share)) as _),
        ExportKind::Socket { trusted, limits } => one(handles).map(|handle| {
            let link = SocketLink::connected(Stream::socket(handle), vouched(trusted), limits);
            Box::new(link.with_share(share)) as _
        }),
        ExportKind::Tcp { trusted, limits } => one(handles)
            .map(|handle| Box::new(TcpLink::connected(Stream::tcp(handle), vouched(trusted), limits)) as _),
    };
    link.map_err(unusable)
}

/// A stranger's word for the peer of a link counts for nothing.
fn vouched(trusted: bool) -> bool {
    trusted && transfer::decoding_from_own_tree()
}

fn one(handles: Vec<Handle>) -> std::io::Result<Handle> {
    handles.into_iter().next().ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// A receiver's descriptor limit has cost it handles, and with them their message.
fn lost_handles() -> std::io::Error {
    std::io::Error::other(
        "a message was lost, because this process may not open as many handles as came with it",
    )
}
