//! Values of any types, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipc_core::{Message, Packet};
use serde::{Deserialize, Serialize};

use super::{create, decode, give};
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::server::Answer;
use crate::server::builtin::BuiltIn;
use crate::server::table::{Kept, Table};
use crate::wire::Raw;

pub(super) const NAME: &str = "namespace";

#[derive(Default)]
pub(super) struct Names(BTreeMap<String, Kept>);

#[derive(Serialize, Deserialize)]
enum Call {
    Get(String),
    Set(String, Raw),
    Remove(String),
    Names,
}

impl BuiltIn for Names {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, table: &Arc<Table>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        match call {
            Call::Get(name) => drop(give(answer, self.0.get(&name))),
            Call::Set(name, value) => match table.keep(value) {
                Ok(value) => {
                    let old = self.0.insert(name, value);
                    answer.value(&());
                    drop(old);
                }
                Err(fault) => answer.fail(fault),
            },
            Call::Remove(name) => answer.say(&self.0.remove(&name).is_some()),
            Call::Names => answer.say(&self.0.keys().cloned().collect::<Vec<_>>()),
        }
    }
}

crate::__proxy! {
    /// Values of any types by name, in a manager; made by [`Manager::namespace`].
    pub struct NamespaceProxy []
}

impl Manager {
    /// Makes an empty namespace.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "Namespace")]
    pub fn namespace(&self) -> Result<NamespaceProxy, ManagerError> {
        create(self, NAME, &()).map(crate::Proxy::from_object)
    }
}

/// Each method is one call of the manager; see [`ManagerError`] for how it may fail.
#[allow(clippy::missing_errors_doc)]
impl NamespaceProxy {
    /// The value of a name, if it has one; of another type than it was set with, it is
    /// an error or another value.
    #[doc(alias = "getattr")]
    pub fn get<T: Message>(&self, name: &str) -> Result<Option<T>, ManagerError> {
        self.object.fetch(&Call::Get(name.to_owned()), None)
    }

    /// Gives a name a value.
    #[doc(alias = "setattr")]
    pub fn set<T: Message>(&self, name: &str, value: &T) -> Result<(), ManagerError> {
        self.object.ask(&Call::Set(name.to_owned(), self.object.raw(value)?))
    }

    /// Takes a name out; whether it was there.
    #[doc(alias = "delattr")]
    pub fn remove(&self, name: &str) -> Result<bool, ManagerError> {
        self.object.ask(&Call::Remove(name.to_owned()))
    }

    /// All names.
    pub fn names(&self) -> Result<Vec<String>, ManagerError> {
        self.object.ask(&Call::Names)
    }
}
