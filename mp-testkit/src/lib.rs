//! Harness, watchdog and leak census for programs of several processes.
//!
//! A suite is a test target with `harness = false` whose whole `main` is one macro:
//!
//! ```ignore
//! use mp_process::Process;
//!
//! fn a_result_comes_back() -> Result<(), Box<dyn std::error::Error>> {
//!     let process = Process::spawn(|x: u64| x * x, 12)?;
//!     assert_eq!(process.join()?, 144);
//!     Ok(())
//! }
//!
//! mp_testkit::main!(a_result_comes_back);
//! ```
//!
//! Each trial runs under a [`Watchdog`], one at a time, and the suite ends with a trial named
//! `census`, which fails when a handle, a process or a shared-memory name is left over.
//!
//! # Environment
//!
//! - `MP_TESTKIT_TIMEOUT`: seconds that a watchdog waits, whatever the suite says.
//! - `MP_TESTKIT_SEED`: the seed of every [`chaos::Rng::announced`], to repeat a run.
//! - `MP_SOAK_SECONDS`: how long each soak goes on, see [`harness::soak_time`].
//!
//! # What it does not do
//!
//! It asserts no speed, it captures no output of trials, and it knows only what Linux tells
//! through `/proc`.

pub mod census;
pub mod chaos;
pub mod harness;
pub mod program;
pub mod transport;
pub mod watchdog;

mod sys;

pub use census::Census;
pub use harness::{Suite, Trial, run, variants};
pub use program::Program;
pub use watchdog::Watchdog;
