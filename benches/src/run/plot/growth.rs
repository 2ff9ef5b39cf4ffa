//! A cost as the work grows, for us and for each other system.

use std::collections::BTreeMap;

use super::super::measure::Outcome;
use super::svg::{Anchor, Log, Svg, WIDTH, short};

const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 360.0;
const COLOURS: [&str; 8] =
    ["#c8503c", "#3c6e9a", "#3c9a5f", "#8a5fb0", "#d0a640", "#4fb0b0", "#8a6a4a", "#777777"];

/// The questions whose number says how much work it is.
const GROWING: [&str; 7] = ["roundtrip", "stream", "contended", "barrier", "map", "up", "tasks"];

/// A picture needs as many points as this.
const LEAST: usize = 3;

/// Rows of one question in one mode, in the order of their numbers.
pub(super) fn series(outcomes: &[Outcome]) -> Vec<(String, Vec<&Outcome>)> {
    let mut series: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| GROWING.contains(&outcome.row.question)) {
        let name = format!("{}-{}", outcome.row.question, outcome.row.mode.name());
        series.entry(name).or_default().push(outcome);
    }
    for outcomes in series.values_mut() {
        outcomes.sort_by_key(|outcome| outcome.row.number);
    }
    series.into_iter().filter(|(_, outcomes)| outcomes.len() >= LEAST).collect()
}

pub(super) fn draw(name: &str, outcomes: &[&Outcome]) -> String {
    let lines = lines(outcomes);
    let points = || lines.values().flatten();
    let across = Log::over(points().map(|point| point.0), LEFT, RIGHT);
    let up = Log::over(points().map(|point| point.1), BOTTOM, TOP);
    let mut svg = Svg::default();
    let unit = outcomes.first().map_or("", |outcome| outcome.row.unit);
    svg.text((8.0, 20.0), Anchor::Start, "title", &format!("{name}, in {unit}, as the work grows"));
    for decade in up.decades() {
        svg.line((LEFT, up.at(decade)), (RIGHT, up.at(decade)), "#ddd", 1.0);
        svg.text((LEFT - 6.0, up.at(decade) + 4.0), Anchor::End, "small", &short(decade));
    }
    for decade in across.decades() {
        svg.line((across.at(decade), TOP), (across.at(decade), BOTTOM), "#eee", 1.0);
        svg.text((across.at(decade), BOTTOM + 16.0), Anchor::Middle, "small", &short(decade));
    }
    for (index, (system, points)) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let place = |(x, y): &(f64, f64)| (across.at(*x), up.at(*y));
        svg.path(&points.iter().map(place).collect::<Vec<_>>(), colour);
        let y = TOP + 18.0 * index as f64;
        svg.rect(RIGHT + 16.0, y, 12.0, 12.0, colour);
        svg.text((RIGHT + 34.0, y + 11.0), Anchor::Start, "", system);
    }
    svg.finish(BOTTOM + 30.0)
}

/// The points of each system, ours first.
fn lines<'a>(outcomes: &[&'a Outcome]) -> BTreeMap<&'a str, Vec<(f64, f64)>> {
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for outcome in outcomes {
        let others = outcome.others.iter().map(|(system, other)| (system.name, other));
        for (name, measured) in [(" ours", &outcome.ours)].into_iter().chain(others) {
            if let Some(value) = measured.value() {
                lines.entry(name).or_default().push((outcome.row.number as f64, value));
            }
        }
    }
    lines
}
