//! A question, and how a contestant is asked it and answers.
//!
//! A contestant is a program that is given a question, a mode and a number as its
//! last three arguments. It then answers each line `go MILLISECONDS` on its standard
//! input with one [`Answer`] as a line of JSON, having measured for about that long,
//! and leaves when the input ends. Between two answers it sleeps, and has no child
//! that does not.

use std::env;
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::kernel::cpu_time;

/// What is to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The shape, such as `roundtrip`.
    pub question: String,
    /// Where the parties run and whether they sleep.
    pub mode: Mode,
    /// The size of a message, the number of workers, and so on.
    pub number: usize,
    /// How long to measure.
    pub budget: Duration,
}

/// Where the parties run and whether they sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Two parties on two processors, each answering at once.
    #[serde(rename = "hot")]
    Hot,
    /// Two parties on two processors; the other one has gone to sleep each time.
    #[serde(rename = "asleep")]
    Asleep,
    /// Both parties on one processor.
    #[serde(rename = "one-core")]
    OneCore,
    /// The scheduler decides.
    #[serde(rename = "free")]
    Free,
}

/// How long the other party is left alone in [`Mode::Asleep`].
pub const NAP: Duration = Duration::from_micros(250);

impl Mode {
    /// The name in tables and on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Asleep => "asleep",
            Self::OneCore => "one-core",
            Self::Free => "free",
        }
    }

    /// The mode of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Hot, Self::Asleep, Self::OneCore, Self::Free].into_iter().find(|mode| mode.name() == name)
    }

    /// The processors of the party that asks and of the one that answers.
    #[must_use]
    pub fn processors(self) -> [Option<usize>; 2] {
        match self {
            Self::Hot | Self::Asleep => [Some(0), Some(1)],
            Self::OneCore => [Some(0), Some(0)],
            Self::Free => [None, None],
        }
    }
}

/// What a contestant measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Why nothing was measured.
    pub skipped: Option<String>,
    /// In the row's unit; a median, if it is a time.
    pub value: f64,
    /// The time that 99 of 100 stay under.
    pub p99: Option<f64>,
    /// The time that 999 of 1000 stay under, if there were as many.
    pub p999: Option<f64>,
    /// The longest time.
    pub max: Option<f64>,
    /// Processor seconds for each second of the measurement, children included.
    pub cpus: f64,
    /// What must be the same for all contestants of a row.
    pub check: Option<u64>,
    /// How far apart the processors were before and after, where that was the same: whoever
    /// asks knows this.
    #[serde(skip)]
    pub apart: Option<f64>,
}

impl Answer {
    /// A single figure.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self { value, ..Self::default() }
    }

    /// Nothing, and why.
    pub fn skip(reason: impl ToString) -> Self {
        Self { skipped: Some(reason.to_string()), ..Self::default() }
    }
}

/// What went wrong with a measurement.
pub type Failure = Box<dyn std::error::Error>;

/// Answers as a contestant until the input ends. `arguments` are those that name
/// the job, and `measure` gives `None` for a question it does not know.
///
/// # Errors
/// The arguments name no job, or the pipe to whoever asks is broken.
pub fn serve(
    arguments: &[String],
    measure: impl Fn(&Job) -> Option<Result<Answer, Failure>>,
) -> Result<(), Failure> {
    let mut job = Job::parse(arguments)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let budget = line.strip_prefix("go ").and_then(|budget| budget.parse().ok());
        job.budget = Duration::from_millis(budget.ok_or("expected `go MILLISECONDS`")?);
        let answer = timed(|| measure(&job));
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

/// The whole of a contestant's `main`, where it has no other command.
///
/// # Errors
/// As [`serve`].
pub fn serve_main(measure: impl Fn(&Job) -> Option<Result<Answer, Failure>>) -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    serve(&arguments, measure)
}

impl Job {
    /// How many messages are sent between two looks at the clock.
    #[must_use]
    pub fn unwatched(&self) -> u64 {
        if self.number < 1 << 20 { 64 } else { 1 }
    }

    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let [question, mode, number] = arguments else {
            return Err("expected QUESTION MODE NUMBER".into());
        };
        let mode = Mode::named(mode).ok_or("no such mode")?;
        Ok(Self { question: question.clone(), mode, number: number.parse()?, budget: Duration::ZERO })
    }
}

fn timed(measure: impl FnOnce() -> Option<Result<Answer, Failure>>) -> Answer {
    let (begin, cpu) = (Instant::now(), cpu_time());
    let mut answer = match measure() {
        None => Answer::skip("does not answer this question"),
        Some(Ok(answer)) => answer,
        Some(Err(failure)) => Answer::skip(failure),
    };
    let spent = cpu_time().saturating_sub(cpu);
    answer.cpus = spent.as_secs_f64() / begin.elapsed().as_secs_f64();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_three_words() {
        let words = ["roundtrip", "one-core", "8"].map(String::from);
        let job = Job::parse(&words).unwrap();
        assert_eq!((job.question.as_str(), job.mode, job.number), ("roundtrip", Mode::OneCore, 8));
        assert!(Job::parse(&words[1..]).is_err());
    }

    #[test]
    fn an_answer_may_leave_things_out() {
        let answer: Answer = serde_json::from_str(r#"{"value": 2.5, "p99": 3.0}"#).unwrap();
        assert_eq!(answer, Answer { p99: Some(3.0), ..Answer::of(2.5) });
    }
}
