//! The tests: all of them once, and those of several processes again on one core.

use std::fmt;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Done, skipped};
use crate::Failure;
use crate::built::{self, Suite};
use crate::shell::{command, follow, output, watch};
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

/// The suites of several processes, each on one core. They are the same tests: only what fails is
/// added to the totals. Two suites run at a time, each on a core of its own.
pub(super) fn on_one_core(workspace: &Workspace, totals: &mut Totals) -> Result<Done, Failure> {
    let cores = cores();
    if cores.is_empty() {
        return skipped("no core is known");
    }
    if let Err(failure) = output(&mut command(&workspace.root, "taskset --version")) {
        return skipped(failure);
    }
    let suites = built::suites(workspace)?;
    let those = suites.iter().filter(|suite| ON_ONE_CORE.contains(&suite.member()));
    let (next, ends) = (Mutex::new(those), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for core in cores.into_iter().take(2) {
            let (next, ends) = (&next, &ends);
            scope.spawn(move || {
                let take = || lock(next).next();
                while let Some(suite) = take() {
                    let end = on_core(core, suite);
                    lock(ends).push(end);
                }
            });
        }
    });
    let ends = ends.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.failed += ends.iter().map(|(seen, _)| seen.failed).sum::<u64>();
    let failures: Vec<_> = ends.into_iter().filter_map(|(_, result)| result.err()).collect();
    if failures.is_empty() { Ok(Done::Passed) } else { Err(failures.join("\n").into()) }
}

/// Runs a suite on a core, and shows at its end what it has said.
fn on_core(core: u32, suite: &Suite) -> (Totals, Result<(), String>) {
    let mut pinned = command(&suite.folder, &format!("taskset -c {core} {}", suite.program));
    pinned.env("CARGO_MANIFEST_DIR", &suite.folder);
    let (mut seen, mut said) = (Totals::default(), format!("     one core: {}\n", suite.program));
    let result = follow(&mut pinned, |line| {
        seen.see(line);
        said.push_str(line);
        said.push('\n');
    });
    seen.count_the_silent(0, &result);
    print!("{said}");
    (seen, result.map_err(|failure| failure.to_string()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cores that this process may run on.
fn cores() -> Vec<u32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(listed).unwrap_or_default()
}

/// The numbers of a list as `0-3,8`.
fn listed(list: &str) -> Vec<u32> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
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
    fn cores_are_listed() {
        assert_eq!(listed("\t0-2,8"), [0, 1, 2, 8]);
        assert_eq!(listed("5"), [5]);
        assert!(listed("").is_empty());
    }

    #[test]
    fn a_suite_that_died_counts_as_failed() {
        let mut totals = Totals::default();
        totals.count_the_silent(0, &Err("signal".into()));
        assert_eq!(totals.failed, 1);
    }
}
