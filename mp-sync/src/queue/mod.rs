//! Queues: many producers and consumers in any processes.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use ipc_core::link::Outgoing;
use ipc_core::{Arm, DecodeError, Message, Waitable};
use serde::{Deserialize, Serialize};

use crate::protocol::robust::Patience;
use crate::timeout;

mod bell;
mod error;
mod items;
mod joinable;
mod layout;
mod simple;
mod store;

pub use error::{DoneError, GetError, PutError};
pub use items::Items;
pub use joinable::JoinableQueue;
pub use simple::SimpleQueue;

use store::{Store, with_packet};

/// How many bytes a queue may hold, unless set.
const MEMORY: usize = 256 << 20;

/// A queue with any number of producers and consumers, in any processes.
///
/// [`put`](Self::put) returns when the item is stored in shared memory: a producer
/// may end before anybody gets it, and an item that cannot be encoded is an error
/// of `put` itself. Items come out in the order in which they went in. An item may
/// hold locks, channel ends, other queues and handles. Items that are numbers of a
/// fixed width, or vectors of them, are copied as they lie in memory.
///
/// # If a process dies
/// The queue works on, and knows exactly how many items it holds. One who dies in
/// `put` has put its item or has not; one who dies in `get` loses at most the item
/// it was getting.
///
/// # If a process is stopped
/// Those who wait to get stand in a line, and those who wait to put into a full queue in another one. If the
/// first one there is stopped, as by `SIGSTOP` or a debugger, [`get`](Self::get) and [`put`](Self::put) wait
/// until it goes on or dies; so where that may happen call [`get_timeout`](Self::get_timeout) and
/// [`put_timeout`](Self::put_timeout), or those that only try, which come back. No item is lost.
///
/// # Limits
/// A queue holds 256 MiB unless it is [built](Queue::builder) with more; memory is
/// taken as it is needed. One item may take half of that, whatever that comes to, and hold 253 handles. How
/// many handles may lie in queues at a time is bounded by the system.
///
/// # Examples
/// ```
/// use mp_sync::Queue;
///
/// let queue = Queue::bounded(2)?;
/// queue.put("one".to_owned())?;
/// queue.put("two".to_owned())?;
/// assert!(queue.try_put("three".to_owned()).unwrap_err().is_full());
/// assert_eq!(queue.get()?, "one");
/// queue.close();
/// assert_eq!(queue.iter().collect::<Result<Vec<_>, _>>()?, ["two"]);
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Queue<T> {
    store: Store,
    types: PhantomData<fn(T) -> T>,
}

/// How a queue is made.
#[derive(Debug, Clone, Copy)]
pub struct QueueBuilder {
    items: u32,
    memory: usize,
}

impl QueueBuilder {
    /// At most so many items; as many as there is memory for, unless set.
    #[must_use]
    pub fn items(mut self, items: u32) -> Self {
        self.items = items;
        self
    }

    /// At most so many bytes; 256 MiB unless set. Each item takes 16 to 31 of them
    /// beside its own.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn build<T: Message>(self) -> io::Result<Queue<T>> {
        Ok(Queue::over(Store::new(self.items, self.memory)?))
    }

    /// Makes a [`JoinableQueue`].
    ///
    /// # Errors
    /// As [`build`](Self::build).
    ///
    /// # Examples
    /// ```
    /// let tasks = mp_sync::Queue::builder().memory(1 << 30).build_joinable::<Vec<u8>>()?;
    /// tasks.put(vec![1; 1000])?;
    /// assert_eq!((tasks.len(), tasks.unfinished()), (1, 1));
    /// # Ok::<(), mp_sync::Error>(())
    /// ```
    pub fn build_joinable<T: Message>(self) -> io::Result<JoinableQueue<T>> {
        self.build().map(JoinableQueue)
    }

    /// Makes a [`SimpleQueue`].
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_simple<T: Message>(self) -> io::Result<SimpleQueue<T>> {
        self.build().map(SimpleQueue)
    }
}

impl Queue<()> {
    /// A queue of any of the three kinds with limits of your choice, of items of any type.
    #[must_use]
    pub fn builder() -> QueueBuilder {
        QueueBuilder { items: 0, memory: MEMORY }
    }
}

impl<T: Message> Queue<T> {
    /// A queue of as many items as there is memory for.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Queue::builder().build()
    }

    /// A queue of at most so many items; zero is no limit, as in Python.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[doc(alias = "maxsize")]
    pub fn bounded(items: u32) -> io::Result<Self> {
        Queue::builder().items(items).build()
    }

    /// Puts an item in; waits while the queue is full.
    ///
    /// # Errors
    /// See [`PutError`]; no `Full`.
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_with(item, Patience::Until(None))
    }

    /// Puts an item in if there is room. Where a process was stopped in the middle of putting, that
    /// is as if there were none: `Full` comes then after a tenth of a second.
    ///
    /// # Errors
    /// See [`PutError`].
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
        self.put_with(item, Patience::None)
    }

    /// Puts an item in; waits for room up to `timeout`.
    ///
    /// # Errors
    /// See [`PutError`].
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_with(item, Patience::Until(timeout::after(timeout)))
    }

    /// Gets the oldest item; waits while there is none.
    ///
    /// # Errors
    /// See [`GetError`]; no `Empty`.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_with(Patience::Until(None))
    }

    /// Gets the oldest item if there is one. Where a process was stopped in the middle of getting,
    /// it stands before the others: `Empty` comes then after a tenth of a second.
    ///
    /// # Errors
    /// See [`GetError`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_with(Patience::None)
    }

    /// Gets the oldest item; waits for one up to `timeout`.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
        self.get_with(Patience::Until(timeout::after(timeout)))
    }

    /// Gets items until the queue is closed and empty; `for item in &queue` does the same.
    ///
    /// An item that is not a `T` is an error between items; any other error is the last one.
    pub fn iter(&self) -> Items<'_, T> {
        Items::of(self)
    }

    fn put_with(&self, item: T, patience: Patience) -> Result<(), PutError<T>> {
        with_packet(|packet| {
            if let Err(error) = packet.append_item(&item) {
                return Err(PutError::Encode { item, error });
            }
            match self.store.put(packet, patience) {
                Ok(()) => {
                    packet.sent();
                    Ok(())
                }
                Err(refusal) => Err(PutError::refused(item, refusal)),
            }
        })
    }

    fn get_with(&self, patience: Patience) -> Result<T, GetError> {
        with_packet(|packet| {
            self.store.get(packet, patience)?;
            let item = packet.read_item::<T>()?;
            if packet.is_at_end() {
                Ok(item)
            } else {
                Err(DecodeError::new::<T>("bytes are left over").into())
            }
        })
    }
}

impl<T> Queue<T> {
    fn over(store: Store) -> Self {
        Self { store, types: PhantomData }
    }

    /// Lets nothing more in, for everybody. What is in can still be got; then
    /// getting is the error [`GetError::Closed`]. Whoever waits finds out at once.
    pub fn close(&self) {
        self.store.close();
    }

    /// Whether it has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.store.is_closed()
    }

    /// How many items there are, exactly, as of now.
    #[doc(alias = "qsize")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len() as usize
    }

    /// Whether there is none.
    #[doc(alias = "empty")]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there are as many items as the queue was bounded to.
    #[doc(alias = "full")]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.store.limit().is_some_and(|limit| self.store.len() >= limit)
    }
}

/// Ready when there is an item, or the queue has been closed. That an item is there
/// does not mean that it still is when one gets it: others may be quicker, so that
/// [`try_get`](Queue::try_get) is the one to call.
///
/// The first wait starts a thread that listens for this handle and its clones. If
/// the system has no room for that, the queue always counts as ready.
impl<T> Waitable for Queue<T> {
    fn is_ready(&self) -> Option<bool> {
        Some(self.store.is_ready())
    }

    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        self.store.arm(arm);
    }

    fn disarm(&self) {
        self.store.disarm();
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self::over(self.store.clone())
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("limit", &self.store.limit())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
