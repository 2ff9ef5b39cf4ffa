//! The tests: all of them once, and those of several processes again on one core.

use std::fmt;
use std::fs;
use std::path::Path;

use super::{Done, passed, skipped};
use crate::Failure;
use crate::shell::{command, output, watch};
use crate::workspace::Workspace;

/// The crates whose suites start processes, which hang differently on one core.
const ON_ONE_CORE: [&str; 2] = ["mp-process", "mp-pool"];

/// The sums over the lines `test result: …`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Totals {
    fn see(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        self.passed += count(result, "passed");
        self.failed += count(result, "failed");
        self.skipped += count(result, "ignored");
    }

    /// A suite that died wrote no result.
    fn count_the_silent(&mut self, before: u64, result: &Result<(), Failure>) {
        if result.is_err() && self.failed == before {
            self.failed += 1;
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// What the README tells everyone to run.
pub(super) fn all(workspace: &Workspace, totals: &mut Totals) -> Result<(), Failure> {
    let line = "cargo test --workspace --no-fail-fast";
    let result = watch(&mut command(&workspace.root, line), |line| totals.see(line));
    totals.count_the_silent(0, &result);
    result
}

/// The suites of several processes on one core. They are the same tests: only what fails is
/// added to the totals.
pub(super) fn on_one_core(workspace: &Workspace, totals: &mut Totals) -> Result<Done, Failure> {
    let Some(core) = first_core() else {
        return skipped("no core is known");
    };
    if let Err(failure) = output(&mut command(&workspace.root, "taskset --version")) {
        return skipped(failure);
    }
    let mut first_failure = Ok(());
    for (folder, suite) in built(workspace)? {
        println!("     one core: {suite}");
        let mut seen = Totals::default();
        let mut pinned = command(Path::new(&folder), &format!("taskset -c {core} {suite}"));
        pinned.env("CARGO_MANIFEST_DIR", &folder);
        let result = watch(&mut pinned, |line| seen.see(line));
        seen.count_the_silent(0, &result);
        totals.failed += seen.failed;
        first_failure = first_failure.and(result);
    }
    passed(first_failure)
}

/// The folder and the built program of each suite, as cargo tells them.
fn built(workspace: &Workspace) -> Result<Vec<(String, String)>, Failure> {
    let build = "cargo test --workspace --no-run --quiet --message-format json";
    let messages = output(&mut command(&workspace.root, build))?;
    let is_test = |line: &&str| line.contains("\"kind\":[\"test\"]");
    let suites = messages.lines().filter(is_test).filter_map(|line| {
        let manifest = field(line, "manifest_path")?;
        let folder = Path::new(manifest).parent()?;
        let name = folder.file_name()?.to_str()?;
        let program = field(line, "executable")?;
        let wanted = ON_ONE_CORE.contains(&name);
        wanted.then(|| (folder.display().to_string(), program.to_owned()))
    });
    Ok(suites.collect())
}

/// The first core that this process may run on.
fn first_core() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split([',', '-']).next()?.parse().ok()
}

/// The number that stands before `what`.
fn count(result: &str, what: &str) -> u64 {
    let parts = result.split([';', '.']).map(str::trim);
    let mut numbers = parts.filter_map(|part| part.strip_suffix(what)?.trim().parse().ok());
    numbers.next().unwrap_or(0)
}

/// A string in a line of JSON. Paths of this workspace hold no character that JSON escapes.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut totals = Totals::default();
        totals.see("test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out");
        totals.see("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured");
        totals.see("test something ... ok");
        assert_eq!(totals.to_string(), "13 passed, 2 failed, 3 skipped");
    }

    #[test]
    fn a_suite_that_died_counts_as_failed() {
        let mut totals = Totals::default();
        totals.count_the_silent(0, &Err("signal".into()));
        assert_eq!(totals.failed, 1);
    }

    #[test]
    fn fields_of_a_message_are_found() {
        let line = r#"{"manifest_path":"/a/b/Cargo.toml","executable":"/t/x-1","fresh":true}"#;
        assert_eq!(field(line, "executable"), Some("/t/x-1"));
        assert_eq!(field(r#"{"executable":null}"#, "executable"), None);
    }
}
