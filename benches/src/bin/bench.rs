//! Runs the benches, and answers them: for us as `bench ours`, for the bare kernel as
//! `bench bound NAME`. `bench busy PROCESSOR` works, for others to be measured beside.
//! `bench goals` writes the table of what is wanted into the README.

use std::env;
use std::process::ExitCode;

use benches::contest::{Failure, serve};
use benches::{bounds, busy, rows, run};

fn main() -> ExitCode {
    mp_process::init();
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ours", ..] => serve(&arguments[1..], rows::ours),
        ["goals"] => run::write_goals(),
        [busy::BUSY, processor] => busy::work_on(processor),
        ["bound", name, ..] => serve(&arguments[2..], |job| bounds::measure(name, job)),
        _ => run::run(&arguments),
    }
}
