//! A child process, as whoever started it holds it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::Message;
use ipc_core::raw::is_handing_over;

use crate::builder::Builder;
use crate::child::{Child, Sentinel};
use crate::error::{Kind, ProcessError};
use crate::exit;
use crate::status::ExitStatus;
use crate::sys::end::Request;
use crate::sys::{start, usage};

/// A child process that computes an `R`.
///
/// Dropping it lets the child run on, unless it was built with
/// [`kill_on_drop`](Builder::kill_on_drop); the end of `main` then waits for it
/// up to a deadline. When this process ends in any other way, so does the child.
pub struct Process<R> {
    child: Arc<Child>,
    kill_on_drop: bool,
    grace_at_exit: Duration,
    value: PhantomData<fn() -> R>,
}

impl Process<()> {
    /// Sets more about a process before it starts.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::builder().name("reader").spawn(|()| (), ())?;
    /// assert_eq!(child.name(), "reader");
    /// child.join()?;
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<R: Message> Process<R> {
    /// Starts a process that runs `function` with `arg`.
    ///
    /// Returns as soon as the child is started; its value comes with
    /// [`join`](Self::join).
    ///
    /// # Errors
    /// See [`Builder::spawn`].
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::Process;
    ///
    /// let child = Process::spawn(|text: String| text.len(), "four".to_owned())?;
    /// assert_eq!(child.join()?, 4);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn spawn<A: Message>(function: fn(A) -> R, arg: A) -> Result<Self, ProcessError> {
        Builder::new().spawn(function, arg)
    }

    /// Forks this process; the child runs `closure`, captures and all.
    ///
    /// See [`Builder::fork`], which has an example.
    ///
    /// # Errors
    /// As [`Builder::fork`].
    pub fn fork(closure: impl FnOnce() -> R) -> Result<Self, ProcessError> {
        Builder::new().fork(closure)
    }

    /// Waits until the process has ended, and takes its value.
    ///
    /// Its end, of whatever kind, ends the wait; [`join_timeout`](Self::join_timeout) bounds it.
    ///
    /// # Errors
    /// A [`ProcessError`] that says how it ended without one: a panic, an exit, a
    /// signal, a stack overflow.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_process::Process;
    ///
    /// let child = Process::<u32>::spawn(|()| std::process::exit(3), ())?;
    /// let error = child.join().unwrap_err();
    /// assert_eq!(error.exit_code(), Some(3));
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn join(self) -> Result<R, ProcessError> {
        self.join_deadline(None, Duration::MAX)
    }

    /// Waits up to `timeout` until the process has ended, and takes its value.
    ///
    /// # Errors
    /// As [`join`](Self::join), and one for which
    /// [`is_timeout`](ProcessError::is_timeout) holds: the process still runs and
    /// can be joined again. Once it has ended, the value or the error is given once.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    /// use mp_process::Process;
    ///
    /// let child = Process::spawn(|()| std::thread::sleep(Duration::from_secs(600)), ())?;
    /// assert!(child.join_timeout(Duration::from_millis(5)).unwrap_err().is_timeout());
    /// child.kill()?;
    /// assert!(child.join().unwrap_err().signal().is_some());
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> Result<R, ProcessError> {
        self.join_deadline(Instant::now().checked_add(timeout), timeout)
    }

    fn join_deadline(&self, deadline: Option<Instant>, timeout: Duration) -> Result<R, ProcessError> {
        let ended = self.child.wait(deadline).map_err(|source| system("waiting for a process", source))?;
        let Some(status) = ended else {
            return Err(Kind::Timeout { pid: self.pid(), waited: timeout }.into());
        };
        #[cfg(feature = "log")]
        crate::logs::deliver();
        start::tend();
        let mut packet = self.child.outcome(status)?;
        // A value's own `Deserialize` runs here and may panic.
        match crate::panic::catch_panic(|| packet.read_item::<R>()) {
            Ok(value) => value.map_err(|error| Kind::Undecodable(error).into()),
            Err(panic) => Err(Kind::Undecodable(ipc_core::DecodeError::new::<R>(panic)).into()),
        }
    }
}

impl<R> Process<R> {
    pub(crate) fn child(&self) -> &Child {
        &self.child
    }

    pub(crate) fn new(child: Arc<Child>, kill_on_drop: bool, grace_at_exit: Duration) -> Self {
        Self { child, kill_on_drop, grace_at_exit, value: PhantomData }
    }

    /// The id that the system gave it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.child.name()
    }

    /// Whether it has not ended yet. Does not wait.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended; `None` while it runs. Does not wait.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::<()>::spawn(|()| std::process::exit(3), ())?;
    /// ipc_core::wait(&[&child.sentinel()], None)?;
    /// let status = child.exit_status().unwrap();
    /// assert_eq!((status.code(), status.to_string().as_str()), (Some(3), "exited with code 3"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "exitcode")]
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.status().ok().flatten()
    }

    /// How many bytes of memory it has resident now; `None` once it has ended, and where the
    /// system does not tell. Asks the system each time.
    #[must_use]
    pub fn resident_memory(&self) -> Option<u64> {
        // Until it is collected, no other process has its id.
        if self.is_alive() { usage::resident_of(self.pid()) } else { None }
    }

    /// The most bytes of memory that it has had resident at one time, once it has ended.
    ///
    /// `None` while it runs, and where that is not known: its status was collected by other
    /// code or by a server, or it was started by [`Spawn`](crate::StartMethod::Spawn) and had
    /// no more than this process has had by then, because the system counts from there.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::spawn(|len: usize| vec![1u8; len].len(), 400 << 20)?;
    /// ipc_core::wait(&[&child.sentinel()], None)?;
    /// assert!(child.exit_status().is_some());
    /// assert!(child.peak_memory().is_some_and(|bytes| bytes > 400 << 20));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        self.exit_status()?;
        self.child.peak()
    }

    /// What it said last to the macros of the crate `log`, with the level in front: at most ten
    /// records, the oldest first.
    ///
    /// Empty without the feature `log`, without a level up to which children log, and for
    /// children of children, whose records go past this process. After [`join_timeout`]
    /// nothing is missing that the logger has taken.
    ///
    /// [`join_timeout`]: Self::join_timeout
    #[must_use]
    pub fn last_records(&self) -> Vec<String> {
        self.child.last_records()
    }

    #[cfg(feature = "log")]
    pub(crate) fn keep_tail(&self, tail: Option<crate::tail::Tail>) {
        self.child.keep_tail(tail);
    }

    /// Asks it to end (SIGTERM on Unix), which a child does at once and without a word unless its
    /// function installs a handler; one that has ended already is no error. Does not wait: that is
    /// [`join`](Self::join)'s.
    ///
    /// Its own children end with it.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::spawn(|()| std::thread::sleep(std::time::Duration::MAX), ())?;
    /// child.terminate()?;
    /// assert_eq!(child.join().unwrap_err().signal(), Some(15));
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.signal(Request::Terminate)
    }

    /// Ends it at once (SIGKILL on Unix); one that has ended already is no error. Does not wait.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::spawn(|()| std::thread::sleep(std::time::Duration::MAX), ())?;
    /// child.kill()?;
    /// let status = child.join().unwrap_err().status().unwrap();
    /// assert_eq!(status.signal_name().as_deref(), Some("SIGKILL"));
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.signal(Request::Kill)
    }

    /// Ends it and every process below it at once, programs that it started included.
    ///
    /// [`kill`](Self::kill) ends the children that this library started for it as well,
    /// but not other programs, unless they see to it.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let program = |()| std::process::Command::new("sleep").arg("600").status().is_ok();
    /// let child = mp_process::Process::spawn(program, ())?;
    /// child.kill_tree()?;
    /// assert_eq!(child.join().unwrap_err().signal(), Some(9));
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn kill_tree(&self) -> Result<(), ProcessError> {
        self.child.kill_tree().map_err(|source| system("killing a tree of processes", source))
    }

    /// Interrupts it as Ctrl-C would (SIGINT on Unix). A child ignores that unless
    /// its function installs a handler.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::spawn(|x: u32| x + 1, 1)?;
    /// child.interrupt()?;
    /// assert_eq!(child.join()?, 2);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn interrupt(&self) -> Result<(), ProcessError> {
        self.signal(Request::Interrupt)
    }

    fn signal(&self, request: Request) -> Result<(), ProcessError> {
        self.child.signal(request).map_err(|source| system("signalling a process", source))
    }

    /// Something that becomes ready when the process has ended, for
    /// [`ipc_core::wait`], which [`Sentinel`] shows. It is there from the start; that of a
    /// [`ParentProcess`](crate::ParentProcess) has to be opened.
    #[must_use]
    pub fn sentinel(&self) -> Sentinel {
        Sentinel(self.child.end())
    }
}

pub(crate) fn system(doing: &'static str, source: std::io::Error) -> ProcessError {
    Kind::System { doing, source }.into()
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if !matches!(self.child.status(), Ok(None)) {
            return;
        }
        if self.kill_on_drop && !is_handing_over() {
            let _ = self.child.signal(Request::Kill);
            // A killed process ends at once, but for one that hangs in the kernel.
            let ended = self.child.wait(Instant::now().checked_add(Duration::from_secs(1)));
            if !matches!(ended, Ok(None)) {
                return;
            }
        }
        let grace = if self.kill_on_drop { Duration::ZERO } else { self.grace_at_exit };
        exit::adopt(&self.child, grace);
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("exit_status", &self.exit_status())
            .finish()
    }
}
