//! A lock.

use std::collections::VecDeque;
use std::time::Duration;

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::calls::{calls, in_time, plain, some};
use super::{create, decode};
use crate::durable::Snapshot;
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::builtin::{BuiltIn, Desk, METHOD};
use crate::server::{Answer, CallKey};

pub(super) const NAME: &str = "lock";

/// Who holds a lock is named by the call that took it.
#[derive(Default)]
pub(super) struct Lock {
    holder: Option<CallKey>,
    waiters: VecDeque<Answer>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// The number of the hold, if there is one.
    Acquire {
        waits: bool,
    },
    Release {
        hold: u64,
    },
    IsLocked,
}

impl Lock {
    fn acquire(&mut self, waits: bool, answer: Answer) {
        if self.holder.is_none() {
            let key = answer.key();
            if answer.value(&Some(key.call)) {
                self.holder = Some(key);
            }
        } else if waits {
            self.waiters.push_back(answer);
        } else {
            answer.value(&None::<u64>);
        }
    }

    /// Gives the lock to the next that waits and is not gone.
    fn pass_on(&mut self) {
        self.holder = None;
        while self.holder.is_none() {
            let Some(next) = self.waiters.pop_front() else { break };
            self.acquire(true, next);
        }
    }

    fn release(&mut self, key: CallKey) -> Result<(), Fault> {
        if self.holder != Some(key) {
            return Err(Fault::refused("the lock is not held by who releases it"));
        }
        self.pass_on();
        Ok(())
    }
}

impl BuiltIn for Lock {
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
        match call {
            Call::Acquire { waits } => self.acquire(waits, answer),
            Call::Release { hold } => match self.release(CallKey { session, call: hold }) {
                Ok(()) => answer.say(&()),
                Err(fault) => answer.fail(fault),
            },
            Call::IsLocked => answer.say(&self.holder.is_some()),
        }
    }

    fn give_up(&mut self, call: CallKey) {
        if let Some(place) = self.waiters.iter().position(|waiter| waiter.key() == call) {
            if let Some(waiter) = self.waiters.remove(place) {
                waiter.fail(FaultKind::TimedOut)
            }
        } else if self.holder == Some(call) {
            // It was given to somebody who had just gone away.
            self.pass_on();
        }
    }

    fn leave(&mut self, session: u64) {
        self.waiters.retain(|waiter| waiter.key().session != session);
        if self.holder.is_some_and(|holder| holder.session == session) {
            self.pass_on();
        }
    }

    fn is_held(&self) -> bool {
        true
    }
}

crate::__proxy! {
    /// A lock in a manager, made by [`Manager::lock`].
    ///
    /// What a process held that ended comes back.
    pub struct LockProxy []
}

/// Holds a lock of a manager; releases it when it is dropped.
#[derive(Debug)]
#[must_use = "a lock is released when its guard is dropped"]
pub struct LockGuard {
    object: ObjectRef,
    hold: u64,
}

impl Manager {
    /// Makes a lock.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "Lock")]
    pub fn lock(&self) -> Result<LockProxy, ManagerError> {
        create(self, NAME, &()).map(crate::Proxy::from_object)
    }
}

/// See [`ManagerError`] for how methods may fail.
#[allow(clippy::missing_errors_doc)]
impl LockProxy {
    calls! {
        /// Takes the lock; waits for it as long as the server lives.
        #[doc(alias = "acquire")]
        pub fn lock | lock_async(&self) -> LockGuard {
            self.object.ask(Call::Acquire { waits: true }, held)
        }

        /// Takes the lock if it is free.
        pub fn try_lock | try_lock_async(&self) -> Option<LockGuard> {
            self.object.ask(Call::Acquire { waits: false }, held_in_time)
        }

        /// Takes the lock; waits for it up to `timeout`.
        pub fn lock_timeout | lock_timeout_async(&self, timeout: Duration) -> Option<LockGuard> {
            self.object.ask(Call::Acquire { waits: true }, held_in_time).until(timeout)
        }

        /// Whether somebody holds it.
        #[doc(alias = "locked")]
        pub fn is_locked | is_locked_async(&self) -> bool {
            self.object.ask(Call::IsLocked, plain)
        }
    }
}

fn held(reply: Result<Reply, ManagerError>, object: &ObjectRef) -> Result<LockGuard, ManagerError> {
    some(held_in_time(reply, object)?)
}

fn held_in_time(
    reply: Result<Reply, ManagerError>,
    object: &ObjectRef,
) -> Result<Option<LockGuard>, ManagerError> {
    let hold: Option<u64> = in_time(plain(reply, object))?;
    Ok(hold.map(|hold| LockGuard { object: object.clone(), hold }))
}

impl LockGuard {
    /// Releases the lock, and says how that went.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn release(mut self) -> Result<(), ManagerError> {
        let released = self.object.ask(Call::Release { hold: self.hold }, plain).wait();
        // After an error the drop says it again, which does no harm.
        if released.is_ok() {
            self.hold = 0;
        }
        released
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.hold != 0 {
            self.object.tell(METHOD, &Call::Release { hold: self.hold });
        }
    }
}
