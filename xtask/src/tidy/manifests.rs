//! Rules on manifests: arrows between crates, what a shipped crate has, the size of the tree.

use std::collections::BTreeSet;
use std::fs;

use super::{Problem, Rule};
use crate::Failure;
use crate::shell;
use crate::workspace::{Crate, Workspace};

/// Which crates of ours each crate may depend on. Development dependencies are free.
const ARROWS: [(&str, &[&str]); 11] = [
    ("ipc-core", &[]),
    ("mp-sync", &["ipc-core"]),
    ("mp-process", &["ipc-core"]),
    ("mp-pool", &["ipc-core", "mp-process", "mp-sync"]),
    ("mp-macros", &[]),
    ("mp-manager", &["ipc-core", "mp-macros", "mp-process", "mp-sync"]),
    ("multiprocess", &["ipc-core", "mp-macros", "mp-manager", "mp-pool", "mp-process", "mp-sync"]),
    ("mp-testkit", &["ipc-core", "mp-process"]),
    ("benches", &["ipc-core", "mp-manager", "mp-pool", "mp-process", "mp-sync", "multiprocess"]),
    ("example-links", &["ipc-core"]),
    ("xtask", &[]),
];

/// The crates that a pool may bring into a user's build, itself included.
const MOST_CRATES: usize = 40;

static ARROW: Rule = Rule {
    says: "crates depend on each other only along the arrows of the code map",
    written: "ARCHITECTURE.md, \"Code map\"",
};

static TESTKIT: Rule = Rule {
    says: "crates reach mp-testkit as a development dependency, by path and without a version",
    written: "ARCHITECTURE.md, \"Code map\"",
};

static SHIPPED: Rule = Rule {
    says: "a shipped crate has a version, a description, a licence and its texts, README.md and CHANGELOG.md; \
           all others are 0.0.0 and unpublished",
    written: "ARCHITECTURE.md, \"House rules\"",
};

static TREE: Rule = Rule {
    says: "the dependency tree of a shipped crate stays short",
    written: "ARCHITECTURE.md, \"House rules\"",
};

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Problem>, Failure> {
    let ours: BTreeSet<&str> = workspace.crates.iter().map(|member| member.name.as_str()).collect();
    let mut problems = Vec::new();
    for member in &workspace.crates {
        arrows(member, &ours, &mut problems);
        testkit(member, &mut problems);
        if member.is_shipped() {
            shipped(member, &mut problems);
        } else if member.manifest.value("package", "version") != Some("\"0.0.0\"") {
            problems.push(at(&SHIPPED, member, "unpublished, but its version is not 0.0.0"));
        }
    }
    tree(workspace, &mut problems)?;
    Ok(problems)
}

fn arrows(member: &Crate, ours: &BTreeSet<&str>, problems: &mut Vec<Problem>) {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == member.name) else {
        problems.push(at(&ARROW, member, "not in the table of arrows in xtask/src/tidy"));
        return;
    };
    for (name, _) in member.manifest.dependencies("dependencies") {
        if ours.contains(name) && !allowed.contains(&name) {
            problems.push(at(&ARROW, member, &format!("must not depend on {name}")));
        }
    }
}

fn testkit(member: &Crate, problems: &mut Vec<Problem>) {
    let all = member.manifest.dependencies("dev-dependencies");
    for (_, value) in all.iter().filter(|(name, _)| *name == "mp-testkit") {
        if !value.contains("path") || value.contains("version") {
            problems.push(at(&TESTKIT, member, "names mp-testkit otherwise"));
        }
    }
}

fn shipped(member: &Crate, problems: &mut Vec<Problem>) {
    for key in ["version", "description", "license"] {
        if !member.manifest.has("package", key) {
            problems.push(at(&SHIPPED, member, &format!("has no {key}")));
        }
    }
    for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        if !member.folder.join(file).is_file() {
            problems.push(at(&SHIPPED, member, &format!("has no {file}")));
        }
    }
    let version = member.manifest.value("package", "version");
    let version = version.unwrap_or_default().trim_matches('"');
    let changes = fs::read_to_string(member.folder.join("CHANGELOG.md"));
    if !changes.unwrap_or_default().contains(version) {
        let what = format!("has no CHANGELOG.md that names {version}");
        problems.push(at(&SHIPPED, member, &what));
    }
}

fn tree(workspace: &Workspace, problems: &mut Vec<Problem>) -> Result<(), Failure> {
    let line = "cargo tree -p mp-pool -e normal --prefix none --quiet";
    let tree = shell::output(&mut shell::command(&workspace.root, line))?;
    let crates: BTreeSet<(&str, &str)> = tree.lines().filter_map(name_and_version).collect();
    if crates.len() > MOST_CRATES {
        let what = format!("brings {} crates; {MOST_CRATES} are allowed", crates.len());
        problems.push(Problem::new(&TREE, "mp-pool", what));
    }
    Ok(())
}

fn name_and_version(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace();
    Some((words.next()?, words.next()?))
}

fn at(rule: &'static Rule, member: &Crate, what: &str) -> Problem {
    Problem::new(rule, format!("{}/Cargo.toml", member.name), what)
}
