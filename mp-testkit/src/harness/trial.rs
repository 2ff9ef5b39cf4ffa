//! One test of a suite.

use std::fmt;
use std::time::Duration;

use libtest_mimic::{Completion, Failed};

use crate::watchdog::Watchdog;

type Body = Box<dyn FnOnce() -> Result<Completion, Failed> + Send>;

/// One test of a suite: a name, a function, and how long it may take.
pub struct Trial {
    name: String,
    body: Body,
    timeout: Option<Duration>,
    ignored: bool,
}

impl Trial {
    /// A trial that passes when `function` returns neither an error nor by a panic.
    pub fn new<T: Outcome>(name: impl Into<String>, function: impl FnOnce() -> T + Send + 'static) -> Self {
        Trial {
            name: name.into(),
            body: Box::new(move || function().completion()),
            timeout: None,
            ignored: false,
        }
    }

    /// Gives this trial a time of its own instead of the suite's.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs this trial only when ignored ones are asked for, with `--ignored`.
    #[must_use]
    pub fn ignored(mut self) -> Self {
        self.ignored = true;
        self
    }

    /// The name, as it is printed and as filters see it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn into_mimic(self, suite_timeout: Duration) -> libtest_mimic::Trial {
        let limit = self.timeout.unwrap_or(suite_timeout);
        let (name, body) = (self.name.clone(), self.body);
        libtest_mimic::Trial::ignorable_test(self.name, move || {
            let _watchdog = Watchdog::arm(&name, limit);
            body()
        })
        .with_ignored_flag(self.ignored)
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("ignored", &self.ignored)
            .finish_non_exhaustive()
    }
}

/// One trial per case, named `name::label`, each calling `function` with the case's value.
///
/// This is how one suite runs for each start method or backend:
///
/// ```ignore
/// let methods = [("spawn", StartMethod::Spawn), ("fork", StartMethod::Fork)];
/// trials.extend(variants("a_result_comes_back", methods, a_result_comes_back));
/// ```
pub fn variants<V, T>(
    name: &str,
    cases: impl IntoIterator<Item = (&'static str, V)>,
    function: fn(V) -> T,
) -> Vec<Trial>
where
    V: Send + 'static,
    T: Outcome + 'static,
{
    let trial = |(label, value)| Trial::new(format!("{name}::{label}"), move || function(value));
    cases.into_iter().map(trial).collect()
}

/// What a trial returns when this machine cannot run it, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip(pub String);

/// What the function of a trial may return.
pub trait Outcome {
    #[doc(hidden)]
    fn completion(self) -> Result<Completion, Failed>;
}

impl Outcome for () {
    fn completion(self) -> Result<Completion, Failed> {
        Ok(Completion::Completed)
    }
}

impl Outcome for Skip {
    fn completion(self) -> Result<Completion, Failed> {
        Ok(Completion::ignored_with(self.0))
    }
}

impl<T: Outcome> Outcome for Option<T> {
    fn completion(self) -> Result<Completion, Failed> {
        self.map_or(Ok(Completion::Completed), T::completion)
    }
}

impl<T: Outcome, E: fmt::Display> Outcome for Result<T, E> {
    fn completion(self) -> Result<Completion, Failed> {
        self.map_err(Failed::from)?.completion()
    }
}
