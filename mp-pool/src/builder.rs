//! How a pool is to be made.

use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipc_core::link::Link;
use ipc_core::{EncodeError, Message};
use mp_process::StartMethod;

use crate::driver::Driver;
use crate::error::{PoolError, PoolKind};
use crate::pool::Pool;
use crate::rules::Rules;
use crate::transport::{Transport, Wires};
use crate::worker;

/// Why an argument that all workers get may not be an end.
pub(crate) const ONE_END: &str = "each worker needs one, and a channel end moves only once";

/// Sets how a pool is made; from [`Pool::builder`].
///
/// # Examples
/// ```
/// # mp_process::init();
/// use mp_pool::Pool;
///
/// let pool = Pool::builder().processes(2).retries(3).build()?;
/// assert_eq!(pool.map(|x: u32| x + 1, [1, 2])?, [2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Builder<S = ()> {
    rules: Rules,
    /// How many workers were asked for.
    processes: Option<usize>,
    /// An initializer's argument that would not encode.
    refused: Option<EncodeError>,
    state: PhantomData<fn() -> S>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { rules: Rules::new(0), processes: None, refused: None, state: PhantomData }
    }
}

impl<S: 'static> Builder<S> {
    /// How many workers: as many as this process may use CPUs, unless set. In a task of
    /// another pool there may be fewer: see [`budget`](Self::budget).
    #[must_use]
    pub fn processes(mut self, count: usize) -> Self {
        self.processes = Some(count);
        self
    }

    /// Lets a worker leave that has had nothing to do for so long, and starts another
    /// when there are more tasks than workers. None leave unless set.
    ///
    /// A thread of the pool's sees to that. All workers are started with the pool.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    ///
    /// let builder = mp_pool::Pool::builder().processes(2).idle_timeout(Duration::from_millis(10));
    /// let pool = builder.min_processes(1).build()?;
    /// while pool.pids().len() > 1 {
    ///     std::thread::sleep(Duration::from_millis(1));
    /// }
    /// assert_eq!(pool.map(|x: u32| x + 1, 0..100)?.len(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.rules.idle_timeout = Some(timeout);
        self
    }

    /// How many workers stay though they are idle: none unless set. With
    /// [`idle_timeout`](Self::idle_timeout) only.
    #[must_use]
    pub fn min_processes(mut self, count: usize) -> Self {
        self.rules.least = count;
        self
    }

    /// How the workers are started: [`StartMethod::Spawn`] unless set.
    ///
    /// With [`StartMethod::Fork`] the workers that the pool begins with are forks of
    /// this process; those that replace them, and those that [`resize`](Pool::resize) adds,
    /// come from the fork server, because by then the program may have threads. They are
    /// set up alike by the [`initializer`](Self::initializer) or [`state`](Self::state), but
    /// what this process has put into its memory, a static for one, is there only in forks:
    /// give tasks what they need by an argument.
    #[must_use]
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.rules.start_method = method;
        self
    }

    /// How often an item is tried again whose worker died while it ran. Never
    /// unless set, because a task may have done something before it died.
    ///
    /// Items that the worker had done, and whose results died with it, are run
    /// again too. An item whose argument moved a channel end is never retried.
    #[must_use]
    pub fn retries(mut self, count: u32) -> Self {
        self.rules.retries = count;
        self
    }

    /// How long one item may run. Then its worker is killed and replaced, and the
    /// item fails with an error for which
    /// [`is_timed_out`](crate::TaskError::is_timed_out) holds. The other items go on.
    ///
    /// With a limit, each item travels by itself, and to a worker that is idle. What a worker
    /// does before its first one, its initializer for one, is not limited. A limit of zero, in
    /// which nothing could be done, is an error of [`build`](Self::build).
    #[must_use]
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.rules.task_timeout = Some(limit);
        self
    }

    /// How long one item should run: what [`task_deadline`](crate::task_deadline) says
    /// in a task. Nothing happens to one that overruns it.
    ///
    /// Where [`task_timeout`](Self::task_timeout) is set as well, a soft limit that is
    /// somewhat shorter lets tasks end well before they are ended.
    #[must_use]
    pub fn soft_timeout(mut self, limit: Duration) -> Self {
        self.rules.soft_timeout = Some(limit);
        self
    }

    /// How many bytes of address space a worker may have, and so each of its tasks. An
    /// allocation that would take it beyond fails, and Rust then aborts: the worker is
    /// replaced, and the task's error is one for which
    /// [`is_out_of_memory`](crate::TaskError::is_out_of_memory) holds.
    ///
    /// Address space is more than memory in use: the program itself and its libraries
    /// count, and so do stacks of threads and mapped files. Leave room for them.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::builder().processes(1).memory_limit(1 << 30).build()?;
    /// let error = pool.apply(|len: usize| vec![1u8; len].len(), 1 << 32).unwrap_err();
    /// assert!(error.is_out_of_memory());
    /// assert_eq!(pool.apply(|len: usize| vec![1u8; len].len(), 1 << 20)?, 1 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.rules.memory_limit = Some(bytes);
        self
    }

    /// By how many bytes the resident memory of a worker may grow while it runs one item.
    /// Then the worker is killed and replaced, and the item fails with an error for which
    /// [`is_over_memory_limit`](crate::TaskError::is_over_memory_limit) holds; it is not
    /// tried again. The other items go on.
    ///
    /// What the worker had before does not count: its state, or memory that its allocator
    /// kept from items before. Workers at work are measured by this process every five
    /// milliseconds, so that more may be taken for a moment, and what is given back at once is
    /// not seen: [`memory_limit`](Self::memory_limit) is a bound that the system keeps.
    /// With a limit, each item travels by itself, and to a worker that is idle.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use std::time::Duration;
    ///
    /// fn hold(bytes: usize) -> usize {
    ///     let held = vec![1u8; bytes];
    ///     std::thread::sleep(Duration::from_millis(100));
    ///     held.len()
    /// }
    ///
    /// let pool = mp_pool::Pool::builder().processes(1).task_memory_limit(50 << 20).build()?;
    /// assert_eq!(pool.apply(hold, 1 << 20)?, 1 << 20);
    /// assert!(pool.apply(hold, 200 << 20).unwrap_err().is_over_memory_limit());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn task_memory_limit(mut self, bytes: u64) -> Self {
        self.rules.task_memory = Some(bytes);
        self
    }

    /// Replaces a worker that has more than so many bytes of memory resident when it
    /// has done a task, for tasks that leak. No task is lost; one that needs more while
    /// it runs may have it. It is measured at most once in a millisecond.
    #[must_use]
    pub fn max_memory_per_child(mut self, bytes: u64) -> Self {
        self.rules.memory_per_child = Some(bytes);
        self
    }

    /// Replaces a worker when it has run so many items, for tasks that leak. No limit unless
    /// set; a limit of zero, with which no worker could run any, is an error of
    /// [`build`](Self::build).
    #[doc(alias = "maxtasksperchild")]
    #[must_use]
    pub fn max_tasks_per_child(mut self, count: u32) -> Self {
        self.rules.tasks_per_child = Some(count);
        self
    }

    /// Has tasks and results go over links of a [`Transport`] of your own. A worker calls
    /// `connect` with the address that the transport gave for it. `init()` has been called
    /// there by then, and it is still a process of this machine that the pool starts, watches
    /// and replaces.
    ///
    /// Pool and worker show each other a key of which nobody else was told, so that others
    /// who connect are turned away; what goes over the link afterwards is as safe as it is.
    /// Over one that passes no handles, arguments and results with channel ends, shared
    /// memory or files in them are errors. A send that finds the link full is finished
    /// when it has room, without waiting for it.
    ///
    /// # Examples
    /// ```no_run
    /// # use std::{io, time::Instant};
    /// # use mp_pool::{Pool, Transport};
    /// # use ipc_core::link::Link;
    /// use ipc_core::{Address, ConnectOptions, Listener};
    ///
    /// const PATH: &str = "/run/my-program/pool";
    ///
    /// #[derive(Debug)]
    /// struct Local(Listener);
    ///
    /// impl Transport for Local {
    ///     fn address(&self) -> io::Result<String> {
    ///         Ok(PATH.to_owned())
    ///     }
    ///
    ///     fn accept(&self, deadline: Instant) -> io::Result<Option<Box<dyn Link>>> {
    ///         Ok(self.0.accept_link(Some(deadline)).ok().map(|accepted| accepted.into_link()))
    ///     }
    /// }
    ///
    /// fn connect(address: String) -> io::Result<Box<dyn Link>> {
    ///     let link = ipc_core::connect_link(&Address::file(address), ConnectOptions::default());
    ///     link.map_err(io::Error::other)
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = Listener::bind(&Address::file(PATH))?;
    /// let pool = Pool::builder().processes(2).transport(Local(listener), connect).build()?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn transport(
        mut self,
        transport: impl Transport,
        connect: fn(String) -> io::Result<Box<dyn Link>>,
    ) -> Self {
        self.rules.wires = Some(Wires::new(transport, connect));
        self
    }

    /// How many processes the pools that this pool's tasks make may have, all together: as
    /// many as this process may use CPUs, or as there are workers if those are more, unless
    /// set.
    ///
    /// So a pool in a task gets no more workers than its task's share of that, but one at
    /// least, whatever it asks for: pools within pools do not multiply. Its own tasks share
    /// what it got, unless it sets a budget, which is taken from the same share. With
    /// `usize::MAX` pools in tasks get what they ask for.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::builder().processes(2).budget(6).build()?;
    /// assert_eq!(pool.apply(|()| Pool::new(100).unwrap().workers(), ())?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn budget(mut self, processes: usize) -> Self {
        self.rules.budget = Some(processes);
        self
    }

    /// How many bytes of one call may be under way: arguments that are not answered and
    /// results that the caller has not taken from the iterator. While there are as many,
    /// `imap`, `imap_unordered` and the maps take no more from their input. 64 MiB unless set.
    ///
    /// As many items as there are workers are under way all the same. Before the first result has come
    /// each worker has one task, unless results are numbers; the next ones count by what those before
    /// them had. Where items are small, their number is bounded, by
    /// a few for each worker.
    ///
    /// What is counted is what the items keep from other use: their encoded bytes, and the memory of each
    /// `Block` of an arena and each `SharedMemory` in them. A block of which whoever sends it has a
    /// clone besides keeps nothing, since its memory is in use anyway, and counts as the few bytes that
    /// name it: one block for all items does not slow them down.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// let pool = mp_pool::Pool::builder().processes(2).window_bytes(4 << 20).build()?;
    /// let blocks = (0..10).map(|byte| vec![byte; 1 << 20]);
    /// let sums = pool.imap(|block: Vec<u8>| block.iter().map(|byte| u64::from(*byte)).sum::<u64>(), blocks);
    /// assert_eq!(sums.last().unwrap()?, 9 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.rules.window_bytes = bytes;
        self
    }

    /// Has each worker call `function` with `argument` before its first task.
    ///
    /// A pool whose initializer panics in three workers in a row gives up with
    /// that panic as its error.
    #[must_use]
    pub fn initializer<A: Message>(self, function: fn(A), argument: A) -> Builder<()> {
        self.state(function, argument)
    }

    /// Has each worker make a state of its own with `function` and `argument`
    /// before its first task; tasks get it by [`Pool::map_state`] and
    /// [`Pool::apply_state`].
    ///
    /// As with [`initializer`](Self::initializer), a panic fails the pool after
    /// three workers in a row.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_pool::Pool;
    ///
    /// let pool = Pool::builder().processes(2).state(|base: u64| vec![base], 40).build()?;
    /// let sums = pool.map_state(|seen, x: u64| seen[0] + x, [1, 2])?;
    /// assert_eq!(sums, [41, 42]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn state<A: Message, T: 'static>(mut self, function: fn(A) -> T, argument: A) -> Builder<T> {
        let mut refused = self.refused;
        match worker::setup(function, &argument) {
            Ok(setup) if setup.moves_ends() => {
                refused = Some(EncodeError::new::<A>(ONE_END));
            }
            Ok(setup) => self.rules.setup = Some(Arc::new(Mutex::new(setup))),
            Err(error) => refused = Some(error),
        }
        self.rules.farewell = None;
        Builder { rules: self.rules, processes: self.processes, refused, state: PhantomData }
    }

    /// Has each worker call `function` with its state and `argument` when it leaves:
    /// because the pool is joined, or has fewer workers, or replaces it after so many
    /// tasks. One that is killed, or that ends when the pool is terminated or dropped,
    /// says nothing. Comes after [`state`](Self::state).
    ///
    /// [`Pool::join`] gives workers ten seconds for it.
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// use mp_pool::Pool;
    ///
    /// fn report(sum: &mut u64, path: String) {
    ///     std::fs::write(path, sum.to_string()).unwrap();
    /// }
    ///
    /// let path = std::env::temp_dir().join(format!("sum-{}", std::process::id()));
    /// let builder = Pool::builder().processes(1).state(|()| 0, ());
    /// let pool = builder.at_exit(report, path.display().to_string()).build()?;
    /// pool.map_state(|sum: &mut u64, x: u64| *sum += x, [1, 2, 3])?;
    /// pool.join();
    /// assert_eq!(std::fs::read_to_string(&path)?, "6");
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn at_exit<A: Message>(mut self, function: fn(&mut S, A), argument: A) -> Self {
        match worker::farewell(function, &argument) {
            Ok(packet) if packet.moves_ends() => self.refused = Some(EncodeError::new::<A>(ONE_END)),
            Ok(packet) => self.rules.farewell = Some(Arc::new(Mutex::new(packet))),
            Err(error) => self.refused = Some(error),
        }
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// [`PoolError`] if `init()` was not called, if no workers were asked for, or no tasks for
    /// each or no time for them, if they could not be started, or if the initializer's argument does not travel.
    pub fn build(mut self) -> Result<Pool<S>, PoolError> {
        if let Some(error) = self.refused {
            return Err(PoolKind::Setup(error).into());
        }
        if self.rules.task_timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(PoolKind::NoTime.into());
        }
        if self.rules.tasks_per_child == Some(0) {
            return Err(PoolKind::NoTasks.into());
        }
        // To count them is some twenty system calls, so it is done once for all.
        let cpus = mp_process::cpu_count();
        self.rules.processes = self.processes.unwrap_or(cpus);
        if self.rules.processes == 0 {
            return Err(PoolKind::NoWorkers.into());
        }
        Driver::start(self.rules, cpus).map(Pool::new_over)
    }
}
