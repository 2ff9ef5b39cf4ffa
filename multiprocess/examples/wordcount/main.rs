//! Counts the words of all text files under the given paths, with a pool of worker processes.
//!
//! ```text
//! cargo run --release -p multiprocess --example wordcount -- PATH…
//! ```
//!
//! - `args.rs`: the command line.
//! - `walk.rs`: which files there are.
//! - `split.rs`: the work, cut into batches of about equal size.
//! - `count.rs`: what a worker does with a batch.
//! - `piece.rs`: how a piece of a file counts.
//! - `words.rs`: what a word is, and the table that counts them.
//! - `totals.rs`: how the batches' counts are put together.
//! - `report.rs`: what the user sees.

mod args;
mod count;
mod piece;
mod report;
mod split;
mod totals;
mod walk;
mod words;

use std::io::{self, Write};
use std::process::{ExitCode, exit};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget};
use multiprocess::Pool;

use args::{Args, Command};
use split::Batch;
use totals::Totals;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    multiprocess::init();
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(args)) => run(&args),
        Ok(Command::Help) => ended(io::stdout().write_all(args::HELP.as_bytes())),
        Err(wrong) => fail(USAGE, format_args!("{wrong}\n{}", args::USAGE)),
    }
}

fn run(args: &Args) -> ExitCode {
    let started = Instant::now();
    let progress = report::progress();
    leave_on_interrupt(progress.clone());
    let found = match walk::walk(&args.paths) {
        Ok(found) => found,
        Err(missing) => return fail(USAGE, missing),
    };
    progress.set_length(found.bytes());
    let batches = split::batches(&found.files, args.workers());
    let totals = count(args, batches, &progress);
    progress.finish_and_clear();
    let mut totals = match totals {
        Ok(totals) => totals,
        Err(error) => return fail(FAILED, error),
    };
    report::skipped(&found, &mut totals);
    ended(report::print(args, &found, &totals, started.elapsed()))
}

/// A reader that has seen enough is no failure.
fn ended(printed: io::Result<()>) -> ExitCode {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(FAILED, error),
        _ => ExitCode::SUCCESS,
    }
}

fn count(args: &Args, batches: Vec<Batch>, progress: &ProgressBar) -> multiprocess::Result<Totals> {
    if args.serial {
        return Ok(count_here(batches, progress));
    }
    // More workers than batches would have nothing to do.
    count_in_pool(args.processes.min(batches.len()), batches, progress)
}

fn count_in_pool(
    processes: usize,
    batches: Vec<Batch>,
    progress: &ProgressBar,
) -> multiprocess::Result<Totals> {
    let mut totals = Totals::default();
    if batches.is_empty() {
        return Ok(totals);
    }
    let pool = Pool::builder().processes(processes).retries(3).build()?;
    for counts in pool.imap_unordered(count::count_batch, batches) {
        let counts = counts?;
        progress.inc(counts.size);
        totals.add(counts);
    }
    Ok(totals)
}

fn count_here(batches: Vec<Batch>, progress: &ProgressBar) -> Totals {
    let mut totals = Totals::default();
    for batch in batches {
        progress.inc(batch.size());
        totals.count(batch);
    }
    totals
}

/// On Ctrl-C the program leaves at once, from the handler's own thread. The workers need no word
/// from us: they end with the process that made them.
fn leave_on_interrupt(progress: ProgressBar) {
    let handler = ctrlc::set_handler(move || {
        progress.finish_and_clear();
        // The other threads go on for a moment, and must not draw it again.
        progress.set_draw_target(ProgressDrawTarget::hidden());
        exit(INTERRUPTED);
    });
    if let Err(error) = handler {
        complain(format_args!("Ctrl-C will end the program without cleaning up: {error}"));
    }
}

fn fail(code: u8, why: impl std::fmt::Display) -> ExitCode {
    complain(why);
    ExitCode::from(code)
}

/// Says something on standard error; if nobody can read that, nobody is told.
fn complain(what: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "wordcount: {what}");
}
