//! Medians, their uncertainty, and verdicts.

mod states;

use serde::{Deserialize, Serialize};

pub use states::{LEAST, Round, State, is_same, states};

/// The value under which a share of the values lie, which must be in order.
#[must_use]
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        len => sorted[((len - 1) as f64 * share).round() as usize],
    }
}

/// The middle value; of two middle ones their mean.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

/// A median and the interval that holds the true one in nine cases of ten.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The middle of the rounds.
    pub middle: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl Estimate {
    /// From the rounds' values. The interval goes from the k-th lowest to the k-th
    /// highest, which needs no shape of the noise.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        Self::with_doubt(values, 0.1)
    }

    /// As [`of`](Self::of), with an interval that misses the true median no more often than
    /// that, if there are enough values for it.
    #[must_use]
    pub fn with_doubt(values: &[f64], doubt: f64) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let cut = cut(sorted.len(), doubt);
        let end = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self { middle: median(&sorted), low: end(cut), high: end(last - cut.min(last)) }
    }

    /// Whether the estimate reaches a target.
    #[must_use]
    pub fn reaches(&self, target: f64) -> Verdict {
        if self.low >= target {
            Verdict::Met
        } else if self.high < target {
            Verdict::NotMet
        } else {
            Verdict::WithinNoise
        }
    }
}

/// Whether a target is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The whole interval is on the right side.
    #[serde(rename = "met")]
    Met,
    /// The whole interval is on the wrong side.
    #[serde(rename = "not met")]
    NotMet,
    /// The target lies in the interval.
    #[serde(rename = "within noise")]
    WithinNoise,
}

impl Verdict {
    /// The words in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::WithinNoise => "within noise",
        }
    }
}

/// How many of `rounds` values may be left away at each end of the interval: the
/// chance that the true median lies outside is that of so few heads, or fewer, or of
/// so few tails, among as many coins.
fn cut(rounds: usize, doubt: f64) -> usize {
    let mut term = 0.5f64.powi(rounds as i32);
    let mut below = 0.0;
    for heads in 0..rounds {
        below += term;
        if 2.0 * below > doubt {
            return heads.saturating_sub(1);
        }
        term *= (rounds - heads) as f64 / (heads + 1) as f64;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn few_rounds_leave_nothing_away() {
        // With five coins, all alike has a chance of 1 in 16; with eight, at most one other 7 in 100.
        assert_eq!([3, 5, 7, 8, 9, 11].map(|rounds| cut(rounds, 0.1)), [0, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn less_doubt_leaves_less_away() {
        assert_eq!([0.1, 0.01, 0.001, 0.0001].map(|doubt| cut(15, doubt)), [3, 2, 1, 0]);
    }

    #[test]
    fn a_target_inside_the_interval_is_within_noise() {
        let estimate = Estimate::of(&[1.0, 1.1, 1.2, 1.3, 1.4]);
        assert_eq!(estimate.reaches(0.9), Verdict::Met);
        assert_eq!(estimate.reaches(1.25), Verdict::WithinNoise);
        assert_eq!(estimate.reaches(1.5), Verdict::NotMet);
    }
}
