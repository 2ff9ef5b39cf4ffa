//! What the processes that send over one end have in common.
//!
//! # Safety
//! The mutex lies in a region of its own, which is made for this alone: nobody who only
//! receives maps it, and a region is taken from processes of this program's tree only.

#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::error::SendError;
use crate::raw::{Acquired, LockFailure, Region, RobustMutex};

/// Where the mutex lies.
const MUTEX: usize = Region::HEAD;
/// Where it is said that something went out which belongs to a frame that has not.
const HALF: usize = 2 * Region::HEAD;
const LEN: usize = 3 * Region::HEAD;

/// Memory in which the senders take turns; clones are the same memory.
#[derive(Debug, Clone)]
pub(crate) struct Share(Region);

/// The turn. It passes on when this is dropped, or its process ends.
#[derive(Debug)]
pub(super) struct Held<'a> {
    share: &'a Share,
    /// The one who had it before died in the middle of it.
    pub(super) after_a_death: bool,
}

impl Share {
    pub(super) fn new() -> io::Result<Self> {
        let share = Self(Region::create(LEN)?);
        share.mutex().init()?;
        Ok(share)
    }

    /// One that was received.
    pub(super) fn in_region(region: Region) -> io::Result<Self> {
        if region.len() == LEN { Ok(Self(region)) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.0
    }

    /// Waits for the turn.
    pub(super) fn take(&self, deadline: Option<Instant>) -> Result<Held<'_>, SendError> {
        match self.mutex().lock(deadline) {
            Ok(acquired) => Ok(Held { share: self, after_a_death: acquired == Acquired::OwnerDied }),
            Err(LockFailure::Timeout) => Err(SendError::Timeout),
            Err(LockFailure::Deadlock) => Err(SendError::Reentrant),
            Err(LockFailure::TooMany) => {
                Err(io::Error::other("this thread holds so many locks that it may take no more").into())
            }
            Err(LockFailure::Io(error)) => Err(error.into()),
        }
    }

    /// Says whether handles are out whose frame is not. Only for the one who has the turn.
    pub(super) fn set_half(&self, is_half: bool) {
        // ORDERING: a kill comes between two steps of the program, in their order.
        self.half().store(is_half.into(), Ordering::SeqCst);
    }

    pub(super) fn is_half(&self) -> bool {
        self.half().load(Ordering::SeqCst) != 0
    }

    fn half(&self) -> &AtomicU32 {
        self.0.atomic_u32(HALF)
    }

    fn mutex(&self) -> RobustMutex<'_> {
        // SAFETY: `new` makes the region and the mutex in it before anybody else has either;
        // nothing else lies there, and `Held` keeps the region mapped.
        unsafe { RobustMutex::at(&self.0, MUTEX) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.share.mutex().unlock();
    }
}
