//! What this crate asks of an operating system, and nothing else names one.
//!
//! A platform supplies a folder beside `linux/` with these items:
//!
//! | item | what it is |
//! |---|---|
//! | `Handle` | an owned system handle: `try_clone`, close on drop, never inherited by accident |
//! | `memory::Segment` | anonymous shared memory of a fixed size: `create`, `import`, `try_clone`, `len`, `handle` |
//! | `memory::Mapping` | a window on a segment: whole, or with its tail mapped twice back to back |
//! | `memory::prefer_large_pages` | advice for memory that is about to be filled |
//! | `named::Name` | shared memory under a name: `create`, `open`, `unlink` (feature `named`) |
//! | `names::remove` | remove a file, if it is the very one that is meant |
//! | `futex::{wait, wake}` | sleep on a 32-bit word of shared memory, until woken or a deadline |
//! | `companion::Companion` | one end of a local message pair: a bell to ring, and handles to pass |
//! | `stream::Stream` | one end of a byte stream, read and written without waiting, or read with; carries handles where the kernel can |
//! | `socket::{Listening, connect_file, connect_abstract, connect_tcp, credentials}` | listen and connect: by file, by name, over TCP |
//! | `poll::{Interest, poll}` | wait until one of many handles is ready |
//! | `set::{Set, Place}` | the same for a set that lasts, whose cost does not grow with it |
//! | `reactor::{Watch, first_of}` | the same for futures (feature `async`) |
//! | `process::{Watch, start_time, current_id, current, id_space}` | know a process's end without asking it again and again |
//! | `robust::{init, lock, try_lock, unlock}` | a mutex in shared memory that the system releases when its holder dies |
//! | `identity::{generation, note_fork, current_thread, thread_exists}` | who a thread is, and whether a fork has made its process |
//! | `post::Post` | handles from any process to any other, each message whole |
//! | `cpu::current` | the CPU this thread runs on, or `UNKNOWN` |
//!
//! Everything above this folder is written over these names and compiles on
//! every platform; where nothing is implemented, `unsupported/` answers each
//! call with [`std::io::ErrorKind::Unsupported`].

#[cfg(all(target_os = "linux", not(force_unsupported)))]
mod linux;
#[cfg(all(target_os = "linux", not(force_unsupported)))]
pub use linux::Handle;
#[cfg(all(target_os = "linux", not(force_unsupported), feature = "named"))]
pub(crate) use linux::named;
#[cfg(all(target_os = "linux", not(force_unsupported), feature = "async"))]
pub(crate) use linux::reactor;
#[cfg(all(target_os = "linux", not(force_unsupported)))]
pub(crate) use linux::{
    companion, cpu, futex, identity, memory, names, poll, post, process, robust, set, socket, stream,
};

#[cfg(any(not(target_os = "linux"), force_unsupported))]
mod unsupported;
#[cfg(any(not(target_os = "linux"), force_unsupported))]
pub use unsupported::Handle;
#[cfg(all(any(not(target_os = "linux"), force_unsupported), feature = "named"))]
pub(crate) use unsupported::named;
#[cfg(all(any(not(target_os = "linux"), force_unsupported), feature = "async"))]
pub(crate) use unsupported::reactor;
#[cfg(any(not(target_os = "linux"), force_unsupported))]
pub(crate) use unsupported::{
    companion, cpu, futex, identity, memory, names, poll, post, process, robust, set, socket, stream,
};
