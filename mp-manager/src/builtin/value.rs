//! A single value.

use std::sync::Arc;

use ipc_core::{Message, Packet};
use serde::{Deserialize, Serialize};

use super::calls::{calls, no_value, whole};
use super::{admit, change, create, give, logged, not_a_change};
use crate::async_reply::AsyncReply;
use crate::durable::{Snapshot, Verb};
use crate::error::{Fault, ManagerError};
use crate::manager::Manager;
use crate::server::Answer;
use crate::server::builtin::{BuiltIn, Change, Desk};
use crate::server::table::{Kept, Table};
use crate::wire::Raw;

pub(super) const NAME: &str = "value";

pub(super) struct Cell(Kept);

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Get,
    Set(Raw),
    Replace(Raw),
}

impl Verb for Call {
    fn changes(&self) -> bool {
        matches!(self, Self::Set(_) | Self::Replace(_))
    }

    fn values(&self) -> Vec<&Raw> {
        match self {
            Self::Get => Vec::new(),
            Self::Set(value) | Self::Replace(value) => vec![value],
        }
    }
}

impl Cell {
    pub(super) fn new(value: Raw, table: &Arc<Table>) -> Result<Self, Fault> {
        table.keep(value).map(Self)
    }
}

impl BuiltIn for Cell {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        let Some((call, answer, _holds)) = admit(desk, args, answer, |_| Ok(())) else { return };
        let (value, wants_old) = match call {
            Call::Get => {
                give(answer, Some(&self.0));
                return;
            }
            Call::Set(value) => (value, false),
            Call::Replace(value) => (value, true),
        };
        match desk.table.keep(value) {
            Ok(value) => {
                let old = std::mem::replace(&mut self.0, value);
                give(answer, Some(&old).filter(|_| wants_old));
            }
            Err(fault) => answer.fail(fault),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let value = self.0.raw();
        Snapshot::of(&value, [&value])
    }

    fn replay(&mut self, desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        let (Call::Set(value) | Call::Replace(value)) = logged(change)? else { return Err(not_a_change()) };
        self.0 = desk.table.keep(value)?;
        Ok(())
    }

    fn change(&mut self, desk: &Desk<'_>, _place: &Raw, change: &mut Change<'_>) -> Result<(), Fault> {
        if let Some(new) = change(Some(&self.0))? {
            desk.journal.log_with(|| Call::Set(new.raw()))?;
            self.0 = new;
        }
        Ok(())
    }
}

crate::__proxy! {
    /// A value in a manager, made by [`Manager::value`].
    pub struct ValueProxy [T]
}

impl Manager {
    /// Makes a value.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "Value")]
    pub fn value<T: Message>(&self, value: &T) -> Result<ValueProxy<T>, ManagerError> {
        let raw = super::raw(self.epoch(), value)?;
        create(self, NAME, &raw).map(crate::Proxy::from_object)
    }
}

/// Each method is one call of the manager; see [`ManagerError`] for how it may fail.
#[allow(clippy::missing_errors_doc)]
impl<T: Message> ValueProxy<T> {
    calls! {
        /// The value as it is now.
        pub fn get | get_async(&self) -> T {
            self.object.ask(Call::Get, whole)
        }

        /// Sets it.
        pub fn set | set_async(&self, value: &T) {
            self.object.ask(Call::Set(self.object.raw(value)?), no_value::<Option<Raw>>)
        }

        /// Sets it, and brings the one before.
        pub fn replace | replace_async(&self, value: &T) -> T {
            self.object.ask(Call::Replace(self.object.raw(value)?), whole)
        }
    }

    /// Changes the value in the server, as one step: `function` runs there. For
    /// processes of the manager's own tree.
    pub fn update<A: Message, R: Message>(
        &self,
        function: fn(&mut T, A) -> R,
        arg: A,
    ) -> Result<R, ManagerError> {
        change::value(&self.object, Raw::default(), function, arg)?.wait()
    }

    /// Sends [`update`](Self::update), whose value is fetched later.
    pub fn update_async<A: Message, R: Message>(
        &self,
        function: fn(&mut T, A) -> R,
        arg: A,
    ) -> Result<AsyncReply<R>, ManagerError> {
        change::value(&self.object, Raw::default(), function, arg)?.send()
    }
}
