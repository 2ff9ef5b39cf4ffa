//! `cargo xtask tidy`: the rules that no compiler checks.
//!
//! Each problem names a place, and each rule says where it is written.

mod files;
mod manifests;
mod sources;

use crate::Failure;
use crate::workspace::Workspace;

/// A rule in one sentence, and the place that gives its reason.
pub(crate) struct Rule {
    says: &'static str,
    written: &'static str,
}

/// A place where a rule does not hold.
pub(crate) struct Problem {
    place: String,
    what: String,
    rule: &'static Rule,
}

impl Problem {
    fn new(rule: &'static Rule, place: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem { place: place.into(), what: what.into(), rule }
    }
}

/// Checks all rules, and shows every problem before it fails.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let mut problems = manifests::check(workspace)?;
    problems.extend(sources::check(workspace)?);
    problems.extend(files::check(workspace)?);
    for Problem { place, what, rule } in &problems {
        println!("{place}: {what}\n    rule: {} ({})", rule.says, rule.written);
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("tidy found {} problem(s)", problems.len()).into())
}
