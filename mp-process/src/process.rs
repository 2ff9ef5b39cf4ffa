//! Child processes, and the process that this is.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ipc_core::Message;
use ipc_core::raw::is_handing_over;
use serde::{Deserialize, Serialize};

use crate::boot::Birth;
use crate::builder::Builder;
use crate::child::{Child, Sentinel};
use crate::error::{Kind, ProcessError};
use crate::exit;
use crate::status::ExitStatus;
use crate::sys::end::{self, Request};
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
    /// See [`Builder::fork`].
    ///
    /// # Errors
    /// As [`Builder::fork`].
    pub fn fork(closure: impl FnOnce() -> R) -> Result<Self, ProcessError> {
        Builder::new().fork(closure)
    }

    /// Waits until the process has ended, and takes its value.
    ///
    /// # Errors
    /// A [`ProcessError`] that says how it ended without one: a panic, an exit, a
    /// signal, a stack overflow.
    pub fn join(self) -> Result<R, ProcessError> {
        self.join_deadline(None, Duration::MAX)
    }

    /// Waits up to `timeout` until the process has ended, and takes its value.
    ///
    /// # Errors
    /// As [`join`](Self::join), and one for which
    /// [`is_timeout`](ProcessError::is_timeout) holds: the process still runs and
    /// can be joined again.
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

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended; `None` while it runs. Does not wait.
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

    /// Asks it to end (SIGTERM on Unix); one that has ended already is no error.
    ///
    /// # Errors
    /// What the system says.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.signal(Request::Terminate)
    }

    /// Ends it at once (SIGKILL on Unix).
    ///
    /// # Errors
    /// What the system says.
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
    pub fn kill_tree(&self) -> Result<(), ProcessError> {
        self.child.kill_tree().map_err(|source| system("killing a tree of processes", source))
    }

    /// Interrupts it as Ctrl-C would (SIGINT on Unix). A child ignores that unless
    /// its function installs a handler.
    ///
    /// # Errors
    /// What the system says.
    pub fn interrupt(&self) -> Result<(), ProcessError> {
        self.signal(Request::Interrupt)
    }

    fn signal(&self, request: Request) -> Result<(), ProcessError> {
        self.child.signal(request).map_err(|source| system("signalling a process", source))
    }

    /// Something that becomes ready when the process has ended, for
    /// [`ipc_core::wait`].
    #[must_use]
    pub fn sentinel(&self) -> Sentinel {
        Sentinel(self.child.end())
    }
}

fn system(doing: &'static str, source: std::io::Error) -> ProcessError {
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

/// The process in which it is asked.
#[derive(Debug)]
pub struct CurrentProcess {
    name: String,
    depth: u32,
    parent: Option<ParentProcess>,
}

/// Replaced where a process is forked from this one; never freed.
static CURRENT: RwLock<Option<&'static CurrentProcess>> = RwLock::new(None);

/// The process in which it is called: `MainProcess`, or a child with its name.
///
/// ```
/// assert_eq!(mp_process::current_process().name(), "MainProcess");
/// ```
pub fn current_process() -> &'static CurrentProcess {
    static MAIN: CurrentProcess = CurrentProcess { name: String::new(), depth: 0, parent: None };
    CURRENT.read().unwrap_or_else(PoisonError::into_inner).unwrap_or(&MAIN)
}

/// The process that started this one; `None` in the program itself.
#[must_use]
pub fn parent_process() -> Option<&'static ParentProcess> {
    current_process().parent.as_ref()
}

impl CurrentProcess {
    pub(crate) fn become_child(birth: Birth) {
        crate::sys::boot::set_process_name(&birth.name);
        let this = Self { name: birth.name, depth: birth.depth, parent: Some(birth.parent) };
        let this: &'static Self = Box::leak(Box::new(this));
        *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Some(this);
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.parent.is_some() { &self.name } else { "MainProcess" }
    }

    /// The id that the system gave it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether this library started it.
    #[must_use]
    pub fn is_child(&self) -> bool {
        self.depth > 0
    }

    /// How many bytes of memory this process has resident now; `None` where the system
    /// does not tell. Asks the system each time.
    #[must_use]
    pub fn resident_memory(&self) -> Option<u64> {
        usage::resident()
    }
}

/// A process that has started this one.
///
/// Children end with their parent, so a child that asks finds it alive, unless it has
/// seen to it that it lives on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ParentProcess {
    name: String,
    pid: u32,
}

impl ParentProcess {
    /// This process, as the parent of one that it starts.
    pub(crate) fn this() -> Self {
        let this = current_process();
        Self { name: this.name().to_owned(), pid: this.pid() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that the system gave it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !ipc_core::wait(&[&self.sentinel()], Some(Duration::ZERO)).is_ok_and(|ready| !ready.is_empty())
    }

    /// Something that becomes ready when it has ended, for [`ipc_core::wait`].
    ///
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::spawn(
    ///     |()| {
    ///         let parent = mp_process::parent_process().unwrap();
    ///         let timeout = Some(std::time::Duration::from_millis(5));
    ///         ipc_core::wait(&[&parent.sentinel()], timeout).unwrap().is_empty()
    ///     },
    ///     (),
    /// )?;
    /// assert!(child.join()?);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    #[must_use]
    pub fn sentinel(&self) -> Sentinel {
        Sentinel(end::of_process(self.pid).map(Arc::new))
    }
}

/// A child of this process that has not ended, as [`active_children`] lists it.
#[derive(Clone)]
pub struct ActiveChild(Arc<Child>);

impl ActiveChild {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The id that the system gave it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.0.status(), Ok(None))
    }

    /// Something that becomes ready when it has ended, for [`ipc_core::wait`].
    #[must_use]
    pub fn sentinel(&self) -> Sentinel {
        Sentinel(self.0.end())
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.0.signal(Request::Kill).map_err(|source| system("signalling a process", source))
    }
}

impl fmt::Debug for ActiveChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveChild").field("name", &self.name()).field("pid", &self.pid()).finish()
    }
}

/// The children of this process that have not ended, whoever holds them.
#[must_use]
pub fn active_children() -> Vec<ActiveChild> {
    exit::collect();
    exit::living().into_iter().map(ActiveChild).collect()
}

/// How many CPUs this process may use, at least one: it knows the process's
/// affinity and the limits of its control group.
#[must_use]
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
