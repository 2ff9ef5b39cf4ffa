//! Handles that any process may put in and any other take out.

use std::io;

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::sys::{Handle, post as sys};
use crate::transfer::{self, deserialize_error, serialize_error};
use crate::wait::{Arm, Waitable};

/// Both ends of a pair of sockets that carry handles, each batch under a number.
///
/// Every holder may put and take; who must not disturb each other hold a mutex.
/// A process killed while it puts or takes leaves whole batches, or none. How
/// many may be under way is bounded by the kernel.
#[derive(Debug)]
pub struct Post(sys::Post);

/// Why handles were not put.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// More than one batch holds.
    #[error("one item holds {0} handles, and at most {max} fit", max = sys::HANDLES_PER_BATCH)]
    TooMany(usize),
    /// So many are under way that the system takes no more.
    #[error("too many handles are under way: none is taken until some have been received")]
    Full,
    /// The system refused.
    #[error("handles could not be passed on: {0}")]
    Io(#[from] io::Error),
}

impl Post {
    /// A new pair.
    ///
    /// # Errors
    /// What the system says: no descriptors.
    pub fn new() -> io::Result<Self> {
        sys::Post::new().map(Self)
    }

    /// Puts `handles` in under `number`, without waiting.
    ///
    /// # Errors
    /// See [`PostError`].
    pub fn put(&self, number: u64, handles: &[Handle]) -> Result<(), PostError> {
        if handles.len() > sys::HANDLES_PER_BATCH {
            return Err(PostError::TooMany(handles.len()));
        }
        self.0.put(number, handles)
    }

    /// Takes the next batch out, if one is there.
    ///
    /// # Errors
    /// What the system says, for one that this process may open no more descriptors.
    pub fn take(&self) -> io::Result<Option<(u64, Vec<Handle>)>> {
        self.0.take()
    }
}

/// Ready when there is a batch to take.
impl Waitable for Post {
    fn arm<'a>(&'a self, arm: &mut Arm<'a>) {
        let [_, exit] = self.0.handles();
        arm.readable(exit);
    }
}

impl Serialize for Post {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [entry, exit] = self.0.handles();
        let places = (transfer::give(entry), transfer::give(exit));
        let places = (places.0.map_err(serialize_error)?, places.1.map_err(serialize_error)?);
        places.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Post {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (entry, exit) = <(u32, u32)>::deserialize(deserializer)?;
        let entry = transfer::take(entry).map_err(deserialize_error)?;
        let exit = transfer::take(exit).map_err(deserialize_error)?;
        Ok(Self(sys::Post::from_handles(entry, exit)))
    }
}
