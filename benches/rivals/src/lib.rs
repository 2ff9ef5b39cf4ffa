//! What the rivals' programs have in common.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use benches::contest::{Answer, Failure, Job, serve};
use benches::payload::FIRST;

/// The whole of a rival's `main`: the first argument says what of the rival to use.
pub fn main(measure: impl Fn(&str, &Job) -> Option<Result<Answer, Failure>>) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((what, job)) = arguments.split_first() else {
        eprintln!("expected WHAT QUESTION MODE NUMBER");
        return ExitCode::FAILURE;
    };
    match serve(job, |job| measure(what, job)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Sends for as long as the job may last, and says how many messages a second were
/// received when the last one was.
pub fn send_for(
    job: &Job,
    mut send: impl FnMut(u64) -> Result<(), Failure>,
    finished: impl FnOnce() -> Result<(), Failure>,
) -> Result<Answer, Failure> {
    let mut sent = 0;
    let begin = Instant::now();
    while sent % job.unwatched() != 0 || begin.elapsed() < job.budget {
        send(FIRST + sent)?;
        sent += 1;
    }
    send(benches::payload::LAST)?;
    finished()?;
    Ok(Answer::of(sent as f64 / begin.elapsed().as_secs_f64()))
}

/// The task of all pools.
pub fn square(x: u64) -> u64 {
    x.wrapping_mul(x)
}

/// Whether all squares are there; gives their number.
pub fn right(values: &[u64], count: usize) -> Result<usize, Failure> {
    let is_right = values.len() == count && values.iter().zip(0..).all(|(value, x)| *value == square(x));
    if is_right { Ok(count) } else { Err("wrong squares".into()) }
}
