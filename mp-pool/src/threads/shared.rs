//! A value that all tasks of threads look at.

use std::fmt;
use std::sync::Arc;

use super::{ThreadImap, ThreadImapUnordered, ThreadPool};
use crate::async_result::AsyncResult;
use crate::error::TaskError;

/// A value, and the verbs of a [`ThreadPool`] for functions that look at it; made by
/// [`ThreadPool::share`].
///
/// Clones are the same value, and it may outlive its pool, whose end its verbs then report. It is
/// dropped with the last clone and the last task that looks at it.
pub struct ThreadShared<T> {
    pool: ThreadPool,
    value: Arc<T>,
}

impl<T: Send + Sync + 'static> ThreadShared<T> {
    pub(super) fn new(pool: ThreadPool, value: Arc<T>) -> Self {
        Self { pool, value }
    }

    /// As [`ThreadPool::apply`].
    ///
    /// # Errors
    /// As there.
    pub fn apply<A, R, F>(&self, function: F, argument: A) -> Result<R, TaskError>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: FnOnce(&T, A) -> R + Send + 'static,
    {
        self.apply_async(function, argument).get()
    }

    /// As [`ThreadPool::apply_async`].
    #[doc(alias = "submit")]
    pub fn apply_async<A, R, F>(&self, function: F, argument: A) -> AsyncResult<R>
    where
        A: Send + 'static,
        R: Send + 'static,
        F: FnOnce(&T, A) -> R + Send + 'static,
    {
        let value = Arc::clone(&self.value);
        self.pool.apply_async(move |argument| function(&value, argument), argument)
    }

    /// As [`ThreadPool::map`].
    ///
    /// # Errors
    /// As there.
    pub fn map<A, R, I, F>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(&T, A) -> R + Send + Sync + 'static,
    {
        self.pool.map(self.bound(function), items)
    }

    /// As [`ThreadPool::map_async`].
    pub fn map_async<A, R, I, F>(&self, function: F, items: I) -> AsyncResult<Vec<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(&T, A) -> R + Send + Sync + 'static,
    {
        self.pool.map_async(self.bound(function), items)
    }

    /// As [`ThreadPool::imap`].
    pub fn imap<A, R, I, F>(&self, function: F, items: I) -> ThreadImap<'_, I::IntoIter, R>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(&T, A) -> R + Send + Sync + 'static,
    {
        self.pool.imap(self.bound(function), items)
    }

    /// As [`ThreadPool::imap_unordered`].
    pub fn imap_unordered<A, R, I, F>(&self, function: F, items: I) -> ThreadImapUnordered<'_, I::IntoIter, R>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(&T, A) -> R + Send + Sync + 'static,
    {
        self.pool.imap_unordered(self.bound(function), items)
    }

    fn bound<A, R>(
        &self,
        function: impl Fn(&T, A) -> R + Send + Sync + 'static,
    ) -> impl Fn(A) -> R + Send + Sync + 'static {
        let value = Arc::clone(&self.value);
        move |item| function(&value, item)
    }
}

impl<T> Clone for ThreadShared<T> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.view(self.pool.priority), value: Arc::clone(&self.value) }
    }
}

impl<T> fmt::Debug for ThreadShared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadShared").finish_non_exhaustive()
    }
}
