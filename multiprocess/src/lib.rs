//! Python's `multiprocessing` for Rust: processes, pools and channels, without the hangs.
//!
//! ```
//! use multiprocess::Pool;
//!
//! fn square(x: u64) -> u64 {
//!     x * x
//! }
//!
//! fn main() -> multiprocess::Result<()> {
//!     multiprocess::init(); // in a child this runs the child's work and never returns
//!     let pool = Pool::new(4)?;
//!     let squares: Vec<u64> = pool.map(square, 0..1000)?;
//!     assert_eq!(squares[999], 998_001);
//!     Ok(())
//! }
//! ```
//!
//! Processes serve where threads will not do: for code that crashes, leaks, holds
//! a global, must be killed on time or kept within limits.
//!
//! # Functions and values
//! What runs in another process is an `fn`, generic or not, or a closure that
//! captures nothing. Two arguments are a tuple, `pool.apply(|(a, b)| mul(a, b), (3, 4))`,
//! and a `&str` parameter is written `|s: String| f(&s)`. A closure that captures
//! does not compile; what it captures belongs into the argument:
//!
//! ```compile_fail
//! let factor = 3;
//! let pool = multiprocess::Pool::new(2).unwrap();
//! pool.map(|x: u64| x * factor, 0..10).unwrap(); // closures can only be coerced to `fn` types if they do not capture any variables
//! ```
//!
//! Arguments and values are any serde types that own their data. Channel ends and
//! handles may stand anywhere inside them. The wire format describes nothing, so
//! the serde attributes `untagged`, `flatten` and `skip_serializing_if`, and types
//! like `serde_json::Value`, do not work.
//!
//! # What may fail
//! Nothing waits for ever on the dead: the end of a process is an error for those
//! who wait on it, at once. Every call that blocks has a form with a timeout.
//!
//! # The crates
//! This crate re-exports, has one [`Error`] for `?`, and adds what needs two of the
//! others: [`PoolProxy`], a pool in a manager. Each of those below can be used alone.
//!
//! | crate | for |
//! |---|---|
//! | [`ipc`] (`ipc-core`) | channels, handles and memory between processes; waiting |
//! | [`process`] (`mp-process`) | start, watch and end a process |
//! | [`sync`] (`mp-sync`) | locks, shared values, queues |
//! | [`pool`] (`mp-pool`) | workers, tasks, results |
//! | [`manager`] (`mp-manager`) | a server of shared objects |
//!
//! # Features
//! | feature | | for |
//! |---|---|---|
//! | `named` | on | memory that other programs find by name: `SharedMemory::create`, [`ShareableList`] |
//! | `async` | off | `async` forms of what blocks in channels and listeners, for any runtime |
//! | `log` | off | records of the `log` crate, those of children too, reach the program's logger; see `process::log_to_stderr` |
//! | `indicatif` | off | a bar for the values of [`Pool::imap`]: `progress_bar` |
//! | `tracing` | off | a span for each task of a pool, in its worker; see [`pool`] |

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmePrograms;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct WorkspaceReadmePrograms;

mod error;
mod managed_pool;

pub use ipc_core as ipc;
pub use mp_manager as manager;
pub use mp_pool as pool;
pub use mp_process as process;
pub use mp_sync as sync;

pub use error::{Error, Result};
#[cfg(feature = "named")]
pub use ipc_core::ShareableList;
pub use ipc_core::{
    Address, Arena, ArenaError, AuthKey, Block, BlockMut, Connection, Handle, Listener, Message, Receiver,
    RecvError, SendError, Sender, SharedMemory, Waitable, connect, duplex, pipe, wait,
};
pub use managed_pool::{FailedTask, ManagedImap, ManagedPool, ManagedResult, PoolProxy};
pub use mp_manager::{Manager, ManagerError, object};
pub use mp_pool::{AsyncResult, Pool, PoolError, TaskError, TaskPool, ThreadPool, as_completed};
pub use mp_process::{
    ExitStatus, Function, Panic, Process, ProcessError, StartMethod, active_children, cpu_count,
    current_process, init, parent_process, test_support,
};
pub use mp_sync::{
    Array, Barrier, BinarySemaphore, BoundedSemaphore, Condition, Event, JoinableQueue, Latch, Lock, Once,
    Queue, RLock, RwLock, Semaphore, SharedAtomicBool, SharedAtomicI8, SharedAtomicI16, SharedAtomicI32,
    SharedAtomicI64, SharedAtomicIsize, SharedAtomicU8, SharedAtomicU16, SharedAtomicU32, SharedAtomicU64,
    SharedAtomicUsize, SimpleQueue, Value,
};

/// Which tool for which job, and how a Python program is ported.
#[cfg(any(doc, doctest))]
#[allow(unused_imports)]
pub mod _guide {
    #![doc = include_str!("../docs/guide.md")]
    use crate::*;
}

/// Every public name of Python's `multiprocessing`, and what it is here.
#[cfg(doc)]
#[allow(unused_imports)]
pub mod _parity {
    #![doc = include_str!("../docs/parity.md")]
    use crate::*;
}
