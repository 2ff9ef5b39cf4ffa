//! What can go wrong with a pool and with its tasks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipc_core::{DecodeError, EncodeError};
use mp_process::{ExitStatus, Panic, ProcessError};

/// A pool could not be made, or has given up.
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct PoolError(Arc<PoolKind>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolKind {
    #[error("a pool needs at least one worker: ask for more than 0, or set no number")]
    NoWorkers,
    #[error("a `task_timeout` of zero lets no task run: allow some time, or leave it out for no limit")]
    NoTime,
    #[error(
        "a `max_tasks_per_child` of zero lets no worker run a task: allow one, or leave it out for no limit"
    )]
    NoTasks,
    #[error(transparent)]
    Start(ProcessError),
    #[error("the pool could not be set up: {0}")]
    System(std::io::Error),
    #[error(
        "the pool has given up: {deaths} workers in a row ended without a result, the last one because {last}; \
         see what they said on standard error, mend that, and make a new pool"
    )]
    Dying { deaths: u32, last: Arc<Death> },
    #[error("the initializer failed in {tries} workers in a row, and the pool has given up: {last}")]
    Initializer { tries: u32, last: Arc<Death> },
    #[error("the initializer failed: {0}")]
    ThreadInitializer(Panic),
    #[error("the argument of the initializer could not be sent: {0}")]
    Setup(EncodeError),
    #[error("the workers cannot start: {0}")]
    NoStart(Arc<Death>),
    #[error("a worker did not come over the pool's transport{}", Because(_0.as_ref()))]
    NoLink(Option<ProcessError>),
    #[error("the pool was closed and takes no more tasks: submit them before `close` or `join`")]
    Closed,
    #[error("the pool is the parent's, and this process a fork of it: make one here")]
    Forked,
    #[error("the pool was terminated before the task was done")]
    Terminated,
}

impl PoolError {
    /// `init()` has not been called in this program.
    #[must_use]
    pub fn is_not_initialised(&self) -> bool {
        matches!(&*self.0, PoolKind::Start(error) if error.is_not_initialised())
    }

    /// The pool was closed or terminated.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(*self.0, PoolKind::Closed | PoolKind::Terminated)
    }

    /// The pool gave up because its workers could not be kept alive or started.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(
            *self.0,
            PoolKind::Dying { .. }
                | PoolKind::Initializer { .. }
                | PoolKind::ThreadInitializer(_)
                | PoolKind::NoStart(_)
                | PoolKind::NoLink(_)
                | PoolKind::Start(_)
                | PoolKind::System(_)
        )
    }

    /// The pool belongs to another process, of which this one is a fork.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        matches!(*self.0, PoolKind::Forked)
    }

    /// Whether a worker was killed before it came over the pool's transport.
    pub(crate) fn is_killed_on_its_way(&self) -> bool {
        matches!(&*self.0, PoolKind::NoLink(Some(error)) if error.signal().is_some())
    }
}

impl From<PoolKind> for PoolError {
    fn from(kind: PoolKind) -> Self {
        Self(Arc::new(kind))
    }
}

impl From<ProcessError> for PoolError {
    fn from(error: ProcessError) -> Self {
        PoolKind::Start(error).into()
    }
}

impl From<std::io::Error> for PoolError {
    fn from(error: std::io::Error) -> Self {
        PoolKind::System(error).into()
    }
}

/// The time passed before there was a result; it can be waited for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there was no result within the time allowed; ask again, or allow more")]
pub struct TimeoutError;

/// A task has no value, and why.
///
/// Its text says what happened and what can be done; the predicates tell the
/// kinds apart.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct TaskError(Box<TaskFailure>);

#[derive(Debug, thiserror::Error)]
#[error("{}{kind}", At(*index))]
struct TaskFailure {
    kind: TaskKind,
    index: Option<usize>,
    worker: Option<WorkerId>,
}

/// Which worker of which pool of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WorkerId {
    pub(crate) pool: u32,
    pub(crate) number: u32,
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool-{}-Worker-{}", self.pool, self.number)
    }
}

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TaskKind {
    #[error("the task panicked: {0}")]
    Panicked(Panic),
    #[error("the task's worker died: {0}")]
    WorkerDied(WorkerDied),
    #[error("the task's result was lost with its worker, which died at {}{_0}", AtItem(_0.index()))]
    Lost(WorkerDied),
    #[error("the argument could not be sent: {0}")]
    Argument(EncodeError),
    #[error("the argument could not be decoded in the worker: {0}")]
    BadArgument(String),
    #[error("the result has been taken already: it is given once, so keep what was got first")]
    Taken,
    #[error("the value could not be sent back: {0}")]
    BadResult(String),
    #[error("the value could not be decoded: {0}")]
    Undecodable(DecodeError),
    #[error(
        "the task ran longer than {0:?}, the limit for each, and its worker was killed: raise `task_timeout`, \
         or give it less to do"
    )]
    TimedOut(Duration),
    #[error(
        "the task took {grown} bytes of memory, {limit} is the limit for each, and its worker was killed: raise \
         `task_memory_limit`, or give it less to do"
    )]
    TooMuchMemory { limit: u64, grown: u64 },
    #[error("the task was cancelled")]
    Cancelled,
    #[error(transparent)]
    Pool(PoolError),
}

/// The end of a worker.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// How it ended; `None` if it left without being asked to.
    pub(crate) error: Option<ProcessError>,
    pub(crate) status: Option<ExitStatus>,
    pub(crate) peak_memory: Option<u64>,
    pub(crate) last_records: Vec<String>,
}

/// How the worker of a task ended while it ran the task; from [`TaskError::worker_died`].
///
/// A worker may hold several items of one call. Those that it had not begun are run elsewhere;
/// what it had done in the last tenth of a millisecond and not sent is lost with it, and each such
/// item fails with an error that says so. [`index`](Self::index) names the one that it was at.
#[derive(Clone)]
pub struct WorkerDied {
    death: Arc<Death>,
    attempt: u32,
    index: Option<usize>,
}

impl WorkerDied {
    pub(crate) fn new(death: &Arc<Death>) -> Self {
        Self { death: Arc::clone(death), attempt: 1, index: None }
    }

    pub(crate) fn in_try(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    pub(crate) fn at(self, index: Option<usize>) -> Self {
        Self { index, ..self }
    }

    /// The item of the call that the worker was at, counted from 0: the last one that it had
    /// begun. `None` if it was done with those that it had: then only results were lost.
    ///
    /// [`TaskError::index`] is the same for a call that fails as a whole, such as
    /// [`Pool::map`](crate::Pool::map). Where each item has an outcome of its own, it is that
    /// item's place.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.index
    }

    /// The process id of the worker.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.death.pid
    }

    /// The name of the worker.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.death.name
    }

    /// How the process ended; `None` if that could not be learned.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.death.status
    }

    /// Which try of the task it was, counted from 1: in a pool with
    /// [`retries`](crate::Builder::retries) the last one.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The most bytes of memory that the worker had resident at one time, in its whole life
    /// and not in this task alone; `None` where that is not known, see
    /// [`Process::peak_memory`](mp_process::Process::peak_memory).
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        self.death.peak_memory
    }

    /// What the worker said last to the macros of the crate `log`, at most ten records, the
    /// oldest first. Empty without the feature `log` of `mp-process`, and where it does not
    /// keep them: see [`Process::last_records`](mp_process::Process::last_records). What it
    /// wrote to its standard streams is not taken from there.
    #[must_use]
    pub fn last_records(&self) -> &[String] {
        &self.death.last_records
    }
}

impl fmt::Display for WorkerDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.death.fmt(f)?;
        match self.attempt {
            0 | 1 => Ok(()),
            attempt => write!(f, ", as in {} tries before", attempt - 1),
        }
    }
}

impl fmt::Debug for WorkerDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.death, f)
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => error.fmt(f),
            None => write!(f, "the worker {} left without being asked to", self.pid),
        }
    }
}

/// Why a worker did not come, if it has ended.
struct Because<'a>(Option<&'a ProcessError>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(error) => write!(f, ": {error}"),
            None => f.write_str(
                " in time: look at its address, at what `connect` does, and whether `accept` returns",
            ),
        }
    }
}

/// Which item a worker was at whose end cost another item's result.
struct AtItem(Option<usize>);

impl fmt::Display for AtItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "item {index}: "),
            None => f.write_str("none of its items: "),
        }
    }
}

struct At(Option<usize>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "item {index}: "),
            None => Ok(()),
        }
    }
}

impl TaskError {
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.0.index = Some(index);
        self
    }

    /// The error of a whole call, because of item `index`: of items that died with a worker, the
    /// one that the worker was at.
    pub(crate) fn of_call(self, index: usize) -> Self {
        let index = self.worker_died().and_then(WorkerDied::index).unwrap_or(index);
        self.at(index)
    }

    pub(crate) fn by(mut self, worker: Option<WorkerId>) -> Self {
        self.0.worker = worker;
        self
    }

    /// The name of the worker that ran the task, if one of a [`Pool`](crate::Pool) did.
    #[must_use]
    pub fn worker(&self) -> Option<String> {
        self.0.worker.map(|worker| worker.to_string())
    }

    /// Which item of a map the error is of, counted from 0.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.0.index
    }

    /// The task panicked; see [`panic`](Self::panic).
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.panic().is_some()
    }

    /// The panic that ended the task.
    ///
    /// It has the panic's text, place and backtrace, and no type: what is thrown does not travel. An error
    /// whose type is to be kept is what the task returns: its own `Err` arrives as the value it is.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        if let TaskKind::Panicked(panic) = &self.0.kind { Some(panic) } else { None }
    }

    /// The task's worker ended while it ran the task, or before it had sent its result: it was
    /// killed, aborted, exited or overflowed its stack.
    #[must_use]
    pub fn is_worker_died(&self) -> bool {
        self.death().is_some()
    }

    /// How the task's worker ended, and what is known of it.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::builder().processes(2).retries(1).build()?;
    /// let error = pool.map(|x: u32| if x == 7 { std::process::exit(3) } else { x }, 0..10).unwrap_err();
    /// let death = error.worker_died().unwrap();
    /// assert_eq!((error.index(), death.attempt()), (Some(7), 2));
    /// assert_eq!(death.status().and_then(|status| status.code()), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn worker_died(&self) -> Option<&WorkerDied> {
        match &self.0.kind {
            TaskKind::WorkerDied(died) | TaskKind::Lost(died) => Some(died),
            _ => None,
        }
    }

    /// The worker ended for want of memory, as far as can be told: the system killed it
    /// for that, or, a guess, it aborted in a pool with a
    /// [`memory_limit`](crate::Builder::memory_limit).
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.death_error().is_some_and(ProcessError::is_out_of_memory)
    }

    /// The worker's stack overflowed.
    #[must_use]
    pub fn is_stack_overflow(&self) -> bool {
        self.death_error().is_some_and(ProcessError::is_stack_overflow)
    }

    /// The id of the worker that died.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.death().map(|death| death.pid)
    }

    /// The signal that killed the worker.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.death_error().and_then(ProcessError::signal)
    }

    /// The code with which the task ended its worker.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.death_error().and_then(ProcessError::exit_code)
    }

    /// The argument or the value could not be encoded or decoded.
    #[must_use]
    pub fn is_codec(&self) -> bool {
        self.is_undecodable() || matches!(self.0.kind, TaskKind::Argument(_) | TaskKind::BadResult(_))
    }

    /// The argument or the value was sent and could not be decoded.
    #[must_use]
    pub fn is_undecodable(&self) -> bool {
        matches!(self.0.kind, TaskKind::Undecodable(_) | TaskKind::BadArgument(_))
    }

    /// The task ran longer than the pool's limit and was stopped.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0.kind, TaskKind::TimedOut(_))
    }

    /// The task took more memory than the pool allows each, and was stopped.
    #[must_use]
    pub fn is_over_memory_limit(&self) -> bool {
        matches!(self.0.kind, TaskKind::TooMuchMemory { .. })
    }

    /// The task was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.kind, TaskKind::Cancelled)
    }

    /// The pool was closed, was terminated or gave up.
    #[must_use]
    pub fn pool_error(&self) -> Option<&PoolError> {
        if let TaskKind::Pool(error) = &self.0.kind { Some(error) } else { None }
    }

    fn death_error(&self) -> Option<&ProcessError> {
        self.death()?.error.as_ref()
    }

    fn death(&self) -> Option<&Death> {
        self.worker_died().map(|died| &*died.death)
    }
}

impl From<TaskKind> for TaskError {
    fn from(kind: TaskKind) -> Self {
        Self(Box::new(TaskFailure { kind, index: None, worker: None }))
    }
}

impl From<PoolError> for TaskError {
    fn from(error: PoolError) -> Self {
        TaskKind::Pool(error).into()
    }
}

// A `main` that returns an error has it printed in this form: it should say what
// to do, not what the library is made of.
impl fmt::Debug for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
