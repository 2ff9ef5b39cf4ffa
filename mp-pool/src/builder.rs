//! How a pool is to be made.

use crate::driver::Driver;
use crate::error::{PoolError, PoolKind};
use crate::pool::Pool;

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
#[derive(Debug, Clone)]
pub struct Builder {
    processes: usize,
    retries: u32,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { processes: mp_process::cpu_count(), retries: 0 }
    }

    /// How many workers: as many as this process may use CPUs, unless set.
    #[must_use]
    pub fn processes(mut self, count: usize) -> Self {
        self.processes = count;
        self
    }

    /// How often an item is tried again whose worker died while it ran. Never
    /// unless set, because a task may have done something before it died.
    ///
    /// Items that the worker had done, and whose results died with it, are run
    /// again too. An item whose argument moved a channel end is never retried.
    #[must_use]
    pub fn retries(mut self, count: u32) -> Self {
        self.retries = count;
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// [`PoolError`] if `init()` was not called, if no workers were asked for, or
    /// if they could not be started.
    pub fn build(self) -> Result<Pool, PoolError> {
        if self.processes == 0 {
            return Err(PoolKind::NoWorkers.into());
        }
        Driver::start(self.processes, self.retries).map(Pool::over)
    }
}
