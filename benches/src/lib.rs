//! Measurements of us, of rivals and of the bare kernel, in one run and in turns.
//!
//! `cargo xtask bench` builds and runs all of it; `README.md` tells the method and
//! shows a table as it was measured.
//!
//! - `contest.rs`: a question, and how a contestant is asked it and answers.
//! - `clock.rs`, `payload.rs`, `busy.rs`, `crowd.rs`, `kernel.rs`: what contestants measure with.
//! - `rows/`: one file per question: which rows it has, and our answer to it.
//! - `bounds/`: the bare kernel's answers.
//! - `run/`: asks all contestants in turns, and reports.
//! - `../python`, `../rivals`: the rivals' answers.

pub mod busy;
pub mod clock;
pub mod contest;
pub mod crowd;
pub mod kernel;
pub mod payload;
pub mod stats;

#[cfg(feature = "ours")]
pub mod bounds;
#[cfg(feature = "ours")]
pub mod rows;
#[cfg(feature = "ours")]
pub mod run;
