//! A flag that can be waited for.

use std::sync::Arc;
use std::time::Duration;

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::calls::{calls, is_done, no_value, plain};
use super::{create, decode};
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
    calls! {
        /// Sets it, and wakes all that wait for it.
        pub fn set | set_async(&self) {
            self.object.ask(Call::Set, no_value::<bool>)
        }

        /// Takes it back.
        pub fn clear | clear_async(&self) {
            self.object.ask(Call::Clear, no_value::<bool>)
        }

        /// Whether it is set.
        pub fn is_set | is_set_async(&self) -> bool {
            self.object.ask(Call::IsSet, plain)
        }

        /// Waits until it is set, as long as the server lives.
        pub fn wait | wait_async(&self) {
            self.object.ask(Call::Wait, no_value::<bool>)
        }

        /// Waits until it is set, up to `timeout`; whether it was.
        pub fn wait_timeout | wait_timeout_async(&self, timeout: Duration) -> bool {
            self.object.ask(Call::Wait, is_done).until(timeout)
        }
    }
}
