//! Running other programs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;

/// A command with its arguments separated by blanks, run in `folder`.
pub(crate) fn command(folder: &Path, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(folder);
    command
}

/// Runs a command, shown as it writes.
pub(crate) fn show(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| named(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(named(command, &status))
}

/// Runs a command for its output.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let done = command.stderr(Stdio::inherit()).output();
    let done = done.map_err(|error| named(command, &error))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(named(command, &done.status))
}

/// Runs a command, shown as it writes, and shows each line of its output to `see` as well.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> Result<(), Failure> {
    follow(command, |line| {
        println!("{line}");
        see(line);
    })
}

/// Runs a command, and shows each line of its output to `see`.
pub(crate) fn follow(command: &mut Command, mut see: impl FnMut(&str)) -> Result<(), Failure> {
    let started = command.stdout(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| named(command, &error))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            see(&line);
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    Err(named(command, &status))
}

fn named(command: &Command, what: &dyn std::fmt::Display) -> Failure {
    let words = command.get_args().map(|word| word.to_string_lossy());
    let words: Vec<_> = words.collect();
    let program = command.get_program().to_string_lossy();
    format!("`{program} {}`: {what}", words.join(" ")).into()
}
