//! The tests: all of them once, and those of several processes again on one core.

use std::fmt;
use std::fs;

use super::{Done, passed, skipped};
use crate::Failure;
use crate::built;
use crate::shell::{command, output, watch};
use crate::workspace::Workspace;

/// The crates whose suites start processes, which hang differently on one core.
const ON_ONE_CORE: [&str; 4] = ["mp-process", "mp-sync", "mp-pool", "multiprocess"];

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
    let suites = built::suites(workspace)?;
    for suite in suites.iter().filter(|suite| ON_ONE_CORE.contains(&suite.member())) {
        println!("     one core: {}", suite.program);
        let mut seen = Totals::default();
        let mut pinned = command(&suite.folder, &format!("taskset -c {core} {}", suite.program));
        pinned.env("CARGO_MANIFEST_DIR", &suite.folder);
        let result = watch(&mut pinned, |line| seen.see(line));
        seen.count_the_silent(0, &result);
        totals.failed += seen.failed;
        first_failure = first_failure.and(result);
    }
    passed(first_failure)
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
}
