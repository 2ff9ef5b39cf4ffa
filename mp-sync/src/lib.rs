//! Locks, shared values and queues between processes that survive the death of their holders.
//!
//! Programs that also start processes want the crate `multiprocess`, which
//! contains this one.
//!
//! ```
//! use mp_sync::Value;
//!
//! let counter = Value::<u64>::new(0)?;
//! // … `counter` goes to other processes inside an argument or a message …
//! *counter.lock()? += 1;
//! assert_eq!(*counter.lock()?, 1);
//! # Ok::<(), mp_sync::Error>(())
//! ```
//!
//! # What they have in common
//! Every object is a handle to words in shared memory. It may stand anywhere inside
//! a message between processes of one program's tree; a clone, or what the
//! receiver gets, is a handle to the same object. The memory has no name, and goes
//! when nobody holds anything in it. Whatever blocks has a form with a timeout,
//! which covers the whole call and follows the monotonic clock.
//!
//! # When a holder dies
//! A process may be killed at any instruction. Each type says under *If a process
//! dies* what the others see then; in short:
//!
//! | object | what the others see |
//! |---|---|
//! | [`Lock`], [`RLock`], [`Value`], [`Array`], [`RwLock`] written | the next one gets [`LockError::OwnerDied`] with the guard |
//! | [`RwLock`] read | the dead reader's part is given back |
//! | [`Semaphore`], [`BoundedSemaphore`] | the dead holder's permits come back |
//! | [`BinarySemaphore`] | it stays as it is: whoever releases it need not have acquired it |
//! | [`Event`], [`Latch`], [`Condition::notify_all`] | nothing |
//! | [`Condition::notify`] | the wake-ups given to a waiter that was then killed are lost |
//! | [`Barrier`] | broken, if the dead one was waiting |
//! | [`Once`] | the next one runs it |
//! | [`Queue`], [`SimpleQueue`], [`JoinableQueue`] | at most the item the dead one was putting or getting is lost |
//!
//! # Who is trusted
//! All processes of the tree keep the protocols: one that writes wildly into shared
//! memory is outside of what can be promised. An object is taken only from a
//! message of a process of this tree.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmePrograms;

mod atomic;
mod barrier;
mod binary_semaphore;
mod condition;
mod deadlock;
mod error;
mod event;
mod latch;
mod lock;
mod memory;
mod once;
mod protocol;
mod queue;
mod rlock;
mod rwlock;
mod semaphore;
mod sleep;
mod timeout;
mod travel;
mod value;

pub use bytemuck;

pub use atomic::{
    SharedAtomicBool, SharedAtomicI8, SharedAtomicI16, SharedAtomicI32, SharedAtomicI64, SharedAtomicIsize,
    SharedAtomicU8, SharedAtomicU16, SharedAtomicU32, SharedAtomicU64, SharedAtomicUsize,
};
pub use barrier::{Barrier, BarrierError, BarrierTurn};
pub use binary_semaphore::BinarySemaphore;
pub use condition::{Condition, Held};
pub use deadlock::{Deadlock, DeadlockWait, DeadlockWatch};
pub use error::{AcquireError, Error, LockError, ReleaseError, Result, TimeoutError};
pub use event::Event;
pub use ipc_core::Plain;
pub use latch::Latch;
pub use lock::{Guard, Lock};
pub use once::Once;
pub use queue::{DoneError, GetError, Items, JoinableQueue, PutError, Queue, QueueBuilder, SimpleQueue};
pub use rlock::{RGuard, RLock};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub use semaphore::{BoundedSemaphore, Permit, Semaphore};
pub use value::{Array, ArrayGuard, RawArray, Value, ValueGuard};

#[doc(no_inline)]
pub use ipc_core::raw::ThreadId;
