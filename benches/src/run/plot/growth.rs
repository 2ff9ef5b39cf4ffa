//! A cost as the work grows, for us and for each other system.

use std::collections::BTreeMap;

use super::super::measure::Outcome;
use super::svg::{Anchor, Log, Svg, WIDTH, short};
use crate::rows::{Better, By, Row, System};

const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 130.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 372.0;
/// From one name at a line's end to the next.
const LINE: f64 = 14.0;

/// A question whose number says how much work it is, what it is, and of what there is more.
const GROWING: [(&str, &str, &str); 9] = [
    ("roundtrip", "A message there and back", "bytes"),
    ("stream", "Messages one way", "bytes"),
    ("contended", "A lock that all want: the time of one turn", "processes"),
    ("barrier", "A barrier: the time of one round", "processes"),
    ("map", "A map: items a second", "items"),
    ("by-workers", "Items given out one by one", "workers"),
    ("up", "A pool up, one task, and down", "workers"),
    ("tasks", "Tasks, two workers", "µs each"),
    ("get", "Look-ups in a manager's dictionary", "clients"),
];

/// A picture needs as many points as this.
const LEAST: usize = 3;

/// Each system has its colour in all pictures.
const COLOURS: [(&str, &str); 20] = [
    ("ours", "#d0342c"),
    ("bound", "#222222"),
    ("bound-threads", "#888888"),
    ("cpython", "#3c6eb4"),
    ("cpython-bytes", "#7fa8dc"),
    ("cpython-fork", "#3c6eb4"),
    ("iceoryx2", "#d09a28"),
    ("ipc-channel", "#3c9a5f"),
    ("procspawn", "#8a5fb0"),
    ("rayon", "#3fa8a8"),
    ("tarpc", "#8a5fb0"),
    ("redis", "#c05a8a"),
    ("cpython-queue", "#a8c0e0"),
    ("executor", "#7fa8dc"),
    ("loky", "#5a8a3c"),
    ("mpire", "#b08a3c"),
    ("raw-pipe", "#666666"),
    ("claims", "#888888"),
    ("futex-mutex", "#888888"),
    ("sem", "#bbbbbb"),
];
const ANOTHER: &str = "#a0745a";

/// Rows of one question in one mode, in the order of their numbers.
pub(super) fn series(outcomes: &[Outcome]) -> Vec<(String, Vec<&Outcome>)> {
    let mut series: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    let is_point = |row: &Row| growing(row.question).is_some() && !row.is_of_tail();
    for outcome in outcomes.iter().filter(|outcome| is_point(&outcome.row)) {
        let name = format!("{}-{}", outcome.row.question, outcome.row.mode.name());
        series.entry(name).or_default().push(outcome);
    }
    for outcomes in series.values_mut() {
        outcomes.sort_by_key(|outcome| outcome.row.number);
    }
    series.into_iter().filter(|(_, outcomes)| outcomes.len() >= LEAST).collect()
}

fn growing(question: &str) -> Option<(&'static str, &'static str)> {
    GROWING.iter().find(|(name, ..)| *name == question).map(|(_, title, of)| (*title, *of))
}

pub(super) fn draw(outcomes: &[&Outcome]) -> String {
    let mut svg = Svg::default();
    let Some(first) = outcomes.first() else { return svg.finish(BOTTOM) };
    let lines = lines(outcomes);
    let points = || lines.iter().flat_map(|(_, points)| points);
    let across = Log::between(points().map(|point| point.0), LEFT, RIGHT);
    let up = Log::over(points().map(|point| point.1), BOTTOM, TOP);
    frame(&mut svg, first, outcomes, &across, &up);
    let mut ends = Vec::new();
    // Ours is drawn last, and so above the others.
    for (system, points) in lines.iter().rev() {
        let places: Vec<_> = points.iter().map(|(x, y)| (across.at(*x), up.at(*y))).collect();
        svg.path(&places, colour(system), if *system == "ours" { 3.0 } else { 1.5 });
        ends.extend(places.last().map(|end| (*end, *system)));
    }
    name(&mut svg, ends);
    svg.finish(BOTTOM + 44.0)
}

fn frame(svg: &mut Svg, first: &Outcome, outcomes: &[&Outcome], across: &Log, up: &Log) {
    let row = &first.row;
    let (title, of) = growing(row.question).unwrap_or_default();
    let good = if row.better == Better::Less { "less is better" } else { "more is better" };
    svg.text((8.0, 20.0), Anchor::Start, "title", &format!("{title} ({})", row.mode.name()));
    svg.text((8.0, 38.0), Anchor::Start, "small", &format!("{}, {good}", row.unit));
    for decade in up.decades() {
        svg.line((LEFT, up.at(decade)), (RIGHT, up.at(decade)), "#ddd", 1.0);
        svg.text((LEFT - 6.0, up.at(decade) + 4.0), Anchor::End, "small", &short(decade));
    }
    for outcome in outcomes {
        let number = outcome.row.number as f64;
        let x = across.at(number);
        svg.line((x, TOP), (x, BOTTOM), "#eee", 1.0);
        let words = if of == "bytes" { binary(outcome.row.number) } else { short(number) };
        svg.text((x, BOTTOM + 16.0), Anchor::Middle, "small", &words);
    }
    svg.text(((LEFT + RIGHT) / 2.0, BOTTOM + 34.0), Anchor::Middle, "small", of);
}

/// Names at the ends of lines, so far apart that all can be read.
fn name(svg: &mut Svg, mut ends: Vec<((f64, f64), &str)>) {
    ends.sort_by(|(a, _), (b, _)| a.1.total_cmp(&b.1));
    let mut heights: Vec<f64> = ends.iter().map(|((_, y), _)| *y).collect();
    for index in 1..heights.len() {
        heights[index] = heights[index].max(heights[index - 1] + LINE);
    }
    // Those that were pushed out below are pushed back up.
    let mut most = BOTTOM;
    for height in heights.iter_mut().rev() {
        *height = height.min(most);
        most = *height - LINE;
    }
    for (((x, y), system), height) in ends.into_iter().zip(heights) {
        svg.line((x + 5.0, y), (RIGHT + 18.0, height), "#ccc", 1.0);
        svg.coloured((RIGHT + 22.0, height + 4.0), colour(system), system);
    }
}

fn colour(system: &str) -> &'static str {
    COLOURS.iter().find(|(name, _)| *name == system).map_or(ANOTHER, |(_, colour)| *colour)
}

/// The name of a system, and its points.
type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// The points of each system that is somebody else, ours first.
fn lines<'a>(outcomes: &[&'a Outcome]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = vec![("ours", Vec::new())];
    for outcome in outcomes {
        let others = outcome.others.iter().filter(|(system, _)| is_another(system));
        let others = others.map(|(system, other)| (system.name, other));
        for (name, measured) in [("ours", &outcome.ours)].into_iter().chain(others) {
            let Some(value) = measured.value() else { continue };
            let point = (outcome.row.number as f64, value);
            match lines.iter_mut().find(|(system, _)| *system == name) {
                Some((_, points)) => points.push(point),
                None => lines.push((name, vec![point])),
            }
        }
    }
    // One point is no line.
    lines.retain(|(name, points)| points.len() > 1 || *name == "ours" && !points.is_empty());
    lines
}

fn is_another(system: &System) -> bool {
    !matches!(system.by, By::Ourselves(..) | By::Limit(_))
}

/// A number of bytes that is a power of two, or eight.
fn binary(bytes: usize) -> String {
    match bytes {
        1_048_576.. => format!("{} MiB", bytes >> 20),
        1024.. => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::measure::Measured;
    use super::*;
    use crate::contest::{Answer, Mode};

    fn outcome(size: usize, ours: f64, others: &[(&'static str, f64)]) -> Outcome {
        let measured = |value| Measured { answers: vec![Answer::of(value)], skipped: None };
        let row = Row::rates("ipc/stream", Mode::Hot, "stream", size);
        let row = others.iter().fold(row, |row, (name, _)| row.beside(name, By::Bound(name)));
        let others = row.systems.iter().cloned().zip(others.iter().map(|(_, value)| measured(*value)));
        Outcome { others: others.collect(), ours: measured(ours), row }
    }

    #[test]
    fn names_at_the_ends_can_be_read() {
        let outcomes = [
            outcome(8, 2e7, &[("bound", 1.9e7), ("cpython", 3e5), ("iceoryx2", 4e6), ("ipc-channel", 1e6)]),
            outcome(1024, 1e7, &[("bound", 9e6), ("cpython", 3e5), ("iceoryx2", 4e6), ("ipc-channel", 1e6)]),
            outcome(
                65536,
                4e5,
                &[("bound", 5e5), ("cpython", 4e5), ("iceoryx2", 4.2e5), ("ipc-channel", 1e5)],
            ),
        ];
        let series = series(&outcomes);
        assert_eq!(
            series.iter().map(|(name, points)| (name.as_str(), points.len())).collect::<Vec<_>>(),
            [("stream-hot", 3)]
        );
        let picture = draw(&series[0].1);
        let heights = picture.lines().filter(|line| line.contains("style=")).map(|line| {
            let (_, rest) = line.split_once("y=\"").expect("a place");
            rest.split('"').next().and_then(|y| y.parse::<f64>().ok()).expect("a height")
        });
        let heights: Vec<f64> = heights.collect();
        assert_eq!(heights.len(), 5);
        assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= LINE - 0.2), "{heights:?}");
    }

    #[test]
    fn the_tail_is_no_point_of_the_line() {
        let mut tail = outcome(8, 9.0, &[]);
        tail.row = tail.row.of_tail();
        let outcomes = [outcome(8, 1.0, &[]), tail, outcome(64, 2.0, &[]), outcome(512, 3.0, &[])];
        assert_eq!(series(&outcomes).iter().map(|(_, points)| points.len()).collect::<Vec<_>>(), [3]);
    }

    /// From one message to the largest, and so on: a picture for each way in which work grows.
    #[test]
    fn all_that_grows_has_points_from_end_to_end() {
        let mut ends: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
        for row in crate::rows::all() {
            let number = row.number;
            let ends = ends.entry((row.question, row.mode.name())).or_insert((number, number));
            *ends = (ends.0.min(number), ends.1.max(number));
        }
        for (question, mode, first, last) in [
            ("roundtrip", "hot", 8, 64 << 20),
            ("stream", "hot", 8, 64 << 20),
            ("contended", "free", 2, 64),
            ("barrier", "free", 2, 64),
            ("up", "free", 1, 64),
            ("by-workers", "free", 1, 64),
            ("map", "free", 1_000, 10_000_000),
            ("get", "free", 1, 1000),
        ] {
            assert!(growing(question).is_some(), "{question} has no picture");
            assert_eq!(ends.get(&(question, mode)), Some(&(first, last)), "{question}");
        }
    }

    #[test]
    fn we_and_limits_are_no_lines() {
        let mut one = outcome(8, 1.0, &[("bound", 2.0)]);
        one.others[0].0.by = By::Limit(2);
        assert_eq!(lines(&[&one]), [("ours", vec![(8.0, 1.0)])]);
    }
}
