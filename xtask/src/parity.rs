//! `cargo xtask parity`: what the parity table says is there is there.
//!
//! The tests it names are looked for in what the built suites list, so each of them runs in
//! `cargo test --workspace`; paths that begin with a crate, in that crate's sources. The links are
//! checked by rustdoc, as the table is part of the facade's docs.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::Failure;
use crate::built;
use crate::shell::{command, show};
use crate::text::without_comments;
use crate::workspace::Workspace;

/// Where the table stands.
const TABLE: &str = "docs/parity.md";
/// The same file, where the facade's documentation takes it from.
const DOCUMENTED: &str = "multiprocess/docs/parity.md";

/// The crate whose suites a test without a crate's name belongs to.
const FACADE: &str = "multiprocess";

/// Of a hundred rows, fewer than so many may be left out.
const MOST_LEFT_OUT: usize = 5;

/// How many rows there are of each verdict.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    same: usize,
    better: usize,
    left_out: usize,
    not_yet: usize,
}

impl Counts {
    fn all(&self) -> usize {
        self.same + self.better + self.left_out + self.not_yet
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { same, better, left_out, not_yet } = self;
        write!(f, "{same} same, {better} better, {left_out} left out, {not_yet} not yet")
    }
}

/// Checks the table, shows every problem, and prints how much is there.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let text = workspace.read(Path::new(TABLE))?;
    let (counts, mut problems) = read(&text);
    if workspace.read(Path::new(DOCUMENTED))? != text {
        problems.push(format!(" {DOCUMENTED} is another one: make it a link to {TABLE}"));
    }
    let tests = tests(workspace)?;
    problems.extend(names(&text).filter_map(|(line, name)| missing(workspace, &tests, line, name)));
    for problem in &problems {
        println!("{TABLE}:{problem}");
    }
    if !problems.is_empty() {
        return Err(format!("parity found {} problem(s)", problems.len()).into());
    }
    let doc = format!("cargo doc --quiet --no-deps --all-features -p {FACADE}");
    show(command(&workspace.root, &doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    println!("parity: {counts}");
    Ok(())
}

/// Reads the rows: those of names have five cells, those of the original's tests two.
fn read(text: &str) -> (Counts, Vec<String>) {
    let mut counts = Counts::default();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let is_row = line.starts_with("| ")
            && !matches!(cells[0], "Python" | "The original's test" | "The original's flaw");
        let problem = match cells[..] {
            _ if !is_row => None,
            [_, path, verdict, difference, test] => judge(path, verdict, difference, test, &mut counts),
            [_, here] if here.contains("::") || here.starts_with('–') => None,
            [_, _] => Some("a test of the original has neither a test nor a reason"),
            _ => Some("a row has five cells, or two"),
        };
        problems.extend(problem.map(|problem| format!("{}: {problem}", index + 1)));
    }
    if counts.left_out > 0 && counts.left_out * 100 >= counts.all() * MOST_LEFT_OUT {
        problems.push(format!(" {counts}: {MOST_LEFT_OUT} % or more are left out"));
    }
    (counts, problems)
}

/// What is wrong with a row of a name.
fn judge(
    path: &str,
    verdict: &str,
    difference: &str,
    test: &str,
    counts: &mut Counts,
) -> Option<&'static str> {
    let is_here = path.contains('`') && test.contains("::");
    match verdict {
        "same" => counts.same += 1,
        "better" => counts.better += 1,
        "left out" => counts.left_out += 1,
        "not yet" => counts.not_yet += 1,
        _ => return Some("a verdict is `same`, `better`, `left out` or `not yet`"),
    }
    match verdict {
        "same" | "better" if !is_here => Some("what is here has a path and a test"),
        "better" | "left out" if difference.is_empty() => Some("says neither how nor why"),
        _ => None,
    }
}

/// Every name in backticks that is a path and no link, with the number of its line.
fn names(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let rows = text.lines().enumerate().filter(|(_, line)| line.starts_with("| "));
    rows.flat_map(|(index, line)| {
        let pieces: Vec<&str> = line.split('`').collect();
        let quoted = (1..pieces.len()).step_by(2).map(move |at| (pieces[at - 1], pieces[at]));
        let plain = quoted.filter(|(before, name)| !before.ends_with('[') && name.contains("::"));
        plain.map(move |(_, name)| (index + 1, name))
    })
}

/// Every test of every suite, as the table names it: `suite::name` of the facade, and
/// `crate/suite::name`, without the module that it stands in and the variant that it runs as.
fn tests(workspace: &Workspace) -> Result<HashSet<String>, Failure> {
    let mut tests = HashSet::new();
    for suite in built::suites(workspace)? {
        let place = match suite.member() {
            FACADE => suite.name.clone(),
            member => format!("{member}/{}", suite.name),
        };
        let listed = suite.tests()?;
        let names = listed.iter().flat_map(|test| test.split("::"));
        tests.extend(names.map(|name| format!("{place}::{name}")));
    }
    Ok(tests)
}

/// What is missing of what `name` names: an item of a crate, or a test of a suite.
fn missing(workspace: &Workspace, tests: &HashSet<String>, line: usize, name: &str) -> Option<String> {
    let (first, rest) = name.split_once("::")?;
    let folder = first.replace('_', "-");
    if workspace.root.join(&folder).join("src").is_dir() {
        let sources = code(&workspace.root.join(folder).join("src"));
        let is_there = |part| DEFINES.iter().any(|word| defines(&sources, word, part));
        let part = rest.split("::").find(|part| !is_there(part))?;
        return Some(format!("{line}: {name}: {first} has no `{part}`"));
    }
    let runs = tests.contains(name);
    (!runs).then(|| format!("{line}: {name}: no suite runs such a test"))
}

/// What an item of a library begins with.
const DEFINES: [&str; 5] = ["pub fn", "pub struct", "pub enum", "pub trait", "pub mod"];

fn defines(sources: &str, word: &str, name: &str) -> bool {
    let begins = format!("{word} {name}");
    let mut places = sources.match_indices(&begins);
    places.any(|(at, _)| ends_word(&sources[at + begins.len()..]))
}

fn ends_word(rest: &str) -> bool {
    !rest.chars().next().is_some_and(is_of_word)
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// All Rust code below a folder, without comments.
fn code(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return String::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let read = |path: std::path::PathBuf| match path.extension() {
        Some(extension) if extension == "rs" => fs::read_to_string(&path).unwrap_or_default(),
        _ => code(&path),
    };
    let sources: Vec<String> = paths.map(read).collect();
    without_comments(&sources.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_and_judged() {
        let table = "| Python | Here | Verdict | Difference | Shown by |\n|---|---|---|---|---|\n\
                     | `a` | [`A`] | same | | `a::is_there` |\n| `b` | [`B`] | better | | `b::is_there` |\n\
                     | `c` | – | better | how | – |\n| `d` | – | not yet | | – |\n| `e` | – | maybe | | – |\n";
        let (counts, problems) = read(table);
        assert_eq!(counts, Counts { same: 1, better: 2, left_out: 0, not_yet: 1 });
        let lines: Vec<_> = problems.iter().map(|problem| &problem[..2]).collect();
        assert_eq!(lines, ["4:", "5:", "7:"]);
    }

    #[test]
    fn what_is_left_out_is_bounded() {
        let (_, problems) = read("| `a` | – | left out | why | – |\n");
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn a_test_of_the_original_has_a_test_or_a_reason() {
        let (_, problems) = read("| one | `a::b` |\n| two | – a reason |\n| three | nothing |\n");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn links_are_left_to_rustdoc() {
        let found: Vec<_> = names("| `x` | [`A::b`], `c::d` |\nno `e::f` row").collect();
        assert_eq!(found, [(1, "c::d")]);
    }
}
