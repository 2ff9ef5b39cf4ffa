//! A value that all tasks look at, sent once to each worker.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ipc_core::Message;

use crate::async_result::AsyncResult;
use crate::core::Lease;
use crate::error::TaskError;
use crate::imap::{Imap, ImapUnordered};
use crate::pool::Pool;
use crate::work;

/// A value that a pool's workers keep, and the pool's verbs for functions that look at
/// it; made by [`Pool::share`].
///
/// Clones are the same value. It may outlive its pool, whose end its verbs then report.
/// What a task changes behind the `&T`, in a `Cell` for one, stays in its worker and is
/// lost with it.
pub struct Shared<T> {
    // Dropped in this order: the value is let go of, then the workers are told.
    lease: Arc<Lease>,
    pool: Tidied,
    value: PhantomData<fn() -> T>,
}

/// The pool, which sees to values that nobody needs when this is dropped.
struct Tidied(Pool);

impl<T: Message> Shared<T> {
    pub(crate) fn new(pool: Pool, lease: Arc<Lease>) -> Self {
        Self { lease, pool: Tidied(pool), value: PhantomData }
    }

    /// As [`Pool::apply`].
    ///
    /// # Errors
    /// As there, and if the value could not be decoded in the worker.
    pub fn apply<A: Message, R: Message>(
        &self,
        function: fn(&T, A) -> R,
        argument: A,
    ) -> Result<R, TaskError> {
        self.pool.0.run_one(work::with_shared(function, &self.lease)?, argument)
    }

    /// As [`Pool::apply_async`].
    #[doc(alias = "submit")]
    pub fn apply_async<A: Message, R: Message>(
        &self,
        function: fn(&T, A) -> R,
        argument: A,
    ) -> AsyncResult<R> {
        self.pool.0.one_later(work::with_shared(function, &self.lease), argument)
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    /// As there, and if the value could not be decoded in a worker.
    pub fn map<A, R, I>(&self, function: fn(&T, A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        let code = work::with_shared(function, &self.lease)?;
        let (work, expected) = self.pool.0.map_work(code, items.into_iter())?;
        work.gather(expected)
    }

    /// As [`Pool::map_async`].
    pub fn map_async<A, R, I>(&self, function: fn(&T, A) -> R, items: I) -> AsyncResult<Vec<R>>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        self.pool.0.many_later(work::with_shared(function, &self.lease), items.into_iter())
    }

    /// As [`Pool::imap`].
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let base = pool.share(&"colour".to_owned())?;
    /// let named: Result<Vec<String>, _> = base.imap(|base, x: u32| format!("{base} {x}"), 1..=2).collect();
    /// assert_eq!(named?, ["colour 1", "colour 2"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap<A, R, I>(&self, function: fn(&T, A) -> R, items: I) -> Imap<'_, I::IntoIter, R>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self.pool.0.stream(work::with_shared(function, &self.lease), items.into_iter()))
    }

    /// As [`Pool::imap_unordered`].
    pub fn imap_unordered<A, R, I>(
        &self,
        function: fn(&T, A) -> R,
        items: I,
    ) -> ImapUnordered<'_, I::IntoIter, R>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(self.pool.0.stream(work::with_shared(function, &self.lease), items.into_iter()))
    }
}

impl Drop for Tidied {
    fn drop(&mut self) {
        self.0.tidy();
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        let pool = Tidied(self.pool.0.again());
        Self { lease: Arc::clone(&self.lease), pool, value: PhantomData }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("id", &self.lease.id).finish_non_exhaustive()
    }
}
