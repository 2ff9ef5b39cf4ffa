//! A mutex between processes whose holder may die.
//!
//! # Safety
//! The mutex lies in a region's memory. [`RobustMutex::at`] makes its caller
//! answer for the place; from then on the region, which the value keeps mapped,
//! and the promise that the place is used for nothing else uphold the calls below.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Instant;

use super::Region;
use super::identity;
use crate::sys::robust as sys;

/// How many of these mutexes a thread may hold at a time.
///
/// The kernel releases the locks of a thread that dies one after the other and
/// stops after 2,048 of them; the rest would stay locked for ever.
pub const MAX_HELD: u32 = 2000;

/// How a mutex was acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    /// From one who released it.
    Clean,
    /// From one who died holding it. The mutex works on; what it guards may be half changed.
    OwnerDied,
}

/// Why a mutex was not acquired.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockFailure {
    /// The deadline passed first, or another one holds it.
    Timeout,
    /// This very thread holds it.
    Deadlock,
    /// This thread holds [`MAX_HELD`] already.
    TooMany,
    /// The system refused.
    Io(io::Error),
}

/// A mutex in a [`Region`] that any thread of any process may lock, and that is
/// released by the kernel when the thread or process that holds it dies.
#[derive(Clone, Copy)]
pub struct RobustMutex<'a> {
    at: NonNull<u8>,
    region: PhantomData<&'a Region>,
}

impl<'a> RobustMutex<'a> {
    /// How many bytes it takes.
    pub const SIZE: usize = 40;
    /// The multiple at which it must lie.
    pub const ALIGN: usize = 8;

    /// The mutex at `offset` of `region`.
    ///
    /// # Panics
    /// If it would not lie inside, or not at a multiple of [`Self::ALIGN`].
    ///
    /// # Safety
    /// The [`Self::SIZE`] bytes there belong to a mutex alone, for as long as any
    /// process maps the region, and [`init`](Self::init) has run on them before
    /// anything else is called. Whoever holds it keeps the region mapped.
    #[must_use]
    pub unsafe fn at(region: &'a Region, offset: usize) -> Self {
        assert!(
            offset.is_multiple_of(Self::ALIGN) && offset + Self::SIZE <= region.len(),
            "a mutex outside its region"
        );
        // SAFETY: the offset lies inside the region.
        Self { at: unsafe { region.base().add(offset) }, region: PhantomData }
    }

    /// The mutex at an address in a region that stays mapped for `'a`.
    ///
    /// # Safety
    /// As [`at`](Self::at), and the address is what that would find.
    #[inline]
    #[must_use]
    pub unsafe fn from_address(at: NonNull<u8>) -> Self {
        Self { at, region: PhantomData }
    }

    /// Makes the bytes a mutex that nobody holds. Once, before any other process sees them.
    ///
    /// # Errors
    /// What the system says, for one that it has no such mutexes.
    pub fn init(self) -> io::Result<()> {
        // SAFETY: `at` was promised that the bytes are this mutex's own.
        unsafe { sys::init(self.address()) }
    }

    /// Locks it; waits until the deadline, for ever without one.
    ///
    /// # Errors
    /// See [`LockFailure`].
    #[inline]
    pub fn lock(self, deadline: Option<Instant>) -> Result<Acquired, LockFailure> {
        self.lock_unless(deadline, || false)
    }

    /// As [`lock`](Self::lock), and asks `is_over` after 20 ms, and then less and less often down
    /// to every 320 ms, whether there is something to wait for yet: if not, it is as if the
    /// deadline had passed.
    ///
    /// # Errors
    /// See [`LockFailure`].
    #[inline]
    pub fn lock_unless(
        self,
        deadline: Option<Instant>,
        is_over: impl FnMut() -> bool,
    ) -> Result<Acquired, LockFailure> {
        // SAFETY: `at` was promised an initialised mutex.
        self.count(|mutex| unsafe { sys::lock(mutex, deadline, is_over) })
    }

    /// Locks it if nobody holds it.
    ///
    /// # Errors
    /// See [`LockFailure`].
    #[inline]
    pub fn try_lock(self) -> Result<Acquired, LockFailure> {
        // SAFETY: as for `lock`.
        self.count(|mutex| unsafe { sys::try_lock(mutex) })
    }

    /// Unlocks it. Nothing happens if this thread does not hold it, as in a
    /// forked child with a copy of its parent's guard.
    #[inline]
    pub fn unlock(self) {
        // SAFETY: as for `lock`; the mutex itself checks who calls.
        if unsafe { sys::unlock(self.address()) } {
            identity::lower_held();
        }
    }

    fn address(self) -> *mut u8 {
        self.at.as_ptr()
    }

    #[inline]
    fn count(
        self,
        lock: impl FnOnce(*mut u8) -> Result<Acquired, LockFailure>,
    ) -> Result<Acquired, LockFailure> {
        if identity::raise_held() > MAX_HELD {
            identity::lower_held();
            return Err(LockFailure::TooMany);
        }
        let result = lock(self.address());
        if result.is_err() {
            identity::lower_held();
        }
        result
    }
}

impl fmt::Debug for RobustMutex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RobustMutex").field("at", &self.at).finish()
    }
}
