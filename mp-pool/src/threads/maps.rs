//! Functions of many items, in threads.

use std::any::Any;
use std::sync::Arc;

use super::crew::Task;
use super::slot::Many;
use super::stream::{self, Stream, Where};
use super::{ThreadPool, own, run};
use crate::async_result::AsyncResult;
use crate::error::TaskError;
use crate::stop_rule::{self, StopRule, Stopped};

impl<S: 'static> ThreadPool<S> {
    /// Runs `function` with each of `items` and waits for all values, in order.
    ///
    /// Items are taken from the iterator, several at a time, as threads are ready.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item, in order, that failed, after all others
    /// are done.
    pub fn map<A, R, I, F>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        Stream::of_map(self.place(), move |_, item| function(item), items.into_iter()).gather()
    }

    /// As [`map`](Self::map), until one item fails: with the first `Err` of the
    /// function that comes, no more items are given out, and it is the inner error.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item that could not be run.
    pub fn try_map<A, T, E, I, F>(&self, function: F, items: I) -> Result<Result<Vec<T>, E>, TaskError>
    where
        A: Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> Result<T, E> + Send + Sync + 'static,
    {
        Stream::of_map(self.place(), move |_, item| function(item), items.into_iter()).gather_while()
    }

    /// As [`map`](Self::map), each item with the state of the thread that runs it.
    ///
    /// # Errors
    /// As `map`.
    pub fn map_state<A, R, I, F>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(&mut S, A) -> R + Send + Sync + 'static,
    {
        let function = move |state: &mut dyn Any, item| function(own::<S>(state), item);
        Stream::of_map(self.place(), function, items.into_iter()).gather()
    }

    /// Runs `function` with each of `items`, for as long as no more fail than `rule`
    /// allows, and gives the outcome of each, in order.
    ///
    /// When it stops, no more items are given out; those that threads have begun run on
    /// for nothing.
    ///
    /// # Errors
    /// [`Stopped`], with what had come by then: the rule said so, or the pool ended, which
    /// is the last error in it.
    pub fn map_while<A, R, I, F>(
        &self,
        rule: StopRule,
        function: F,
        items: I,
    ) -> Result<Vec<Result<R, TaskError>>, Stopped<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        stop_rule::gather(rule, self.imap_unordered(function, items).placed())
    }

    /// As [`map`](Self::map), for a function of two parameters.
    ///
    /// There are [`starmap3`](Self::starmap3) and [`starmap4`](Self::starmap4) for more.
    ///
    /// # Errors
    /// As `map`.
    pub fn starmap<A, B, R, I, F>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Send + 'static,
        B: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = (A, B)>,
        F: Fn(A, B) -> R + Send + Sync + 'static,
    {
        self.map(move |(a, b)| function(a, b), items)
    }

    /// As [`starmap`](Self::starmap), for three parameters.
    ///
    /// # Errors
    /// As `map`.
    pub fn starmap3<A, B, C, R, I, F>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Send + 'static,
        B: Send + 'static,
        C: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = (A, B, C)>,
        F: Fn(A, B, C) -> R + Send + Sync + 'static,
    {
        self.map(move |(a, b, c)| function(a, b, c), items)
    }

    /// As [`starmap`](Self::starmap), for four parameters.
    ///
    /// # Errors
    /// As `map`.
    pub fn starmap4<A, B, C, D, R, I, F>(&self, function: F, items: I) -> Result<Vec<R>, TaskError>
    where
        A: Send + 'static,
        B: Send + 'static,
        C: Send + 'static,
        D: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = (A, B, C, D)>,
        F: Fn(A, B, C, D) -> R + Send + Sync + 'static,
    {
        self.map(move |(a, b, c, d)| function(a, b, c, d), items)
    }

    /// As [`map`](Self::map), and returns at once. The items are taken before it
    /// returns.
    pub fn map_async<A, R, I, F>(&self, function: F, items: I) -> AsyncResult<Vec<R>>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        let items: Vec<A> = items.into_iter().collect();
        let size = stream::chunk_size(items.len(), self.workers());
        let many = Many::new(items.len());
        if let Err(error) = self.hall.crew.check() {
            many.slot().set(Err(error.into()));
            return AsyncResult::of_slot(Arc::clone(many.slot()));
        }
        let function = Arc::new(function);
        let mut rest = items.into_iter();
        let mut index = 0;
        while rest.len() > 0 {
            let chunk: Vec<A> = rest.by_ref().take(size).collect();
            let (share, function) = (many.share(index, chunk.len()), Arc::clone(&function));
            let items = chunk.len();
            let run = Box::new(move |_: &mut dyn Any| share.run(chunk, |item| run(|| function(item))));
            let task = Task { index, items, run };
            index += items;
            if let Err((error, task)) = self.hall.crew.submit(self.priority, task) {
                many.slot().set(Err(error.into()));
                drop(task);
                break;
            }
        }
        AsyncResult::of_slot(Arc::clone(many.slot()))
    }

    /// As [`starmap`](Self::starmap), and returns at once.
    pub fn starmap_async<A, B, R, I, F>(&self, function: F, items: I) -> AsyncResult<Vec<R>>
    where
        A: Send + 'static,
        B: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = (A, B)>,
        F: Fn(A, B) -> R + Send + Sync + 'static,
    {
        self.map_async(move |(a, b)| function(a, b), items)
    }

    pub(super) fn place(&self) -> Where<'_> {
        Where { crew: &self.hall.crew, priority: self.priority }
    }
}
