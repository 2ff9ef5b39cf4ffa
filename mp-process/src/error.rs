//! The one error of this crate.

use std::fmt;
use std::io;
use std::time::Duration;

use ipc_core::{DecodeError, EncodeError};

use crate::panic::Panic;
use crate::status::ExitStatus;

/// A process could not be started, or ended without its value.
///
/// Its text says what happened and what can be done; the predicates tell the
/// kinds apart.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_process::Process;
///
/// let error = Process::<u32>::spawn(|x: u32| panic!("no {x} here"), 1)?.join().unwrap_err();
/// assert_eq!(error.panic().unwrap().message(), "no 1 here");
/// let error = Process::<u32>::spawn(|()| std::process::abort(), ())?.join().unwrap_err();
/// assert!(error.status().is_some() && !error.is_panic());
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct ProcessError(Box<Kind>);

/// The text, which is what `main` shows of an error that it returns, and `unwrap`
/// of one that it met.
impl fmt::Debug for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    #[error(
        "this program has not called `init()`: add `multiprocess::init();` (or that of `mp_process`, `mp_pool` or \
         `mp_manager`) as the first line of `main`, or `multiprocess::test_support!();` at the root of a test file, because a child is this \
         program started again and turns off there"
    )]
    NotInitialised,
    #[error(
        "processes are nested {0} deep, which looks like children that start children without end: check that what \
         runs in a child does not start the whole program again"
    )]
    TooDeep(u32),
    #[error("the function cannot run in a child: {0}")]
    Function(&'static str),
    #[error("the argument could not be sent: {0}")]
    Argument(#[source] EncodeError),
    #[error("the process could not be started: {0}")]
    Start(#[source] io::Error),
    #[error(
        "this process cannot be forked while it has threads of its own ({0}), because what they have locked would \
         stay locked in the child: start it before them, or with `StartMethod::ForkServer` or `StartMethod::Spawn`"
    )]
    Threads(String),
    #[error("the process {pid} refused to start: {reason}")]
    Refused { pid: u32, reason: String },
    #[error(
        "the process {pid} {status} before it reached `init()`: call `multiprocess::init()` first in `main`, before \
         anything that may end the program"
    )]
    NoInit { pid: u32, status: ExitStatus },
    #[error("the function panicked: {0}")]
    Panicked(Panic),
    #[error(
        "a stack of process {pid} overflowed: its function recurses too deeply or keeps too much on the stack"
    )]
    StackOverflow { pid: u32, status: ExitStatus },
    #[error("the process {pid} {status} before its function returned")]
    Ended { pid: u32, status: ExitStatus },
    #[error("the process {pid} could not decode its argument, so its function did not run: {reason}")]
    BadArgument { pid: u32, reason: String },
    #[error("the function returned, but process {pid} could not send its value back: {reason}")]
    BadResult { pid: u32, reason: String },
    #[error("the function returned, but its value could not be decoded: {0}")]
    Undecodable(#[source] DecodeError),
    #[error(
        "the process {pid} has not ended after {waited:?}: it runs on, and can be waited for again or killed"
    )]
    Timeout { pid: u32, waited: Duration },
    #[error(
        "the value of this process has been taken already, by an earlier `join_timeout`: keep what the first one \
         returned"
    )]
    Taken,
    #[error("{doing} failed: {source}")]
    System { doing: &'static str, source: io::Error },
}

impl ProcessError {
    pub(crate) fn kind(&self) -> &Kind {
        &self.0
    }

    /// `init()` has not been called in this program.
    #[must_use]
    pub fn is_not_initialised(&self) -> bool {
        matches!(self.kind(), Kind::NotInitialised)
    }

    /// The process never began its function.
    #[must_use]
    pub fn is_start_failure(&self) -> bool {
        matches!(
            self.kind(),
            Kind::NotInitialised
                | Kind::TooDeep(_)
                | Kind::Function(_)
                | Kind::Argument(_)
                | Kind::Start(_)
                | Kind::Threads(_)
                | Kind::Refused { .. }
                | Kind::NoInit { .. }
        )
    }

    /// The process cannot be forked because it has threads.
    #[must_use]
    pub fn is_threads(&self) -> bool {
        matches!(self.kind(), Kind::Threads(_))
    }

    /// The function panicked; see [`panic`](Self::panic).
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.panic().is_some()
    }

    /// The panic that ended the function.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        if let Kind::Panicked(panic) = self.kind() { Some(panic) } else { None }
    }

    /// The stack of one of its threads overflowed. [`signal`](Self::signal) is `SIGSEGV` for that of the
    /// function itself, and `SIGABRT` for that of a thread of `std`, which says on the standard error
    /// stream which one it was. On threads that C code has made, and on all but the first where
    /// [`test_support!`](crate::test_support) takes the place of `init`, it is a `SIGSEGV` as other faults are.
    #[must_use]
    pub fn is_stack_overflow(&self) -> bool {
        matches!(self.kind(), Kind::StackOverflow { .. })
    }

    /// The deadline passed first; the process still runs.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind(), Kind::Timeout { .. })
    }

    /// The argument or the value could not be encoded or decoded.
    #[must_use]
    pub fn is_codec(&self) -> bool {
        matches!(
            self.kind(),
            Kind::Argument(_) | Kind::BadArgument { .. } | Kind::BadResult { .. } | Kind::Undecodable(_)
        )
    }

    /// The process ended because there was no memory left, as far as can be told: see
    /// [`ExitStatus::out_of_memory`].
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.status().is_some_and(|status| status.out_of_memory().is_some())
    }

    /// How the process ended, if it ended before its function returned.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        match self.kind() {
            Kind::Ended { status, .. } | Kind::StackOverflow { status, .. } | Kind::NoInit { status, .. } => {
                Some(*status)
            }
            _ => None,
        }
    }

    /// The code the process exited with before its function returned.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.status().and_then(ExitStatus::code)
    }

    /// The signal that killed the process before its function returned.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status().and_then(ExitStatus::signal)
    }
}

impl From<Kind> for ProcessError {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}
