//! Rules on Rust sources: the platform, unsafe code, printing, size.

use std::path::{Component, Path};

use super::{Problem, Rule};
use crate::Failure;
use crate::text::{conditions, without_comments, words};
use crate::workspace::Workspace;

/// The crates without unsafe code.
const SAFE: [&str; 3] = ["mp-pool", "mp-manager", "multiprocess"];

/// Words that name a platform inside a condition.
const PLATFORM: [&str; 4] = ["target_os", "target_family", "unix", "windows"];

/// What a library leaves to the program that uses it, or never does.
const NOT_IN_LIBRARIES: [&str; 7] =
    ["print!", "println!", "eprint!", "eprintln!", "dbg!", "todo!", "unimplemented!"];

/// Lines in a file after which it is looked at twice.
const LONG: usize = 600;

static SYS: Rule = Rule {
    says: "the platform is named only under a sys/ folder",
    written: "ARCHITECTURE.md, \"What must never be\"",
};

static FORBIDS: Rule = Rule {
    says: "mp-pool, mp-manager and multiprocess forbid unsafe code",
    written: "ARCHITECTURE.md, \"What must never be\"",
};

static SAFETY: Rule = Rule {
    says: "a file that allows unsafe code opens with a `# Safety` section",
    written: "ARCHITECTURE.md, \"House rules\"",
};

/// A harness says how its trials went.
const HARNESS: &str = "mp-testkit";

static SILENT: Rule = Rule {
    says: "a library never prints, and leaves nothing undone",
    written: "ARCHITECTURE.md, \"What must never be\"",
};

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Problem>, Failure> {
    let mut problems = Vec::new();
    for file in workspace.files()? {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = workspace.read(&file)?;
        warn_if_long(&file, &source);
        let Some(member) = workspace.crates.iter().find(|member| file.starts_with(&member.name)) else {
            continue;
        };
        if member.is_shipped() {
            let code = without_comments(&source);
            platform(&file, &code, &mut problems);
            if member.name != HARNESS {
                printing(&file, &code, &mut problems);
            }
            if SAFE.contains(&member.name.as_str()) {
                safe(&file, &code, &mut problems);
            }
        }
        safety_header(&file, &source, &mut problems);
    }
    Ok(problems)
}

fn platform(file: &Path, code: &str, problems: &mut Vec<Problem>) {
    if !is_library(file) || is_below(file, "sys") {
        return;
    }
    for (line, condition) in conditions(code) {
        if words(condition).any(|(_, word)| PLATFORM.contains(&word)) {
            problems.push(at(&SYS, file, line, "asks for the platform"));
        }
    }
}

fn printing(file: &Path, code: &str, problems: &mut Vec<Problem>) {
    if !is_library(file) {
        return;
    }
    for (line, word) in words(code).filter(|(_, word)| NOT_IN_LIBRARIES.contains(word)) {
        problems.push(at(&SILENT, file, line, word));
    }
}

fn safe(file: &Path, code: &str, problems: &mut Vec<Problem>) {
    for (line, word) in words(code).filter(|(_, word)| *word == "unsafe") {
        problems.push(at(&FORBIDS, file, line, word));
    }
    if file.ends_with("src/lib.rs") && !code.contains("#![forbid(unsafe_code)]") {
        problems.push(at(&FORBIDS, file, 1, "does not say #![forbid(unsafe_code)]"));
    }
}

fn safety_header(file: &Path, source: &str, problems: &mut Vec<Problem>) {
    let allows = source.lines().any(|line| line.starts_with("#![allow(unsafe_code"));
    let mut header = source.lines().take_while(|line| line.starts_with("//!"));
    if allows && !header.any(|line| line.trim() == "//! # Safety") {
        problems.push(at(&SAFETY, file, 1, "has no such section"));
    }
}

fn warn_if_long(file: &Path, source: &str) {
    let lines = source.lines().count();
    if lines > LONG {
        println!("{}: warning: {lines} lines; look twice above {LONG}", file.display());
    }
}

/// Whether the file is part of the library that users link.
fn is_library(file: &Path) -> bool {
    file.components().nth(1) == Some(Component::Normal("src".as_ref())) && !is_below(file, "bin")
}

fn is_below(file: &Path, folder: &str) -> bool {
    file.components().any(|part| part.as_os_str() == folder)
}

fn at(rule: &'static Rule, file: &Path, line: usize, what: &str) -> Problem {
    Problem::new(rule, format!("{}:{line}", file.display()), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(check: fn(&Path, &str, &mut Vec<Problem>), file: &str, code: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check(Path::new(file), code, &mut problems);
        problems.into_iter().map(|problem| problem.place).collect()
    }

    #[test]
    fn the_platform_is_named_only_under_sys() {
        let code = "fn f() {}\n#[cfg(all(test, unix))]\nfn g() {}";
        assert_eq!(found(platform, "a/src/b.rs", code), ["a/src/b.rs:2"]);
        assert!(found(platform, "a/src/sys/b.rs", code).is_empty());
        assert!(found(platform, "a/src/b.rs", "#[cfg(test)]\nuse std::os::unix;").is_empty());
    }

    #[test]
    fn libraries_do_not_print() {
        assert_eq!(found(printing, "a/src/b.rs", "\nprintln!(\"\");"), ["a/src/b.rs:2"]);
        assert!(found(printing, "a/examples/b.rs", "println!(\"\");").is_empty());
    }

    #[test]
    fn unsafe_files_say_what_they_rely_on() {
        let bare = "//! Words.\n#![allow(unsafe_code)]";
        assert_eq!(found(safety_header, "a/src/b.rs", bare), ["a/src/b.rs:1"]);
        let told = "//! Words.\n//! # Safety\n//! More.\n#![allow(unsafe_code)]";
        assert!(found(safety_header, "a/src/b.rs", told).is_empty());
    }
}
