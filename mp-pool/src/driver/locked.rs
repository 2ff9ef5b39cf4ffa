//! The state's lock, and what is done right after it is let go.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use std::time::Instant;

use super::{Driver, State};
use crate::core::Job;

/// What must not be done under the lock, because it runs users' code, which may
/// use the pool: waking tasks of an async runtime, and dropping wakers and
/// callbacks.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) wakers: Vec<Waker>,
    pub(super) jobs: Vec<Job>,
}

/// The state under its lock, with all that was handed in before. When it is let go, what was
/// taken in is set to work, and the leftovers are seen to.
pub(super) struct Locked<'a> {
    driver: &'a Driver,
    guard: Option<MutexGuard<'a, State>>,
}

impl<'a> Locked<'a> {
    pub(super) fn new(driver: &'a Driver) -> Self {
        Self::over(driver, driver.state().lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does not wait for whoever has the lock, unless that one might not see what was handed in.
    pub(super) fn for_inbox(driver: &'a Driver) -> Option<Self> {
        match try_lock(driver) {
            Some(guard) => Some(Self::over(driver, guard)),
            None if driver.inbox.must_wait() => Some(Self::new(driver)),
            None => None,
        }
    }

    fn over(driver: &'a Driver, mut guard: MutexGuard<'a, State>) -> Self {
        driver.take_in(&mut guard);
        Self { driver, guard: Some(guard) }
    }

    /// Lets go, sleeps until woken or the deadline, and locks again; may return for
    /// no reason.
    pub(super) fn wait(mut self, condvar: &Condvar, deadline: Option<Instant>) -> Self {
        let driver = self.driver;
        driver.set_to_work(&mut self);
        if !self.leftovers.is_empty() || driver.inbox.rest() {
            // Seen to first: nobody sleeps over them.
            drop(self);
            return Self::new(driver);
        }
        let guard = self.guard.take().map(|guard| match deadline {
            None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
            }
        });
        self.guard = guard;
        driver.take_in(&mut self);
        self
    }
}

fn try_lock(driver: &Driver) -> Option<MutexGuard<'_, State>> {
    match driver.state().try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Leftovers {
    fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.jobs.is_empty()
    }

    /// A panic in one is its own: the next ones are seen to, and whoever drives drives on.
    fn see_to(self) {
        if self.is_empty() {
            return;
        }
        for waker in self.wakers {
            let _ = mp_process::catch_panic(|| waker.wake());
        }
        for job in self.jobs {
            let _ = mp_process::catch_panic(|| drop(job));
        }
    }

    /// Keeps what of a job may be a user's, or take a while to drop.
    pub(super) fn keep(&mut self, job: Job) {
        if job.waker.is_some() || job.callback.is_some() || !job.inbox.is_empty() {
            self.jobs.push(job);
        }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.guard.as_deref().expect("held until dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.guard.as_deref_mut().expect("held until dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.guard.take() else { return };
        loop {
            self.driver.set_to_work(&mut state);
            let leftovers = std::mem::take(&mut state.leftovers);
            drop(state);
            leftovers.see_to();
            if self.driver.is_abroad() || !self.driver.inbox.let_go() {
                return;
            }
            let Some(again) = try_lock(self.driver) else { return };
            state = again;
            self.driver.take_in(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::budget::Seats;
    use crate::chunks::Chunk;
    use crate::core::{Code, JobId};
    use crate::error::PoolKind;
    use crate::rules::Rules;

    /// A pool none of whose workers has come.
    struct Empty(Arc<Driver>);

    impl Empty {
        fn new() -> Self {
            Self(Driver::without_workers(Rules::new(1), 1, Seats::take(1)).unwrap())
        }

        fn hand_in(&self) -> thread::JoinHandle<JobId> {
            let driver = Arc::clone(&self.0);
            thread::spawn(move || {
                let code = Code {
                    bytes: Vec::new(),
                    whole: true,
                    item_width: None,
                    value_width: None,
                    takes_vectors: false,
                    lease: None,
                };
                driver.hand_in(Arc::new(code), Chunk::one(7u8), 0).unwrap()
            })
        }

        /// Without taking it in.
        fn has_taken_in(&self, job: JobId) -> bool {
            self.0.state().lock().unwrap().core.jobs.get(job).is_some()
        }
    }

    impl Drop for Empty {
        /// Ends the thread that looks after what was handed in.
        fn drop(&mut self) {
            self.0
                .state()
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .give_up(PoolKind::Terminated.into());
            self.0.supervise.notify_all();
            self.0.bell.ring();
        }
    }

    #[test]
    fn who_is_about_to_sleep_sees_what_was_handed_in() {
        let pool = Empty::new();
        let state = pool.0.lock();
        // The lock is taken, and whoever has it is to see to this.
        let job = pool.hand_in().join().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let state = state.wait(&pool.0.arrived, Some(deadline));
        assert!(Instant::now() < deadline, "it slept over what was handed in");
        assert!(state.core.jobs.get(job).is_some());
    }

    #[test]
    fn who_hands_in_waits_for_one_who_goes_to_sleep() {
        let pool = Empty::new();
        let state = pool.0.state().lock().unwrap();
        assert!(!pool.0.inbox.rest());
        let handing_in = pool.hand_in();
        while !pool.0.inbox.has_any() {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(50));
        // As one who sleeps now: it looks no more.
        drop(state);
        let job = handing_in.join().unwrap();
        assert!(pool.has_taken_in(job), "nobody saw it");
    }
}
