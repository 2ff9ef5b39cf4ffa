//! A list of trials, run one after the other and ended by the census.

use std::env;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipc_core::raw::{DeathNotice, ProcessId, Region};
use libtest_mimic::{Arguments, Completion, Failed};

use super::Trial;
use crate::census::{Census, PATIENCE};
use crate::sys::{disposition, tag};

/// How long a trial may take, beside [`soak_time`], when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The exit code of a suite that failed, as libtest's.
const FAILED: u8 = 101;

/// Runs `trials` as a suite with the usual settings. To be called first in `main`.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    Suite::new(trials).run()
}

/// How long a soak goes on: `MP_SOAK_SECONDS`, or two seconds.
pub fn soak_time() -> Duration {
    let given = env::var("MP_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(2))
}

/// Trials and the settings they share.
pub struct Suite {
    trials: Vec<Trial>,
    timeout: Duration,
    warm_up: Vec<fn()>,
    census: bool,
    patience: Duration,
}

impl Suite {
    /// A suite with a watchdog of [`DEFAULT_TIMEOUT`] and with a census at its end.
    pub fn new(trials: Vec<Trial>) -> Self {
        Suite {
            trials,
            timeout: DEFAULT_TIMEOUT + soak_time(),
            warm_up: Vec::new(),
            census: true,
            patience: PATIENCE,
        }
    }

    /// Sets how long a trial may take that says nothing itself.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs `function` before the first census, to open what is rightly kept for the life of
    /// the process.
    #[must_use]
    pub fn warm_up(mut self, function: fn()) -> Self {
        self.warm_up.push(function);
        self
    }

    /// Leaves the census out, for suites whose point is to leave something behind.
    #[must_use]
    pub fn without_census(mut self) -> Self {
        self.census = false;
        self
    }

    /// Sets for how long the census at the end waits, at the least, for what is left to go away.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs what the command line asks for. To be called first in `main`: in a child process it
    /// runs the child's work and does not return.
    pub fn run(self) -> ExitCode {
        tag::mark_this_tree();
        disposition::interrupts_are_heard();
        mp_process::init();
        self.run_here(Arguments::from_args())
    }

    fn run_here(self, mut arguments: Arguments) -> ExitCode {
        // Trials that start processes see each other's handles and children.
        let threads = *arguments.test_threads.get_or_insert(1);
        if !arguments.list {
            self.warm_up.iter().for_each(|function| function());
        }
        let timeout = self.timeout;
        let trials = self.trials.into_iter().map(|trial| trial.into_mimic(timeout));
        let mut trials: Vec<_> = trials.collect();
        if !self.census {
            return libtest_mimic::run(&arguments, trials).exit_code();
        }
        if !arguments.list {
            open_office_of_deaths();
        }
        let closing = Closing::new(self.patience);
        if threads == 1 {
            trials.push(closing.trial());
        }
        let conclusion = libtest_mimic::run(&arguments, trials);
        if arguments.list || closing.is_done() {
            return conclusion.exit_code();
        }
        closing.check_unlisted(conclusion.exit_code())
    }
}

/// The thread that tells of deaths keeps a pair of sockets for good. Which trial would be the first
/// to need it, and whether any does, may hang on chance.
fn open_office_of_deaths() {
    let notice = Region::create(1).and_then(|region| DeathNotice::new(ProcessId::current(), &region, 0, 1));
    // Where none can be had, the trials say so.
    drop(notice);
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("trials", &self.trials)
            .field("timeout", &self.timeout)
            .field("census", &self.census)
            .finish_non_exhaustive()
    }
}

/// The census at the end: a trial when it can be the last one, and otherwise (a filter, several
/// threads) a check after the conclusion.
struct Closing {
    start: Arc<Census>,
    done: Arc<AtomicBool>,
    patience: Duration,
}

impl Closing {
    fn new(patience: Duration) -> Self {
        Closing { start: Arc::new(Census::take()), done: Arc::new(AtomicBool::new(false)), patience }
    }

    fn trial(&self) -> libtest_mimic::Trial {
        let (start, done, patience) = (Arc::clone(&self.start), Arc::clone(&self.done), self.patience);
        libtest_mimic::Trial::ignorable_test("census", move || {
            done.store(true, Ordering::Relaxed);
            start.level_in(patience).map_err(Failed::from)?;
            Ok(Completion::Completed)
        })
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    fn check_unlisted(&self, otherwise: ExitCode) -> ExitCode {
        match self.start.level_in(self.patience) {
            Ok(()) => otherwise,
            Err(leaks) => {
                eprintln!("census: {leaks}");
                ExitCode::from(FAILED)
            }
        }
    }
}
