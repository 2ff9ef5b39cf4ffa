//! Whole programs, run and watched from outside: what Ctrl-C, a kill and a plain end leave.

mod output;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::output::{Captured, left_until};
use crate::chaos::{Descendant, descendants};
use crate::sys::signal;

/// A program to be run, with its arguments.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    command: Command,
}

impl Program {
    /// The program at `path`, for instance `env!("CARGO_BIN_EXE_name")`.
    pub fn at(path: impl Into<PathBuf>) -> Program {
        let path = path.into();
        let command = Command::new(&path);
        Program { path, command }
    }

    /// The example `name` of the same build as this test. `cargo test` builds examples unless
    /// one target is asked for.
    ///
    /// # Errors
    ///
    /// When it was not built.
    pub fn example(name: &str) -> io::Result<Program> {
        let path = profile_folder()?.join("examples").join(name);
        if path.is_file() {
            return Ok(Program::at(path));
        }
        let text = format!("{} is not built: cargo build --example {name}", path.display());
        Err(io::Error::new(ErrorKind::NotFound, text))
    }

    /// This test program itself, to be told by an argument or a variable what to do.
    ///
    /// # Errors
    ///
    /// When the path of this program is not known.
    pub fn this() -> io::Result<Program> {
        Ok(Program::at(env::current_exe()?))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Program {
        self.command.arg(argument.into());
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Program {
        self.command.env(name, value.into());
        self
    }

    /// Removes a variable of the environment.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Program {
        self.command.env_remove(name);
        self
    }

    /// Starts it in a process group of its own, with an empty input.
    ///
    /// # Errors
    ///
    /// When it cannot be started; the text names the path.
    pub fn start(mut self) -> io::Result<Running> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.process_group(0);
        let started = self.command.spawn();
        let mut child = started
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))?;
        Ok(Running {
            end: signal::open(child.id())?,
            stdout: Captured::read(child.stdout.take()),
            stderr: Captured::read(child.stderr.take()),
            child,
        })
    }

    /// Starts it, and waits as [`Running::finish`] does.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Program::start) and of [`Running::finish`].
    pub fn run(self, limit: Duration) -> io::Result<Finished> {
        self.start()?.finish(limit)
    }
}

/// A program that was started. Dropping it kills its whole process group.
pub struct Running {
    child: Child,
    end: OwnedFd,
    stdout: Arc<Captured>,
    stderr: Arc<Captured>,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes below it.
    pub fn descendants(&self) -> Vec<Descendant> {
        descendants(self.pid())
    }

    /// What Ctrl-C does: interrupts the program and all of its group.
    ///
    /// # Errors
    ///
    /// When the group is gone.
    pub fn ctrl_c(&self) -> io::Result<()> {
        signal::interrupt_group(self.pid())
    }

    /// Interrupts the program alone.
    ///
    /// # Errors
    ///
    /// When it is gone and reaped.
    pub fn interrupt(&self) -> io::Result<()> {
        signal::interrupt(self.pid())
    }

    /// Asks the program alone to end.
    ///
    /// # Errors
    ///
    /// When it is gone and reaped.
    pub fn terminate(&self) -> io::Result<()> {
        signal::terminate(self.pid())
    }

    /// Kills the program alone, and leaves its children to see to themselves.
    ///
    /// # Errors
    ///
    /// When it is gone and reaped.
    pub fn kill(&self) -> io::Result<()> {
        signal::kill(self.pid())
    }

    /// Waits for the next line of its output that has `part` in it. Lines before it are passed.
    ///
    /// # Errors
    ///
    /// When the output ends first, or `limit` is over; the text has all output so far.
    pub fn wait_for_line(&self, part: &str, limit: Duration) -> io::Result<String> {
        let found = self.stdout.next_line(part, Instant::now() + limit);
        found.map_err(|kind| self.error(kind, &format!("no line with `{part}`")))
    }

    /// Waits for the end of the program itself; those below it may live on.
    ///
    /// # Errors
    ///
    /// When `limit` is over; the text has all output so far.
    pub fn wait(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        while !signal::ended(&self.end, left_until(deadline))? {
            if Instant::now() >= deadline {
                return Err(self.error(ErrorKind::TimedOut, "still running"));
            }
        }
        self.child.wait()
    }

    /// Waits for the end of the program and of everything that holds its output.
    ///
    /// # Errors
    ///
    /// When `limit` is over; the text says which of the two it was, and has the output so far.
    pub fn finish(mut self, limit: Duration) -> io::Result<Finished> {
        let deadline = Instant::now() + limit;
        let status = self.wait(limit)?;
        for output in [&self.stdout, &self.stderr] {
            if !output.wait_for_end(deadline) {
                let text = "ended, but something that it left behind holds its output";
                return Err(self.error(ErrorKind::TimedOut, text));
            }
        }
        Ok(Finished { status, stdout: self.stdout.text(), stderr: self.stderr.text() })
    }

    fn error(&self, kind: ErrorKind, what: &str) -> io::Error {
        let (pid, stdout, stderr) = (self.pid(), self.stdout.text(), self.stderr.text());
        let text = format!("program {pid}: {what}\n--- its output\n{stdout}\n--- its errors\n{stderr}\n---");
        io::Error::new(kind, text)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = signal::kill_group(self.pid());
        let _ = self.child.wait();
    }
}

/// How a program ended, and what it wrote.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its output.
    pub stdout: String,
    /// What it wrote to its errors.
    pub stderr: String,
}

impl Finished {
    /// Its exit code, or `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it, or `None` when it exited.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Hands itself back when the program exited with code 0.
    ///
    /// # Panics
    ///
    /// When it did not; the message has all that it wrote.
    #[track_caller]
    pub fn expect_success(self) -> Finished {
        assert!(
            self.status.success(),
            "program ended with {}\n--- its output\n{}\n--- its errors\n{}\n---",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }
}

/// `target/PROFILE` of this test, which stands in `deps` or in `examples` below it.
fn profile_folder() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.parent().and_then(Path::parent);
    folder.map(Path::to_owned).ok_or_else(|| io::Error::other("this program has no folder"))
}
