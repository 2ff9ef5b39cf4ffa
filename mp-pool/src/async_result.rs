//! Results to come.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ipc_core::Message;

use crate::core::{JobId, Reply};
use crate::driver::{Driver, run_another, run_elsewhere, runs_callbacks};
use crate::error::{PoolError, TaskError, TaskKind};
use crate::scope::{End, Note};
use crate::threads::Slot;
use crate::work::Gathered;

/// The result of a task that runs by itself; made by
/// [`Pool::apply_async`](crate::Pool::apply_async),
/// [`Pool::map_async`](crate::Pool::map_async) and their like of a
/// [`ThreadPool`](crate::ThreadPool).
///
/// It is also a future, for any async runtime; [`wait`](crate::wait) and
/// [`as_completed`](crate::as_completed) wait for many. Dropping it lets the tasks
/// run that workers have begun, drops the others, and forgets the result; in a
/// [`scope`](crate::Pool::scope) it lets all of them run.
pub struct AsyncResult<T> {
    source: Source<T>,
    /// Known without the pool's help: it takes no work, or the result was decoded.
    known: Option<Result<T, TaskError>>,
    /// The scope's note of it, if it belongs to one.
    note: Option<Arc<Note>>,
}

/// Where a result comes from.
enum Source<T> {
    /// From worker processes.
    Job(Job<T>),
    /// From a thread.
    Slot(Arc<Slot<T>>),
    /// It has been taken, or never came from anywhere.
    Nowhere,
}

/// A job of a pool, and what makes the result of its replies.
struct Job<T> {
    driver: Arc<Driver>,
    id: JobId,
    gather: Gather<T>,
}

/// Makes the result of all replies.
pub(crate) type Gather<T> = fn(VecDeque<Reply>) -> Result<T, TaskError>;

/// For one task: its outcome.
pub(crate) fn one<R: Message>(replies: VecDeque<Reply>) -> Result<R, TaskError> {
    let mut result = None;
    for reply in replies {
        reply.for_each(|_, outcome| result = Some(outcome));
    }
    result.unwrap_or_else(|| {
        Err(TaskKind::BadResult("the task was answered without a value".to_owned()).into())
    })
}

/// For a map: the values in order.
pub(crate) fn many<R: Message>(replies: VecDeque<Reply>) -> Result<Vec<R>, TaskError> {
    let mut gathered = Gathered::new(0);
    replies.into_iter().for_each(|reply| gathered.take(reply));
    gathered.finish()
}

impl<T> AsyncResult<T> {
    pub(crate) fn of_job(driver: &Arc<Driver>, job: Result<JobId, TaskError>, gather: Gather<T>) -> Self {
        match job {
            Ok(id) => Self::of(Source::Job(Job { driver: Arc::clone(driver), id, gather }), None),
            Err(error) => Self::of(Source::Nowhere, Some(Err(error))),
        }
    }

    pub(crate) fn of_slot(slot: Arc<Slot<T>>) -> Self {
        Self::of(Source::Slot(slot), None)
    }

    fn of(source: Source<T>, known: Option<Result<T, TaskError>>) -> Self {
        Self { source, known, note: None }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// The task's [`TaskError`].
    pub fn get(mut self) -> Result<T, TaskError> {
        if let (None, Source::Job(Job { driver, id, gather })) = (&self.known, &self.source) {
            let replies = driver.end_and_take(*id);
            let gather = *gather;
            self.source = Source::Nowhere;
            return gather(replies?);
        }
        self.await_end(None);
        self.take()
    }

    /// Waits for the result up to `timeout`; `None` if it has not come by then, and
    /// then it can be asked for again.
    ///
    /// # Errors
    /// The task's [`TaskError`].
    pub fn get_timeout(&mut self, timeout: Duration) -> Option<Result<T, TaskError>> {
        self.wait_timeout(timeout).then(|| self.take())
    }

    /// Waits until the result has come.
    pub fn wait(&self) {
        self.await_end(None);
    }

    /// Waits until the result has come, up to `timeout`; whether it has.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.await_end(Instant::now().checked_add(timeout))
    }

    /// Whether the result has come. Does not wait.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.is_over(None)
    }

    /// Whether the result has come and is a value; `None` if it has not come.
    pub fn successful(&mut self) -> Option<bool> {
        if !self.ready() {
            return None;
        }
        let result = self.take();
        let is_value = result.is_ok();
        self.known = Some(result);
        Some(is_value)
    }

    /// Cancels what has not been done: queued tasks are dropped, a running one is
    /// killed with its worker, which is replaced. The result is then an error for
    /// which [`is_cancelled`](TaskError::is_cancelled) holds, unless it had come.
    /// What a thread runs, runs on.
    ///
    /// Where a callback was set, [`CallbackHandle::cancel`] does the same.
    pub fn cancel(&self) {
        match &self.source {
            Source::Job(job) => job.driver.cancel(job.id),
            Source::Slot(slot) => slot.cancel(),
            Source::Nowhere => {}
        }
    }

    /// Has `callback` called with the result once it has come. It is called once, whatever
    /// comes: with the value, or with the error for which there is none, which may be that the
    /// task was [cancelled](CallbackHandle::cancel) or that the pool has ended.
    ///
    /// All callbacks of this process, of whatever pool, are called on one thread of the library's,
    /// one after the other, in the order in which their results come: never on the thread that
    /// calls this, not even where the result has come already. So they may wait, take locks and use
    /// the pool, and a slow one holds up the next ones, but no pool.
    ///
    /// The result is given once: of one that was taken before, by
    /// [`get_timeout`](Self::get_timeout) or as a future, the callback gets the error that says so.
    /// A panic in the callback is caught and comes back by the handle. A
    /// [`scope`](crate::Pool::scope) is left when it has run, unless the scope stands in
    /// a callback itself.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::sync::mpsc::channel;
    ///
    /// let pool = mp_pool::Pool::new(1)?;
    /// let (tx, rx) = channel();
    /// let handle = pool.apply_async(|x: u64| x * x, 7).on_done(move |square| tx.send(square).unwrap());
    /// assert_eq!(rx.recv()??, 49);
    /// handle.join()?; // it has returned, and did not panic
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "dropping the handle is fine; `let _ =` says that a panic is not of interest"]
    pub fn on_done(mut self, callback: impl FnOnce(Result<T, TaskError>) + Send + 'static) -> CallbackHandle
    where
        T: Send + 'static,
    {
        let (tell, told) = std::sync::mpsc::channel();
        // The scope waits for as long as somebody has this.
        let pending = self.note.take().map(|note| note.await_callback());
        let run = move |result| {
            let ended = mp_process::catch_panic(|| callback(result));
            let _ = tell.send(ended.map_err(|panic| panic.message().to_owned()));
            drop(pending);
        };
        let cancel: Cancel = match (std::mem::replace(&mut self.source, Source::Nowhere), self.known.take()) {
            (Source::Job(Job { driver, id, gather }), None) => {
                let call = move |replies, broken: Option<PoolError>| {
                    run(broken.map_or_else(|| gather(replies), |error| Err(error.into())));
                };
                driver.on_end(id, call);
                // A handle that is kept keeps no pool.
                let driver = Arc::downgrade(&driver);
                Box::new(move || driver.upgrade().iter().for_each(|driver| driver.cancel(id)))
            }
            (Source::Slot(slot), None) => {
                slot.on_end(Box::new(run));
                Box::new(move || slot.cancel())
            }
            (_, known) => {
                let result = known.unwrap_or_else(|| Err(TaskKind::Taken.into()));
                run_elsewhere(Box::new(|| run(result)));
                Box::new(|| ())
            }
        };
        CallbackHandle { told, cancel }
    }

    fn await_end(&self, deadline: Option<Instant>) -> bool {
        match &self.source {
            Source::Job(job) => job.driver.await_end(job.id, deadline),
            Source::Slot(slot) => slot.await_end(deadline),
            Source::Nowhere => true,
        }
    }

    /// Whether the result has come; if not, `waker` is woken when it does.
    pub(crate) fn is_over(&self, waker: Option<&Waker>) -> bool {
        match &self.source {
            Source::Job(job) => job.driver.poll_end(job.id, waker),
            Source::Slot(slot) => slot.poll_end(waker),
            Source::Nowhere => true,
        }
    }

    /// The result, which has come.
    pub(crate) fn take(&mut self) -> Result<T, TaskError> {
        if let Some(known) = self.known.take() {
            return known;
        }
        match std::mem::replace(&mut self.source, Source::Nowhere) {
            Source::Job(Job { driver, id, gather }) => gather(driver.take_replies(id)?),
            Source::Slot(slot) => slot.take(),
            Source::Nowhere => Err(TaskKind::Taken.into()),
        }
    }
}

impl<T: Send + 'static> AsyncResult<T> {
    /// Has a scope take note of it; `None` if nothing is to be waited for.
    pub(crate) fn noted(mut self) -> (Self, Option<Arc<Note>>) {
        let end: Box<dyn End> = match &self.source {
            Source::Job(Job { driver, id, gather }) => {
                Box::new(Job { driver: Arc::clone(driver), id: *id, gather: *gather })
            }
            Source::Slot(slot) => Box::new(Arc::clone(slot)),
            Source::Nowhere => return (self, None),
        };
        let note = Arc::new(Note::new(end));
        self.note = Some(Arc::clone(&note));
        (self, Some(note))
    }
}

impl<T> End for Job<T> {
    fn wait(&self) {
        self.driver.await_end(self.id, None);
    }

    fn is_over(&self) -> bool {
        self.driver.poll_end(self.id, None)
    }

    fn take_error(&self) -> Option<TaskError> {
        match self.driver.take_replies(self.id) {
            Ok(replies) => (self.gather)(replies).err(),
            Err(error) => Some(error.into()),
        }
    }
}

impl<T: Unpin> Future for AsyncResult<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_over(Some(context.waker())) { Poll::Ready(self.take()) } else { Poll::Pending }
    }
}

impl<T> Drop for AsyncResult<T> {
    fn drop(&mut self) {
        let unread = !matches!(self.source, Source::Nowhere);
        if unread && self.note.as_ref().is_some_and(|note| note.leave()) {
            return;
        }
        match &self.source {
            Source::Job(job) => job.driver.close_job(job.id),
            Source::Slot(slot) => slot.forget(),
            Source::Nowhere => {}
        }
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = if let Source::Job(job) = &self.source { Some(job.id) } else { None };
        f.debug_struct("AsyncResult").field("job", &job).finish_non_exhaustive()
    }
}

/// A callback that will run or has run; made by [`AsyncResult::on_done`].
///
/// Dropping it cancels nothing: the callback is called all the same.
pub struct CallbackHandle {
    told: Receiver<Result<(), String>>,
    cancel: Cancel,
}

/// Cancels the task that a callback waits for.
type Cancel = Box<dyn Fn() + Send>;

impl CallbackHandle {
    /// Cancels the task, as [`AsyncResult::cancel`] does. Its callback is then called with an
    /// error for which [`is_cancelled`](TaskError::is_cancelled) holds, unless the result has
    /// come: it is called once in either case, and a second `cancel` changes nothing. Does not
    /// wait for it.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    ///
    /// let pool = mp_pool::Pool::new(1)?;
    /// let nap = |millis| std::thread::sleep(Duration::from_millis(millis));
    /// let handle = pool.apply_async(nap, 600_000).on_done(|result| assert!(result.unwrap_err().is_cancelled()));
    /// handle.cancel();
    /// handle.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) {
        (self.cancel)();
    }

    /// Waits until the callback has run. In a callback, of which one runs at a time, those that
    /// are due run meanwhile on its thread.
    ///
    /// # Errors
    /// What it said when it panicked.
    pub fn join(self) -> Result<(), String> {
        while runs_callbacks() {
            match self.told.try_recv() {
                Err(TryRecvError::Empty) => run_another(),
                Err(TryRecvError::Disconnected) => break,
                Ok(ended) => return ended,
            }
        }
        self.told.recv().unwrap_or_else(|_| Err("the callback was never called".to_owned()))
    }
}

impl fmt::Debug for CallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackHandle").finish_non_exhaustive()
    }
}
