//! The harness that integrates the crates: `cargo xtask ci`, `tidy`, `parity`, `builds`, `loom`, `soak` and `bench`.

mod bench;
mod built;
mod ci;
mod loom;
mod parity;
mod shell;
mod soak;
mod text;
mod tidy;
mod workspace;

use std::env;
use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                                     all that a change must pass, in order
  tidy                                   the rules that no compiler checks
  parity                                 the table of the original's names, and what it names
  builds                                 a user's crate, built in other ways, and run
  loom                                   the bare protocols under the model checker
  soak [CRATE] [--seed N] [--seconds N] [--kills N]
                                         the long suites, tests/soak.rs of each crate
  bench [ROW…] [--quick] [--json FILE] [--beside FILE] [--plot DIR] [--against REV]
        [--corpus DIR] [--no-rivals]     measure us, the rivals and the bare kernel in turns";

/// What went wrong, for the last line on the screen.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let workspace = Workspace::open()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["ci"] => ci::run(&workspace),
        ["tidy"] => tidy::run(&workspace),
        ["parity"] => parity::run(&workspace),
        ["builds"] => ci::builds::run(&workspace).map(drop),
        ["loom"] => loom::run(&workspace),
        ["soak", options @ ..] => soak::run(&workspace, options),
        ["bench", options @ ..] => bench::run(&workspace, options),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}
