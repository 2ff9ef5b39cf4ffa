//! What can go wrong with a queue.

use std::io;

use ipc_core::raw::PostError;
use ipc_core::{DecodeError, EncodeError};

use super::store::Refusal;

/// An item was not put; most often it comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError<T> {
    /// There was no room before the deadline, or, where none was given to wait, there is none.
    #[error("the queue is full")]
    Full(T),
    /// The queue has been closed.
    #[error("the queue is closed")]
    Closed(T),
    /// The item takes more than half of the queue's memory.
    #[error("the item takes {len} bytes and the queue items of up to {largest}: half its memory")]
    TooLarge {
        /// The item.
        item: T,
        /// How long it is.
        len: usize,
        /// How long it may be.
        largest: usize,
    },
    /// The item refuses to be encoded.
    #[error("{error}")]
    Encode {
        /// The item.
        item: T,
        /// Why.
        error: EncodeError,
    },
    /// The handles in the item could not be passed on.
    #[error("{error}")]
    Handles {
        /// The item.
        item: T,
        /// Why.
        error: PostError,
    },
    /// The system refused.
    #[error("putting failed: {error}")]
    Io {
        /// The item.
        item: T,
        /// Why.
        error: io::Error,
    },
}

impl<T> PutError<T> {
    pub(super) fn refused(item: T, refusal: Refusal) -> Self {
        match refusal {
            Refusal::Timeout => Self::Full(item),
            Refusal::Closed => Self::Closed(item),
            Refusal::TooLarge { len, largest } => Self::TooLarge { item, len, largest },
            Refusal::Handles(error) => Self::Handles { item, error },
            Refusal::Io(error) => Self::Io { item, error },
        }
    }

    /// Whether it is that there was no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether it is that the queue has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// The item.
    pub fn into_item(self) -> T {
        match self {
            Self::Full(item)
            | Self::Closed(item)
            | Self::TooLarge { item, .. }
            | Self::Encode { item, .. }
            | Self::Handles { item, .. }
            | Self::Io { item, .. } => item,
        }
    }

    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> PutError<U> {
        match self {
            Self::Full(item) => PutError::Full(with(item)),
            Self::Closed(item) => PutError::Closed(with(item)),
            Self::TooLarge { item, len, largest } => PutError::TooLarge { item: with(item), len, largest },
            Self::Encode { item, error } => PutError::Encode { item: with(item), error },
            Self::Handles { item, error } => PutError::Handles { item: with(item), error },
            Self::Io { item, error } => PutError::Io { item: with(item), error },
        }
    }
}

/// No item was got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// There was no item before the deadline, or, where none was given to wait, there is none.
    #[error("the queue is empty")]
    Empty,
    /// The queue has been closed, and everything in it has been got.
    #[error("the queue is closed and empty")]
    Closed,
    /// The item is not of the type expected; it is gone, and the next can be got.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The system refused.
    #[error("getting failed: {0}")]
    Io(#[from] io::Error),
}

impl GetError {
    /// Whether it is that there was no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether it is that the queue has been closed and emptied.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }
}

impl From<Refusal> for GetError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Timeout => Self::Empty,
            Refusal::Closed => Self::Closed,
            Refusal::Io(error) => Self::Io(error),
            Refusal::TooLarge { .. } => Self::Io(io::ErrorKind::InvalidData.into()),
            Refusal::Handles(error) => Self::Io(io::Error::other(error)),
        }
    }
}

/// No item was marked as done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoneError {
    /// All that were put are done with already.
    #[error("more items were marked as done than had been put")]
    TooMany,
    /// The system refused.
    #[error("marking an item as done failed: {0}")]
    Io(#[from] io::Error),
}
