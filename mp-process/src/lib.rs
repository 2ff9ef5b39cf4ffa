//! Start, watch and end child processes that run a function of this program.
//!
//! Programs that map work over workers, or share objects among processes, want
//! the crate `multiprocess`, which contains this one. Use `mp-process` by itself
//! for what `std::thread::spawn` does, in a process.
//!
//! ```
//! use mp_process::Process;
//!
//! fn main() -> Result<(), mp_process::ProcessError> {
//!     mp_process::init();
//!     let child = Process::spawn(|(a, b): (u32, u32)| a * b, (6, 7))?;
//!     assert_eq!(child.join()?, 42);
//!     Ok(())
//! }
//! ```
//!
//! # `init` comes first
//! A child is this very program, started again. [`init`], called first in
//! `main`, is where a child turns off to do its own work; it never returns there.
//! Starting anything in a program that has not called it is an error, before a
//! child exists. In test binaries, whose `main` is not yours, write
//! [`test_support!`] once at the root of the test file instead.
//!
//! # What a child runs
//! A function that captures nothing: an `fn`, generic or not, or a closure
//! without captures. It gets one argument (two are a tuple) and its value comes
//! back with [`Process::join`]. Argument and value are any serde types that own
//! their data; a `&str` parameter is written `|s: String| f(&s)`.
//!
//! ```compile_fail,E0308
//! let factor = 3;
//! // A closure that captures is no function pointer: give it `factor` in the argument.
//! let child = mp_process::Process::spawn(|x: u32| x * factor, 5);
//! ```
//!
//! # How children begin
//! [`StartMethod::Spawn`] starts the program again, [`StartMethod::ForkServer`] has a
//! clean server of this program fork, [`StartMethod::Fork`] forks this process; all
//! three run the same functions, and [`Process::builder`] chooses. [`Process::fork`]
//! takes a closure, captures and all.
//!
//! ```
//! # mp_process::init();
//! use mp_process::{Process, Resource, StartMethod};
//!
//! let child = Process::builder()
//!     .start_method(StartMethod::ForkServer)
//!     .current_dir("/")
//!     .limit(Resource::CoreSize, 0)
//!     .spawn(|()| std::env::current_dir().unwrap(), ())?;
//! assert_eq!(child.join()?.to_str(), Some("/"));
//! # Ok::<(), mp_process::ProcessError>(())
//! ```
//!
//! What is dear to set up is set up once, in a [`ForkServer`].
//!
//! # Records
//! With the feature `log`, what children say to the macros of the crate `log` reaches the
//! logger of the process that owns the tree, with the child's name in front; when a child
//! has been joined, all that it said is there, unless the logger is slow. `log_to_stderr` installs a logger that
//! writes `[INFO/Process-1] message`. A child waits for a logger that takes nothing in for
//! a fifth of a second, and then drops what it has to say, and counts. Of `tracing`, events
//! come the same way where that crate's feature `log` is on, as a child has no subscriber; and
//! where the program has installed `LogTracer` of `tracing-log`, what its children say are
//! events of its own subscriber.
//!
//! # How children end
//! A panic, an exit, an abort, a stack overflow and a signal are different
//! errors of `join`, with what can be known of each ([`ProcessError`]). Children
//! end with the process that started them, even if it is killed; the end of the
//! *thread* that started them means nothing.

#[cfg(test)]
crate::test_support!();

mod boot;
mod builder;
mod child;
mod error;
mod exit;
mod family;
mod fork_server;
mod function;
mod init;
mod janitor;
#[cfg(feature = "log")]
mod logs;
mod memory;
mod panic;
mod per_process;
mod process;
mod settings;
mod start;
mod status;
mod sys;
#[cfg(feature = "log")]
mod tail;

pub use builder::Builder;
pub use child::Sentinel;
pub use error::ProcessError;
pub use family::{
    ActiveChild, CurrentProcess, ParentProcess, active_children, cpu_count, current_process, parent_process,
};
pub use fork_server::ForkServer;
pub use function::{Function, Function2, Function3, Function4, StateFunction, ViewFunction};
#[doc(hidden)]
pub use init::__boot_before_main;
pub use init::init;
#[cfg(feature = "log")]
pub use logs::log_to_stderr;
pub use panic::{Panic, catch_panic};
pub use process::Process;
pub use settings::{Resource, Stdio};
pub use start::StartMethod;
pub use status::{ExitStatus, OutOfMemory};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmePrograms;
