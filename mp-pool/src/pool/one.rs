//! Verbs for one task.

use std::sync::Arc;

use ipc_core::Message;

use super::Pool;
use crate::async_result::{self, AsyncResult};
use crate::chunks::{Chunk, Chunks};
use crate::core::{Code, JobId};
use crate::error::{TaskError, TaskKind};
use crate::work::{self, Outcomes, Work};

impl<S: 'static> Pool<S> {
    /// Runs `function` with `argument` in a worker and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`]: the task panicked, its worker died, or the argument or the
    /// value could not travel.
    pub fn apply<A: Message, R: Message>(&self, function: fn(A) -> R, argument: A) -> Result<R, TaskError> {
        self.run_one(work::plain(function)?, argument)
    }

    /// As [`apply`](Self::apply), with the state of the worker that runs it.
    ///
    /// # Errors
    /// As `apply`.
    pub fn apply_state<A: Message, R: Message>(
        &self,
        function: fn(&mut S, A) -> R,
        argument: A,
    ) -> Result<R, TaskError> {
        self.run_one(work::with_state(function)?, argument)
    }

    pub(crate) fn run_one<A: Message, R: Message>(
        &self,
        code: Arc<Code>,
        argument: A,
    ) -> Result<R, TaskError> {
        let mut work =
            Work::begin(&self.driver, self.priority, code, Chunks::new(std::iter::once(argument), 1))?;
        let mut outcomes = Outcomes::new();
        work.fetch(&mut outcomes, None)?;
        match outcomes.pop_front() {
            Some((_, outcome)) => outcome,
            None => Err(TaskKind::BadResult("the task was answered without a value".to_owned()).into()),
        }
    }

    /// Has `function` run with `argument` in a worker, and returns at once.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let later = pool.apply_async(|x: u64| x * x, 7);
    /// assert_eq!(later.get()?, 49);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "submit")]
    pub fn apply_async<A: Message, R: Message>(&self, function: fn(A) -> R, argument: A) -> AsyncResult<R> {
        self.one_later(work::whole(function), argument)
    }

    pub(crate) fn one_later<A: Message, R: Message>(
        &self,
        code: Result<Arc<Code>, TaskError>,
        argument: A,
    ) -> AsyncResult<R> {
        let job = self.start_one(code, argument);
        AsyncResult::of_job(&self.driver, job, async_result::one)
    }

    fn start_one<A: Message>(
        &self,
        code: Result<Arc<Code>, TaskError>,
        argument: A,
    ) -> Result<JobId, TaskError> {
        let mut code = code?;
        if !code.whole {
            Arc::make_mut(&mut code).whole = true;
        }
        Ok(self.driver.hand_in(code, Chunk::one(argument), self.priority)?)
    }
}
