//! What can go wrong: one small type per operation, and one that takes them all.

use std::io;

use ipc_core::raw::LockFailure;

use crate::{BarrierError, Deadlock, DoneError, GetError, PutError};

/// A lock was not acquired, or was acquired from a dead holder.
///
/// It converts into [`Error`] by `?`, which lets go of the guard in
/// [`OwnerDied`](Self::OwnerDied): the lock is free again and still says that its
/// state is unsound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError<G> {
    /// The guard is here, and what it guards may be half changed: a process died
    /// holding the lock, and nobody has called `mark_sound` since.
    #[error("a process died holding the lock: what it guards may be half changed")]
    OwnerDied(G),
    /// The deadline passed first, or, where none was given to wait, somebody holds it.
    #[error("somebody else holds the lock")]
    Timeout,
    /// This thread holds it already, and would wait for itself.
    #[error("this thread holds the lock already")]
    Relocked,
    /// Threads wait for each other's locks, this one among them: see
    /// [`DeadlockWatch`](crate::DeadlockWatch). The lock was not acquired.
    #[error("{0}")]
    Deadlock(Box<Deadlock>),
    /// This thread holds so many that the kernel could not release them all at its death, or
    /// this process reads an [`RwLock`](crate::RwLock) 16,383 times already.
    #[error("this thread or process holds as many locks as can be released when it dies")]
    TooMany,
    /// The system refused.
    #[error("the lock could not be acquired: {0}")]
    Io(#[from] io::Error),
}

impl<G> LockError<G> {
    /// The guard, whether or not the state is sound; else the error again.
    ///
    /// # Errors
    /// Every one but [`OwnerDied`](Self::OwnerDied).
    pub fn into_guard(self) -> Result<G, Self> {
        match self {
            Self::OwnerDied(guard) => Ok(guard),
            other => Err(other),
        }
    }

    pub(crate) fn map<H>(self, with: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDied(guard) => LockError::OwnerDied(with(guard)),
            Self::Timeout => LockError::Timeout,
            Self::Relocked => LockError::Relocked,
            Self::Deadlock(deadlock) => LockError::Deadlock(deadlock),
            Self::TooMany => LockError::TooMany,
            Self::Io(error) => LockError::Io(error),
        }
    }
}

impl<G> From<LockFailure> for LockError<G> {
    fn from(failure: LockFailure) -> Self {
        match failure {
            LockFailure::Timeout => Self::Timeout,
            LockFailure::Deadlock => Self::Relocked,
            LockFailure::TooMany => Self::TooMany,
            LockFailure::Io(error) => Self::Io(error),
            _ => Self::Io(io::ErrorKind::Other.into()),
        }
    }
}

/// No permit was acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The deadline passed first, or, where none was given to wait, there is no permit.
    #[error("no permit was free")]
    Timeout,
    /// More processes use it than it can keep apart.
    #[error("more than {0} processes use this object")]
    TooManyProcesses(usize),
    /// There are permits, but this process holds as many as can come back when it dies.
    #[error("this process holds {0} permits, as many as come back when it dies: drop or forget some")]
    TooManyHeld(u32),
    /// This thread waits for it already, or holds too many locks to wait.
    #[error("this thread cannot wait: it holds too many locks, or waits for this object already")]
    Busy,
    /// The system refused.
    #[error("waiting for a permit failed: {0}")]
    Io(#[from] io::Error),
}

/// Nothing was released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// There would be more permits than the object may have.
    #[error("there would be more permits than there may be: it was released more often than acquired")]
    TooMany,
    /// More processes use it than it can keep apart.
    #[error("more than {0} processes use this object")]
    TooManyProcesses(usize),
    /// The system refused.
    #[error("releasing failed: {0}")]
    Io(#[from] io::Error),
}

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was waited for did not happen before the deadline")]
pub struct TimeoutError;

/// Any error of this crate, for programs that pass them on by `?`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A process died holding the lock, and what it guards may be half changed.
    #[error("a process died holding the lock: what it guards may be half changed")]
    OwnerDied,
    /// The deadline passed first.
    #[error("the deadline passed first")]
    Timeout,
    /// This thread holds the lock already.
    #[error("this thread holds the lock already")]
    Relocked,
    /// Threads wait for each other's locks.
    #[error("{0}")]
    Deadlock(Box<Deadlock>),
    /// A thread holds too many locks.
    #[error("this thread holds as many locks as can be released when it dies")]
    TooMany,
    /// See [`AcquireError`].
    #[error(transparent)]
    Acquire(AcquireError),
    /// See [`ReleaseError`].
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// See [`BarrierError`].
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    /// See [`PutError`].
    #[error(transparent)]
    Put(PutError<()>),
    /// See [`GetError`].
    #[error(transparent)]
    Get(#[from] GetError),
    /// See [`DoneError`].
    #[error(transparent)]
    Done(#[from] DoneError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What this crate's fallible functions return when all errors are one.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        match error {
            LockError::OwnerDied(_) => Self::OwnerDied,
            LockError::Timeout => Self::Timeout,
            LockError::Relocked => Self::Relocked,
            LockError::Deadlock(deadlock) => Self::Deadlock(deadlock),
            LockError::TooMany => Self::TooMany,
            LockError::Io(error) => Self::Io(error),
        }
    }
}

impl From<AcquireError> for Error {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Timeout => Self::Timeout,
            AcquireError::Io(error) => Self::Io(error),
            other => Self::Acquire(other),
        }
    }
}

impl<T> From<PutError<T>> for Error {
    fn from(error: PutError<T>) -> Self {
        Self::Put(error.map(drop))
    }
}

impl From<TimeoutError> for Error {
    fn from(_: TimeoutError) -> Self {
        Self::Timeout
    }
}
