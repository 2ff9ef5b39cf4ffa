//! The `main` of suites that start processes.
//!
//! The output and the arguments are those of the usual test harness, so that `cargo test`,
//! a filter and nextest work as they do elsewhere.

mod suite;
mod trial;

pub use suite::{DEFAULT_TIMEOUT, Suite, run, soak_time};
pub use trial::{Outcome, Skip, Trial, variants};

/// Writes the `main` of a suite: one trial for each function, named by its path.
///
/// A trial is `fn() -> T`, where `T` is `()`, or a `Result` of `()` or of [`Skip`].
#[macro_export]
macro_rules! main {
    ($($function:path),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::run($crate::trials![$($function),+])
        }
    };
}

/// The trials of a list of functions, to which those of [`variants`] may be added.
#[macro_export]
macro_rules! trials {
    ($($function:path),* $(,)?) => {
        ::std::vec![$($crate::Trial::new(::std::stringify!($function), $function)),*]
    };
}
