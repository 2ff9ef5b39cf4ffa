//! How a process is to be started.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ipc_core::{Message, SendError};

use crate::boot;
use crate::child::Child;
use crate::error::{Kind, ProcessError};
use crate::exit;
use crate::function::{FOREIGN_CODE, Function};
use crate::init;
use crate::process::{Process, current_process};
use crate::sys::spawn::{self, Command};

/// Sets how a process is started and what becomes of it; made by
/// [`Process::builder`].
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_process::{Process, current_process};
///
/// let child = Process::builder()
///     .name("reader")
///     .env("LEVEL", "3")
///     .spawn(|()| (current_process().name().to_owned(), std::env::var("LEVEL").ok()), ())?;
/// assert_eq!(child.join()?, ("reader".to_owned(), Some("3".to_owned())));
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    name: Option<String>,
    env: Vec<(OsString, OsString)>,
    kill_on_drop: bool,
    grace_at_exit: Duration,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { name: None, env: Vec::new(), kill_on_drop: false, grace_at_exit: exit::DEFAULT_GRACE }
    }

    /// The process's name, for [`current_process`] and tools. `Process-1`, `Process-2`
    /// and so on unless set; those of a child are `Process-1:1` and so on.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets a variable of the child's environment, which is otherwise this process's.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Kills the child when its [`Process`] is dropped, and does not wait for it at
    /// the end of `main`. Off unless set.
    #[doc(alias = "daemon")]
    #[must_use]
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kill_on_drop = kill;
        self
    }

    /// How long the end of `main` waits for the child before it is killed: ten
    /// seconds unless set.
    #[must_use]
    pub fn join_at_exit(mut self, grace: Duration) -> Self {
        self.grace_at_exit = grace;
        self
    }

    /// Starts a process that runs `function` with `arg`.
    ///
    /// The argument is encoded before the child is started; handles and channel
    /// ends in it go along.
    ///
    /// # Errors
    /// A [`ProcessError`] for which [`is_start_failure`](ProcessError::is_start_failure)
    /// holds: [`init`](crate::init()) was not called, the argument does not encode,
    /// or the system refuses. No child is left behind.
    pub fn spawn<A: Message, R: Message>(
        self,
        function: fn(A) -> R,
        arg: A,
    ) -> Result<Process<R>, ProcessError> {
        let depth = init::may_start()?;
        if Function::new(function).offset().is_none() {
            return Err(Kind::Function(FOREIGN_CODE).into());
        }
        let name = self.name.unwrap_or_else(next_name);
        let mut orders = boot::orders(&name, function, &arg).map_err(Kind::Argument)?;
        exit::collect_orphans();
        let spawned = spawn::spawn(Command { env: self.env, depth }).map_err(Kind::Start)?;
        let child = Arc::new(Child::new(spawned.child, spawned.link));
        match child.order(&mut orders) {
            // A child that has ended already is met by `join`, which knows how.
            Ok(()) | Err(SendError::Closed) => {}
            Err(error) => {
                let _ = child.signal(crate::sys::end::Request::Kill);
                return Err(Kind::Start(std::io::Error::other(error)).into());
            }
        }
        if !self.kill_on_drop {
            exit::await_at_exit(&child, self.grace_at_exit);
        }
        Ok(Process::new(child, name, self.kill_on_drop))
    }
}

fn next_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let own = current_process();
    if own.is_child() { format!("{}:{number}", own.name()) } else { format!("Process-{number}") }
}
