//! The pool's verbs over threads of this process.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::async_result::AsyncResult;
use crate::error::{PoolError, PoolKind, TaskError, TaskKind};
use crate::scope::Scope;
use crate::stats::PoolStats;
use crate::stop_rule::{self, StopRule, Stopped};
use crate::task_pool::TaskPool;

mod crew;
mod record;
mod shared;
mod slot;
mod stream;

pub use shared::ThreadShared;
pub(crate) use slot::Slot;
pub use stream::{ThreadImap, ThreadImapUnordered};

use crew::{Crew, Task};
use record::Record;
use slot::{Many, Promise};
use stream::{Stream, Where};

/// Threads that run functions: the verbs of a [`Pool`](crate::Pool) without its
/// processes.
///
/// Arguments and values are moved and not encoded, functions may be closures that
/// capture, and starting one costs next to nothing. A panic is the task's error here too;
/// the program's panic hook has its say first. `S` is the state that each thread keeps
/// between tasks, if the pool was made [with one](Self::with_state).
///
/// It has all verbs of a `Pool`. What it has not is what threads cannot have, or what is at hand
/// without it:
///
/// | of a `Pool` | here |
/// |---|---|
/// | `retries`, the death of a worker | a thread does not die alone: a crash takes the program with it |
/// | `task_timeout`, [`cancel`](AsyncResult::cancel) of what runs | a thread cannot be stopped: what runs, runs on; what is queued is cancelled |
/// | `soft_timeout`, [`task_deadline`](crate::task_deadline) | the function captures its deadline |
/// | `memory_limit`, `task_memory_limit` | memory is the program's, and so are its limits |
/// | `max_tasks_per_child`, `max_memory_per_child` | what a task leaks stays when its thread ends |
/// | `idle_timeout`, `min_processes` | an idle thread costs a stack that nobody touches; [`resize`](Self::resize) ends it |
/// | `at_exit` | the state is dropped on its thread, when that leaves |
/// | `window_bytes` | values are moved and not copied: the number of those under way is bounded |
/// | `start_method`, `transport`, `budget`, `pids` | there are no processes |
///
/// A task that waits for tasks of its own pool holds a thread while it does; when
/// all threads wait so, none of them goes on.
///
/// Dropping it drops the tasks that no thread has begun and lets the threads end
/// when they are done; to wait for all, [`join`](Self::join) it. Code that should
/// work with either kind of pool is written for a [`TaskPool`](crate::TaskPool).
///
/// # Examples
/// ```
/// use mp_pool::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// let factor = 3;
/// assert_eq!(pool.map(move |x: u64| x * factor, 0..4)?, [0, 3, 6, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPool<S = ()> {
    hall: Arc<Hall>,
    priority: i32,
    /// The threads end when this is dropped.
    is_owner: bool,
    state: PhantomData<fn() -> S>,
}

/// The threads of a pool, and what they share.
struct Hall {
    crew: Arc<Crew>,
    places: Mutex<Vec<Place>>,
    /// What makes a thread's state, for each one anew.
    begin: Box<dyn Fn() -> Begin + Send + Sync>,
}

/// Makes a thread's state, on that thread.
type Begin = Box<dyn FnOnce() -> Box<dyn Any> + Send>;

/// Where a thread works, or has.
struct Place {
    record: Arc<Record>,
    thread: JoinHandle<()>,
}

impl Hall {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the threads that are missing.
    fn fill(&self) -> Result<(), PoolError> {
        let mut places = self.places();
        while self.crew.enter() {
            if let Err(error) = self.start(&mut places) {
                self.crew.give_up_entering();
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Starts a thread, in the place of one that has left if there is any.
    fn start(&self, places: &mut Vec<Place>) -> std::io::Result<()> {
        let free = places.iter().position(|place| place.thread.is_finished());
        let record = match free {
            Some(place) => Arc::clone(&places[place].record),
            None => Arc::new(Record::new(format!("ThreadPool-{}", places.len() + 1))),
        };
        let (crew, begin) = (Arc::clone(&self.crew), (self.begin)());
        let theirs = Arc::clone(&record);
        if free.is_some() {
            record.begin_again();
        }
        let thread = thread::Builder::new().name(record.name().to_owned());
        let thread = thread.spawn(move || crew.work(&theirs, begin))?;
        match free {
            Some(place) => places[place].thread = thread,
            None => places.push(Place { record, thread }),
        }
        Ok(())
    }
}

impl ThreadPool {
    /// A pool of `threads` threads.
    ///
    /// # Errors
    /// [`PoolError`] if no threads were asked for, or if the system refuses one.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        Self::with_initializer(threads, |()| (), ())
    }

    /// As [`new`](Self::new); each thread calls `function` with a clone of `argument`
    /// before its first task. If it panics, the pool's tasks fail with that panic.
    ///
    /// # Errors
    /// As `new`.
    #[doc(alias = "initializer")]
    pub fn with_initializer<A: Clone + Send + 'static>(
        threads: usize,
        function: fn(A),
        argument: A,
    ) -> Result<Self, PoolError> {
        ThreadPool::with_state(threads, function, argument)
    }
}

impl<S: 'static> ThreadPool<S> {
    /// As [`ThreadPool::new`]; each thread makes a state of its own with `function` and a clone of
    /// `argument` before its first task. Tasks get it by [`apply_state`](Self::apply_state) and
    /// [`map_state`](Self::map_state), and it is dropped on its thread when that leaves. If
    /// `function` panics, the pool's tasks fail with that panic.
    ///
    /// # Errors
    /// As `new`.
    ///
    /// # Examples
    /// ```
    /// use mp_pool::ThreadPool;
    ///
    /// let pool = ThreadPool::with_state(2, |base: u64| vec![base], 40)?;
    /// let sums = pool.map_state(|seen, x: u64| seen[0] + x, [1, 2])?;
    /// assert_eq!(sums, [41, 42]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_state<A: Clone + Send + 'static>(
        threads: usize,
        function: fn(A) -> S,
        argument: A,
    ) -> Result<Self, PoolError> {
        if threads == 0 {
            return Err(PoolKind::NoWorkers.into());
        }
        let argument = Mutex::new(argument);
        let begin = move || -> Begin {
            let argument = argument.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Box::new(move || -> Box<dyn Any> { Box::new(function(argument)) })
        };
        let hall = Hall { crew: Arc::default(), places: Mutex::default(), begin: Box::new(begin) };
        let pool = Self { hall: Arc::new(hall), priority: 0, is_owner: true, state: PhantomData };
        pool.resize(threads)?;
        Ok(pool)
    }

    /// Sets how many threads there are, while they work. New ones are started before this
    /// returns; where there are too many, some leave when they have done what they do.
    ///
    /// # Errors
    /// [`PoolError`] if none are asked for, if the pool has ended, or if the system refuses a
    /// thread; then there are as many as could be started.
    ///
    /// # Examples
    /// ```
    /// let pool = mp_pool::ThreadPool::new(1)?;
    /// pool.resize(3)?;
    /// assert_eq!((pool.workers(), pool.apply(|x: u32| x + 1, 1)?), (3, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resize(&self, threads: usize) -> Result<(), PoolError> {
        if threads == 0 {
            return Err(PoolKind::NoWorkers.into());
        }
        self.hall.crew.want(threads)?;
        self.hall.fill()
    }

    /// The same pool, whose verbs submit tasks of this priority: they are begun before all
    /// queued ones of a lower priority. That of the pool itself is zero.
    ///
    /// # Examples
    /// ```
    /// let pool = mp_pool::ThreadPool::new(1)?;
    /// let usual = pool.map_async(|x: u64| x * x, 0..10);
    /// let urgent = pool.priority(5).apply_async(|()| "first".to_owned(), ());
    /// assert_eq!((urgent.get()?.as_str(), usual.get()?[3]), ("first", 9));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn priority(&self, priority: i32) -> ThreadPrioritized<'_, S> {
        ThreadPrioritized { view: self.view(priority), pool: PhantomData }
    }

    /// The same pool, under a priority, which does not end it.
    fn view<T>(&self, priority: i32) -> ThreadPool<T> {
        ThreadPool { hall: Arc::clone(&self.hall), priority, is_owner: false, state: PhantomData }
    }

    /// Keeps a value for tasks that look at it: [`ThreadShared`] has the verbs for them. It is
    /// moved there, and neither encoded nor copied; a closure that captures an
    /// [`Arc`] does as well.
    ///
    /// # Examples
    /// ```
    /// let pool = mp_pool::ThreadPool::new(2)?;
    /// let primes = pool.share(vec![2, 3, 5, 7, 11]);
    /// let is_prime = primes.map(|primes, x: u32| primes.contains(&x), 1..=4)?;
    /// assert_eq!(is_prime, [false, true, true, false]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "broadcast")]
    #[must_use]
    pub fn share<T: Send + Sync + 'static>(&self, value: T) -> ThreadShared<T> {
        ThreadShared::new(self.view(self.priority), Arc::new(value))
    }

    fn place(&self) -> Where<'_> {
        Where { crew: &self.hall.crew, priority: self.priority }
    }

    /// What the threads have done so far, and what their time went into; of the slowest
    /// inputs those of a map are known several at a time, as threads take them. What a
    /// thread has just done may count a moment after its result has come.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        record::stats(self.hall.places().iter().map(|place| &*place.record))
    }

    /// How many threads there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.hall.crew.wanted()
    }

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

    /// Runs `block`, in which tasks can be submitted, and waits until all of them are
    /// done; see [`TaskPool::scope`].
    ///
    /// # Errors
    /// The first error of a task whose result was dropped unread.
    pub fn scope<'pool, T>(
        &'pool self,
        block: impl FnOnce(&Scope<'pool, Self>) -> T,
    ) -> Result<T, TaskError> {
        TaskPool::scope(self, block)
    }

    /// Takes no more tasks; those under way go on.
    pub fn close(&self) {
        self.hall.crew.close();
    }

    /// Drops the tasks that no thread has begun, whose results are then an error, and
    /// takes no more. Threads end when they have done what they do; this does not
    /// wait for them.
    pub fn terminate(&self) {
        self.hall.crew.end(PoolKind::Terminated.into());
    }

    /// Waits until the threads have done all tasks, and ended.
    pub fn join(self) {
        self.hall.crew.finish();
        let own = thread::current().id();
        let places = std::mem::take(&mut *self.hall.places());
        for Place { thread, .. } in places.into_iter().filter(|place| place.thread.thread().id() != own) {
            // A thread catches what its tasks throw.
            let _ = thread.join();
        }
    }
}

/// Runs a task; its panic is its error.
fn run<R>(task: impl FnOnce() -> R) -> Result<R, TaskError> {
    mp_process::catch_panic(task).map_err(|panic| TaskKind::Panicked(panic).into())
}

/// The state of a thread, whose type its pool knows.
fn own<S: 'static>(state: &mut dyn Any) -> &mut S {
    state.downcast_mut().expect("a pool's threads have its state")
}

/// A pool of threads under another priority; made by [`ThreadPool::priority`].
#[derive(Debug)]
pub struct ThreadPrioritized<'pool, S = ()> {
    view: ThreadPool<S>,
    pool: PhantomData<&'pool ThreadPool<S>>,
}

impl<S> Deref for ThreadPrioritized<'_, S> {
    type Target = ThreadPool<S>;

    fn deref(&self) -> &ThreadPool<S> {
        &self.view
    }
}

impl<S> Drop for ThreadPool<S> {
    fn drop(&mut self) {
        if self.is_owner {
            self.hall.crew.end(PoolKind::Terminated.into());
        }
    }
}

impl<S> fmt::Debug for ThreadPool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.hall.crew.wanted()).finish_non_exhaustive()
    }
}
