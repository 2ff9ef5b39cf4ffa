//! Results to come.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ipc_core::Message;

use crate::core::{JobId, Reply};
use crate::driver::Driver;
use crate::error::{PoolError, TaskError, TaskKind};
use crate::work::Gathered;

/// The result of a task that runs by itself; made by
/// [`Pool::apply_async`](crate::Pool::apply_async) and
/// [`Pool::map_async`](crate::Pool::map_async).
///
/// It is also a future, for any async runtime. Dropping it lets the tasks run
/// that workers have begun, drops the others, and forgets the result.
pub struct AsyncResult<T> {
    driver: Arc<Driver>,
    job: Option<JobId>,
    gather: Option<Gather<T>>,
    /// Known without the pool's help: it takes no work, or the result was decoded.
    known: Option<Result<T, TaskError>>,
}

/// Makes the result of all replies.
pub(crate) type Gather<T> = Box<dyn FnOnce(VecDeque<Reply>) -> Result<T, TaskError> + Send>;

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
    pub(crate) fn new(driver: &Arc<Driver>, job: Result<JobId, TaskError>, gather: Gather<T>) -> Self {
        let (job, known) = match job {
            Ok(job) => (Some(job), None),
            Err(error) => (None, Some(Err(error))),
        };
        Self { driver: Arc::clone(driver), job, gather: Some(gather), known }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// The task's [`TaskError`].
    pub fn get(mut self) -> Result<T, TaskError> {
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
        self.job.is_none_or(|job| self.driver.poll_end(job, None))
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
    pub fn cancel(&self) {
        if let Some(job) = self.job {
            self.driver.cancel(job);
        }
    }

    /// Has `callback` called with the result once it has come, on a thread that
    /// runs all callbacks, one after the other.
    ///
    /// A panic in it is caught and comes back by the handle.
    #[must_use = "dropping the handle is fine; `let _ =` says that a panic is not of interest"]
    pub fn on_done(mut self, callback: impl FnOnce(Result<T, TaskError>) + Send + 'static) -> CallbackHandle
    where
        T: Send + 'static,
    {
        let (tell, told) = std::sync::mpsc::channel();
        let run = move |result| {
            let run = std::panic::AssertUnwindSafe(|| callback(result));
            let _ = tell.send(std::panic::catch_unwind(run).map_err(|payload| text(&*payload)));
        };
        match (self.job.take(), self.gather.take(), self.known.take()) {
            (Some(job), Some(gather), None) => {
                let call = move |replies, broken: Option<PoolError>| {
                    run(broken.map_or_else(|| gather(replies), |error| Err(error.into())));
                };
                self.driver.on_end(job, call);
            }
            (_, _, Some(known)) => run(known),
            _ => {}
        }
        CallbackHandle(told)
    }

    fn await_end(&self, deadline: Option<Instant>) -> bool {
        self.job.is_none_or(|job| self.driver.await_end(job, deadline))
    }

    /// The result, which has come.
    fn take(&mut self) -> Result<T, TaskError> {
        if let Some(known) = self.known.take() {
            return known;
        }
        let (Some(job), Some(gather)) = (self.job.take(), self.gather.take()) else {
            return Err(TaskKind::BadResult("the result has been taken already".to_owned()).into());
        };
        let replies = self.driver.take_replies(job)?;
        gather(replies)
    }
}

fn text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

impl<T: Unpin> Future for AsyncResult<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let is_over = self.job.is_none_or(|job| self.driver.poll_end(job, Some(context.waker())));
        if is_over { Poll::Ready(self.take()) } else { Poll::Pending }
    }
}

impl<T> Drop for AsyncResult<T> {
    fn drop(&mut self) {
        if let Some(job) = self.job {
            self.driver.close_job(job);
        }
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("job", &self.job).finish_non_exhaustive()
    }
}

/// A callback that will run or has run; made by [`AsyncResult::on_done`].
#[derive(Debug)]
pub struct CallbackHandle(std::sync::mpsc::Receiver<Result<(), String>>);

impl CallbackHandle {
    /// Waits until the callback has run.
    ///
    /// # Errors
    /// What it said when it panicked.
    pub fn join(self) -> Result<(), String> {
        self.0.recv().unwrap_or_else(|_| Err("the callback was never called".to_owned()))
    }
}
