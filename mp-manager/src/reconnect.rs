//! Finding a manager again that has ended and was started anew.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::client::{Client, lock};
use crate::error::{Kind, ManagerError};
use crate::lease::{Lease, Route};
use crate::wire::{Access, Request};

/// What is tried when a manager has gone; for [`Manager::reconnect`](crate::Manager::reconnect).
///
/// The first try comes at once. Between the others are pauses, each twice as long as the one
/// before up to a longest one, and a little irregular, so that not all clients come at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconnect {
    within: Duration,
    tries: u32,
    pause: Duration,
    longest: Duration,
}

impl Reconnect {
    /// Goes on for so long. Pauses begin with 10 ms and do not grow beyond one second.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        let (pause, longest) = (Duration::from_millis(10), Duration::from_secs(1));
        Self { within: time, tries: u32::MAX, pause, longest }
    }

    /// Gives up after so many tries, if the time is not up before.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// The first pause, and the longest one.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        (self.pause, self.longest) = (first, longest.max(first));
        self
    }

    /// Tries until something comes of it that is not to be tried again.
    pub(crate) fn go_on<R>(
        &self,
        mut attempt: impl FnMut(Duration) -> Result<R, ManagerError>,
        is_passing: impl Fn(&ManagerError) -> bool,
    ) -> Result<R, ManagerError> {
        let (begun, mut pause) = (Instant::now(), self.pause);
        for number in 1.. {
            let left = self.within.saturating_sub(begun.elapsed());
            // Who has no time left at all still gets one try.
            let result = attempt(left.max(Duration::from_millis(1)));
            let left = self.within.saturating_sub(begun.elapsed());
            match result {
                Err(error) if is_passing(&error) && number < self.tries && !left.is_zero() => {
                    std::thread::sleep(irregular(pause).min(left));
                    pause = pause.saturating_mul(2).min(self.longest);
                }
                other => return other,
            }
        }
        Err(Kind::Gone("it was not tried".to_owned()).into())
    }
}

/// Between a half and the whole of it.
fn irregular(pause: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1024;
    pause.mul_f64(0.5 + chance as f64 / 2048.0)
}

/// The way to a manager that may be another one by the next call.
pub(crate) struct Way {
    /// Whichever manager is there.
    access: Access,
    policy: Reconnect,
    path: Mutex<Path>,
    /// How often it was sought.
    rounds: AtomicU64,
}

struct Path {
    client: Arc<Client>,
    /// What the last search came to, if to nothing.
    error: Option<String>,
}

impl Way {
    pub(crate) fn new(client: &Arc<Client>, policy: Reconnect) -> Self {
        let access = Access { epoch: 0, ..client.access().clone() };
        client.last(&policy);
        let path = Mutex::new(Path { client: Arc::clone(client), error: None });
        Self { access, policy, path, rounds: AtomicU64::new(0) }
    }

    /// The connection, a new one if need be.
    pub(crate) fn client(&self) -> Result<Arc<Client>, ManagerError> {
        let before = self.rounds.load(Ordering::Relaxed);
        let mut path = lock(&self.path);
        if path.client.is_usable() {
            return Ok(Arc::clone(&path.client));
        }
        if let Some(why) = path.client.take_lost() {
            // It was sought as long as the policy says.
            return Err(Kind::Lost(why).into());
        }
        if self.rounds.load(Ordering::Relaxed) != before
            && let Some(error) = &path.error
        {
            // Another thread has sought it while this one waited.
            return Err(Kind::Lost(error.clone()).into());
        }
        let attempt = |left| Client::connect(self.access.clone(), left);
        // Who finds the manager full tries again as well: others may go.
        let is_passing =
            |error: &ManagerError| (error.is_gone() && !error.is_authentication()) || error.is_busy();
        let found = self.policy.go_on(attempt, is_passing);
        self.rounds.fetch_add(1, Ordering::Relaxed);
        match found {
            Ok(client) => {
                client.last(&self.policy);
                *path = Path { client: Arc::clone(&client), error: None };
                Ok(client)
            }
            Err(error) => {
                let why = error.to_string();
                path.error = Some(why.clone());
                // Its own kind: it is over with trying.
                Err(if error.is_authentication() { error } else { Kind::Lost(why).into() })
            }
        }
    }

    /// Runs what asks the manager something, again as long as it was not even sent.
    pub(crate) fn ask<R>(
        &self,
        ask: impl Fn(&Arc<Client>) -> Result<R, ManagerError>,
    ) -> Result<R, ManagerError> {
        self.unless_sent(|| ask(&self.client()?))
    }

    fn unless_sent<R>(&self, attempt: impl Fn() -> Result<R, ManagerError>) -> Result<R, ManagerError> {
        let begun = Instant::now();
        loop {
            match attempt() {
                Err(error) if error.is_unsent() && begun.elapsed() < self.policy.within => {}
                other => return other,
            }
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("address", &self.access.address).finish_non_exhaustive()
    }
}

/// An object that was found by its name, and can be found again.
#[derive(Debug)]
pub(crate) struct Found {
    way: Arc<Way>,
    name: String,
    patience: Duration,
    lease: Mutex<Arc<Lease>>,
}

impl Found {
    pub(crate) fn new(way: &Arc<Way>, name: &str, patience: Duration, lease: &Arc<Lease>) -> Self {
        let lease = Mutex::new(Arc::clone(lease));
        Self { way: Arc::clone(way), name: name.to_owned(), patience, lease }
    }

    /// The reference that it has now, whether or not its manager is still there.
    pub(crate) fn current(&self) -> Arc<Lease> {
        Arc::clone(&lock(&self.lease))
    }

    /// A reference in the manager that is there now.
    pub(crate) fn lease(&self) -> Result<Arc<Lease>, ManagerError> {
        let client = self.way.client()?;
        let mut lease = lock(&self.lease);
        if matches!(lease.route(), Route::Client(known) if Arc::ptr_eq(known, &client)) {
            return Ok(Arc::clone(&lease));
        }
        let request = || Request::Find { name: self.name.clone() };
        // Whoever publishes it may come back later than the manager.
        let attempt = |_| client.call(request(), self.patience, |_| Ok(()));
        let mut reply = self.way.policy.go_on(attempt, ManagerError::is_no_name)?;
        let new = reply.leases.pop().ok_or_else(|| Kind::Gone("it gave no reference".to_owned()))?;
        *lease = Arc::new(new);
        Ok(Arc::clone(&lease))
    }

    /// Runs a call, again as long as it was not even sent.
    pub(crate) fn unless_sent<R>(
        &self,
        attempt: impl Fn(&Arc<Lease>) -> Result<R, ManagerError>,
    ) -> Result<R, ManagerError> {
        self.way.unless_sent(|| attempt(&self.lease()?))
    }
}
