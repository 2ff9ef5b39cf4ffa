//! When a map should stop because too much of it fails.

use std::fmt;

use crate::error::TaskError;

/// How many items of a map may fail before the rest is not worth running; for
/// [`Pool::map_while`](crate::Pool::map_while).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum StopRule {
    /// So many may fail, and with the next the map stops.
    Failures(usize),
    /// So large a share of the items that are done may fail, from 0 to 1. It is looked
    /// at once so many are done.
    Share {
        /// The share.
        most: f64,
        /// How many items are to be done first.
        after: usize,
    },
}

impl StopRule {
    pub(crate) fn stops(self, failed: usize, done: usize) -> bool {
        match self {
            Self::Failures(most) => failed > most,
            Self::Share { most, after } => done >= after && failed as f64 > most * done as f64,
        }
    }
}

/// Puts the outcomes in order, for as long as no more fail than `rule` allows. One that has no
/// place is the end of the pool.
pub(crate) fn gather<R>(
    rule: StopRule,
    placed: impl Iterator<Item = (Option<usize>, Result<R, TaskError>)>,
) -> Result<Vec<Result<R, TaskError>>, Stopped<R>> {
    let mut outcomes: Vec<Option<Result<R, TaskError>>> = Vec::new();
    let (mut failed, mut done) = (0, 0);
    for (place, outcome) in placed {
        let place = place.unwrap_or(outcomes.len());
        outcomes.resize_with(outcomes.len().max(place + 1), || None);
        done += 1;
        failed += usize::from(outcome.is_err());
        let is_end = outcome.as_ref().is_err_and(|error| error.pool_error().is_some());
        outcomes[place] = Some(outcome);
        if is_end || rule.stops(failed, done) {
            return Err(Stopped { outcomes, failed, done });
        }
    }
    Ok(outcomes.into_iter().flatten().collect())
}

/// A map that a [`StopRule`] stopped, with what had come by then.
pub struct Stopped<R> {
    outcomes: Vec<Option<Result<R, TaskError>>>,
    failed: usize,
    done: usize,
}

impl<R> Stopped<R> {
    /// How many items failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// How many items were done, those that failed included.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done
    }

    /// What had come, in the order of the items; `None` for those that were not done.
    /// Items behind the last one that was done are left out.
    #[must_use]
    pub fn into_outcomes(self) -> Vec<Option<Result<R, TaskError>>> {
        self.outcomes
    }

    fn first_error(&self) -> Option<&TaskError> {
        self.outcomes.iter().flatten().find_map(|outcome| outcome.as_ref().err())
    }
}

impl<R> fmt::Display for Stopped<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the map was stopped: {} of {} items failed", self.failed, self.done)?;
        match self.first_error() {
            Some(error) => write!(f, ", the first: {error}"),
            None => Ok(()),
        }
    }
}

impl<R> fmt::Debug for Stopped<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<R> std::error::Error for Stopped<R> {}

#[cfg(test)]
mod tests {
    use super::StopRule;

    #[test]
    fn rules_count_as_they_say() {
        assert!(!StopRule::Failures(2).stops(2, 2) && StopRule::Failures(2).stops(3, 3));
        let share = StopRule::Share { most: 0.25, after: 8 };
        assert!(!share.stops(7, 7) && !share.stops(2, 8) && share.stops(3, 8));
    }
}
