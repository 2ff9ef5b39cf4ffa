//! A semaphore, and one that cannot be released beyond its beginning.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::calls::{calls, count, in_time, plain, some};
use super::{create, decode, logged, not_a_change};
use crate::durable::{Journal, Snapshot, Verb};
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::builtin::{BuiltIn, Desk, METHOD};
use crate::server::{Answer, CallKey};

pub(super) const NAME: &str = "semaphore";

pub(super) struct Semaphore {
    free: u64,
    most: Option<u64>,
    /// Permits that come back when their client ends.
    permits: HashSet<CallKey>,
    waiters: VecDeque<Answer>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begin {
    free: u64,
    most: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Acquire {
        waits: bool,
    },
    /// Gives a permit back.
    Return {
        permit: u64,
    },
    /// A permit will not be given back by its guard.
    Forget {
        permit: u64,
    },
    /// Adds permits that nobody held.
    Release {
        count: u64,
    },
    Free,
    /// In logs: a permit was taken for good.
    Spend,
}

impl Verb for Call {
    /// Permits that are out come back when the server ends, as when their clients do.
    fn changes(&self) -> bool {
        matches!(self, Self::Release { .. } | Self::Spend)
    }
}

impl Semaphore {
    pub(super) fn new(Begin { free, most }: Begin) -> Self {
        Self { free, most, permits: HashSet::new(), waiters: VecDeque::new() }
    }

    fn acquire(&mut self, waits: bool, answer: Answer) {
        if self.free > 0 {
            let key = answer.key();
            if answer.value(&Some(key.call)) {
                self.free -= 1;
                self.permits.insert(key);
            }
        } else if waits {
            self.waiters.push_back(answer);
        } else {
            answer.value(&None::<u64>);
        }
    }

    fn add(&mut self, count: u64) {
        self.free = self.free.saturating_add(count);
        while self.free > 0 {
            let Some(next) = self.waiters.pop_front() else { break };
            self.acquire(true, next);
        }
    }

    fn forget(&mut self, permit: CallKey, journal: &Journal) -> Result<(), Fault> {
        if self.permits.contains(&permit) {
            journal.log(&Call::Spend)?;
            self.permits.remove(&permit);
        }
        Ok(())
    }

    fn release(&mut self, count: u64, journal: &Journal) -> Result<(), Fault> {
        // Permits that are out will come back.
        let after = self.free.saturating_add(self.permits.len() as u64).saturating_add(count);
        if self.most.is_some_and(|most| after > most) {
            return Err(Fault::refused("the semaphore was released more often than acquired"));
        }
        journal.log(&Call::Release { count })?;
        self.add(count);
        Ok(())
    }

    fn take_back(&mut self, permit: CallKey) -> Result<(), Fault> {
        if !self.permits.remove(&permit) {
            return Err(Fault::refused("there is no such permit"));
        }
        self.add(1);
        Ok(())
    }
}

impl BuiltIn for Semaphore {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        let key = |call| CallKey { session: answer.key().session, call };
        let done = match call {
            Call::Acquire { waits } => return self.acquire(waits, answer),
            Call::Free => return answer.say(&self.free),
            Call::Return { permit } => self.take_back(key(permit)),
            Call::Forget { permit } => self.forget(key(permit), desk.journal),
            Call::Release { count } => self.release(count, desk.journal),
            Call::Spend => Err(FaultKind::NoMethod.into()),
        };
        match done {
            Ok(()) => answer.say(&()),
            Err(fault) => answer.fail(fault),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let free = self.free.saturating_add(self.permits.len() as u64);
        Snapshot::of(&Begin { free, most: self.most }, [])
    }

    fn replay(&mut self, desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        match logged(change)? {
            Call::Release { count } => self.release(count, desk.journal),
            Call::Spend => {
                let free = self.free.checked_sub(1);
                self.free = free.ok_or_else(|| Fault::refused("there is no permit to take"))?;
                Ok(())
            }
            _ => Err(not_a_change()),
        }
    }

    fn give_up(&mut self, call: CallKey) {
        if let Some(place) = self.waiters.iter().position(|waiter| waiter.key() == call) {
            if let Some(waiter) = self.waiters.remove(place) {
                waiter.fail(FaultKind::TimedOut)
            }
        } else if self.permits.remove(&call) {
            self.add(1);
        }
    }

    fn leave(&mut self, session: u64) {
        self.waiters.retain(|waiter| waiter.key().session != session);
        let before = self.permits.len();
        self.permits.retain(|permit| permit.session != session);
        self.add((before - self.permits.len()) as u64);
    }

    fn is_held(&self) -> bool {
        true
    }
}

crate::__proxy! {
    /// A semaphore in a manager, made by [`Manager::semaphore`] or
    /// [`Manager::bounded_semaphore`].
    ///
    /// Permits of a process that ended come back.
    pub struct SemaphoreProxy []
}

/// One permit of a semaphore; it goes back when it is dropped.
#[derive(Debug)]
#[must_use = "a permit goes back when it is dropped"]
pub struct Permit {
    object: ObjectRef,
    permit: u64,
}

impl Manager {
    /// Makes a semaphore with permits.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "Semaphore")]
    pub fn semaphore(&self, permits: usize) -> Result<SemaphoreProxy, ManagerError> {
        let begin = Begin { free: permits as u64, most: None };
        create(self, NAME, &begin).map(crate::Proxy::from_object)
    }

    /// Makes a semaphore with permits that can never have more of them.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "BoundedSemaphore")]
    pub fn bounded_semaphore(&self, permits: usize) -> Result<SemaphoreProxy, ManagerError> {
        let begin = Begin { free: permits as u64, most: Some(permits as u64) };
        create(self, NAME, &begin).map(crate::Proxy::from_object)
    }
}

/// See [`ManagerError`] for how methods may fail.
#[allow(clippy::missing_errors_doc)]
impl SemaphoreProxy {
    calls! {
        /// Takes a permit; waits for one as long as the server lives.
        pub fn acquire | acquire_async(&self) -> Permit {
            self.object.ask(Call::Acquire { waits: true }, permit)
        }

        /// Takes a permit if there is one.
        pub fn try_acquire | try_acquire_async(&self) -> Option<Permit> {
            self.object.ask(Call::Acquire { waits: false }, permit_in_time)
        }

        /// Takes a permit; waits for one up to `timeout`.
        pub fn acquire_timeout | acquire_timeout_async(&self, timeout: Duration) -> Option<Permit> {
            self.object.ask(Call::Acquire { waits: true }, permit_in_time).until(timeout)
        }

        /// Adds permits, as one who counts things does: acquired here, released there.
        pub fn release | release_async(&self, count: usize) {
            self.object.ask(Call::Release { count: count as u64 }, plain)
        }

        /// How many permits are free.
        #[doc(alias = "get_value")]
        pub fn available | available_async(&self) -> usize {
            self.object.ask(Call::Free, count)
        }
    }
}

fn permit(reply: Result<Reply, ManagerError>, object: &ObjectRef) -> Result<Permit, ManagerError> {
    some(permit_in_time(reply, object)?)
}

fn permit_in_time(
    reply: Result<Reply, ManagerError>,
    object: &ObjectRef,
) -> Result<Option<Permit>, ManagerError> {
    let permit: Option<u64> = in_time(plain(reply, object))?;
    Ok(permit.map(|permit| Permit { object: object.clone(), permit }))
}

impl Permit {
    /// Gives the permit back, and says how that went.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn release(mut self) -> Result<(), ManagerError> {
        let released = self.object.ask(Call::Return { permit: self.permit }, plain).wait();
        // After an error the drop says it again, which does no harm.
        if released.is_ok() {
            self.permit = 0;
        }
        released
    }

    /// Keeps the permit for good: it comes back only by
    /// [`release`](SemaphoreProxy::release), also when this process ends.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn forget(mut self) -> Result<(), ManagerError> {
        let permit = std::mem::take(&mut self.permit);
        self.object.ask(Call::Forget { permit }, plain).wait()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.permit != 0 {
            self.object.tell(METHOD, &Call::Return { permit: self.permit });
        }
    }
}
