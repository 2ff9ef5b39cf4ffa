//! Iterators that live in a manager.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use ipc_core::Message;

use crate::error::ManagerError;

/// What an [`IteratorProxy`] stands for. Its lock is never waited for: all methods run alone.
pub struct ManagedIterator<T>(Mutex<Option<Box<dyn Iterator<Item = T> + Send>>>);

#[crate::object(proxy = IteratorProxy, crate = crate)]
impl<T: Message> ManagedIterator<T> {
    /// The next item; `None` at the end. Whoever asks gets the next one.
    #[doc(alias = "__next__")]
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<T> {
        self.with(|items| items.next()).flatten()
    }

    /// The next items, up to `most`; fewer only at the end.
    pub fn next_chunk(&mut self, most: usize) -> Vec<T> {
        self.with(|items| items.take(most).collect()).unwrap_or_default()
    }

    /// Drops the iterator in the manager: it has come to its end.
    pub fn close(&mut self) {
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<T> ManagedIterator<T> {
    fn with<R>(&mut self, look: impl FnOnce(&mut dyn Iterator<Item = T>) -> R) -> Option<R> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_deref_mut().map(|items| look(items))
    }
}

impl<T: Message> IteratorProxy<T> {
    /// In a method that runs in a manager: gives an iterator a place there. A method that
    /// returns `impl Iterator<Item = T>` does so by itself.
    ///
    /// # Errors
    /// [`ManagerError`] if this thread runs no method, or the manager holds as many objects as
    /// it may.
    pub fn over(items: impl Iterator<Item = T> + Send + 'static) -> Result<Self, ManagerError> {
        Self::host(ManagedIterator(Mutex::new(Some(Box::new(items)))))
    }

    /// Takes the items one by one, and fetches `chunk` of them with each call of the manager,
    /// at least one.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_manager::Manager;
    ///
    /// struct Squares(u64);
    ///
    /// #[mp_manager::object]
    /// impl Squares {
    ///     pub fn up_to(most: u64) -> Self { Self(most) }
    ///     /// The iterator stays in the manager, and its proxy is returned.
    ///     pub fn all(&self) -> impl Iterator<Item = u64> + Send + use<> {
    ///         (0..self.0).map(|x| x * x)
    ///     }
    /// }
    ///
    /// let manager = Manager::start()?;
    /// let squares = SquaresProxy::up_to(&manager, 5)?.all()?;
    /// assert_eq!(squares.next()?, Some(0));
    /// let rest: Result<Vec<u64>, _> = squares.items(100).collect();
    /// assert_eq!(rest?, [1, 4, 9, 16]);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    pub fn items(&self, chunk: usize) -> Items<'_, T> {
        Items { proxy: self, chunk: chunk.max(1), here: VecDeque::new(), is_over: false }
    }
}

/// Takes the items of an iterator in a manager; made by [`IteratorProxy::items`]. An error is its
/// last one.
pub struct Items<'a, T> {
    proxy: &'a IteratorProxy<T>,
    chunk: usize,
    here: VecDeque<T>,
    is_over: bool,
}

impl<T: Message> Iterator for Items<'_, T> {
    type Item = Result<T, ManagerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.here.is_empty() && !self.is_over {
            match self.proxy.next_chunk(self.chunk) {
                Ok(items) => {
                    self.is_over = items.len() < self.chunk;
                    self.here = items.into();
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
        self.here.pop_front().map(Ok)
    }
}

impl<T> fmt::Debug for Items<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("of", self.proxy).field("here", &self.here.len()).finish()
    }
}

impl<T> fmt::Debug for ManagedIterator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedIterator").finish_non_exhaustive()
    }
}

/// For methods that return an iterator.
#[doc(hidden)]
pub fn for_value<T: Message>(
    items: impl Iterator<Item = T> + Send + 'static,
) -> Result<IteratorProxy<T>, crate::Fault> {
    IteratorProxy::over(items).map_err(crate::Fault::reply)
}
