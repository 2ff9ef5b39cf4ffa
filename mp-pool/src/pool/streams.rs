//! Verbs for many items whose values are taken one by one.

use std::sync::Arc;

use ipc_core::Message;

use super::Pool;
use crate::chunks::Chunks;
use crate::core::Code;
use crate::error::TaskError;
use crate::imap::{Imap, ImapUnordered};
use crate::work::{self, Work};

impl<S: 'static> Pool<S> {
    /// Runs `function` with each of `items`, and yields the values in order, each
    /// as soon as it and all before it are there.
    ///
    /// Items are taken from the iterator as values are taken from the result, so
    /// that memory in flight is bounded whatever their number; it may be endless.
    /// An item that failed yields its error, and the next go on; a pool that is
    /// closed or has given up yields that as one error and then ends.
    ///
    /// Quick items may travel several together, if the iterator says by its
    /// [`size_hint`](Iterator::size_hint) that there are more. One that does not, such as a
    /// channel's, may wait for what the items before it do.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::new(2)?;
    /// let firsts: Result<Vec<u64>, _> = pool.imap(|x: u64| x * x, 0..).take(3).collect();
    /// assert_eq!(firsts?, [0, 1, 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<'_, I::IntoIter, R>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        Imap::new(self.stream(work::plain(function), items.into_iter()))
    }

    /// As [`imap`](Self::imap), but yields each value as soon as it is there.
    pub fn imap_unordered<A, R, I>(&self, function: fn(A) -> R, items: I) -> ImapUnordered<'_, I::IntoIter, R>
    where
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(self.stream(work::plain(function), items.into_iter()))
    }

    pub(crate) fn stream<A, I>(
        &self,
        code: Result<Arc<Code>, TaskError>,
        items: I,
    ) -> Result<Work<'_, I>, TaskError>
    where
        A: Message,
        I: Iterator<Item = A>,
    {
        Work::begin(&self.driver, self.priority, code?, Chunks::bundles(items))
    }
}
