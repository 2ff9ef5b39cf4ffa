//! Objects that live in a server process, and proxies to them.
//!
//! Programs usually want the crate `multiprocess`, which contains this one.
//!
//! ```
//! use mp_manager::Manager;
//!
//! struct Counter(u64);
//!
//! #[mp_manager::object]
//! impl Counter {
//!     pub fn new(start: u64) -> Self {
//!         Self(start)
//!     }
//!     pub fn increment(&mut self, by: u64) -> u64 {
//!         self.0 += by;
//!         self.0
//!     }
//! }
//!
//! fn main() -> Result<(), mp_manager::ManagerError> {
//!     mp_manager::init(); // in a child this does the child's work and never returns
//!     let manager = Manager::start()?;
//!     let counter = CounterProxy::create(&manager, 40)?;
//!     assert_eq!(counter.increment(2)?, 42); // runs in the server
//!     Ok(())
//! }
//! ```
//!
//! # Proxies
//! A proxy may be cloned, shared by threads, and sent to other processes inside
//! any message; all of them mean one object, which goes with the last of them.
//! What a process held that was killed, references and locks, comes back at once.
//!
//! # Calls
//! Every call has a deadline, thirty seconds unless the proxy was made with
//! another one. One that waits in an object by its nature, for an item or a lock,
//! waits on as long as the server says that it does. A server that has ended is an
//! error for all who wait, at once.
//!
//! `increment_async(1)` sends the call and brings an [`AsyncReply`]: many can be on their
//! way at once, and [`Manager::batch`] sends several in one message. Calls of one object of this
//! crate, and those that change one of your own, run in the order in which they were sent.
//!
//! Methods that take `&self` run side by side, those that take `&mut self` one at
//! a time. A panic is the error of its call, and poisons the object if the method
//! was one that changes it.
//!
//! # Objects of this crate
//! [`Manager::list`], [`dict`](Manager::dict), [`queue`](Manager::queue),
//! [`lock`](Manager::lock) and others. Their values are kept encoded, and proxies in
//! them are references: a list in a dict in a list is one list.
//!
//! # A server that ends
//! A manager that has gone is an error for all who wait, at once, and the objects are gone with it:
//! unless it was given a [folder](Builder::state). Then those that were made
//! [durable](Manager::make_durable) are there again when one is started with the same folder, with
//! all that was answered. Clients [connect again](Manager::reconnect) by themselves if they are
//! told to. Over TCP that also mends cuts of the network, within a
//! [time of grace](Builder::grace): nothing is lost or done twice.
//!
//! # Who is trusted
//! A server that was [started](Manager::start) takes functions from its own tree of
//! processes: how objects of your types are made, and
//! [`update`](DictProxy::update). From all others it takes data, and makes objects only of
//! types that were [registered](Builder::register).

#![forbid(unsafe_code)]

// The attribute names this crate by its outer name.
extern crate self as mp_manager;

mod async_reply;
mod batch;
mod builder;
mod builtin;
mod client;
mod context;
mod durable;
mod error;
mod functions;
mod hosted;
mod info;
mod iterator;
mod lease;
mod manager;
mod object_ref;
mod proxy;
mod reconnect;
mod said;
// The proxy of the names is for this crate alone.
#[cfg(feature = "named")]
#[allow(dead_code, unreachable_pub)]
mod segments;
mod server;
mod wire;

/// What a program with a manager calls first, and what its test files write instead.
pub use mp_process::{init, test_support};

pub use async_reply::AsyncReply;
pub use batch::Batch;
pub use builder::{Builder, ManagerServer};
pub use builtin::barrier::{BarrierOptions, BarrierProxy};
pub use builtin::condition::{ConditionGuard, ConditionProxy};
pub use builtin::dict::DictProxy;
pub use builtin::event::EventProxy;
pub use builtin::list::{ArrayProxy, ListProxy};
pub use builtin::lock::{LockGuard, LockProxy};
pub use builtin::namespace::NamespaceProxy;
pub use builtin::queue::{JoinableQueueProxy, QueueProxy};
pub use builtin::rlock::{RLockGuard, RLockProxy};
pub use builtin::semaphore::{Permit, SemaphoreProxy};
pub use builtin::set::SetProxy;
pub use builtin::value::ValueProxy;
pub use error::{Fault, ManagerError};
pub use functions::Later;
pub use hosted::{Arguments, Constructor, Made, Make, Method, Object, Value};
pub use info::{MethodInfo, ObjectInfo};
pub use iterator::{Items, IteratorProxy, ManagedIterator};
pub use manager::Manager;
pub use mp_macros::object;
pub use object_ref::ObjectRef;
pub use proxy::Proxy;
pub use reconnect::Reconnect;
#[cfg(feature = "named")]
pub use segments::SharedMemoryManager;

/// For code that [`object`](crate::object) writes.
#[doc(hidden)]
pub mod __private {
    pub use ipc_core::{Message, Packet};
    pub use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub use crate::functions::{later, update, view};
    pub use crate::iterator::for_value;
    pub use crate::server::host;
    pub use crate::wire::method_id;

    /// Names a type that travels, so that the compiler tells at its place if it cannot.
    pub fn travels<T: Message>() {}
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmePrograms;
