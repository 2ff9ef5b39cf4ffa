//! The process that this is, the one that started it, and those that it has started.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ipc_core::raw::ProcessId;
use ipc_core::{Handle, wait_deadline};
use serde::{Deserialize, Serialize};

use crate::child::{Child, Sentinel};
use crate::error::{Kind, ProcessError};
use crate::exit;
use crate::process::system;
use crate::status::ExitStatus;
use crate::sys::end::{self, Request};
use crate::sys::usage;

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
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_process::{Process, parent_process};
///
/// assert!(parent_process().is_none());
/// let child = Process::spawn(|()| parent_process().map(|parent| parent.pid()), ())?;
/// assert_eq!(child.join()?, Some(std::process::id()));
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[must_use]
pub fn parent_process() -> Option<&'static ParentProcess> {
    current_process().parent.as_ref()
}

/// The children of this process that have not ended, whoever holds them: those whose
/// [`Process`](crate::Process) was dropped are among them.
///
/// # Examples
/// All of them are asked to end, and have ended:
/// ```
/// # mp_process::init();
/// use mp_process::{Process, active_children};
///
/// for _ in 0..2 {
///     drop(Process::spawn(|()| std::thread::sleep(std::time::Duration::MAX), ())?);
/// }
/// for child in active_children() {
///     child.terminate()?;
///     assert_eq!(child.join()?.signal_name().as_deref(), Some("SIGTERM"));
/// }
/// assert!(active_children().is_empty());
/// # Ok::<(), mp_process::ProcessError>(())
/// ```
#[must_use]
pub fn active_children() -> Vec<ActiveChild> {
    exit::collect();
    exit::living().into_iter().map(ActiveChild).collect()
}

/// How many CPUs this process may use, at least one: it knows the process's
/// affinity and the limits of its control group.
///
/// ```
/// assert!(mp_process::cpu_count() >= 1);
/// ```
#[must_use]
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl CurrentProcess {
    pub(crate) fn child(name: String, depth: u32, parent: ParentProcess) -> Self {
        Self { name, depth, parent: Some(parent) }
    }

    /// From here on this is the process in which it is asked.
    pub(crate) fn take_over(self: Box<Self>) {
        crate::sys::boot::set_process_name(&self.name);
        *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::leak(self));
    }

    pub(crate) fn depth(&self) -> u32 {
        self.depth
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
    /// Its id with the time of its birth, as a word; zero where the system does not tell that.
    identity: u64,
}

impl ParentProcess {
    /// This process, as the parent of one that it starts.
    pub(crate) fn this() -> Self {
        let this = current_process();
        let identity = ProcessId::current().ok().filter(|identity| identity.id() == this.pid());
        let identity = identity.map_or(0, ProcessId::to_word);
        Self { name: this.name().to_owned(), pid: this.pid(), identity }
    }

    /// A handle that names it, and not who has its id later; `None` if it has ended.
    fn open(&self) -> io::Result<Option<Handle>> {
        ProcessId::from_word(self.identity).map_or_else(|| end::of_process(self.pid), ProcessId::open)
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

    /// Whether it has not ended yet. Does not wait.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // One of which it cannot be told, for want of a descriptor, counts as living.
        self.join_timeout(Duration::ZERO).is_err()
    }

    /// Waits until it has ended. How, only its own parent is told.
    ///
    /// # Errors
    /// What the system says.
    pub fn join(&self) -> Result<(), ProcessError> {
        self.join_deadline(None, Duration::MAX)
    }

    /// Waits up to `timeout` until it has ended.
    ///
    /// # Errors
    /// As [`join`](Self::join), and one for which [`is_timeout`](ProcessError::is_timeout)
    /// holds.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    /// use mp_process::{Process, parent_process};
    ///
    /// let wait = |()| parent_process().unwrap().join_timeout(Duration::from_millis(5)).is_err();
    /// assert!(Process::spawn(wait, ())?.join()?);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), ProcessError> {
        self.join_deadline(Instant::now().checked_add(timeout), timeout)
    }

    fn join_deadline(&self, deadline: Option<Instant>, timeout: Duration) -> Result<(), ProcessError> {
        let ready = wait_deadline(&[&self.sentinel()?], deadline)
            .map_err(|source| system("waiting for a process", source))?;
        if ready.is_empty() { Err(Kind::Timeout { pid: self.pid, waited: timeout }.into()) } else { Ok(()) }
    }

    /// Something that becomes ready when it has ended, for [`ipc_core::wait`].
    ///
    /// # Errors
    /// What the system says, for one that this process may not open another handle.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let child = mp_process::Process::spawn(
    ///     |()| {
    ///         let parent = mp_process::parent_process().unwrap();
    ///         let timeout = Some(std::time::Duration::from_millis(5));
    ///         ipc_core::wait(&[&parent.sentinel().unwrap()], timeout).unwrap().is_empty()
    ///     },
    ///     (),
    /// )?;
    /// assert!(child.join()?);
    /// # Ok::<(), mp_process::ProcessError>(())
    /// ```
    pub fn sentinel(&self) -> Result<Sentinel, ProcessError> {
        let end = self.open().map_err(|source| system("watching a process", source))?;
        Ok(Sentinel(end.map(Arc::new)))
    }
}

/// A child of this process, as [`active_children`] lists it: all that a
/// [`Process`](crate::Process) can do but give the value, which is for whoever holds that.
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

    /// Whether it has not ended yet. Does not wait.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended; `None` while it runs. Does not wait.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.0.status().ok().flatten()
    }

    /// Waits until it has ended: how. Any number may wait, and whoever holds its
    /// [`Process`](crate::Process) still gets the value.
    ///
    /// # Errors
    /// What the system says.
    pub fn join(&self) -> Result<ExitStatus, ProcessError> {
        self.join_deadline(None, Duration::MAX)
    }

    /// Waits up to `timeout` until it has ended: how.
    ///
    /// # Errors
    /// As [`join`](Self::join), and one for which [`is_timeout`](ProcessError::is_timeout)
    /// holds.
    pub fn join_timeout(&self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        self.join_deadline(Instant::now().checked_add(timeout), timeout)
    }

    fn join_deadline(
        &self,
        deadline: Option<Instant>,
        timeout: Duration,
    ) -> Result<ExitStatus, ProcessError> {
        let ended = self.0.wait(deadline).map_err(|source| system("waiting for a process", source))?;
        ended.ok_or_else(|| Kind::Timeout { pid: self.pid(), waited: timeout }.into())
    }

    /// Something that becomes ready when it has ended, for [`ipc_core::wait`].
    #[must_use]
    pub fn sentinel(&self) -> Sentinel {
        Sentinel(self.0.end())
    }

    /// As [`Process::terminate`](crate::Process::terminate).
    ///
    /// # Errors
    /// What the system says.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.signal(Request::Terminate)
    }

    /// As [`Process::kill`](crate::Process::kill).
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.signal(Request::Kill)
    }

    /// As [`Process::kill_tree`](crate::Process::kill_tree).
    ///
    /// # Errors
    /// What the system says.
    pub fn kill_tree(&self) -> Result<(), ProcessError> {
        self.0.kill_tree().map_err(|source| system("killing a tree of processes", source))
    }

    /// As [`Process::interrupt`](crate::Process::interrupt).
    ///
    /// # Errors
    /// What the system says.
    pub fn interrupt(&self) -> Result<(), ProcessError> {
        self.signal(Request::Interrupt)
    }

    fn signal(&self, request: Request) -> Result<(), ProcessError> {
        self.0.signal(request).map_err(|source| system("signalling a process", source))
    }
}

impl fmt::Debug for ActiveChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveChild").field("name", &self.name()).field("pid", &self.pid()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_parents_id_later_is_not_taken_for_it() {
        let this = ParentProcess::this();
        assert!(this.is_alive() && this.join_timeout(Duration::ZERO).unwrap_err().is_timeout());
        let earlier = ParentProcess { identity: this.identity - 1, ..this };
        assert!(!earlier.is_alive());
        earlier.join_timeout(Duration::ZERO).unwrap();
        assert_eq!(ipc_core::wait(&[&earlier.sentinel().unwrap()], Some(Duration::ZERO)).unwrap(), [0]);
    }
}
