//! What users see: a line as it comes, a table, a summary, and JSON.

use std::fmt::Write;

use serde::Serialize;

use super::measure::{Measured, Outcome};
use crate::contest::{Answer, Failure, Mode};
use crate::rows::{Better, By, Row, System, goals};
use crate::stats::{Estimate, State, Verdict};

/// One row in a few words, while the others run.
pub(super) fn line(outcome: &Outcome) -> String {
    let row = &outcome.row;
    let mut line = format!("{} ({}): {}", row.name, row.mode.name(), shown(outcome, &outcome.ours));
    for (system, other) in &outcome.others {
        let ratio = outcome.ratio(system, other).map(|ratio| format!(" x{}", figures(ratio.middle)));
        let _ = write!(line, "; {} {}{}", system.name, shown(outcome, other), ratio.unwrap_or_default());
    }
    line
}

/// The head of the table. `goal` has the labels of what is wanted, `processors` how many of
/// them we used and how many the other one.
const HEAD: [&str; 11] =
    ["goal", "row", "mode", "ours", "beside", "its", "processors", "ratio", "rounds", "target", ""];

/// Everything, one line for each pair, as a table of Markdown.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut lines = vec![HEAD.map(String::from)];
    for outcome in outcomes {
        for (system, other) in &outcome.others {
            lines.push(table_line(outcome, system, other));
        }
    }
    aligned(&lines)
}

fn table_line(outcome: &Outcome, system: &System, other: &Measured) -> [String; 11] {
    let row = &outcome.row;
    let nothing = || String::from("–");
    let [ratio, rounds] = match outcome.ratio(system, other) {
        Some(ratio) => {
            let nearer = outcome.nearer(system, other);
            let nearer = nearer.map(|nearer| format!("; nearer {}", interval(nearer)));
            [figures(ratio.middle), interval(ratio) + &nearer.unwrap_or_default()]
        }
        None => [nothing(), nothing()],
    };
    let cpus = |measured: &Measured| {
        let is_known = !matches!(system.by, By::Limit(_)) || std::ptr::eq(measured, &outcome.ours);
        let cpus = measured.over_rounds(|answer| Some(answer.cpus)).filter(|_| is_known);
        cpus.map_or_else(nothing, |cpus| format!("{cpus:.2}"))
    };
    [
        goals::labels(row, system).join(" "),
        row.name.clone(),
        row.mode.name().to_owned(),
        shown(outcome, &outcome.ours),
        system.name.to_owned(),
        shown(outcome, other),
        format!("{}, {}", cpus(&outcome.ours), cpus(other)),
        ratio,
        rounds,
        system.target.map_or_else(nothing, figures),
        verdict(outcome, system, other),
    ]
}

fn interval(ratio: Estimate) -> String {
    format!("{} to {}", figures(ratio.low), figures(ratio.high))
}

/// How many targets are reached, and which are not.
pub(super) fn summary(outcomes: &[Outcome]) -> String {
    let (mut counts, mut out_of_reach) = ([0; 3], 0);
    let mut missed = String::new();
    for outcome in outcomes {
        for (system, other) in &outcome.others {
            let Some(verdict) = outcome.verdict(system, other) else { continue };
            counts[verdict as usize] += 1;
            if let (Verdict::NotMet, Some(ratio)) = (verdict, outcome.ratio(system, other)) {
                let (name, mode) = (&outcome.row.name, outcome.row.mode.name());
                let (is, wanted) = (figures(ratio.middle), figures(system.target.unwrap_or_default()));
                let bound = outcome.out_of_reach(system, other);
                out_of_reach += usize::from(bound.is_some());
                let bound = bound.map(|bound| format!(" (the bound {})", figures(bound)));
                let bound = bound.unwrap_or_default();
                let _ = writeln!(missed, "- {name} ({mode}) to {}: {is} of {wanted}{bound}", system.name);
            }
        }
    }
    let [met, not_met, noise] = counts;
    let reach = match out_of_reach {
        0 => String::new(),
        _ => format!(", {out_of_reach} of them not by the bound either"),
    };
    let sum = format!("targets: {met} met, {noise} within noise, {not_met} not met{reach}");
    if missed.is_empty() { sum } else { format!("{sum}\n{missed}") }
}

/// One figure of one contestant.
#[derive(Debug, Serialize)]
struct Record<'a> {
    row: &'a str,
    mode: &'a str,
    system: &'a str,
    metric: &'a str,
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_high: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    /// The ratio of the best bound to this system, where not even that reaches the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_ratio: Option<f64>,
    /// Labels of what is wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    goals: Vec<&'static str>,
    /// The rounds by how far apart the processors were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    states: Vec<StateRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
}

/// What the rounds of one state say.
#[derive(Debug, Serialize)]
struct StateRecord {
    /// A look from processor to processor, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    apart: Option<f64>,
    rounds: usize,
    ratio: f64,
    ratio_low: f64,
    ratio_high: f64,
}

impl From<State> for StateRecord {
    fn from(state: State) -> Self {
        let Estimate { middle, low, high } = state.estimate;
        let (apart, rounds) = (state.apart, state.rounds);
        Self { apart, rounds, ratio: middle, ratio_low: low, ratio_high: high }
    }
}

/// Everything, as a list of objects.
pub(super) fn json(outcomes: &[Outcome]) -> Result<String, Failure> {
    let mut records = Vec::new();
    for outcome in outcomes {
        records.extend(figures_of(outcome, "ours", &outcome.ours));
        for (system, other) in &outcome.others {
            let mut of_system = figures_of(outcome, system.name, other);
            if let Some(first) = of_system.first_mut() {
                let verdict = outcome.verdict(system, other);
                let ratio = outcome.ratio(system, other);
                first.ratio = ratio.map(|ratio| ratio.middle);
                first.ratio_low = ratio.map(|ratio| ratio.low);
                first.ratio_high = ratio.map(|ratio| ratio.high);
                first.target = system.target;
                first.met = verdict.map(|verdict| verdict == Verdict::Met);
                first.verdict = verdict;
                first.bound_ratio = outcome.out_of_reach(system, other);
                first.goals = goals::labels(&outcome.row, system);
                first.states = outcome.states(system, other).into_iter().map(StateRecord::from).collect();
            }
            records.extend(of_system);
        }
    }
    Ok(serde_json::to_string_pretty(&records)? + "\n")
}

/// The figure that the row is about comes first.
fn figures_of<'a>(outcome: &'a Outcome, system: &'a str, measured: &'a Measured) -> Vec<Record<'a>> {
    let row = &outcome.row;
    let record = |metric, unit, value| Record {
        row: &row.name,
        mode: row.mode.name(),
        system,
        metric,
        unit,
        value,
        ratio: None,
        ratio_low: None,
        ratio_high: None,
        target: None,
        met: None,
        verdict: None,
        bound_ratio: None,
        goals: Vec::new(),
        states: Vec::new(),
        skipped: measured.skipped.as_deref(),
    };
    let main = row.metric.unwrap_or(if row.better == Better::Less { "p50" } else { "rate" });
    let more = [
        ("p99", row.unit, measured.over_rounds(|answer| answer.p99)),
        ("p99.9", row.unit, measured.over_rounds(|answer| answer.p999)),
        ("max", row.unit, measured.largest(|answer| answer.max)),
        ("cpus", "", measured.over_rounds(|answer: &Answer| Some(answer.cpus))),
        ("cpu time", cpu_unit(row), measured.over_rounds(|answer| cpu_time(row, answer))),
    ];
    let more = more.into_iter().filter(|(_, _, value)| value.is_some());
    let first = record(main, row.unit, measured.value());
    [first].into_iter().chain(more.map(|(metric, unit, value)| record(metric, unit, value))).collect()
}

/// The processors' time of one thing that a row is about, children and what surrounds it
/// included; nothing for amounts, and where a contestant works while it leaves the other alone.
fn cpu_time(row: &Row, answer: &Answer) -> Option<f64> {
    if row.mode == Mode::Asleep || row.metric.is_some() {
        return None;
    }
    let value = match row.better {
        Better::Less => answer.cpus * answer.value,
        Better::More => answer.cpus * 1e6 / answer.value,
    };
    value.is_finite().then_some(value)
}

fn cpu_unit(row: &Row) -> &'static str {
    if row.better == Better::Less { row.unit } else { "µs" }
}

/// Between two builds nothing is said with more doubt than this: there are many rows.
const DOUBT: f64 = 0.001;
/// With fewer rounds everything is more doubtful than that: as many coins show one side more often.
const ENOUGH: usize = 11;
/// Smaller differences between two builds are not of interest.
const SMALL: f64 = 0.02;

fn verdict(outcome: &Outcome, system: &System, other: &Measured) -> String {
    if system.by == By::Build {
        if (1..ENOUGH).contains(&other.answers.len()) {
            return "too few rounds".to_owned();
        }
        let ratio = outcome.ratio_with_doubt(system, other, DOUBT);
        return ratio.map(|ratio| change(ratio).to_owned()).unwrap_or_default();
    }
    let Some(verdict) = outcome.verdict(system, other) else { return String::new() };
    let mut words = verdict.name().to_owned();
    if let (true, Some(bound)) = (verdict != Verdict::Met, outcome.out_of_reach(system, other)) {
        let _ = write!(words, " (bound: {})", figures(bound));
    }
    let nearer = outcome.nearer(system, other).zip(system.target);
    let nearer = nearer.map(|(nearer, target)| nearer.reaches(target));
    if let Some(nearer) = nearer.filter(|nearer| *nearer != verdict) {
        let _ = write!(words, " (nearer: {})", nearer.name());
    }
    words
}

/// What is said of two builds.
fn change(ratio: Estimate) -> &'static str {
    if ratio.low > 1.0 && ratio.middle > 1.0 + SMALL {
        "better"
    } else if ratio.high < 1.0 && ratio.middle < 1.0 - SMALL {
        "worse"
    } else {
        "no difference"
    }
}

/// A contestant's value, or why there is none.
pub(super) fn shown(outcome: &Outcome, measured: &Measured) -> String {
    match (measured.value(), &measured.skipped) {
        (Some(value), _) => with_unit(value, outcome.row.unit),
        (None, Some(reason)) => format!("skipped ({reason})"),
        (None, None) => String::from("–"),
    }
}

/// A value with three figures, and a letter for thousands of rates.
fn with_unit(value: f64, unit: &str) -> String {
    let (value, letter) = match (unit, value) {
        ("/s", 1e9..) => (value / 1e9, " G"),
        ("/s", 1e6..) => (value / 1e6, " M"),
        ("/s", 1e4..) => (value / 1e3, " k"),
        ("µs", 1e4..) => return format!("{} ms", figures(value / 1e3)),
        ("B", 1e6..) => return format!("{} MB", figures(value / 1e6)),
        ("B", 1e4..) => return format!("{} kB", figures(value / 1e3)),
        _ => (value, if unit == "/s" { "" } else { " " }),
    };
    format!("{}{letter}{unit}", figures(value))
}

/// Three figures.
pub(super) fn figures(value: f64) -> String {
    let places = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

fn aligned<const COLUMNS: usize>(lines: &[[String; COLUMNS]]) -> String {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::measure::measured;
    use super::*;

    #[test]
    fn values_have_three_figures() {
        assert_eq!(with_unit(12_345_678.0, "/s"), "12.3 M/s");
        assert_eq!(with_unit(0.534, "µs"), "0.53 µs");
        assert_eq!(with_unit(43_650.0, "µs"), "43.6 ms");
        assert_eq!(with_unit(900.0, "/s"), "900/s");
        assert_eq!(with_unit(18_500.0, "B"), "18.5 kB");
    }

    fn against(ours: &[f64], before: &[f64]) -> Outcome {
        let system = System { name: "before", by: By::Build, target: None };
        let row = Row::times("ipc/roundtrip-8B", Mode::Hot, "roundtrip", 8);
        Outcome { row, ours: measured(ours), others: vec![(system, measured(before))] }
    }

    #[test]
    fn two_builds_are_compared_pair_by_pair() {
        let noise = |factor: f64| -> Vec<f64> {
            (0..15).map(|round| factor * (10.0 + f64::from(round * 7 % 5) * 0.1)).collect()
        };
        let turned = |factor: f64| -> Vec<f64> { noise(factor).into_iter().rev().collect() };
        let outcomes = [
            against(&noise(1.0), &turned(1.0)),
            against(&noise(1.0), &turned(1.2)),
            against(&noise(1.2), &turned(1.0)),
            against(&noise(1.0), &turned(1.015)),
            against(&[1.0; 5], &[2.0; 5]),
        ];
        let table = table(&outcomes);
        let last: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split('|').nth(11)).collect();
        let last: Vec<&str> = last.into_iter().map(str::trim).collect();
        assert_eq!(last, ["no difference", "better", "worse", "no difference", "too few rounds"], "{table}");
        assert!(table.lines().all(|line| line.matches('|').count() == 12), "{table}");
        assert!(table.contains("before"));
    }

    #[test]
    fn the_processors_time_stands_beside_the_time() {
        let mut outcome = against(&[10.0; 3], &[20.0; 3]);
        outcome.ours.answers.iter_mut().for_each(|answer| answer.cpus = 1.5);
        let text = json(&[outcome]).unwrap();
        let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let figure = |metric: &str, system: &str| {
            let is_it =
                |record: &&serde_json::Value| record["metric"] == metric && record["system"] == system;
            records.iter().find(is_it).map(|record| record["value"].as_f64().unwrap())
        };
        assert_eq!(figure("p50", "ours"), Some(10.0));
        assert_eq!(figure("cpus", "ours"), Some(1.5));
        assert_eq!(figure("cpu time", "ours"), Some(15.0));
        assert_eq!(figure("p50", "before"), Some(20.0));
    }

    #[test]
    fn a_table_is_aligned() {
        let lines = [["a", "bb"], ["ccc", "d"]].map(|line| line.map(String::from));
        assert_eq!(aligned(&lines), "| a   | bb |\n|-----|----|\n| ccc | d  |\n");
    }
}
