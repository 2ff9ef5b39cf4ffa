//! One error for programs that use `?` on everything.

use std::fmt;
use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whatever can go wrong, for programs whose functions return one error.
///
/// A function that runs in another process may return it too. Its text travels, and
/// not its kind: it arrives as [`Error::Told`].
///
/// ```
/// use multiprocess::{Process, Queue};
///
/// fn fill(queue: Queue<u32>) -> multiprocess::Result<()> {
///     queue.put(1)?;
///     Ok(())
/// }
///
/// fn main() -> multiprocess::Result<()> {
///     multiprocess::init();
///     let queue = Queue::new()?;
///     // One `?` for the process, one for what its function returned.
///     Process::spawn(fill, queue.clone())?.join()??;
///     queue.close();
///     let error = Process::spawn(fill, queue)?.join()?.unwrap_err();
///     println!("{error}");
///     Ok(())
/// }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A process could not be started, or ended without its value.
    #[error(transparent)]
    Process(#[from] mp_process::ProcessError),
    /// A pool could not be made, or has given up.
    #[error(transparent)]
    Pool(#[from] mp_pool::PoolError),
    /// A task has no value.
    #[error(transparent)]
    Task(#[from] mp_pool::TaskError),
    /// A result did not come in time.
    #[error(transparent)]
    Timeout(#[from] mp_pool::TimeoutError),
    /// A task of a manager's pool has no value.
    #[error(transparent)]
    FailedTask(#[from] crate::FailedTask),
    /// A message was not sent.
    #[error(transparent)]
    Send(#[from] ipc_core::SendError),
    /// No message was received.
    #[error(transparent)]
    Recv(#[from] ipc_core::RecvError),
    /// A manager or an object in it refused.
    #[error(transparent)]
    Manager(#[from] mp_manager::ManagerError),
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] ipc_core::BindError),
    /// No client was let in.
    #[error(transparent)]
    Accept(#[from] ipc_core::AcceptError),
    /// No connection was made.
    #[error(transparent)]
    Connect(#[from] ipc_core::ConnectError),
    /// A text is no address.
    #[error(transparent)]
    Address(#[from] ipc_core::AddressError),
    /// An arena has no room.
    #[error(transparent)]
    Arena(#[from] ipc_core::ArenaError),
    /// A list in shared memory refused.
    #[cfg(feature = "named")]
    #[error(transparent)]
    List(#[from] ipc_core::ListError),
    /// A lock, a shared value or a queue refused.
    #[error(transparent)]
    Sync(#[from] mp_sync::Error),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A function in another process returned an [`Error`], of which this is the text.
    #[error("{0}")]
    Told(String),
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_string().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Told)
    }
}

// A `main` that returns an error has it printed in this form: it should say what
// to do, not what the library is made of.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<G> From<mp_sync::LockError<G>> for Error {
    fn from(error: mp_sync::LockError<G>) -> Self {
        Self::Sync(error.into())
    }
}

impl<T> From<mp_sync::PutError<T>> for Error {
    fn from(error: mp_sync::PutError<T>) -> Self {
        Self::Sync(error.into())
    }
}

macro_rules! from_sync {
    ($($error:ident)*) => {$(
        impl From<mp_sync::$error> for Error {
            fn from(error: mp_sync::$error) -> Self {
                Self::Sync(error.into())
            }
        }
    )*};
}

from_sync!(AcquireError BarrierError DoneError GetError ReleaseError TimeoutError);

/// A result whose error is [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;
