//! A set.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use ipc_core::{Message, Packet};
use serde::{Deserialize, Serialize};

use super::{create, decode, give, give_all, keep_all, raws};
use crate::error::{Fault, ManagerError};
use crate::manager::Manager;
use crate::server::Answer;
use crate::server::builtin::BuiltIn;
use crate::server::table::{Kept, Table};
use crate::wire::{Bytes, Raw};

pub(super) const NAME: &str = "set";

#[derive(Default)]
pub(super) struct Set(BTreeMap<Bytes, Kept>);

#[derive(Serialize, Deserialize)]
enum Call {
    Len,
    Contains(Bytes),
    /// How many were new.
    Insert(Vec<Raw>),
    /// How many were there.
    Remove(Vec<Bytes>),
    Retain(Vec<Bytes>),
    /// Takes out those that are there, and puts in the others.
    Toggle(Vec<Raw>),
    Pop,
    Clear,
    All,
}

impl Set {
    pub(super) fn new(values: Vec<Raw>, table: &Arc<Table>) -> Result<Self, Fault> {
        let mut set = Self::default();
        set.insert(keep_all(table, values)?);
        Ok(set)
    }

    fn insert(&mut self, values: Vec<Kept>) {
        self.0.extend(values.into_iter().map(|kept| (kept.bytes.clone(), kept)));
    }

    fn alter(&mut self, call: Call, table: &Arc<Table>) -> Result<u64, Fault> {
        let before = self.0.len();
        match call {
            Call::Insert(values) => self.insert(keep_all(table, values)?),
            Call::Remove(values) => values.iter().for_each(|value| drop(self.0.remove(value))),
            Call::Retain(values) => {
                let staying: HashSet<Bytes> = values.into_iter().collect();
                self.0.retain(|value, _| staying.contains(value));
            }
            Call::Toggle(values) => {
                let values: BTreeMap<Bytes, Raw> =
                    values.into_iter().map(|raw| (raw.bytes.clone(), raw)).collect();
                for (bytes, raw) in values {
                    if self.0.remove(&bytes).is_none() {
                        self.0.insert(bytes, table.keep(raw)?);
                    }
                }
            }
            Call::Clear => self.0.clear(),
            _ => {}
        }
        Ok(self.0.len().abs_diff(before) as u64)
    }
}

impl BuiltIn for Set {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, table: &Arc<Table>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        match call {
            Call::Len => answer.say(&(self.0.len() as u64)),
            Call::Contains(value) => answer.say(&u64::from(self.0.contains_key(&value))),
            Call::Pop => {
                let popped = self.0.pop_first();
                give(answer, popped.as_ref().map(|(_, kept)| kept));
            }
            Call::All => drop(give_all(answer, self.0.values())),
            call => match self.alter(call, table) {
                Ok(count) => answer.say(&count),
                Err(fault) => answer.fail(fault),
            },
        }
    }
}

crate::__proxy! {
    /// A set in a manager, made by [`Manager::set`].
    ///
    /// Values are compared as they are encoded. What two sets have in common, and the
    /// like, is computed from copies: [`to_set`](Self::to_set).
    pub struct SetProxy [T]
}

impl Manager {
    /// Makes an empty set.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn set<T: Message>(&self) -> Result<SetProxy<T>, ManagerError> {
        self.set_from([])
    }

    /// Makes a set of values.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn set_from<'a, T: Message>(
        &self,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Result<SetProxy<T>, ManagerError> {
        create(self, NAME, &raws(self.epoch(), values)?).map(crate::Proxy::from_object)
    }
}

/// Each method is one call of the manager; see [`ManagerError`] for how it may fail.
#[allow(clippy::missing_errors_doc)]
impl<T: Message> SetProxy<T> {
    /// How many values there are.
    pub fn len(&self) -> Result<usize, ManagerError> {
        self.number(&Call::Len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        Ok(self.len()? == 0)
    }

    /// Whether a value is there.
    pub fn contains(&self, value: &T) -> Result<bool, ManagerError> {
        Ok(self.number(&Call::Contains(self.object.raw(value)?.bytes))? == 1)
    }

    /// Puts a value in; whether it was new.
    #[doc(alias = "add")]
    pub fn insert(&self, value: &T) -> Result<bool, ManagerError> {
        Ok(self.extend([value])? == 1)
    }

    /// Takes a value out; whether it was there.
    #[doc(alias = "discard")]
    pub fn remove(&self, value: &T) -> Result<bool, ManagerError> {
        Ok(self.remove_all([value])? == 1)
    }

    /// Puts values in, as one step; how many were new.
    #[doc(alias = "update")]
    pub fn extend<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<usize, ManagerError> {
        self.number(&Call::Insert(raws(self.object.epoch(), values)?))
    }

    /// Takes values out, as one step; how many were there.
    #[doc(alias = "difference_update")]
    pub fn remove_all<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<usize, ManagerError> {
        self.number(&Call::Remove(self.bytes(values)?))
    }

    /// Takes all values out but these, as one step; how many went.
    #[doc(alias = "intersection_update")]
    pub fn retain_all<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<usize, ManagerError> {
        self.number(&Call::Retain(self.bytes(values)?))
    }

    /// Takes those out that are there and puts the others in, as one step.
    #[doc(alias = "symmetric_difference_update")]
    pub fn toggle_all<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<(), ManagerError> {
        self.number(&Call::Toggle(raws(self.object.epoch(), values)?)).map(drop)
    }

    /// Takes some value out, if there is one.
    pub fn pop(&self) -> Result<Option<T>, ManagerError> {
        self.object.fetch(&Call::Pop, None)
    }

    /// Takes all values out.
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.number(&Call::Clear).map(drop)
    }

    /// Copies of all values.
    pub fn to_vec(&self) -> Result<Vec<T>, ManagerError> {
        self.object.fetch_all(&Call::All)
    }

    /// A copy of it all.
    #[doc(alias = "_getvalue")]
    pub fn to_set(&self) -> Result<HashSet<T>, ManagerError>
    where
        T: Eq + Hash,
    {
        Ok(self.to_vec()?.into_iter().collect())
    }

    fn bytes<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<Vec<Bytes>, ManagerError> {
        Ok(raws(self.object.epoch(), values)?.into_iter().map(|raw| raw.bytes).collect())
    }

    fn number(&self, call: &Call) -> Result<usize, ManagerError> {
        let number: u64 = self.object.ask(call)?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    }
}
