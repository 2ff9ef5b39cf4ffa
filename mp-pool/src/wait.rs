//! Waiting for the first or for all of many results.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use crate::async_result::AsyncResult;
use crate::error::{TaskError, TimeoutError};

/// What [`wait`] waits for.
#[doc(alias = "return_when")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At least one result has come.
    FirstCompleted,
    /// At least one result has come and is an error, or all have come.
    FirstError,
    /// All results have come.
    AllCompleted,
}

/// A result that [`wait`] can wait for: an [`AsyncResult`] of any type, or a mutable
/// reference to one. No other type can be one.
pub trait Awaited: sealed::Awaited {}

impl<P: sealed::Awaited + ?Sized> Awaited for P {}

mod sealed {
    use std::task::Waker;

    pub trait Awaited {
        fn is_over(&self, waker: Option<&Waker>) -> bool;
        fn is_error(&mut self) -> bool;
    }
}

impl<T> sealed::Awaited for AsyncResult<T> {
    fn is_over(&self, waker: Option<&Waker>) -> bool {
        self.is_over(waker)
    }

    fn is_error(&mut self) -> bool {
        self.successful() == Some(false)
    }
}

impl<P: sealed::Awaited + ?Sized> sealed::Awaited for &mut P {
    fn is_over(&self, waker: Option<&Waker>) -> bool {
        P::is_over(self, waker)
    }

    fn is_error(&mut self) -> bool {
        P::is_error(self)
    }
}

/// Waits for results, of one pool or of several, and says which have come: their
/// places, in order. Takes none of them: each can be got without waiting afterwards.
///
/// Results of different types are waited for together as `&mut dyn Awaited`. With a
/// timeout, the wait ends when it has passed, and fewer may have come than were waited
/// for. A pool that ends makes all of its results come, as errors.
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_pool::{Awaited, Until, wait};
///
/// let pool = mp_pool::Pool::new(2)?;
/// let mut squares: Vec<_> = (0..8).map(|x| pool.apply_async(|x: u64| x * x, x)).collect();
/// assert!(!wait(&mut squares, Until::FirstCompleted, None).is_empty());
/// assert_eq!(wait(&mut squares, Until::AllCompleted, None).len(), 8);
///
/// let mut number = pool.apply_async(|()| 1, ());
/// let mut text = pool.apply_async(|()| "one".to_owned(), ());
/// let mut both: [&mut dyn Awaited; 2] = [&mut number, &mut text];
/// assert_eq!(wait(&mut both, Until::AllCompleted, None), [0, 1]);
/// assert_eq!((number.get()?, text.get()?.as_str()), (1, "one"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait<P: Awaited>(results: &mut [P], until: Until, timeout: Option<Duration>) -> Vec<usize> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let bell = Arc::new(Bell::default());
    let mut come = vec![false; results.len()];
    let mut failed = false;
    let mut look = |place: usize, come: &mut [bool]| {
        if !come[place] && results[place].is_over(Some(&bell.waker(place))) {
            come[place] = true;
            failed |= until == Until::FirstError && results[place].is_error();
        }
        failed || (until == Until::FirstCompleted && come[place])
    };
    // Those that have come already are all looked at.
    let mut enough = false;
    (0..come.len()).for_each(|place| enough |= look(place, &mut come));
    while !enough && come.contains(&false) {
        let Some(place) = bell.heard(deadline) else { break };
        enough = look(place, &mut come);
    }
    (0..come.len()).filter(|place| come[*place]).collect()
}

/// Yields results as they come, each with its place among those given.
///
/// # Examples
/// ```
/// # mp_process::init();
/// let pool = mp_pool::Pool::new(2)?;
/// let nap = |millis| std::thread::sleep(std::time::Duration::from_millis(millis));
/// let naps = [300, 1].map(|millis| pool.apply_async(nap, millis));
/// let order: Vec<usize> = mp_pool::as_completed(naps).map(|(place, _)| place).collect();
/// assert_eq!(order, [1, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn as_completed<T>(results: impl IntoIterator<Item = AsyncResult<T>>) -> AsCompleted<T> {
    let bell = Arc::new(Bell::default());
    let results: Vec<Option<AsyncResult<T>>> = results.into_iter().map(Some).collect();
    for (place, result) in results.iter().enumerate() {
        if result.as_ref().is_some_and(|result| result.is_over(Some(&bell.waker(place)))) {
            bell.ring(place);
        }
    }
    AsCompleted { left: results.len(), results, bell }
}

/// Results as they come; made by [`as_completed`].
pub struct AsCompleted<T> {
    results: Vec<Option<AsyncResult<T>>>,
    left: usize,
    bell: Arc<Bell>,
}

/// A result and its place among those given.
type Placed<T> = (usize, Result<T, TaskError>);

impl<T> AsCompleted<T> {
    /// As [`next`](Iterator::next), and waits up to `timeout`.
    ///
    /// # Errors
    /// [`TimeoutError`] if no further result has come by then; those that are left can
    /// be asked for again.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Placed<T>>, TimeoutError> {
        self.next_deadline(Instant::now().checked_add(timeout))
    }

    fn next_deadline(&mut self, deadline: Option<Instant>) -> Result<Option<Placed<T>>, TimeoutError> {
        while self.left > 0 {
            let place = self.bell.heard(deadline).ok_or(TimeoutError)?;
            let waker = self.bell.waker(place);
            // A bell may ring twice, or for nothing.
            if self.results[place].as_ref().is_some_and(|result| result.is_over(Some(&waker)))
                && let Some(mut result) = self.results[place].take()
            {
                self.left -= 1;
                return Ok(Some((place, result.take())));
            }
        }
        Ok(None)
    }
}

impl<T> Iterator for AsCompleted<T> {
    type Item = Placed<T>;

    fn next(&mut self) -> Option<Placed<T>> {
        self.next_deadline(None).ok().flatten()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Rung by results that have come.
#[derive(Default)]
struct Bell {
    rung: Mutex<VecDeque<usize>>,
    sound: Condvar,
}

impl Bell {
    fn waker(self: &Arc<Self>, place: usize) -> Waker {
        Waker::from(Arc::new(Rope { bell: Arc::clone(self), place }))
    }

    fn ring(&self, place: usize) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).push_back(place);
        self.sound.notify_one();
    }

    /// Who rang next; `None` at the deadline.
    fn heard(&self, deadline: Option<Instant>) -> Option<usize> {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(place) = rung.pop_front() {
                return Some(place);
            }
            rung = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.sound.wait(rung).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return None,
                Some(left) => self.sound.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// Rings for one result.
struct Rope {
    bell: Arc<Bell>,
    place: usize,
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.bell.ring(self.place);
    }
}
