//! A set.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use ipc_core::{Message, Packet};
use serde::{Deserialize, Serialize};

use super::calls::{calls, count, is_one, kept, many, no_value, plain};
use super::{admit, create, give, give_all, keep_all, logged, not_a_change, raws};
use crate::durable::{Snapshot, Verb};
use crate::error::{Fault, ManagerError};
use crate::manager::Manager;
use crate::server::Answer;
use crate::server::builtin::{BuiltIn, Desk};
use crate::server::table::{Kept, Table};
use crate::wire::{Bytes, Raw};

pub(super) const NAME: &str = "set";

#[derive(Default)]
pub(super) struct Set(BTreeMap<Bytes, Kept>);

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
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
    /// How many of these are there, how many of them differ, and how many there are.
    Compare(Vec<Bytes>),
}

impl Verb for Call {
    fn changes(&self) -> bool {
        !matches!(self, Self::Len | Self::Contains(_) | Self::All | Self::Compare(_))
    }

    fn values(&self) -> Vec<&Raw> {
        match self {
            Self::Insert(values) | Self::Toggle(values) => values.iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// What two sets have in common, and how many there are in the other one and here.
type Compared = (u64, u64, u64);

impl Set {
    pub(super) fn new(values: Vec<Raw>, table: &Arc<Table>) -> Result<Self, Fault> {
        let mut set = Self::default();
        set.insert(keep_all(table, values)?);
        Ok(set)
    }

    fn insert(&mut self, values: Vec<Kept>) {
        self.0.extend(values.into_iter().map(|kept| (kept.bytes.clone(), kept)));
    }

    fn compare(&self, values: Vec<Bytes>) -> Compared {
        let values: HashSet<Bytes> = values.into_iter().collect();
        let common = values.iter().filter(|value| self.0.contains_key(value)).count();
        (common as u64, values.len() as u64, self.0.len() as u64)
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
                // All are kept before the first is put in, so that a fault changes nothing.
                let values = keep_all(table, values)?.into_iter();
                let values: BTreeMap<Bytes, Kept> = values.map(|kept| (kept.bytes.clone(), kept)).collect();
                for (bytes, kept) in values {
                    if self.0.remove(&bytes).is_none() {
                        self.0.insert(bytes, kept);
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

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        let Some((call, answer, _holds)) = admit(desk, args, answer, |_| Ok(())) else { return };
        match call {
            Call::Len => answer.say(&(self.0.len() as u64)),
            Call::Contains(value) => answer.say(&u64::from(self.0.contains_key(&value))),
            Call::Pop => {
                let popped = self.0.pop_first();
                give(answer, popped.as_ref().map(|(_, kept)| kept));
            }
            Call::All => drop(give_all(answer, self.0.values())),
            Call::Compare(values) => answer.say(&self.compare(values)),
            call => match self.alter(call, desk.table) {
                Ok(count) => answer.say(&count),
                Err(fault) => answer.fail(fault),
            },
        }
    }
    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&Vec::<Raw>::new(), []);
        snapshot.then_all(self.0.values().map(Kept::raw), |raw| raw.bytes.0.len(), Call::Insert);
        snapshot
    }

    fn replay(&mut self, desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        match logged(change)? {
            Call::Pop => drop(self.0.pop_first()),
            call if !call.changes() => return Err(not_a_change()),
            call => drop(self.alter(call, desk.table)?),
        }
        Ok(())
    }
}

crate::__proxy! {
    /// A set in a manager, made by [`Manager::set`].
    ///
    /// Values are compared as they are encoded. What a set [has in common](Self::intersection) with
    /// others, and the like, is a set of copies in this process.
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
    calls! {
        /// How many values there are.
        pub fn len | len_async(&self) -> usize {
            self.object.ask(Call::Len, count)
        }

        /// Whether a value is there.
        pub fn contains | contains_async[Q: Serialize + ?Sized](&self, value: &Q) -> bool where [T: Borrow<Q>] {
            self.object.ask(Call::Contains(self.object.raw(value)?.bytes), is_one)
        }

        /// Puts a value in; whether it was new.
        #[doc(alias = "add")]
        pub fn insert | insert_async(&self, value: &T) -> bool {
            self.object.ask(Call::Insert(vec![self.object.raw(value)?]), is_one)
        }

        /// Takes a value out; whether it was there.
        #[doc(alias = "discard")]
        pub fn remove | remove_async[Q: Serialize + ?Sized](&self, value: &Q) -> bool where [T: Borrow<Q>] {
            self.object.ask(Call::Remove(vec![self.object.raw(value)?.bytes]), is_one)
        }

        /// Puts values in, as one step; how many were new.
        #[doc(alias = "update")]
        pub fn extend | extend_async['a](&self, values: impl IntoIterator<Item = &'a T>) -> usize {
            self.object.ask(Call::Insert(raws(self.object.epoch(), values)?), count)
        }

        /// Takes values out, as one step; how many were there.
        #[doc(alias = "difference_update")]
        pub fn remove_all | remove_all_async['a](&self, values: impl IntoIterator<Item = &'a T>) -> usize {
            self.object.ask(Call::Remove(self.bytes(values)?), count)
        }

        /// Takes all values out but these, as one step; how many went.
        #[doc(alias = "intersection_update")]
        pub fn retain_all | retain_all_async['a](&self, values: impl IntoIterator<Item = &'a T>) -> usize {
            self.object.ask(Call::Retain(self.bytes(values)?), count)
        }

        /// Takes those out that are there and puts the others in, as one step.
        #[doc(alias = "symmetric_difference_update")]
        pub fn toggle_all | toggle_all_async['a](&self, values: impl IntoIterator<Item = &'a T>) {
            self.object.ask(Call::Toggle(raws(self.object.epoch(), values)?), no_value::<u64>)
        }

        /// Takes some value out, if there is one.
        pub fn pop | pop_async(&self) -> Option<T> {
            self.object.ask(Call::Pop, kept)
        }

        /// Takes all values out.
        pub fn clear | clear_async(&self) {
            self.object.ask(Call::Clear, no_value::<u64>)
        }

        /// Copies of all values.
        pub fn to_vec | to_vec_async(&self) -> Vec<T> {
            self.object.ask(Call::All, many)
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        Ok(self.len()? == 0)
    }

    /// A copy of it all.
    #[doc(alias = "_getvalue")]
    pub fn to_set(&self) -> Result<HashSet<T>, ManagerError>
    where
        T: Eq + Hash,
    {
        Ok(self.to_vec()?.into_iter().collect())
    }

    /// Whether none of the values is there.
    #[doc(alias = "isdisjoint")]
    pub fn is_disjoint<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<bool, ManagerError> {
        Ok(self.compare(values)?.0 == 0)
    }

    /// Whether all that is there is among the values.
    #[doc(alias = "issubset")]
    pub fn is_subset<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<bool, ManagerError> {
        self.compare(values).map(|(common, _, here)| common == here)
    }

    /// Whether all of the values are there.
    #[doc(alias = "issuperset")]
    pub fn is_superset<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<bool, ManagerError> {
        self.compare(values).map(|(common, others, _)| common == others)
    }

    /// Copies of what is there, and of the values.
    pub fn union<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<HashSet<T>, ManagerError>
    where
        T: Clone + Eq + Hash,
    {
        let mut all = self.to_set()?;
        all.extend(values.into_iter().cloned());
        Ok(all)
    }

    /// Copies of what is there and among the values.
    pub fn intersection<'a>(
        &self,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Result<HashSet<T>, ManagerError>
    where
        T: Eq + Hash,
    {
        let mut here = self.to_set()?;
        Ok(values.into_iter().filter_map(|value| here.take(value)).collect())
    }

    /// Copies of what is there and not among the values.
    pub fn difference<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<HashSet<T>, ManagerError>
    where
        T: Eq + Hash,
    {
        let mut here = self.to_set()?;
        values.into_iter().for_each(|value| drop(here.take(value)));
        Ok(here)
    }

    /// Copies of what is either there or among the values, and not both.
    pub fn symmetric_difference<'a>(
        &self,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Result<HashSet<T>, ManagerError>
    where
        T: Clone + Eq + Hash,
    {
        let mut here = self.to_set()?;
        let values: HashSet<&T> = values.into_iter().collect();
        for value in values {
            if !here.remove(value) {
                here.insert(value.clone());
            }
        }
        Ok(here)
    }

    fn compare<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<Compared, ManagerError> {
        self.object.ask(Call::Compare(self.bytes(values)?), plain).wait()
    }

    fn bytes<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<Vec<Bytes>, ManagerError> {
        Ok(raws(self.object.epoch(), values)?.into_iter().map(|raw| raw.bytes).collect())
    }
}
