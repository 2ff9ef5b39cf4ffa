//! One task for the threads.

use std::any::Any;

use super::crew::Task;
use super::slot::Promise;
use super::{ThreadPool, own, run};
use crate::async_result::AsyncResult;
use crate::error::{PoolError, TaskError};

impl<S: 'static> ThreadPool<S> {
    /// Runs `function` with `argument` in a thread and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`]: the task panicked, or the pool takes no tasks.
    pub fn apply<A, R, F>(&self, function: F, argument: A) -> Result<R, TaskError>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: FnOnce(A) -> R + Send + 'static,
    {
        self.apply_async(function, argument).get()
    }

    /// As [`apply`](Self::apply), with the state of the thread that runs it.
    ///
    /// # Errors
    /// As `apply`.
    pub fn apply_state<A, R, F>(&self, function: F, argument: A) -> Result<R, TaskError>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: FnOnce(&mut S, A) -> R + Send + 'static,
    {
        self.one_later(|state| function(own::<S>(state), argument)).get()
    }

    /// Has `function` run with `argument` in a thread, and returns at once.
    ///
    /// # Examples
    /// ```
    /// let pool = mp_pool::ThreadPool::new(2)?;
    /// let later = pool.apply_async(|x: u64| x * x, 7);
    /// assert_eq!(later.get()?, 49);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "submit")]
    pub fn apply_async<A, R, F>(&self, function: F, argument: A) -> AsyncResult<R>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: FnOnce(A) -> R + Send + 'static,
    {
        self.one_later(|_| function(argument))
    }

    fn one_later<R: Send + 'static>(
        &self,
        task: impl FnOnce(&mut dyn Any) -> R + Send + 'static,
    ) -> AsyncResult<R> {
        let (slot, promise) = Promise::new();
        let run = Box::new(move |state: &mut dyn Any| {
            if promise.begin() {
                promise.keep(run(|| task(state)));
            }
        });
        let task = Task { index: 0, items: 1, run };
        if let Err((error, task)) = self.take(task) {
            slot.set(Err(error.into()));
            drop(task);
        }
        AsyncResult::of_slot(slot)
    }

    fn take(&self, task: Task) -> Result<(), (PoolError, Task)> {
        match self.hall.crew.check() {
            Ok(()) => self.hall.crew.submit(self.priority, task),
            Err(error) => Err((error, task)),
        }
    }
}
