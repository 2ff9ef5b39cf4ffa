//! Values of any types, by name.

use std::collections::BTreeMap;

use ipc_core::{DecodeError, Message, Packet};
use serde::{Deserialize, Serialize};

use super::calls::{calls, kept, plain};
use super::{admit, create, give, logged, not_a_change, unraw};
use crate::durable::{Snapshot, Verb};
use crate::error::{Fault, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::Answer;
use crate::server::builtin::{BuiltIn, Desk};
use crate::server::table::Kept;
use crate::wire::Raw;

pub(super) const NAME: &str = "namespace";

#[derive(Default)]
pub(super) struct Names(BTreeMap<String, Kept>);

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Get(String),
    Set(String, Raw),
    Remove(String),
    Names,
    Has(String),
    All,
}

impl Verb for Call {
    fn changes(&self) -> bool {
        matches!(self, Self::Set(..) | Self::Remove(_))
    }

    fn values(&self) -> Vec<&Raw> {
        if let Self::Set(_, value) = self { vec![value] } else { Vec::new() }
    }
}

impl BuiltIn for Names {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        let Some((call, answer, _holds)) = admit(desk, args, answer, |_| Ok(())) else { return };
        match call {
            Call::Get(name) => drop(give(answer, self.0.get(&name))),
            Call::Set(name, value) => match desk.table.keep(value) {
                Ok(value) => {
                    let old = self.0.insert(name, value);
                    answer.value(&());
                    drop(old);
                }
                Err(fault) => answer.fail(fault),
            },
            Call::Remove(name) => answer.say(&self.0.remove(&name).is_some()),
            Call::Has(name) => answer.say(&self.0.contains_key(&name)),
            Call::All => {
                let all: Vec<(String, Raw)> =
                    self.0.iter().map(|(name, kept)| (name.clone(), kept.raw())).collect();
                let objects = all.iter().flat_map(|(_, raw)| raw.objects.iter().copied()).collect();
                answer.value_with(&all, objects);
            }
            Call::Names => answer.say(&self.0.keys().cloned().collect::<Vec<_>>()),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&(), []);
        self.0.iter().for_each(|(name, kept)| snapshot.then(&Call::Set(name.clone(), kept.raw())));
        snapshot
    }

    fn replay(&mut self, desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        match logged(change)? {
            Call::Set(name, value) => drop(self.0.insert(name, desk.table.keep(value)?)),
            Call::Remove(name) => drop(self.0.remove(&name)),
            Call::Get(_) | Call::Has(_) | Call::Names | Call::All => return Err(not_a_change()),
        }
        Ok(())
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
    calls! {
        /// The value of a name, if it has one; of another type than it was set with, it is
        /// an error or another value.
        #[doc(alias = "getattr")]
        pub fn get | get_async[T: Message](&self, name: &str) -> Option<T> {
            self.object.ask(Call::Get(name.to_owned()), kept)
        }

        /// Gives a name a value.
        #[doc(alias = "setattr")]
        pub fn set | set_async[T: Serialize + ?Sized](&self, name: &str, value: &T) {
            self.object.ask(Call::Set(name.to_owned(), self.object.raw(value)?), plain)
        }

        /// Takes a name out; whether it was there.
        #[doc(alias = "delattr")]
        pub fn remove | remove_async(&self, name: &str) -> bool {
            self.object.ask(Call::Remove(name.to_owned()), plain)
        }

        /// Whether a name has a value, of whatever type.
        #[doc(alias = "hasattr")]
        pub fn contains | contains_async(&self, name: &str) -> bool {
            self.object.ask(Call::Has(name.to_owned()), plain)
        }

        /// All names.
        pub fn names | names_async(&self) -> Vec<String> {
            self.object.ask(Call::Names, plain)
        }

        /// Copies of all values by their names, as they are at one time. They are to be of one type: if
        /// one is of another, it is an error, as for [`get`](Self::get).
        #[doc(alias = "_getvalue")]
        pub fn get_all | get_all_async[T: Message](&self) -> BTreeMap<String, T> {
            self.object.ask(Call::All, all)
        }
    }
}

fn all<T: Message>(
    reply: Result<Reply, ManagerError>,
    object: &ObjectRef,
) -> Result<BTreeMap<String, T>, ManagerError> {
    let trusted = object.is_trusted();
    let value = |(name, raw): (String, Raw)| Ok((name, unraw(&raw.bytes.0, trusted)?));
    reply?.read_with(|all: Vec<(String, Raw)>| all.into_iter().map(value).collect::<Result<_, DecodeError>>())
}
