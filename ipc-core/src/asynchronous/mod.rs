//! Waiting without a thread: `async` forms of what blocks, for any runtime.
//!
//! The readiness of handles comes from `async-io`, one thread of which serves the
//! whole process; the futures run under tokio, smol or a bare `block_on`. They do
//! what the blocking calls do with a deadline that has passed, again whenever
//! there is a reason to look. A ring does not say when it has room: a message
//! for which there is none waits on a thread, until it is sent or its future
//! dropped.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::{Connection, Receiver, Sender};
use crate::codec::EncodeError;
use crate::ends::End;
use crate::error::{RecvError, SendError};
use crate::link::{Link, Outgoing};
use crate::listener::{AcceptError, Accepted, Listener};
use crate::sys::Handle;
use crate::sys::reactor::{Watch, first_of};
use crate::wait::{Arm, wait_deadline};
use crate::{Message, Packet, Waitable, deadline};

mod helper;

/// Waits until `item` is ready, as [`wait`](crate::wait) does. The feature `async`.
///
/// Dropping the future ends the wait, and nothing is lost.
///
/// # Errors
/// What the system says.
///
/// # Examples
/// ```
/// # async_io::block_on(async {
/// let (tx, rx) = ipc_core::pipe::<u32>()?;
/// tx.send(&7)?;
/// ipc_core::ready(&rx).await?;
/// assert_eq!(rx.try_recv()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub async fn ready<W: Waitable + Sync>(item: &W) -> io::Result<()> {
    loop {
        let armed = Armed(item);
        let watches = armed.watches()?;
        if is_ready(item)? {
            return Ok(());
        }
        poll_fn(|context| first_of(&watches, context)).await?;
    }
}

fn is_ready(item: &dyn Waitable) -> io::Result<bool> {
    Ok(!wait_deadline(&[item], deadline::now())?.is_empty())
}

/// An item that is told when the wait is over, also if its future is dropped.
struct Armed<'a, W: Waitable>(&'a W);

impl<W: Waitable> Armed<'_, W> {
    fn watches(&self) -> io::Result<Vec<Watch>> {
        let mut arm = Arm::default();
        self.0.arm(&mut arm);
        arm.interests().map(Watch::new).collect()
    }
}

impl<W: Waitable> Drop for Armed<'_, W> {
    fn drop(&mut self) {
        self.0.disarm();
    }
}

impl<T: Message> Receiver<T> {
    /// As [`recv`](Self::recv), without blocking the thread. The feature `async`.
    ///
    /// Dropping the future loses nothing: what has arrived is there for the next call.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Examples
    /// ```
    /// # async_io::block_on(async {
    /// let (tx, rx) = ipc_core::pipe::<String>()?;
    /// tx.send_async(&"hello".to_owned()).await?;
    /// assert_eq!(rx.recv_async().await?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        loop {
            match self.try_recv() {
                Err(RecvError::Timeout) => ready(self).await?,
                other => return other,
            }
        }
    }
}

impl<A: Message, B: Message> Connection<A, B> {
    /// As [`Receiver::recv_async`]. The feature `async`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<B, RecvError> {
        loop {
            match self.try_recv() {
                Err(RecvError::Timeout) => ready(self).await?,
                other => return other,
            }
        }
    }

    /// As [`Sender::send_async`]. The feature `async`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async(&self, value: &A) -> Result<(), SendError> {
        send(self.here()?, pack(value).await?).await
    }
}

impl<T: Message> Sender<T> {
    /// As [`send`](Self::send), without blocking the thread. The feature `async`.
    ///
    /// If the future is dropped, the message is sent whole or not at all; one of
    /// which a part has left is completed by the next sending.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async(&self, value: &T) -> Result<(), SendError> {
        send(self.here()?, pack(value).await?).await
    }
}

/// Bytes, as they are.
macro_rules! bytes {
    (sends $type:ident<$($parameter:ident),+>) => {
        impl<$($parameter: Message),+> $type<$($parameter),+> {
            /// As [`send_bytes`](Self::send_bytes), without blocking the thread; what
            /// [`send_async`](Self::send_async) says of a dropped future holds here too.
            /// The feature `async`.
            ///
            /// # Errors
            /// As [`send`](Self::send).
            pub async fn send_bytes_async(&self, bytes: &[u8]) -> Result<(), SendError> {
                let mut packet = Packet::new();
                packet.extend_bytes(bytes);
                send(self.here()?, packet).await
            }
        }
    };
    (receives $type:ident<$($parameter:ident),+>) => {
        impl<$($parameter: Message),+> $type<$($parameter),+> {
            /// As [`recv_bytes`](Self::recv_bytes), without blocking the thread. Dropping
            /// the future loses nothing. The feature `async`.
            ///
            /// # Errors
            /// As [`recv`](Self::recv).
            pub async fn recv_bytes_async(&self, buffer: &mut Vec<u8>) -> Result<(), RecvError> {
                loop {
                    match self.try_recv_bytes(buffer) {
                        Err(RecvError::Timeout) => ready(self).await?,
                        other => return other,
                    }
                }
            }

            /// As [`recv_bytes_into`](Self::recv_bytes_into), without blocking the thread.
            /// Dropping the future loses nothing. The feature `async`.
            ///
            /// # Errors
            /// As [`recv_bytes_into`](Self::recv_bytes_into).
            pub async fn recv_bytes_into_async(&self, buffer: &mut [u8]) -> Result<usize, RecvError> {
                loop {
                    match self.try_recv_bytes_into(buffer) {
                        Err(RecvError::Timeout) => ready(self).await?,
                        other => return other,
                    }
                }
            }
        }
    };
}

bytes!(sends Sender<T>);
bytes!(sends Connection<A, B>);
bytes!(receives Receiver<T>);
bytes!(receives Connection<A, B>);

impl Listener {
    /// As [`accept_link`](Self::accept_link), without blocking the thread. The feature `async`.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn accept_async(&self) -> Result<Accepted, AcceptError> {
        loop {
            match self.accept_link(deadline::now()) {
                Err(AcceptError::Timeout) => ready(self).await?,
                other => return other,
            }
        }
    }
}

/// The message as it travels. It is made once, so that no user's code runs later.
async fn pack<T: Message>(value: &T) -> Result<Packet, EncodeError> {
    let mut patience = Patience::new();
    loop {
        let mut packet = Packet::new();
        let (packed, in_vain) = deadline::within(deadline::now(), || packet.write_message(value));
        if !in_vain || !patience.has_more().await {
            return packed.map(|()| packet);
        }
    }
}

/// Ends in a message wait for threads that are in the middle of sending on them, as long as a
/// blocking call has them wait.
struct Patience {
    latest: Option<Instant>,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { latest: deadline::after(deadline::PATIENCE), pause: LOOK_AGAIN.0 }
    }

    /// Waits a little; whether to try again after that.
    async fn has_more(&mut self) -> bool {
        async_io::Timer::after(self.pause).await;
        self.pause = (self.pause * 2).min(LOOK_AGAIN.1);
        !deadline::expired(self.latest)
    }
}

/// How long to wait before looking for room again, at first and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(5));

async fn send(end: &Arc<End>, packet: Packet) -> Result<(), SendError> {
    let mut message = Noted { packet, has_left: false };
    let mut pause = LOOK_AGAIN.0;
    let mut patience = Patience::new();
    loop {
        if end.has_moved() {
            return Err(SendError::Moved);
        }
        let (sent, in_vain) =
            deadline::within(deadline::now(), || end.link().send(&mut message, deadline::now()));
        match sent {
            Err(SendError::Encode(_)) if in_vain && patience.has_more().await => continue,
            Err(SendError::Timeout) if message.has_left => return flush(end).await,
            Err(SendError::Timeout) => {}
            other => return other,
        }
        let Some(watches) = room(end.link())? else {
            return helper::send(Arc::clone(end), message.packet).await;
        };
        poll_fn(|context| first_of(&watches, context)).await?;
        // There is room, and another thread's message may be what it is kept for.
        if pause > LOOK_AGAIN.0 {
            async_io::Timer::after(pause).await;
        }
        pause = (pause * 2).min(LOOK_AGAIN.1);
    }
}

/// The message has left in part, and the rest follows.
async fn flush(end: &End) -> Result<(), SendError> {
    loop {
        match end.link().flush(deadline::now()) {
            Err(SendError::Timeout) => {}
            other => return other,
        }
        match room(end.link())? {
            Some(watches) => poll_fn(|context| first_of(&watches, context)).await?,
            None => drop(async_io::Timer::after(LOOK_AGAIN.1).await),
        }
    }
}

/// What tells that the link has room; `None` if nothing does.
fn room(link: &dyn Link) -> io::Result<Option<Vec<Watch>>> {
    let mut arm = Arm::default();
    if !link.arm_room(&mut arm) {
        return Ok(None);
    }
    arm.interests().map(Watch::new).collect::<io::Result<_>>().map(Some)
}

/// A message that remembers whether it has left.
struct Noted {
    packet: Packet,
    has_left: bool,
}

impl Outgoing for Noted {
    fn write_into(&mut self, space: &mut [u8]) -> Result<Option<usize>, EncodeError> {
        self.packet.write_into(space)
    }

    fn bytes(&mut self) -> Result<&[u8], EncodeError> {
        Outgoing::bytes(&mut self.packet)
    }

    fn handles(&self) -> &[Handle] {
        Outgoing::handles(&self.packet)
    }

    fn sent(&mut self) {
        self.has_left = true;
        Outgoing::sent(&mut self.packet);
    }

    fn unsent(&mut self) {
        Outgoing::unsent(&mut self.packet);
    }
}
