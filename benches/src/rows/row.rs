//! A row of the report.

use crate::contest::Mode;

/// What 99 of 100 times stay under.
const TAIL: &str = "p99";

/// One question in one mode, those who answer it, and what is expected.
#[derive(Debug, Clone)]
pub struct Row {
    /// `area/what`, as users name it.
    pub name: String,
    /// Where the parties run.
    pub mode: Mode,
    /// What the contestants are asked.
    pub question: &'static str,
    /// With which number.
    pub number: usize,
    /// What the values are, where they are neither times nor rates.
    pub metric: Option<&'static str>,
    /// Of the values.
    pub unit: &'static str,
    /// Which values are good.
    pub better: Better,
    /// Whom we are compared with.
    pub systems: Vec<System>,
    /// Measured for its growth: only when asked for, or in a full run.
    pub grows: bool,
    /// We and the bounds answer in a program that contains no more than that.
    pub small: bool,
}

/// Which values are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Times, and what is used up.
    Less,
    /// Rates.
    More,
}

/// Somebody we are compared with.
#[derive(Debug, Clone)]
pub struct System {
    /// `bound`, or a rival's name.
    pub name: &'static str,
    /// Who answers.
    pub by: By,
    /// The least ratio that is wanted.
    pub target: Option<f64>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// This build.
    Ours,
    /// Another build of this project.
    Build,
    /// This build, asked another question with another number.
    Ourselves(&'static str, usize),
    /// The bound of that name.
    Bound(&'static str),
    /// A script and what it is told to use.
    Python(&'static str, &'static str),
    /// A program of the rivals' package, and what it is told to use.
    Rival(&'static str, &'static str),
    /// Nobody: so much, in the row's unit, is allowed.
    Limit(u32),
}

impl Row {
    /// A row of times.
    #[must_use]
    pub fn times(name: impl Into<String>, mode: Mode, question: &'static str, number: usize) -> Self {
        let (name, systems, unit) = (name.into(), Vec::new(), "µs");
        let (metric, better) = (None, Better::Less);
        Self { name, mode, question, number, metric, unit, better, systems, grows: false, small: false }
    }

    /// A row of rates.
    #[must_use]
    pub fn rates(name: impl Into<String>, mode: Mode, question: &'static str, number: usize) -> Self {
        Self { unit: "/s", better: Better::More, ..Self::times(name, mode, question, number) }
    }

    /// A row of how much of something is used up.
    #[must_use]
    pub fn amounts(name: impl Into<String>, question: &'static str, number: usize) -> Self {
        let row = Self::times(name, Mode::Free, question, number);
        Self { metric: Some("bytes"), unit: "B", ..row }
    }

    /// Where the parties run, if that is not left to the scheduler.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// With another thing that there is an amount of.
    #[must_use]
    pub fn of(mut self, metric: &'static str) -> Self {
        (self.metric, self.unit) = (Some(metric), metric);
        self
    }

    /// What most times stay under, and not the middle one.
    #[must_use]
    pub fn of_tail(mut self) -> Self {
        self.metric = Some(TAIL);
        self
    }

    /// Whether the row is about the tail of its times.
    #[must_use]
    pub fn is_of_tail(&self) -> bool {
        self.metric == Some(TAIL)
    }

    /// With another unit.
    #[must_use]
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// The work grows along rows of one question.
    #[must_use]
    pub fn grows(mut self) -> Self {
        self.grows = true;
        self
    }

    /// We and the bounds answer in a program that contains no more than that.
    #[must_use]
    pub fn small(mut self) -> Self {
        self.small = true;
        self
    }

    /// With a system that is reported.
    #[must_use]
    pub fn beside(mut self, name: &'static str, by: By) -> Self {
        self.systems.push(System { name, by, target: None });
        self
    }

    /// With a system to which a least ratio is wanted.
    #[must_use]
    pub fn against(mut self, name: &'static str, by: By, target: f64) -> Self {
        self.systems.push(System { name, by, target: Some(target) });
        self
    }

    /// With a limit that the value is to stay under.
    #[must_use]
    pub fn within(self, limit: u32) -> Self {
        self.against("limit", By::Limit(limit), 1.0)
    }

    /// Above 1 means that the first value is better.
    #[must_use]
    pub fn ratio(&self, ours: f64, other: f64) -> f64 {
        match self.better {
            Better::Less => other / ours,
            Better::More => ours / other,
        }
    }

    /// What its name begins with, such as `ipc`.
    #[must_use]
    pub fn area(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_one_means_that_ours_is_better() {
        let times = Row::times("ipc/a", Mode::Hot, "a", 8);
        assert_eq!(times.ratio(2.0, 10.0), 5.0);
        let rates = Row::rates("ipc/a", Mode::Hot, "a", 8);
        assert_eq!(rates.ratio(10.0, 2.0), 5.0);
        assert_eq!(rates.area(), "ipc");
    }
}
