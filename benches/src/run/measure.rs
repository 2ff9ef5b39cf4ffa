//! One row: all contestants in turns, round after round.

use super::contestant::Contestant;
use super::options::Options;
use super::quiet::{Quiet, Watch};
use crate::contest::{Answer, Failure};
use crate::rows::{By, Row, System};
use crate::stats::{Estimate, Verdict, median};

/// What came of a row.
pub(super) struct Outcome {
    pub(super) row: Row,
    pub(super) ours: Measured,
    pub(super) others: Vec<(System, Measured)>,
}

/// The answers of one contestant, one for each round, or why there are none.
pub(super) struct Measured {
    pub(super) answers: Vec<Answer>,
    pub(super) skipped: Option<String>,
}

/// How many times a measurement that others disturbed is made again.
const TRIES: usize = 3;

/// Measures a row in so many rounds.
pub(super) fn row(
    row: &Row,
    rounds: usize,
    options: &Options,
    quiet: &mut Quiet,
) -> Result<Outcome, Failure> {
    let by = row.systems.iter().map(|system| system.by);
    let mut contestants: Vec<Turn> =
        [By::Ours].into_iter().chain(by).map(|by| Turn::new(by, row, options)).collect();
    for round in 0..rounds {
        quiet.wait();
        // Nobody is always the one who comes after another.
        let count = contestants.len();
        for index in 0..count {
            contestants[(round + index) % count].take(options, quiet);
        }
    }
    let mut measured = contestants.into_iter().map(Turn::finish);
    let ours = measured.next().ok_or("nobody was asked")?;
    let others: Vec<_> = row.systems.iter().cloned().zip(measured).collect();
    let outcome = Outcome { row: row.clone(), ours, others };
    outcome.agree()?;
    Ok(outcome)
}

impl Outcome {
    /// The ratios to another one, round by round: above 1 means that ours is better.
    pub(super) fn ratio(&self, other: &Measured) -> Option<Estimate> {
        let pairs = self.ours.answers.iter().zip(&other.answers);
        let ratios: Vec<f64> = pairs.map(|(ours, other)| self.row.ratio(ours.value, other.value)).collect();
        (!ratios.is_empty()).then(|| Estimate::of(&ratios))
    }

    /// Whether the target is reached, where there is one.
    pub(super) fn verdict(&self, system: &System, other: &Measured) -> Option<Verdict> {
        Some(self.ratio(other)?.reaches(system.target?))
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

    fn take(&mut self, options: &Options, quiet: &mut Quiet) {
        if let Some(limit) = self.limit {
            return self.answers.push(Answer::of(limit.into()));
        }
        let Ok(contestant) = &mut self.contestant else { return };
        let mut tries = 0;
        let result = loop {
            tries += 1;
            let watch = Watch::start();
            let result = contestant.ask(options.budget);
            let others = watch.others(result.as_ref().map_or(0.0, |answer| answer.cpus));
            if tries == TRIES || result.is_err() || !quiet.is_disturbed(others) {
                quiet.note(others);
                break result;
            }
            quiet.wait();
        };
        match result {
            Ok(Answer { skipped: Some(reason), .. }) | Err(reason) => self.contestant = Err(reason),
            Ok(answer) => self.answers.push(answer),
        }
    }

    /// One that failed in any round is out: its rounds would pair with others'.
    fn finish(self) -> Measured {
        match self.contestant {
            _ if self.limit.is_some() => Measured { answers: self.answers, skipped: None },
            Ok(_) => Measured { answers: self.answers, skipped: None },
            Err(reason) => Measured { answers: Vec::new(), skipped: Some(reason) },
        }
    }
}
