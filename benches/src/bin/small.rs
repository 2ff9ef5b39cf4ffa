//! Answers what is asked about processes: for us as `small ours`, for the bare kernel as
//! `small bound NAME`.
//!
//! A program that starts itself again, or is forked, is as quick as it is small, so these
//! contestants contain nothing else.

use std::env;
use std::process::ExitCode;

use benches::contest::{Failure, serve};
use benches::{bounds, rows};

fn main() -> ExitCode {
    mp_process::init();
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("small: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ours", ..] => serve(&arguments[1..], rows::about_processes),
        ["bound", name, ..] => serve(&arguments[2..], |job| bounds::about_processes(name, job)),
        _ => Err("usage: small (ours | bound NAME) QUESTION MODE NUMBER".into()),
    }
}
