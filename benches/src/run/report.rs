//! What users see: a line as it comes, a table, a summary, and JSON.

use std::fmt::Write;

use serde::Serialize;

use super::measure::{Measured, Outcome};
use crate::contest::{Answer, Failure};
use crate::rows::{Better, By, System};
use crate::stats::{Estimate, Verdict};

/// One row in a few words, while the others run.
pub(super) fn line(outcome: &Outcome) -> String {
    let row = &outcome.row;
    let mut line = format!("{} ({}): {}", row.name, row.mode.name(), shown(outcome, &outcome.ours));
    for (system, other) in &outcome.others {
        let ratio = outcome.ratio(other).map(|ratio| format!(" x{}", figures(ratio.middle)));
        let _ = write!(line, "; {} {}{}", system.name, shown(outcome, other), ratio.unwrap_or_default());
    }
    line
}

/// Everything, one line for each pair, as a table of Markdown.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut lines =
        vec![["row", "mode", "ours", "beside", "its", "ratio", "rounds", "target", ""].map(String::from)];
    for outcome in outcomes {
        let (row, mode) = (outcome.row.name.clone(), outcome.row.mode.name().to_owned());
        let ours = shown(outcome, &outcome.ours);
        for (system, other) in &outcome.others {
            let [ratio, rounds] = match outcome.ratio(other) {
                Some(Estimate { middle, low, high }) => {
                    [figures(middle), format!("{} to {}", figures(low), figures(high))]
                }
                None => [String::from("–"), String::from("–")],
            };
            let target = system.target.map_or(String::from("–"), figures);
            let (name, its) = (system.name.to_owned(), shown(outcome, other));
            let verdict = verdict(outcome, system, other).to_owned();
            lines.push([row.clone(), mode.clone(), ours.clone(), name, its, ratio, rounds, target, verdict]);
        }
    }
    aligned(&lines)
}

/// How many targets are reached, and which are not.
pub(super) fn summary(outcomes: &[Outcome]) -> String {
    let mut counts = [0; 3];
    let mut missed = String::new();
    for outcome in outcomes {
        for (system, other) in &outcome.others {
            let Some(verdict) = outcome.verdict(system, other) else { continue };
            counts[verdict as usize] += 1;
            if let (Verdict::NotMet, Some(ratio)) = (verdict, outcome.ratio(other)) {
                let (name, mode) = (&outcome.row.name, outcome.row.mode.name());
                let (is, wanted) = (figures(ratio.middle), figures(system.target.unwrap_or_default()));
                let _ = writeln!(missed, "- {name} ({mode}) to {}: {is} of {wanted}", system.name);
            }
        }
    }
    let [met, not_met, noise] = counts;
    let sum = format!("targets: {met} met, {noise} within noise, {not_met} not met");
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
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
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
                let ratio = outcome.ratio(other);
                first.ratio = ratio.map(|ratio| ratio.middle);
                first.ratio_low = ratio.map(|ratio| ratio.low);
                first.ratio_high = ratio.map(|ratio| ratio.high);
                first.target = system.target;
                first.met = verdict.map(|verdict| verdict == Verdict::Met);
                first.verdict = verdict;
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
        skipped: measured.skipped.as_deref(),
    };
    let main = row.metric.unwrap_or(if row.better == Better::Less { "p50" } else { "rate" });
    let more = [
        ("p99", row.unit, measured.over_rounds(|answer| answer.p99)),
        ("p99.9", row.unit, measured.over_rounds(|answer| answer.p999)),
        ("max", row.unit, measured.largest(|answer| answer.max)),
        ("cpus", "", measured.over_rounds(|answer: &Answer| Some(answer.cpus))),
    ];
    let more = more.into_iter().filter(|(_, _, value)| value.is_some());
    let first = record(main, row.unit, measured.value());
    [first].into_iter().chain(more.map(|(metric, unit, value)| record(metric, unit, value))).collect()
}

fn verdict(outcome: &Outcome, system: &System, other: &Measured) -> &'static str {
    if let Some(verdict) = outcome.verdict(system, other) {
        return verdict.name();
    }
    match outcome.ratio(other) {
        Some(ratio) if system.by == By::Build && ratio.low > 1.0 => "better",
        Some(ratio) if system.by == By::Build && ratio.high < 1.0 => "worse",
        Some(_) if system.by == By::Build => "within noise",
        _ => "",
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
    use super::*;

    #[test]
    fn values_have_three_figures() {
        assert_eq!(with_unit(12_345_678.0, "/s"), "12.3 M/s");
        assert_eq!(with_unit(0.534, "µs"), "0.53 µs");
        assert_eq!(with_unit(43_650.0, "µs"), "43.6 ms");
        assert_eq!(with_unit(900.0, "/s"), "900/s");
        assert_eq!(with_unit(18_500.0, "B"), "18.5 kB");
    }

    #[test]
    fn a_table_is_aligned() {
        let lines = [["a", "bb"], ["ccc", "d"]].map(|line| line.map(String::from));
        assert_eq!(aligned(&lines), "| a   | bb |\n|-----|----|\n| ccc | d  |\n");
    }
}
