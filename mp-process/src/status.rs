//! How a process ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a process ended, as far as the system told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    ending: Ending,
    memory: Option<OutOfMemory>,
}

/// Why a process is thought to have ended for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutOfMemory {
    /// It was killed, not by this process, and the system has counted one more process
    /// that it killed because a control group or the machine had no memory left.
    Killed,
    /// A guess: it aborted, as a program does when it is refused memory, and its memory
    /// was [limited](crate::Resource::Memory).
    Guessed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    Exited(i32),
    Signaled {
        signal: i32,
        core_dumped: bool,
    },
    /// Another part of the program collected the status, or the server that forked
    /// the process ended before it could tell.
    Unknown,
}

impl ExitStatus {
    pub(crate) fn new(ending: Ending) -> Self {
        Self { ending, memory: None }
    }

    pub(crate) fn for_want_of_memory(mut self, why: OutOfMemory) -> Self {
        self.memory = Some(why);
        self
    }

    /// Whether it ended because there was no memory left, as far as can be told.
    #[must_use]
    pub fn out_of_memory(self) -> Option<OutOfMemory> {
        self.memory
    }

    /// Whether it exited with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self.code() == Some(0)
    }

    /// The code it exited with, if it exited.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        if let Ending::Exited(code) = self.ending { Some(code) } else { None }
    }

    /// The number of the signal that killed it, if one did.
    #[must_use]
    pub fn signal(self) -> Option<i32> {
        if let Ending::Signaled { signal, .. } = self.ending { Some(signal) } else { None }
    }

    /// The name of the signal that killed it, if one did.
    #[must_use]
    pub fn signal_name(self) -> Option<String> {
        self.signal().map(signal_name)
    }

    /// Whether the system wrote a core file.
    #[must_use]
    pub fn core_dumped(self) -> bool {
        matches!(self.ending, Ending::Signaled { core_dumped: true, .. })
    }

    /// Whether the status was lost: some other code of this program waits for children
    /// that are not its own or ignores the signal of their end, or the server that
    /// forked the process was killed.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        self.ending == Ending::Unknown
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ending {
            Ending::Exited(code) => write!(f, "exited with code {code}"),
            Ending::Signaled { signal, core_dumped } => {
                write!(f, "was killed by {}", signal_name(signal))?;
                if core_dumped {
                    f.write_str(" and dumped core")?;
                }
                match self.memory {
                    Some(OutOfMemory::Killed) => f.write_str(" by the system, which had no memory left"),
                    Some(OutOfMemory::Guessed) => f.write_str(", perhaps because it was refused more memory"),
                    None => Ok(()),
                }
            }
            Ending::Unknown => f.write_str(
                "ended, and its status is unknown because some other code of this program collected it, \
                 or because the server that forked it ended",
            ),
        }
    }
}

/// Signals by their numbers in POSIX.
pub(crate) const ABORTED: i32 = 6;
pub(crate) const KILLED: i32 = 9;

/// The usual name of a signal of POSIX.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT (abort)",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV (invalid memory access)",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU (its limit of CPU time)",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
