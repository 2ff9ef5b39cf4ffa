//! A lock that its holder may take again.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::calls::{in_time, plain, some};
use super::{create, decode};
use crate::durable::Snapshot;
use crate::error::{FaultKind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::builtin::{BuiltIn, Desk, METHOD};
use crate::server::{Answer, CallKey};

pub(super) const NAME: &str = "rlock";

#[derive(Default)]
pub(super) struct RLock {
    holder: Option<Owner>,
    /// The calls that took it, the last one last.
    holds: Vec<u64>,
    waiters: VecDeque<(Answer, u64)>,
}

/// A thread of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    session: u64,
    thread: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Acquire { thread: u64, waits: bool },
    Release { thread: u64, hold: u64 },
    IsLocked,
}

impl RLock {
    fn acquire(&mut self, thread: u64, waits: bool, answer: Answer) {
        let key = answer.key();
        let owner = Owner { session: key.session, thread };
        if self.holder.is_none_or(|holder| holder == owner) {
            if answer.value(&Some(key.call)) {
                self.holder = Some(owner);
                self.holds.push(key.call);
            }
        } else if waits {
            self.waiters.push_back((answer, thread));
        } else {
            answer.value(&None::<u64>);
        }
    }

    fn release(&mut self, owner: Owner, hold: u64) -> bool {
        let place = self.holds.iter().position(|known| *known == hold);
        let Some(place) = place.filter(|_| self.holder == Some(owner)) else { return false };
        self.holds.remove(place);
        if self.holds.is_empty() {
            self.pass_on();
        }
        true
    }

    fn pass_on(&mut self) {
        self.holder = None;
        self.holds.clear();
        while self.holder.is_none() {
            let Some((next, thread)) = self.waiters.pop_front() else { break };
            self.acquire(thread, true, next);
        }
    }
}

impl BuiltIn for RLock {
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
            Call::Acquire { thread, waits } => self.acquire(thread, waits, answer),
            Call::Release { thread, hold } => {
                if self.release(Owner { session, thread }, hold) {
                    answer.value(&());
                } else {
                    answer.fail(crate::error::Fault::refused("the lock is not held by who releases it"));
                }
            }
            Call::IsLocked => answer.say(&self.holder.is_some()),
        }
    }

    fn give_up(&mut self, call: CallKey) {
        if let Some(place) = self.waiters.iter().position(|(waiter, _)| waiter.key() == call) {
            if let Some((waiter, _)) = self.waiters.remove(place) {
                waiter.fail(FaultKind::TimedOut)
            }
        } else if let Some(owner) = self.holder.filter(|owner| owner.session == call.session) {
            self.release(owner, call.call);
        }
    }

    fn leave(&mut self, session: u64) {
        self.waiters.retain(|(waiter, _)| waiter.key().session != session);
        if self.holder.is_some_and(|holder| holder.session == session) {
            self.pass_on();
        }
    }

    fn is_held(&self) -> bool {
        true
    }
}

crate::__proxy! {
    /// A lock in a manager that the thread which holds it may take again; made by
    /// [`Manager::rlock`].
    pub struct RLockProxy []
}

/// Holds a lock of a manager once; dropping the last one of a thread releases it.
#[derive(Debug)]
#[must_use = "a lock is released when its guard is dropped"]
pub struct RLockGuard {
    object: ObjectRef,
    hold: u64,
    /// It belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl Manager {
    /// Makes a lock that its holder may take again.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "RLock")]
    pub fn rlock(&self) -> Result<RLockProxy, ManagerError> {
        create(self, NAME, &()).map(crate::Proxy::from_object)
    }
}

/// See [`ManagerError`] for how methods may fail.
#[allow(clippy::missing_errors_doc)]
impl RLockProxy {
    /// Takes the lock, or takes it once more; waits for it as long as the server lives.
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<RLockGuard, ManagerError> {
        some(self.acquire(true, None)?)
    }

    /// Takes the lock if no other thread has it.
    pub fn try_lock(&self) -> Result<Option<RLockGuard>, ManagerError> {
        self.acquire(false, None)
    }

    /// Takes the lock; waits for it up to `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<RLockGuard>, ManagerError> {
        self.acquire(true, Some(timeout))
    }

    /// Whether some thread holds it.
    pub fn is_locked(&self) -> Result<bool, ManagerError> {
        self.object.ask(Call::IsLocked, plain).wait()
    }

    fn acquire(&self, waits: bool, limit: Option<Duration>) -> Result<Option<RLockGuard>, ManagerError> {
        let call = Call::Acquire { thread: this_thread(), waits };
        let ask = self.object.ask(call, held_if_free);
        let ask = if let Some(limit) = limit { ask.until(limit) } else { ask };
        in_time(ask.wait())
    }
}

fn held_if_free(
    reply: Result<Reply, ManagerError>,
    object: &ObjectRef,
) -> Result<Option<RLockGuard>, ManagerError> {
    let hold: Option<u64> = reply?.read()?;
    Ok(hold.map(|hold| RLockGuard { object: object.clone(), hold, thread: PhantomData }))
}

impl RLockGuard {
    /// Gives this hold up, and says how that went.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn release(mut self) -> Result<(), ManagerError> {
        let call = Call::Release { thread: this_thread(), hold: self.hold };
        let released = self.object.ask(call, plain).wait();
        // After an error the drop says it again, which does no harm.
        if released.is_ok() {
            self.hold = 0;
        }
        released
    }
}

impl Drop for RLockGuard {
    fn drop(&mut self) {
        if self.hold != 0 {
            self.object.tell(METHOD, &Call::Release { thread: this_thread(), hold: self.hold });
        }
    }
}

/// A number that no other thread of this process has.
fn this_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local!(static THIS: u64 = LAST.fetch_add(1, Ordering::Relaxed));
    THIS.with(|this| *this)
}
