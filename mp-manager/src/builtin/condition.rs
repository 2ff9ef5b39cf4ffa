//! A condition: a lock, and waiting for a notice while it is released.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::calls::{self, calls, in_time, plain, some};
use super::{create, decode};
use crate::durable::Snapshot;
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::builtin::{BuiltIn, Desk, METHOD};
use crate::server::{Answer, CallKey};

pub(super) const NAME: &str = "condition";

#[derive(Default)]
pub(super) struct Condition {
    holder: Option<CallKey>,
    /// Those that want the lock: whether there was a notice, of those that waited for one.
    waiters: VecDeque<(Answer, Option<bool>)>,
    /// Those that wait for a notice, without the lock.
    sleepers: VecDeque<Answer>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// The hold.
    Acquire,
    TryAcquire,
    Release {
        hold: u64,
    },
    /// The new hold, and whether there was a notice.
    Wait {
        hold: u64,
    },
    /// How many were woken.
    Notify {
        hold: u64,
        count: u64,
    },
    IsLocked,
}

impl Condition {
    /// Gives the lock to the next that wants it and is not gone.
    fn pass_on(&mut self) {
        self.holder = None;
        while self.holder.is_none() {
            let Some((next, notified)) = self.waiters.pop_front() else { break };
            self.take(next, notified);
        }
    }

    fn take(&mut self, answer: Answer, notified: Option<bool>) {
        let key = answer.key();
        if answer.value(&Some((key.call, notified.unwrap_or_default()))) {
            self.holder = Some(key);
        }
    }

    fn want(&mut self, answer: Answer, notified: Option<bool>) {
        if self.holder.is_none() {
            self.take(answer, notified);
        } else {
            self.waiters.push_back((answer, notified));
        }
    }

    /// Where a call wants the lock that did not have it before: one that had it comes back with it.
    fn newcomer(&self, call: CallKey) -> Option<usize> {
        self.waiters.iter().position(|(waiter, notified)| waiter.key() == call && notified.is_none())
    }

    fn notify(&mut self, count: u64) -> u64 {
        let mut woken = 0;
        while woken < count {
            let Some(sleeper) = self.sleepers.pop_front() else { break };
            self.want(sleeper, Some(true));
            woken += 1;
        }
        woken
    }
}

impl BuiltIn for Condition {
    fn name(&self) -> &'static str {
        NAME
    }

    // Who holds it is connected.
    fn snapshot(&self) -> Snapshot {
        Snapshot::of(&(), [])
    }

    fn call(&mut self, _desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        let session = answer.key().session;
        let holds = |hold: u64| self.holder == Some(CallKey { session, call: hold });
        match call {
            Call::Acquire => self.want(answer, None),
            Call::TryAcquire if self.holder.is_none() => self.take(answer, None),
            Call::TryAcquire => answer.say(&None::<(u64, bool)>),
            Call::Release { hold } | Call::Wait { hold } | Call::Notify { hold, .. } if !holds(hold) => {
                answer.fail(Fault::refused("the condition's lock is not held"));
            }
            Call::Release { .. } => {
                self.pass_on();
                answer.value(&());
            }
            Call::Wait { .. } => {
                self.sleepers.push_back(answer);
                self.pass_on();
            }
            Call::Notify { count, .. } => {
                let woken = self.notify(count);
                answer.value(&woken);
            }
            Call::IsLocked => answer.say(&self.holder.is_some()),
        }
    }

    fn give_up(&mut self, call: CallKey) {
        if let Some(place) = self.sleepers.iter().position(|sleeper| sleeper.key() == call) {
            // It comes back with the lock, as it went.
            if let Some(sleeper) = self.sleepers.remove(place) {
                self.want(sleeper, Some(false));
            }
        } else if let Some(place) = self.newcomer(call) {
            if let Some((newcomer, _)) = self.waiters.remove(place) {
                newcomer.fail(FaultKind::TimedOut);
            }
        } else if self.holder == Some(call) {
            self.pass_on();
        }
    }

    fn leave(&mut self, session: u64) {
        self.waiters.retain(|(waiter, _)| waiter.key().session != session);
        self.sleepers.retain(|sleeper| sleeper.key().session != session);
        if self.holder.is_some_and(|holder| holder.session == session) {
            self.pass_on();
        }
    }

    fn is_held(&self) -> bool {
        true
    }
}

crate::__proxy! {
    /// A condition in a manager, made by [`Manager::condition`].
    pub struct ConditionProxy []
}

/// Holds the lock of a condition; releases it when it is dropped.
#[derive(Debug)]
#[must_use = "a lock is released when its guard is dropped"]
pub struct ConditionGuard {
    object: ObjectRef,
    hold: u64,
}

impl Manager {
    /// Makes a condition, with a lock of its own.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "Condition")]
    pub fn condition(&self) -> Result<ConditionProxy, ManagerError> {
        create(self, NAME, &()).map(crate::Proxy::from_object)
    }
}

/// See [`ManagerError`] for how methods may fail.
#[allow(clippy::missing_errors_doc)]
impl ConditionProxy {
    calls! {
        /// Takes the lock; waits for it as long as the server lives.
        #[doc(alias = "acquire")]
        pub fn lock | lock_async(&self) -> ConditionGuard {
            self.object.ask(Call::Acquire, held)
        }

        /// Takes the lock if it is free.
        pub fn try_lock | try_lock_async(&self) -> Option<ConditionGuard> {
            self.object.ask(Call::TryAcquire, held_if_free)
        }

        /// Takes the lock; waits for it up to `timeout`.
        pub fn lock_timeout | lock_timeout_async(&self, timeout: Duration) -> Option<ConditionGuard> {
            self.object.ask(Call::Acquire, held_if_free).until(timeout)
        }

        /// Whether somebody holds the lock.
        #[doc(alias = "locked")]
        pub fn is_locked | is_locked_async(&self) -> bool {
            self.object.ask(Call::IsLocked, plain)
        }
    }
}

fn held(reply: Result<Reply, ManagerError>, object: &ObjectRef) -> Result<ConditionGuard, ManagerError> {
    some(held_if_free(reply, object)?)
}

fn held_if_free(
    reply: Result<Reply, ManagerError>,
    object: &ObjectRef,
) -> Result<Option<ConditionGuard>, ManagerError> {
    let taken: Option<(u64, bool)> = in_time(plain(reply, object))?;
    Ok(taken.map(|(hold, _)| ConditionGuard { object: object.clone(), hold }))
}

/// See [`ManagerError`] for how methods may fail.
#[allow(clippy::missing_errors_doc)]
impl ConditionGuard {
    /// Releases the lock, waits for a notice, and takes the lock again.
    pub fn wait(&mut self) -> Result<(), ManagerError> {
        self.sleep(None).map(drop)
    }

    /// As [`wait`](Self::wait), for up to `timeout`; whether there was a notice. Either
    /// way the lock is held again.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<bool, ManagerError> {
        self.sleep(Some(timeout))
    }

    /// Waits again and again until `condition` is fulfilled; it is asked with the lock held.
    #[doc(alias = "wait_for")]
    pub fn wait_until(
        &mut self,
        mut condition: impl FnMut() -> Result<bool, ManagerError>,
    ) -> Result<(), ManagerError> {
        while !condition()? {
            self.wait()?;
        }
        Ok(())
    }

    /// As [`wait_until`](Self::wait_until), for up to `timeout`; whether it was fulfilled.
    pub fn wait_until_timeout(
        &mut self,
        timeout: Duration,
        mut condition: impl FnMut() -> Result<bool, ManagerError>,
    ) -> Result<bool, ManagerError> {
        let begun = Instant::now();
        loop {
            if condition()? {
                return Ok(true);
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            self.wait_timeout(left)?;
        }
    }

    /// Wakes up to `count` of those that wait for a notice; how many that were.
    pub fn notify(&self, count: usize) -> Result<usize, ManagerError> {
        self.object.ask(Call::Notify { hold: self.hold, count: count as u64 }, calls::count).wait()
    }

    /// Wakes all that wait for a notice.
    pub fn notify_all(&self) -> Result<usize, ManagerError> {
        self.notify(usize::MAX)
    }

    /// Releases the lock, and says how that went.
    pub fn release(mut self) -> Result<(), ManagerError> {
        let released = self.object.ask(Call::Release { hold: self.hold }, plain).wait();
        // After an error the drop says it again, which does no harm.
        if released.is_ok() {
            self.hold = 0;
        }
        released
    }

    fn sleep(&mut self, limit: Option<Duration>) -> Result<bool, ManagerError> {
        let ask = self.object.ask(Call::Wait { hold: self.hold }, plain);
        let ask = if let Some(limit) = limit { ask.until(limit) } else { ask };
        let woken: Option<(u64, bool)> = in_time(ask.wait())?;
        let (hold, notified) = woken.ok_or(FaultKind::TimedOut)?;
        self.hold = hold;
        Ok(notified)
    }
}

impl Drop for ConditionGuard {
    fn drop(&mut self) {
        if self.hold != 0 {
            self.object.tell(METHOD, &Call::Release { hold: self.hold });
        }
    }
}
