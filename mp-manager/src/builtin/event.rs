//! A flag that can be waited for.

use std::sync::Arc;
use std::time::Duration;

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::{create, decode, queue};
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::server::builtin::BuiltIn;
use crate::server::table::Table;
use crate::server::{Answer, CallKey};

pub(super) const NAME: &str = "event";

#[derive(Default)]
pub(super) struct Event {
    is_set: bool,
    waiters: Vec<Answer>,
}

#[derive(Serialize, Deserialize)]
enum Call {
    Set,
    Clear,
    IsSet,
    Wait,
}

impl BuiltIn for Event {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, _table: &Arc<Table>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        match call {
            Call::Set => {
                self.is_set = true;
                self.waiters.drain(..).for_each(|waiter| waiter.say(&true));
            }
            Call::Clear => self.is_set = false,
            Call::IsSet => {}
            Call::Wait if self.is_set => {}
            Call::Wait => return self.waiters.push(answer),
        }
        answer.value(&self.is_set);
    }

    fn give_up(&mut self, call: CallKey) {
        if let Some(place) = self.waiters.iter().position(|waiter| waiter.key() == call) {
            self.waiters.swap_remove(place).value(&false);
        }
    }

    fn leave(&mut self, session: u64) {
        self.waiters.retain(|waiter| waiter.key().session != session);
    }

    fn is_held(&self) -> bool {
        true
    }
}

crate::__proxy! {
    /// A flag in a manager that can be waited for; made by [`Manager::event`].
    pub struct EventProxy []
}

impl Manager {
    /// Makes an event that is not set.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "Event")]
    pub fn event(&self) -> Result<EventProxy, ManagerError> {
        create(self, NAME, &()).map(crate::Proxy::from_object)
    }
}

/// See [`ManagerError`] for how methods may fail.
#[allow(clippy::missing_errors_doc)]
impl EventProxy {
    /// Sets it, and wakes all that wait for it.
    pub fn set(&self) -> Result<(), ManagerError> {
        self.object.ask::<_, bool>(&Call::Set).map(drop)
    }

    /// Takes it back.
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.object.ask::<_, bool>(&Call::Clear).map(drop)
    }

    /// Whether it is set.
    pub fn is_set(&self) -> Result<bool, ManagerError> {
        self.object.ask(&Call::IsSet)
    }

    /// Waits until it is set, as long as the server lives.
    pub fn wait(&self) -> Result<(), ManagerError> {
        self.object.ask::<_, bool>(&Call::Wait).map(drop)
    }

    /// Waits until it is set, up to `timeout`; whether it was.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ManagerError> {
        let set = self.object.ask_until(&Call::Wait, Some(timeout)).map(Some);
        Ok(queue::absent(set)?.unwrap_or(false))
    }
}
