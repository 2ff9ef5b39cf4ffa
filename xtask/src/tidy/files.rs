//! Rules on all text: nothing undone, no private paths, links that lead somewhere.

use std::path::Path;

use super::{Problem, Rule};
use crate::Failure;
use crate::text::{links, words};
use crate::workspace::Workspace;

/// The kinds of files that are read.
const TEXT: [&str; 5] = ["rs", "md", "toml", "sh", "yml"];

/// Marks of work that was put off, split so that this file does not hold them.
const UNDONE: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];

/// Places and numbers that mean nothing to a reader of the project.
const PRIVATE: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("../sha", "red"),
    concat!("issue", " #"),
];

static DONE: Rule = Rule {
    says: "work is done or not begun, and never marked for later",
    written: "ARCHITECTURE.md, \"House rules\"",
};

static ALONE: Rule = Rule {
    says: "the project speaks of itself alone, and of no machine or tracker",
    written: "ARCHITECTURE.md, \"House rules\"",
};

static LEADS: Rule =
    Rule { says: "a link leads to a file that is there", written: "ARCHITECTURE.md, \"House rules\"" };

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Problem>, Failure> {
    let mut problems = Vec::new();
    for file in workspace.files()? {
        let extension = file.extension().and_then(|extension| extension.to_str());
        if !extension.is_some_and(|extension| TEXT.contains(&extension)) {
            continue;
        }
        let text = workspace.read(&file)?;
        undone(&file, &text, &mut problems);
        private(&file, &text, &mut problems);
        if extension == Some("md") {
            dead_links(workspace, &file, &text, &mut problems);
        }
    }
    Ok(problems)
}

fn undone(file: &Path, text: &str, problems: &mut Vec<Problem>) {
    for (line, word) in words(text).filter(|(_, word)| UNDONE.contains(word)) {
        problems.push(at(&DONE, file, line, word));
    }
}

fn private(file: &Path, text: &str, problems: &mut Vec<Problem>) {
    for (index, line) in text.lines().enumerate() {
        for word in PRIVATE.iter().filter(|word| line.contains(**word)) {
            problems.push(at(&ALONE, file, index + 1, word));
        }
    }
}

fn dead_links(workspace: &Workspace, file: &Path, text: &str, problems: &mut Vec<Problem>) {
    let folder = workspace.root.join(file).parent().map(Path::to_owned).unwrap_or_default();
    for (line, target) in links(text) {
        let path = target.split('#').next().unwrap_or_default();
        let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
        if !is_elsewhere && !path.is_empty() && !folder.join(path).exists() {
            problems.push(at(&LEADS, file, line, target));
        }
    }
}

fn at(rule: &'static Rule, file: &Path, line: usize, what: &str) -> Problem {
    Problem::new(rule, format!("{}:{line}", file.display()), what)
}
