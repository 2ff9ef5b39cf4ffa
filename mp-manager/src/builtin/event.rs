//! A flag that can be waited for.

use std::time::Duration;

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::calls::{calls, is_done, no_value, plain};
use super::{admit, create, logged, not_a_change};
use crate::durable::{Snapshot, Verb};
use crate::error::{Fault, ManagerError};
use crate::manager::Manager;
use crate::server::builtin::{BuiltIn, Desk};
use crate::server::{Answer, CallKey};

pub(super) const NAME: &str = "event";

#[derive(Default)]
pub(super) struct Event {
    is_set: bool,
    waiters: Vec<Answer>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Set,
    Clear,
    IsSet,
    Wait,
}

impl Verb for Call {
    fn changes(&self) -> bool {
        matches!(self, Self::Set | Self::Clear)
    }
}

impl Event {
    fn obey(&mut self, call: Call, answer: Answer) {
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
}

impl BuiltIn for Event {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        if let Some((call, answer, _holds)) = admit(desk, args, answer, |_| Ok(())) {
            self.obey(call, answer);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&(), []);
        if self.is_set {
            snapshot.then(&Call::Set);
        }
        snapshot
    }

    fn replay(&mut self, _desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        let call: Call = logged(change)?;
        if !call.changes() {
            return Err(not_a_change());
        }
        Answer::again(|answer| self.obey(call, answer))
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
