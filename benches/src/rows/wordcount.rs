//! Does a pool make a real program faster: counting the words of many files?
//!
//! `BENCH_CORPUS` names the folders, with colons between them; `cargo xtask bench`
//! sets it. There must be enough text that the start of the workers does not matter.

use std::env;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::{By, Row};
use crate::clock::of_times;
use crate::contest::{Answer, Failure, Job, Mode};

/// With less text than this nothing is said.
const LEAST_BYTES: u64 = 200_000_000;

pub(super) fn rows() -> Vec<Row> {
    let row = Row::times("app/wordcount", Mode::Free, "wordcount", 2).unit("s");
    vec![row.against("serial", By::Bound("serial"), 1.0 / 0.6)]
}

pub(super) fn ours(job: &Job) -> Result<Answer, Failure> {
    let begin = Instant::now();
    let check = count(&["--processes", &job.number.to_string()])?;
    let mut times = [begin.elapsed().as_secs_f64()];
    Ok(Answer { check: Some(check), ..of_times(&mut times) })
}

/// Counts once; the value tells all counts apart.
///
/// # Errors
/// There is no corpus, it is too small, or the program failed.
pub fn count(options: &[&str]) -> Result<u64, Failure> {
    let corpus = env::var("BENCH_CORPUS").unwrap_or_default();
    let folders: Vec<&str> = corpus.split(':').filter(|folder| !folder.is_empty()).collect();
    if folders.is_empty() {
        return Err("no corpus: name a folder with --corpus".into());
    }
    let program = env::current_exe()?.with_file_name("examples").join("wordcount");
    let mut command = Command::new(program);
    let done = command.args(options).arg("--json").args(folders).stderr(Stdio::null()).output()?;
    if !done.status.success() {
        return Err(format!("wordcount: {}", done.status).into());
    }
    let report: Value = serde_json::from_slice(&done.stdout)?;
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    if number("bytes") < LEAST_BYTES {
        let bytes = number("bytes") / 1_000_000;
        return Err(format!("the corpus has {bytes} MB of text, and 200 are needed").into());
    }
    Ok(number("words").rotate_left(24) ^ number("distinct"))
}
