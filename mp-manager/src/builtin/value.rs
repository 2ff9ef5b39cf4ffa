//! A single value.

use std::sync::Arc;

use ipc_core::{Message, Packet};
use serde::{Deserialize, Serialize};

use super::{change, create, decode, give, some};
use crate::error::{Fault, ManagerError};
use crate::manager::Manager;
use crate::server::Answer;
use crate::server::builtin::{BuiltIn, Change};
use crate::server::table::{Kept, Table};
use crate::wire::Raw;

pub(super) const NAME: &str = "value";

pub(super) struct Cell(Kept);

#[derive(Serialize, Deserialize)]
enum Call {
    Get,
    Set(Raw),
    Replace(Raw),
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

    fn call(&mut self, table: &Arc<Table>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        let (value, wants_old) = match call {
            Call::Get => {
                give(answer, Some(&self.0));
                return;
            }
            Call::Set(value) => (value, false),
            Call::Replace(value) => (value, true),
        };
        match table.keep(value) {
            Ok(value) => {
                let old = std::mem::replace(&mut self.0, value);
                give(answer, Some(&old).filter(|_| wants_old));
            }
            Err(fault) => answer.fail(fault),
        }
    }

    fn change(&mut self, _place: &Raw, change: &mut Change<'_>) -> Result<(), Fault> {
        if let Some(new) = change(Some(&self.0))? {
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
    /// The value as it is now.
    pub fn get(&self) -> Result<T, ManagerError> {
        some(self.object.fetch(&Call::Get, None)?)
    }

    /// Sets it.
    pub fn set(&self, value: &T) -> Result<(), ManagerError> {
        let call = Call::Set(self.object.raw(value)?);
        self.object.fetch::<_, T>(&call, None).map(drop)
    }

    /// Sets it, and brings the one before.
    pub fn replace(&self, value: &T) -> Result<T, ManagerError> {
        some(self.object.fetch(&Call::Replace(self.object.raw(value)?), None)?)
    }

    /// Changes the value in the server, as one step: `function` runs there. For
    /// processes of the manager's own tree.
    pub fn update<A: Message, R: Message>(
        &self,
        function: fn(&mut T, A) -> R,
        arg: A,
    ) -> Result<R, ManagerError> {
        change::value(&self.object, &Raw::default(), function, &arg)
    }
}
