//! Puts what was measured into the READMEs, between marks that stand there.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::measure::{Measured, Outcome};
use super::report::{figures, shown};
use crate::contest::{Failure, Mode};
use crate::rows::{By, System, goals};

const BEGIN: &str = "<!-- measured -->\n";
const END: &str = "<!-- end of what was measured -->\n";

/// Around the list of pictures.
const PICTURES: [&str; 2] = ["<!-- pictures -->\n", "<!-- end of the pictures -->\n"];
/// Around the table of what is wanted.
const GOALS: [&str; 2] = ["<!-- goals -->\n", "<!-- end of the goals -->\n"];

/// Rows of the short table: in words, by name, and the mode.
const SHORT: [(&str, &str, Mode); 12] = [
    ("round trip of 8 bytes, both awake", "ipc/roundtrip-8B", Mode::Hot),
    ("stream of 8-byte messages", "ipc/stream-8B", Mode::Hot),
    ("round trip of 1 MiB, new vectors", "ipc/roundtrip-1MiB", Mode::Hot),
    ("start a process and join it", "process/spawn", Mode::Free),
    ("lock and unlock", "sync/lock", Mode::OneCore),
    ("`apply`, round trip", "pool/apply", Mode::Hot),
    ("`map` of a million tiny items", "pool/map-1e6", Mode::Free),
    ("`imap_unordered`", "pool/imap-unordered", Mode::Free),
    ("a megabyte to a worker and back", "pool/1MB", Mode::Free),
    ("pool of two: start, one task, end", "pool/up-task-down", Mode::Free),
    ("dictionary of a manager, 4 clients", "manager/get-by-4", Mode::Free),
    ("memory of a manager for an idle client", "manager/idle-client", Mode::Free),
];

/// Those that are one process, and no rivals.
const IN_PROCESS: [&str; 2] = ["rayon", "crossbeam"];

/// Writes the long table into the benches' README and a short one into the project's.
pub(super) fn write(outcomes: &[Outcome], head: &str, long: &str) -> Result<(), Failure> {
    let head = format!("```text\n{head}```\n");
    replace("benches/README.md", &format!("\n{head}\n{long}\n"))?;
    replace("README.md", &format!("\n{}\n{head}\n", short(outcomes)))
}

/// Writes the table of what is wanted.
pub(super) fn write_goals() -> Result<(), Failure> {
    replace_between("benches/README.md", GOALS, &format!("\n{}\n", goals::table()))
}

/// Names the pictures that lie in a folder: those of areas, and then those of growth.
pub(super) fn write_pictures(folder: &Path) -> Result<(), Failure> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".svg").map(str::to_owned));
    }
    replace_between("benches/README.md", PICTURES, &pictures(names))
}

fn pictures(mut names: Vec<String>) -> String {
    names.sort_by_key(|name| (name.starts_with("growth-"), name.clone()));
    let line = |name: &String| format!("![{}](plots/{name}.svg)\n", name.replace('-', " "));
    format!("\n{}\n", names.iter().map(line).collect::<String>())
}

fn replace(file: &str, text: &str) -> Result<(), Failure> {
    replace_between(file, [BEGIN, END], text)
}

fn replace_between(file: &str, [begin, end]: [&str; 2], text: &str) -> Result<(), Failure> {
    let old = fs::read_to_string(file)?;
    let (before, rest) = old.split_once(begin).ok_or_else(|| format!("{file} has no {begin}"))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| format!("{file} has no {end}"))?;
    fs::write(file, [before, begin, text, end, after].concat())?;
    println!("wrote {file}");
    Ok(())
}

/// Us, CPython and the best of the others, for the rows that say most.
fn short(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| what | ours | CPython's `multiprocessing` | ratio | best other rival | ratio |\n|---|---|---|---|---|---|\n",
    );
    for (words, name, mode) in SHORT {
        let Some(outcome) = outcomes.iter().find(|one| one.row.name == name && one.row.mode == mode) else {
            continue;
        };
        let cpython = outcome.others.iter().find(|(system, _)| system.name.starts_with("cpython"));
        let rivals = outcome.others.iter().filter(|(system, _)| is_rival(system));
        let ratio =
            |(system, other): &&(System, Measured)| outcome.ratio(system, other).map(|ratio| ratio.middle);
        let best = rivals.filter(|other| ratio(other).is_some());
        let best = best.min_by(|a, b| ratio(a).unwrap_or(0.0).total_cmp(&ratio(b).unwrap_or(0.0)));
        let cell = |other: Option<&(System, Measured)>, is_named: bool| match other {
            None => " | ".to_owned(),
            Some(other) => {
                let name = if is_named { format!("{} ", other.0.name) } else { String::new() };
                let ratio = ratio(&other).map_or(String::from("–"), figures);
                format!("{name}{} | {ratio}", shown(outcome, &other.1))
            }
        };
        let (ours, cpython, best) = (shown(outcome, &outcome.ours), cell(cpython, false), cell(best, true));
        let _ = writeln!(text, "| {words} | {ours} | {cpython} | {best} |");
    }
    text
}

fn is_rival(system: &System) -> bool {
    let is_other = matches!(system.by, By::Rival(..)) || ["loky", "mpire"].contains(&system.name);
    is_other && !IN_PROCESS.contains(&system.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::contest::Answer;
    use crate::rows::Row;

    #[test]
    fn pictures_of_growth_come_last() {
        let names = ["growth-map-free", "ipc", "app"].map(String::from);
        let text = pictures(names.into());
        assert_eq!(
            text,
            "\n![app](plots/app.svg)\n![ipc](plots/ipc.svg)\n![growth map free](plots/growth-map-free.svg)\n\n"
        );
    }

    #[test]
    fn the_best_rival_is_the_one_closest_to_us() {
        let row = Row::times("sync/lock", Mode::OneCore, "lock", 1)
            .beside("bound", By::Bound("robust"))
            .beside("cpython", By::Python("sync.py", "Lock"))
            .beside("slow", By::Rival("slow", ""))
            .beside("good", By::Rival("good", ""))
            .beside("rayon", By::Rival("threads", "rayon"));
        let measured = |value| Measured { answers: vec![Answer::of(value)], skipped: None };
        let values = [1.0, 20.0, 9.0, 4.0, 1.0];
        let others = row.systems.iter().cloned().zip(values.map(measured)).collect();
        let text = short(&[Outcome { row, ours: measured(2.0), others }]);
        let line = "| lock and unlock | 2.00 µs | 20.0 µs | 10.0 | good 4.00 µs | 2.00 |";
        assert_eq!(text.lines().last(), Some(line));
    }

    const README: &str = include_str!("../../README.md");
    const REASONS: &str = "## Where the time goes in what is not met\n";

    /// Rows of a table of which something is not met.
    fn not_met(readme: &str) -> BTreeSet<&str> {
        let cells =
            readme.lines().filter(|line| line.starts_with("| ")).map(|line| line.split('|').map(str::trim));
        let rows = cells.filter_map(|mut cells| {
            let row = cells.clone().nth(2)?;
            cells.nth_back(1).filter(|verdict| verdict.starts_with("not met")).map(|_| row)
        });
        rows.collect()
    }

    /// Names in backquotes, each of a row or, with a star at its end, of all that begin so.
    fn names(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    fn is_named(row: &str, names: &[&str]) -> bool {
        names.iter().any(|name| match name.strip_suffix('*') {
            Some(beginning) => beginning.contains('/') && row.starts_with(beginning),
            None => row == *name,
        })
    }

    #[test]
    fn what_is_not_met_has_its_reason() {
        let (_, reasons) = README.split_once(REASONS).expect("the part with the reasons");
        let reasons = names(reasons);
        let (_, measured) = README.split_once(BEGIN).expect("a table");
        let (measured, _) = measured.split_once(END).expect("a table's end");
        let without: Vec<&str> =
            not_met(measured).into_iter().filter(|row| !is_named(row, &reasons)).collect();
        assert!(without.is_empty(), "not met, and not a word about where the time goes: {without:?}");
    }

    #[test]
    fn rows_that_are_not_met_are_found() {
        let table = "| goal | row | mode | |\n|---|---|---|---|\n| M1 | ipc/a | hot | met |\n\
                     | M2 | ipc/b | hot | not met (bound: 1.00) |\n|  | ipc/c | hot | |\n| M3 | ipc/d | hot | not met |\n";
        assert_eq!(not_met(table), BTreeSet::from(["ipc/b", "ipc/d"]));
        let names = names("- `ipc/b`, `process/*`, `*`: because of `futex`");
        assert_eq!(["ipc/b", "process/fork", "ipc/d"].map(|row| is_named(row, &names)), [true, true, false]);
    }
}
