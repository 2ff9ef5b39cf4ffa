//! One row: all contestants in turns, round after round.

use std::time::Instant;

use super::contestant::Contestant;
use super::nearness;
use super::options::Options;
use super::quiet::{Quiet, Watch};
use super::schedule::Share;
use crate::contest::{Answer, Failure, Mode};
use crate::rows::{By, Row, System};
use crate::stats::{Estimate, LEAST, Round, State, Verdict, median, states};

/// What came of a row.
pub(super) struct Outcome {
    pub(super) row: Row,
    pub(super) ours: Measured,
    pub(super) others: Vec<(System, Measured)>,
}

/// The answers of one contestant, one for each round, or why there are none.
#[derive(Default)]
pub(super) struct Measured {
    pub(super) answers: Vec<Answer>,
    pub(super) skipped: Option<String>,
}

/// How many times a measurement that others disturbed is made again.
const TRIES: usize = 3;

/// Measures a row in so many rounds, in fewer where its share of the time is over, and in up to
/// twice as many where that leaves time to decide what is within noise.
pub(super) fn row(row: &Row, options: &Options, quiet: &mut Quiet, share: Share) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let by = row.systems.iter().map(|system| system.by);
    let mut contestants: Vec<Turn> =
        [By::Ours].into_iter().chain(by).map(|by| Turn::new(by, row, options)).collect();
    for round in 0..2 * options.rounds {
        let is_enough = round >= options.rounds && is_decided(row, &contestants);
        if is_enough || round >= LEAST && begun.elapsed() > share.after(round, options.rounds) {
            break;
        }
        quiet.wait();
        // Nobody is always the one who comes after another.
        let count = contestants.len();
        for index in 0..count {
            contestants[(round + index) % count].take(row, options, quiet);
        }
    }
    let mut measured = contestants.into_iter().map(Turn::finish);
    let ours = measured.next().ok_or("nobody was asked")?;
    let others: Vec<_> = row.systems.iter().cloned().zip(measured).collect();
    let outcome = Outcome { row: row.clone(), ours, others };
    outcome.agree()?;
    Ok(outcome)
}

fn is_decided(row: &Row, contestants: &[Turn]) -> bool {
    let Some((ours, others)) = contestants.split_first() else { return true };
    row.systems.iter().zip(others).all(|(system, other)| {
        let states = states(&rounds(row, &ours.answers, &other.answers, system));
        let is_open = |target| states.last().map(|state| state.estimate.reaches(target));
        system.target.and_then(is_open) != Some(Verdict::WithinNoise)
    })
}

/// The ratios of two contestants, round by round.
fn rounds(row: &Row, ours: &[Answer], others: &[Answer], system: &System) -> Vec<Round> {
    let pairs = ours.iter().zip(others);
    let round = |(ours, other): (&Answer, &Answer)| Round {
        ratio: row.ratio(ours.value, other.value),
        apart: match system.by {
            By::Limit(_) => ours.apart,
            _ => nearness::settled(ours.apart, other.apart),
        },
    };
    pairs.map(round).collect()
}

impl Outcome {
    /// What the rounds say of us and another one, from the nearest state of the machine to the
    /// farthest.
    pub(super) fn states(&self, system: &System, other: &Measured) -> Vec<State> {
        states(&rounds(&self.row, &self.ours.answers, &other.answers, system))
    }

    /// The ratio to another one: above 1 means that ours is better. Where the machine was in
    /// several states, that of the farthest counts: it is what others have who do not share
    /// our luck.
    pub(super) fn ratio(&self, system: &System, other: &Measured) -> Option<Estimate> {
        self.states(system, other).last().map(|state| state.estimate)
    }

    /// The ratio while the processors were nearer together, if there was such a time as well.
    pub(super) fn nearer(&self, system: &System, other: &Measured) -> Option<Estimate> {
        let states = self.states(system, other);
        (states.len() > 1).then(|| states.first().map(|state| state.estimate)).flatten()
    }

    /// As [`ratio`](Self::ratio), of all rounds, with so much doubt.
    pub(super) fn ratio_with_doubt(&self, system: &System, other: &Measured, doubt: f64) -> Option<Estimate> {
        let rounds = rounds(&self.row, &self.ours.answers, &other.answers, system);
        let ratios: Vec<f64> = rounds.iter().map(|round| round.ratio).collect();
        (!ratios.is_empty()).then(|| Estimate::with_doubt(&ratios, doubt))
    }

    /// Whether the target is reached, where there is one.
    pub(super) fn verdict(&self, system: &System, other: &Measured) -> Option<Verdict> {
        Some(self.ratio(system, other)?.reaches(system.target?))
    }

    /// What the best of the bounds would have for a ratio to another one, where not even that
    /// reaches the target.
    pub(super) fn out_of_reach(&self, system: &System, other: &Measured) -> Option<f64> {
        let target = system.target?;
        if matches!(system.by, By::Bound(_) | By::Ourselves(..) | By::Build) {
            return None;
        }
        let bounds = self.others.iter().filter(|(system, _)| matches!(system.by, By::Bound(_)));
        let ratios = bounds.filter_map(|(_, bound)| {
            let rounds = rounds(&self.row, &bound.answers, &other.answers, system);
            states(&rounds).last().map(|state| state.estimate.middle)
        });
        ratios.max_by(f64::total_cmp).filter(|best| *best < target)
    }

    fn agree(&self) -> Result<(), Failure> {
        let all = self.others.iter().map(|(_, measured)| measured).chain([&self.ours]);
        let mut checks = all.flat_map(|measured| &measured.answers).filter_map(|answer| answer.check);
        let first = checks.next();
        if checks.all(|check| Some(check) == first) {
            return Ok(());
        }
        Err(format!("{}: the contestants disagree about the result", self.row.name).into())
    }
}

impl Measured {
    /// The median over the rounds.
    pub(super) fn value(&self) -> Option<f64> {
        self.over_rounds(|answer| Some(answer.value))
    }

    /// The median over the rounds of what most of them have.
    pub(super) fn over_rounds(&self, part: impl Fn(&Answer) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.answers.iter().filter_map(part).collect();
        (!values.is_empty() && 2 * values.len() > self.answers.len()).then(|| median(&values))
    }

    /// The largest over the rounds.
    pub(super) fn largest(&self, part: impl Fn(&Answer) -> Option<f64>) -> Option<f64> {
        self.answers.iter().filter_map(part).max_by(f64::total_cmp)
    }
}

/// A contestant and what it has answered.
struct Turn {
    contestant: Result<Contestant, String>,
    limit: Option<u32>,
    answers: Vec<Answer>,
}

impl Turn {
    fn new(by: By, row: &Row, options: &Options) -> Self {
        let limit = if let By::Limit(limit) = by { Some(limit) } else { None };
        Self { contestant: Contestant::start(by, row, options), limit, answers: Vec::new() }
    }

    fn take(&mut self, row: &Row, options: &Options, quiet: &mut Quiet) {
        if let Some(limit) = self.limit {
            return self.answers.push(Answer::of(limit.into()));
        }
        let Ok(contestant) = &mut self.contestant else { return };
        let look = || (row.mode != Mode::OneCore).then(nearness::look).flatten();
        let mut tries = 0;
        let result = loop {
            tries += 1;
            let begun = Instant::now();
            let before = look();
            let watch = Watch::start();
            let result = contestant.ask(options.budget);
            let others = watch.others(result.as_ref().map_or(0.0, |answer| answer.cpus));
            let apart = nearness::settled(before, look());
            let is_moved = before.is_some() && apart.is_none();
            if tries == TRIES || result.is_err() || !quiet.is_disturbed(others, is_moved) {
                quiet.note(others, apart);
                break result.map(|answer| Answer { apart, ..answer });
            }
            quiet.spend(begun.elapsed());
            quiet.wait();
        };
        match result.and_then(|answer| shown(row, answer)) {
            Ok(Answer { skipped: Some(reason), .. }) | Err(reason) => self.contestant = Err(reason),
            Ok(answer) => self.answers.push(answer),
        }
    }

    /// One that failed in any round is out: its rounds would pair with others'.
    fn finish(self) -> Measured {
        match self.contestant {
            Err(reason) if self.limit.is_none() => Measured { answers: Vec::new(), skipped: Some(reason) },
            _ => Measured { answers: self.answers, skipped: None },
        }
    }
}

/// With the tail as its value, where the row is about that.
fn shown(row: &Row, answer: Answer) -> Result<Answer, String> {
    if !row.is_of_tail() || answer.skipped.is_some() {
        return Ok(answer);
    }
    let value = answer.p99.or(answer.max).ok_or("it says nothing about the tail")?;
    Ok(Answer { value, ..answer })
}

/// For tests of what is made of answers.
#[cfg(test)]
pub(super) fn measured(values: &[f64]) -> Measured {
    Measured { answers: values.iter().map(|value| Answer::of(*value)).collect(), skipped: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ours: &[f64], bound: &[f64], cpython: &[f64], target: f64) -> Outcome {
        let row = Row::times("sync/event", Mode::OneCore, "event", 2)
            .against("bound", By::Bound("futex"), 0.8)
            .against("cpython", By::Python("sync.py", "Event"), target);
        let others = row.systems.iter().cloned().zip([measured(bound), measured(cpython)]).collect();
        Outcome { row, ours: measured(ours), others }
    }

    #[test]
    fn what_the_bound_does_not_reach_is_said() {
        let outcome = outcome(&[4.0; 3], &[3.8; 3], &[12.0; 3], 4.0);
        let [(bound, its), (cpython, theirs)] = &outcome.others[..] else { panic!("two others") };
        assert_eq!(outcome.verdict(cpython, theirs), Some(Verdict::NotMet));
        let best = outcome.out_of_reach(cpython, theirs).expect("the bound is too slow");
        assert!((best - 12.0 / 3.8).abs() < 1e-9);
        assert_eq!(outcome.out_of_reach(bound, its), None);
    }

    #[test]
    fn what_the_bound_reaches_is_ours_to_reach() {
        let outcome = outcome(&[4.0; 3], &[2.0; 3], &[12.0; 3], 4.0);
        let (cpython, theirs) = &outcome.others[1];
        assert_eq!(outcome.out_of_reach(cpython, theirs), None);
    }

    #[test]
    fn states_are_not_mixed() {
        let mut outcome = outcome(&[1.0; 6], &[1.0; 6], &[2.0, 2.0, 2.0, 6.0, 6.0, 6.0], 4.0);
        let looks = [490.0, 490.0, 490.0, 100.0, 100.0, 100.0];
        let all = outcome.others.iter_mut().map(|(_, measured)| measured).chain([&mut outcome.ours]);
        for measured in all {
            for (answer, look) in measured.answers.iter_mut().zip(looks) {
                answer.apart = Some(look);
            }
        }
        let (cpython, theirs) = &outcome.others[1];
        let [ratio, nearer] = [outcome.ratio(cpython, theirs), outcome.nearer(cpython, theirs)];
        assert_eq!([ratio, nearer].map(|ratio| ratio.map(|ratio| ratio.middle)), [Some(2.0), Some(6.0)]);
        assert_eq!(outcome.verdict(cpython, theirs), Some(Verdict::NotMet));
    }
}
