//! Values of threads, one by one.

use super::stream::Stream;
use super::{ThreadImap, ThreadImapUnordered, ThreadPool};

impl<S: 'static> ThreadPool<S> {
    /// Runs `function` with each of `items`, and yields the values in order, each as
    /// soon as it and all before it are there. Items are taken as values are, so the
    /// input may be endless.
    pub fn imap<A, R, I, F>(&self, function: F, items: I) -> ThreadImap<'_, I::IntoIter, R>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        ThreadImap::new(self.imap_unordered(function, items))
    }

    /// As [`imap`](Self::imap), but yields each value as soon as it is there.
    pub fn imap_unordered<A, R, I, F>(&self, function: F, items: I) -> ThreadImapUnordered<'_, I::IntoIter, R>
    where
        A: Send + 'static,
        R: Send + 'static,
        I: IntoIterator<Item = A>,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        let stream = Stream::of_imap(self.place(), move |_, item| function(item), items.into_iter());
        ThreadImapUnordered::new(stream)
    }
}
