//! A pool of worker processes that a killed worker cannot hang.
//!
//! Programs usually want the crate `multiprocess`, which contains this one.
//!
//! ```
//! use mp_pool::Pool;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     mp_pool::init(); // in a worker this does the worker's work and never returns
//!     let pool = Pool::new(2)?;
//!     let squares: Vec<u64> = pool.map(|x: u64| x * x, 0..100)?;
//!     assert_eq!(squares[99], 9801);
//!     Ok(())
//! }
//! ```
//!
//! # What a worker's death does
//! The pool knows which worker holds which task. A worker that is killed, that
//! aborts, exits or overflows its stack while it runs a task fails that task
//! with an error that says how ([`TaskError::is_worker_died`]), or has it run
//! again if the pool was built with [`retries`](Builder::retries). Tasks it had
//! not begun go to others, and a new worker takes its place. Nothing waits for
//! ever: a pool whose workers die again and again, for a second without a result,
//! gives up with an error; after some twenty of them, where it has an initializer.
//!
//! # Who does the work
//! Whoever waits for a result drives the pool: gives out tasks, takes in results,
//! replaces the dead. Between two calls the workers run on with the tasks they
//! hold. Only for results that nobody waits for ([`Pool::apply_async`] and
//! [`Pool::map_async`] with more tasks than the workers hold, callbacks, futures)
//! there is a thread.
//!
//! # Features
//! | feature | for |
//! |---|---|
//! | `indicatif` | `Imap::progress_bar` and its like: a bar on the terminal |
//! | `tracing` | a span `task` for each item in its worker, with the `index` of the item in its call, and name (`caller`) and id (`caller.id`) of the span that the call was made in |
//!
//! A worker is a process of its own: what is to be done with its spans, its
//! [initializer](Builder::initializer) says, by setting a subscriber there.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmePrograms;

mod async_result;
mod budget;
mod builder;
mod careful;
mod chunks;
mod core;
mod driver;
mod error;
mod imap;
mod pool;
mod progress;
mod rules;
mod scope;
mod shared;
mod spans;
mod station;
mod stats;
mod stop_rule;
mod task_pool;
mod threads;
mod transport;
mod values;
mod wait;
mod wire;
mod work;
mod worker;

/// What a program with a pool calls first, and what its test files write instead.
pub use mp_process::{init, test_support};

pub use async_result::{AsyncResult, CallbackHandle};
pub use builder::Builder;
pub use error::{PoolError, TaskError, TimeoutError, WorkerDied};
pub use imap::{Imap, ImapUnordered};
pub use pool::{Pool, Prioritized};
pub use progress::Progress;
pub use scope::Scope;
pub use shared::Shared;
pub use stats::{Diagnosis, PoolStats, SlowInput, Times, WorkerStats};
pub use stop_rule::{StopRule, Stopped};
pub use task_pool::{Results, SharedValue, TaskPool};
pub use threads::{ThreadImap, ThreadImapUnordered, ThreadPool, ThreadPrioritized, ThreadShared};
pub use transport::Transport;
pub use wait::{AsCompleted, Awaited, Until, as_completed, wait};
pub use worker::task_deadline;
