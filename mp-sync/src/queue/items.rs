//! Going over what comes in a queue.

use std::fmt;

use ipc_core::Message;

use super::{GetError, JoinableQueue, Queue, SimpleQueue};

/// The items of a queue, of which each is waited for and got; see [`Queue::iter`].
///
/// # Examples
/// ```
/// use mp_sync::Queue;
///
/// let queue = Queue::new()?;
/// queue.put(1)?;
/// queue.put(2)?;
/// queue.close();
/// for item in &queue {
///     println!("{}", item?);
/// }
/// # Ok::<(), mp_sync::Error>(())
/// ```
pub struct Items<'a, T> {
    queue: &'a Queue<T>,
    is_over: bool,
}

impl<'a, T> Items<'a, T> {
    pub(super) fn of(queue: &'a Queue<T>) -> Self {
        Self { queue, is_over: false }
    }
}

impl<T: Message> Iterator for Items<'_, T> {
    type Item = Result<T, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = if self.is_over { return None } else { self.queue.get() };
        self.is_over = !matches!(next, Ok(_) | Err(GetError::Decode(_)));
        (!matches!(next, Err(GetError::Closed))).then_some(next)
    }
}

impl<'a, T: Message> IntoIterator for &'a Queue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Items<'a, T> {
        self.iter()
    }
}

impl<'a, T: Message> IntoIterator for &'a JoinableQueue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Items<'a, T> {
        self.iter()
    }
}

impl<'a, T: Message> IntoIterator for &'a SimpleQueue<T> {
    type Item = Result<T, GetError>;
    type IntoIter = Items<'a, T>;

    fn into_iter(self) -> Items<'a, T> {
        self.iter()
    }
}

impl<T> fmt::Debug for Items<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
