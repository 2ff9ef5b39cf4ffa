//! How many times better we are than each other system, row by row.

use super::super::measure::Outcome;
use super::super::report::{figures, shown};
use super::svg::{Anchor, Log, Svg, WIDTH, short};
use crate::rows::System;
use crate::stats::{Estimate, Verdict};

const LEFT: f64 = 130.0;
const RIGHT: f64 = WIDTH - 190.0;
const TOP: f64 = 62.0;
const LINE: f64 = 18.0;
const GAP: f64 = 26.0;

const PLAIN: &str = "#8fa8c8";
const MET: &str = "#3c9a5f";
const NOT_MET: &str = "#c8503c";
const NOISE: &str = "#d0a640";

pub(super) fn draw(area: &str, outcomes: &[&Outcome]) -> String {
    let mut svg = Svg::default();
    let ratios = outcomes.iter().flat_map(|outcome| bars(outcome).map(|(_, ratio, _)| ratio.middle));
    let axis = Log::over(ratios.chain([0.5, 2.0]), LEFT, RIGHT);
    let lines: usize = outcomes.iter().map(|outcome| bars(outcome).count()).sum();
    let bottom = TOP + outcomes.len() as f64 * GAP + lines as f64 * LINE;
    frame(&mut svg, area, &axis, bottom);
    let mut y = TOP;
    for outcome in outcomes {
        let (row, ours) = (&outcome.row, shown(outcome, &outcome.ours));
        let title = format!("{} ({}): ours {ours}", row.name, row.mode.name());
        svg.text((8.0, y + 16.0), Anchor::Start, "row", &title);
        y += GAP;
        for (system, ratio, its) in bars(outcome) {
            bar(&mut svg, &axis, y, system, ratio, &its);
            y += LINE;
        }
    }
    svg.finish(bottom + 12.0)
}

/// Those with a ratio, and their own value in words.
fn bars(outcome: &Outcome) -> impl Iterator<Item = (&System, Estimate, String)> {
    let others = outcome.others.iter();
    others.filter_map(|(system, other)| Some((system, outcome.ratio(system, other)?, shown(outcome, other))))
}

fn frame(svg: &mut Svg, area: &str, axis: &Log, bottom: f64) {
    let title = format!("{area}: how many times better than each system (1 = the same)");
    svg.text((8.0, 20.0), Anchor::Start, "title", &title);
    let mut x = 8.0;
    for (colour, what) in
        [(MET, "target met"), (NOT_MET, "not met"), (NOISE, "within noise"), (PLAIN, "no target")]
    {
        svg.rect(x, 30.0, 10.0, 10.0, colour);
        svg.text((x + 14.0, 39.0), Anchor::Start, "small", what);
        x += 95.0;
    }
    svg.text((x, 39.0), Anchor::Start, "small", "black mark: the target; thin line: the rounds");
    for decade in axis.decades() {
        let colour = if decade == 1.0 { "#666" } else { "#ddd" };
        svg.line((axis.at(decade), TOP), (axis.at(decade), bottom), colour, 1.0);
        svg.text((axis.at(decade), TOP - 4.0), Anchor::Middle, "small", &short(decade));
    }
}

fn bar(svg: &mut Svg, axis: &Log, y: f64, system: &System, ratio: Estimate, its: &str) {
    let colour = match system.target.map(|target| ratio.reaches(target)) {
        None => PLAIN,
        Some(Verdict::Met) => MET,
        Some(Verdict::NotMet) => NOT_MET,
        Some(Verdict::WithinNoise) => NOISE,
    };
    let (one, end) = (axis.at(1.0), axis.at(ratio.middle));
    svg.text((LEFT - 6.0, y + 12.0), Anchor::End, "", system.name);
    svg.rect(one.min(end), y + 2.0, (end - one).abs().max(1.0), LINE - 5.0, colour);
    let middle = y + LINE / 2.0 - 0.5;
    svg.line((axis.at(ratio.low), middle), (axis.at(ratio.high), middle), "#444", 1.0);
    if let Some(target) = system.target {
        svg.line((axis.at(target), y), (axis.at(target), y + LINE - 2.0), "black", 2.0);
    }
    let words = format!("×{} ({its})", figures(ratio.middle));
    svg.text((RIGHT + 10.0, y + 12.0), Anchor::Start, "", &words);
}
