//! Typed channel ends over links.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{self, Message};
use crate::deadline;
use crate::ends::{End, Own};
use crate::error::{RecvError, SendError};
use crate::link::{Capabilities, Link, Polling, RingLink, RingOptions};
use crate::transfer::Moves;
use crate::wait::{Arm, Waitable};

/// Makes a one-way channel: what is sent on the first end is received on the second.
///
/// The channel is a ring in shared memory. It holds up to 256 KiB; then a send
/// waits for the receiver. Either end may stay here or move to another process
/// inside a message or an argument.
///
/// # Errors
/// What the system says: no memory, no descriptors.
///
/// # Examples
/// ```
/// let (tx, rx) = ipc_core::pipe::<(u32, String)>()?;
/// tx.send(&(7, "seven".to_owned()))?;
/// assert_eq!(rx.recv()?, (7, "seven".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Pipe")]
pub fn pipe<T: Message>() -> io::Result<(Sender<T>, Receiver<T>)> {
    let (tx, rx) = RingLink::pipe(RingOptions::default())?;
    Ok((Sender::over(tx), Receiver::over(rx)))
}

/// Makes a two-way channel: each end sends what the other receives.
///
/// # Errors
/// As [`pipe`].
///
/// # Examples
/// ```
/// let (client, server) = ipc_core::duplex::<String, usize>()?;
/// client.send(&"four".to_owned())?;
/// server.send(&server.recv()?.len())?;
/// assert_eq!(client.recv()?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn duplex<A: Message, B: Message>() -> io::Result<(Connection<A, B>, Connection<B, A>)> {
    let (a, b) = RingLink::duplex(RingOptions::default())?;
    Ok((Connection::over(a), Connection::over(b)))
}

/// The sending end of a channel.
///
/// Threads may share it. Inside a message it moves to the receiver, and a later use
/// here is the error [`SendError::Moved`].
///
/// It moves between two messages: while it is on its way, other threads that send on it
/// wait, and go on if the message with it is not sent after all. If one of them is in the
/// middle of sending, which takes as long as the receiver of that message likes, the move
/// waits for it: to its own deadline and for a second at most, because that thread may be
/// sending the end that this one moves over. Then it refuses with
/// [`ExportError::InUse`](crate::ExportError::InUse) in a [`SendError::Encode`]: nothing is
/// lost, and it may be tried again once there is room. A packet holds the ends in it only
/// while a link is sending it, and waits for a second whatever its deadline.
///
/// It goes to one place. A message in which it stands twice is refused with
/// [`ExportError::Twice`](crate::ExportError::Twice), and it stays here, as a [`Receiver`] and a
/// [`Connection`] do: of a sender, each place takes a clone of its own.
///
/// # Clones
/// Each clone moves by itself, so that several processes send to one receiver: the
/// messages of each come in its order, each whole. For the receiver the channel ends when
/// the last clone is gone, in whatever process, also one that is still on its way in a
/// message, and one that a fork copied. The processes take turns; if one is killed in its
/// turn, its message does not come and the next goes on. One that is stopped in its turn
/// keeps the others waiting, to their deadlines. A sender of which no clone has left for
/// another process pays nothing for this; the first clone to leave changes how the others
/// send, between two messages of theirs, and so it too waits as said above for a thread
/// that is in the middle of one. Later clones leave without waiting.
///
/// Up to 384 processes may send over one ring, any number over a pipe or a local socket, and
/// only processes of this program's tree. Over a link that cannot bring several processes in order (see
/// [`Link::share`](crate::link::Link::share)) only the last clone moves.
///
/// ```
/// let (tx, rx) = ipc_core::pipe::<u32>()?;
/// let (mover, moved) = ipc_core::pipe::<ipc_core::Sender<u32>>()?;
/// // What is done here with a second end may be done in another process.
/// mover.send(&tx.clone())?;
/// let elsewhere = moved.recv()?;
/// elsewhere.send(&1)?;
/// tx.send(&2)?;
/// assert_eq!((rx.recv()?, rx.recv()?), (1, 2));
/// drop((tx, elsewhere));
/// assert!(matches!(rx.recv(), Err(ipc_core::RecvError::Closed)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sender<T> {
    pub(crate) end: Arc<End>,
    pub(crate) own: Arc<Own>,
    hash: u64,
    types: PhantomData<fn(T)>,
}

/// The receiving end of a channel.
///
/// Threads may share it, and each message goes to one of them. Inside a message
/// it moves to the receiver, and a later use here is the error
/// [`RecvError::Moved`]. It does not move while a thread waits on it.
pub struct Receiver<T> {
    pub(crate) end: Arc<End>,
    hash: u64,
    types: PhantomData<fn() -> T>,
}

/// One end of a two-way channel: sends `A`, receives `B`.
///
/// Threads may share it. Inside a message it moves to the receiver: as a [`Sender`] does, between two
/// messages that threads send, and as a [`Receiver`], while no thread waits on it.
pub struct Connection<A, B> {
    pub(crate) end: Arc<End>,
    hashes: (u64, u64),
    types: PhantomData<fn(A) -> B>,
}

impl<T: Message> Sender<T> {
    /// Sends over a link of your choice. The other end says the same type: nothing else
    /// tells it, and a message of another one is an error when it is received.
    ///
    /// ```
    /// use ipc_core::link::SocketLink;
    /// use ipc_core::{Receiver, Sender};
    ///
    /// let (a, b) = SocketLink::pair()?;
    /// let (tx, rx) = (Sender::<u32>::over(a), Receiver::<u32>::over(b));
    /// tx.send(&7)?;
    /// assert_eq!(rx.recv()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn over(link: impl Link + 'static) -> Self {
        Self::from_end(Arc::new(End::new(Box::new(link))))
    }

    /// What it sends on, unless it has moved.
    pub(crate) fn here(&self) -> Result<&Arc<End>, SendError> {
        if self.own.has_moved() { Err(SendError::Moved) } else { Ok(&self.end) }
    }

    pub(crate) fn from_end(end: Arc<End>) -> Self {
        Self { own: Own::new(&end), end, hash: codec::type_hash::<T>(), types: PhantomData }
    }

    /// Sends `value`; waits while the channel is full.
    ///
    /// # Errors
    /// [`SendError::Closed`] once the receiver is closed or its process has
    /// ended, [`SendError::Encode`] if the value refuses to be encoded.
    pub fn send(&self, value: &T) -> Result<(), SendError> {
        self.here()?.send(self.hash, value, None)
    }

    /// Sends `value` if the channel has room for it now.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::Timeout`] if it has none.
    #[doc(alias = "put_nowait")]
    pub fn try_send(&self, value: &T) -> Result<(), SendError> {
        self.here()?.send(self.hash, value, deadline::now())
    }

    /// Sends `value`; waits for room up to `timeout`.
    ///
    /// A message of which a part has gone out already cannot be taken back: after a
    /// timeout its rest goes out before the next message, and it arrives after all. If
    /// this end is closed first, the receiver gets [`RecvError::Cut`](crate::RecvError::Cut).
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::Timeout`].
    pub fn send_timeout(&self, value: &T, timeout: Duration) -> Result<(), SendError> {
        self.here()?.send(self.hash, value, deadline::after(timeout))
    }
}

impl<T: Message> Receiver<T> {
    /// Receives over a link of your choice.
    pub fn over(link: impl Link + 'static) -> Self {
        Self::from_end(Arc::new(End::new(Box::new(link))))
    }

    pub(crate) fn from_end(end: Arc<End>) -> Self {
        Self { end, hash: codec::type_hash::<T>(), types: PhantomData }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Receives the next value; waits while there is none.
    ///
    /// # Errors
    /// [`RecvError::Closed`] once everything has been received and the sender is
    /// closed or its process has ended; [`RecvError::Decode`] for a message that
    /// is not a `T`, after which the next can be received.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.end.recv(self.hash, None)
    }

    /// Receives the next value if there is one now.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`RecvError::Timeout`] if there is none.
    #[doc(alias = "get_nowait")]
    pub fn try_recv(&self) -> Result<T, RecvError> {
        self.end.recv(self.hash, deadline::now())
    }

    /// Receives the next value; waits for it up to `timeout`, also for the rest
    /// of one that has begun to arrive. Nothing is lost at the timeout.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`RecvError::Timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.end.recv(self.hash, deadline::after(timeout))
    }

    /// Waits up to `timeout` until something can be received, or the channel has
    /// ended, and takes nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll(&self, timeout: Duration) -> Result<bool, RecvError> {
        self.end.poll(deadline::after(timeout))
    }

    /// The values one after the other, until the channel ends; `for message in &receiver` does the same.
    ///
    /// A message that is not a `T` is an error between values; any other error is the last item.
    pub fn iter(&self) -> Messages<'_, T> {
        Messages { receiver: self, is_over: false }
    }
}

/// The values that come to a [`Receiver`], of which each is waited for; see [`Receiver::iter`].
pub struct Messages<'a, T> {
    receiver: &'a Receiver<T>,
    is_over: bool,
}

impl<T: Message> Iterator for Messages<'_, T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = if self.is_over { return None } else { self.receiver.recv() };
        self.is_over = !matches!(next, Ok(_) | Err(RecvError::Decode(_)));
        (!matches!(next, Err(RecvError::Closed))).then_some(next)
    }
}

impl<'a, T: Message> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, RecvError>;
    type IntoIter = Messages<'a, T>;

    fn into_iter(self) -> Messages<'a, T> {
        self.iter()
    }
}

impl<T> fmt::Debug for Messages<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl<A: Message, B: Message> Connection<A, B> {
    /// Sends and receives over a link of your choice.
    pub fn over(link: impl Link + 'static) -> Self {
        Self::from_end(Arc::new(End::new(Box::new(link))))
    }

    #[allow(clippy::unnecessary_wraps, reason = "as that of a sender")]
    pub(crate) fn here(&self) -> Result<&Arc<End>, SendError> {
        Ok(&self.end)
    }

    pub(crate) fn from_end(end: Arc<End>) -> Self {
        Self { end, hashes: (codec::type_hash::<A>(), codec::type_hash::<B>()), types: PhantomData }
    }

    pub(crate) fn received_hash(&self) -> u64 {
        self.hashes.1
    }

    /// Sends `value`; waits while the channel is full.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn send(&self, value: &A) -> Result<(), SendError> {
        self.end.send(self.hashes.0, value, None)
    }

    /// Sends `value` if there is room for it now.
    ///
    /// # Errors
    /// As [`Sender::try_send`].
    pub fn try_send(&self, value: &A) -> Result<(), SendError> {
        self.end.send(self.hashes.0, value, deadline::now())
    }

    /// Sends `value`; waits for room up to `timeout`.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`].
    pub fn send_timeout(&self, value: &A, timeout: Duration) -> Result<(), SendError> {
        self.end.send(self.hashes.0, value, deadline::after(timeout))
    }

    /// Receives the next value; waits while there is none.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn recv(&self) -> Result<B, RecvError> {
        self.end.recv(self.hashes.1, None)
    }

    /// Receives the next value if there is one now.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`].
    pub fn try_recv(&self) -> Result<B, RecvError> {
        self.end.recv(self.hashes.1, deadline::now())
    }

    /// Receives the next value; waits for it up to `timeout`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<B, RecvError> {
        self.end.recv(self.hashes.1, deadline::after(timeout))
    }

    /// Waits up to `timeout` until something can be received, or the channel has
    /// ended, and takes nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll(&self, timeout: Duration) -> Result<bool, RecvError> {
        self.end.poll(deadline::after(timeout))
    }
}

/// What the three ends have in common.
macro_rules! common {
    ($type:ident<$($parameter:ident),+>) => {
        impl<$($parameter),+> $type<$($parameter),+> {
            /// The link under this end.
            pub fn link(&self) -> &dyn Link {
                self.end.link()
            }

            /// What the link under this end can do.
            pub fn capabilities(&self) -> Capabilities {
                self.end.link().capabilities()
            }

            /// This process got the end by a fork, and holds it from now on. The parent calls
            /// [`abandon`](Self::abandon) on its copy.
            ///
            /// A process that is started in another way gets its ends in messages, which do this
            /// by themselves.
            pub fn adopt(&self) {
                self.end.link().adopt();
            }

            /// A fork of this process holds the end from now on: using or dropping this copy
            /// tells the peer nothing.
            pub fn abandon(&self) {
                self.end.moved();
            }

            /// How a wait on this end begins before it sleeps.
            pub fn set_polling(&self, polling: Polling) {
                self.end.link().set_polling(polling);
            }
        }

        impl<$($parameter),+> fmt::Debug for $type<$($parameter),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type)).field("link", &self.end.link()).finish_non_exhaustive()
            }
        }
    };
}

common!(Sender<T>);
common!(Receiver<T>);
common!(Connection<A, B>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { end: Arc::clone(&self.end), own: self.own.another(), hash: self.hash, types: PhantomData }
    }
}

impl<T> Waitable for Receiver<T> {
    fn is_ready(&self) -> Option<bool> {
        self.end.link().is_ready()
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.end.link().arm(arm);
    }

    fn disarm(&self) {
        self.end.link().disarm();
    }
}

impl<A, B> Waitable for Connection<A, B> {
    fn is_ready(&self) -> Option<bool> {
        self.end.link().is_ready()
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.end.link().arm(arm);
    }

    fn disarm(&self) {
        self.end.link().disarm();
    }
}
