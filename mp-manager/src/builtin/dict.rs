//! A dictionary, which keeps the order in which keys came.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use ipc_core::{Message, Packet};
use serde::{Deserialize, Serialize};

use super::calls::{self, calls, count, kept, many, plain, whole};
use super::{admit, change, create, give, give_all, logged, not_a_change};
use crate::async_reply::AsyncReply;
use crate::durable::{Snapshot, Verb};
use crate::error::{Fault, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::Answer;
use crate::server::builtin::{BuiltIn, Change, Desk};
use crate::server::table::{Kept, Table};
use crate::wire::{Bytes, Raw};

pub(super) const NAME: &str = "dict";

#[derive(Default)]
pub(super) struct Dict {
    entries: HashMap<Bytes, Entry>,
    /// The keys in the order in which they came.
    order: BTreeMap<u64, Bytes>,
    last: u64,
}

struct Entry {
    place: u64,
    /// The key, which may hold references too.
    key: Kept,
    value: Kept,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Len,
    Get(Bytes),
    Contains(Bytes),
    /// Sets a value, and brings the one before.
    Insert(Raw, Raw),
    /// Sets a value unless there is one, and brings the one that is there then.
    Default(Raw, Raw),
    Extend(Vec<(Raw, Raw)>),
    Remove(Bytes),
    PopLast,
    Clear,
    Keys,
    Values,
    /// Keys and values in turn.
    Items,
}

impl Verb for Call {
    fn changes(&self) -> bool {
        match self {
            Self::Len | Self::Get(_) | Self::Contains(_) | Self::Keys | Self::Values | Self::Items => false,
            Self::Insert(..) | Self::Default(..) | Self::Extend(_) => true,
            Self::Remove(_) | Self::PopLast | Self::Clear => true,
        }
    }

    fn values(&self) -> Vec<&Raw> {
        match self {
            Self::Insert(key, value) | Self::Default(key, value) => vec![key, value],
            Self::Extend(items) => items.iter().flat_map(|(key, value)| [key, value]).collect(),
            _ => Vec::new(),
        }
    }
}

impl Dict {
    pub(super) fn new(items: Vec<(Raw, Raw)>, table: &Arc<Table>) -> Result<Self, Fault> {
        let mut dict = Self::default();
        dict.extend(items, table)?;
        Ok(dict)
    }

    fn extend(&mut self, items: Vec<(Raw, Raw)>, table: &Arc<Table>) -> Result<(), Fault> {
        // All are kept before the first is put in, so that a fault changes nothing.
        let keep = |(key, value)| keep_both(table, key, value);
        let items: Result<Vec<(Kept, Kept)>, Fault> = items.into_iter().map(keep).collect();
        items?.into_iter().for_each(|(key, value)| drop(self.insert(key, value)));
        Ok(())
    }

    fn insert(&mut self, key: Kept, value: Kept) -> Option<Kept> {
        if let Some(entry) = self.entries.get_mut(&key.bytes) {
            return Some(std::mem::replace(&mut entry.value, value));
        }
        self.last += 1;
        self.order.insert(self.last, key.bytes.clone());
        self.entries.insert(key.bytes.clone(), Entry { place: self.last, key, value });
        None
    }

    fn remove(&mut self, key: &Bytes) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.place);
        Some(entry)
    }

    fn in_order(&self) -> impl Iterator<Item = &Entry> {
        self.order.values().filter_map(|key| self.entries.get(key))
    }

    fn obey(&mut self, call: Call, table: &Arc<Table>, answer: Answer) {
        match call {
            Call::Len => answer.say(&(self.entries.len() as u64)),
            Call::Get(key) => drop(give(answer, self.entries.get(&key).map(|entry| &entry.value))),
            Call::Contains(key) => answer.say(&self.entries.contains_key(&key)),
            Call::Remove(key) => drop(give(answer, self.remove(&key).as_ref().map(|entry| &entry.value))),
            Call::PopLast => {
                let key = self.order.values().next_back().cloned();
                let entry = key.and_then(|key| self.remove(&key));
                give_all(answer, entry.iter().flat_map(|entry| [&entry.key, &entry.value]));
            }
            Call::Clear => {
                *self = Self::default();
                answer.value(&());
            }
            Call::Keys => drop(give_all(answer, self.in_order().map(|entry| &entry.key))),
            Call::Values => drop(give_all(answer, self.in_order().map(|entry| &entry.value))),
            Call::Items => {
                give_all(answer, self.in_order().flat_map(|entry| [&entry.key, &entry.value]));
            }
            Call::Insert(key, value) => match keep_both(table, key, value) {
                Ok((key, value)) => drop(give(answer, self.insert(key, value).as_ref())),
                Err(fault) => answer.fail(fault),
            },
            Call::Default(key, value) => match self.get_or_insert(key, value, table) {
                Ok(value) => drop(give(answer, value)),
                Err(fault) => answer.fail(fault),
            },
            Call::Extend(items) => match self.extend(items, table) {
                Ok(()) => answer.say(&()),
                Err(fault) => answer.fail(fault),
            },
        }
    }

    fn get_or_insert(&mut self, key: Raw, value: Raw, table: &Arc<Table>) -> Result<Option<&Kept>, Fault> {
        let place = key.bytes.clone();
        if !self.entries.contains_key(&place) {
            let (key, value) = keep_both(table, key, value)?;
            self.insert(key, value);
        }
        Ok(self.entries.get(&place).map(|entry| &entry.value))
    }
}

fn keep_both(table: &Arc<Table>, key: Raw, value: Raw) -> Result<(Kept, Kept), Fault> {
    Ok((table.keep(key)?, table.keep(value)?))
}

impl BuiltIn for Dict {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        if let Some((call, answer, _holds)) = admit(desk, args, answer, |_| Ok(())) {
            self.obey(call, desk.table, answer);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&Vec::<(Raw, Raw)>::new(), []);
        let items = self.in_order().map(|entry| (entry.key.raw(), entry.value.raw()));
        let len = |(key, value): &(Raw, Raw)| key.bytes.0.len() + value.bytes.0.len();
        snapshot.then_all(items, len, Call::Extend);
        snapshot
    }

    fn replay(&mut self, desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        let call: Call = logged(change)?;
        if !call.changes() {
            return Err(not_a_change());
        }
        Answer::again(|answer| self.obey(call, desk.table, answer))
    }

    fn change(&mut self, desk: &Desk<'_>, place: &Raw, change: &mut Change<'_>) -> Result<(), Fault> {
        let new = change(self.entries.get(&place.bytes).map(|entry| &entry.value))?;
        desk.journal.log_with(|| match &new {
            None => Call::Remove(place.bytes.clone()),
            Some(value) => Call::Insert(Kept::plain(place.bytes.clone()).raw(), value.raw()),
        })?;
        match new {
            None => drop(self.remove(&place.bytes)),
            Some(value) => match self.entries.get_mut(&place.bytes) {
                Some(entry) => entry.value = value,
                None => {
                    let key = Kept::plain(place.bytes.clone());
                    self.insert(key, value);
                }
            },
        }
        Ok(())
    }
}

crate::__proxy! {
    /// A dictionary in a manager, made by [`Manager::dict`].
    ///
    /// Keys are compared as they are encoded, and stand in the order in which they came. As in a
    /// `HashMap`, a key is looked up in any form that it can be borrowed in, a `str` for a `String`; a
    /// form of one's own must be encoded as the key is.
    pub struct DictProxy [K, V]
}

impl Manager {
    /// Makes an empty dictionary.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn dict<K: Message, V: Message>(&self) -> Result<DictProxy<K, V>, ManagerError> {
        self.dict_from([])
    }

    /// Makes a dictionary of keys and values.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn dict_from<'a, K: Message, V: Message>(
        &self,
        items: impl IntoIterator<Item = (&'a K, &'a V)>,
    ) -> Result<DictProxy<K, V>, ManagerError> {
        create(self, NAME, &pairs(self.epoch(), items)?).map(crate::Proxy::from_object)
    }
}

/// Each method is one call of the manager; see [`ManagerError`] for how it may fail.
#[allow(clippy::missing_errors_doc)]
impl<K: Message, V: Message> DictProxy<K, V> {
    calls! {
        /// How many keys there are.
        pub fn len | len_async(&self) -> usize {
            self.object.ask(Call::Len, count)
        }

        /// The value of a key, if it is there.
        pub fn get | get_async[Q: Serialize + ?Sized](&self, key: &Q) -> Option<V> where [K: Borrow<Q>] {
            self.object.ask(Call::Get(self.object.raw(key)?.bytes), kept)
        }

        /// Whether a key is there.
        pub fn contains_key | contains_key_async[Q: Serialize + ?Sized](&self, key: &Q) -> bool where [K: Borrow<Q>] {
            self.object.ask(Call::Contains(self.object.raw(key)?.bytes), plain)
        }

        /// Sets the value of a key; the one before.
        pub fn insert | insert_async(&self, key: &K, value: &V) -> Option<V> {
            self.object.ask(Call::Insert(self.object.raw(key)?, self.object.raw(value)?), kept)
        }

        /// The value of a key, which is set to `value` first if it is not there.
        #[doc(alias = "setdefault")]
        pub fn get_or_insert | get_or_insert_async(&self, key: &K, value: &V) -> V {
            self.object.ask(Call::Default(self.object.raw(key)?, self.object.raw(value)?), whole)
        }

        /// Sets many, as one step.
        #[doc(alias = "update")]
        pub fn extend | extend_async['a](&self, items: impl IntoIterator<Item = (&'a K, &'a V)>) {
            self.object.ask(Call::Extend(pairs(self.object.epoch(), items)?), plain)
        }

        /// Takes a key out; its value.
        #[doc(alias = "pop")]
        pub fn remove | remove_async[Q: Serialize + ?Sized](&self, key: &Q) -> Option<V> where [K: Borrow<Q>] {
            self.object.ask(Call::Remove(self.object.raw(key)?.bytes), kept)
        }

        /// Takes the key out that came last, with its value.
        #[doc(alias = "popitem")]
        pub fn pop_last | pop_last_async(&self) -> Option<(K, V)> {
            self.object.ask(Call::PopLast, last)
        }

        /// Takes all keys out.
        pub fn clear | clear_async(&self) {
            self.object.ask(Call::Clear, plain)
        }

        /// Copies of the keys.
        pub fn keys | keys_async(&self) -> Vec<K> {
            self.object.ask(Call::Keys, many)
        }

        /// Copies of the values.
        pub fn values | values_async(&self) -> Vec<V> {
            self.object.ask(Call::Values, many)
        }

        /// Copies of keys and values.
        pub fn items | items_async(&self) -> Vec<(K, V)> {
            self.object.ask(Call::Items, calls::pairs)
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> Result<bool, ManagerError> {
        Ok(self.len()? == 0)
    }

    /// A copy of it all.
    #[doc(alias = "_getvalue")]
    pub fn to_map(&self) -> Result<HashMap<K, V>, ManagerError>
    where
        K: Eq + Hash,
    {
        Ok(self.items()?.into_iter().collect())
    }

    /// Changes the value of a key in the server, as one step: `function` runs there, and
    /// is given `None` if the key is not there; if it leaves `None`, the key goes. For
    /// processes of the manager's own tree.
    ///
    /// ```
    /// # mp_process::init();
    /// # let manager = mp_manager::Manager::start()?;
    /// let hits = manager.dict::<String, u32>()?;
    /// let hit = |count: &mut Option<u32>, by: u32| *count.insert(count.unwrap_or(0) + by);
    /// assert_eq!(hits.update("page", hit, 1)?, 1);
    /// assert_eq!(hits.update("page", hit, 2)?, 3);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    pub fn update<Q: Serialize + ?Sized, A: Message, R: Message>(
        &self,
        key: &Q,
        function: fn(&mut Option<V>, A) -> R,
        arg: A,
    ) -> Result<R, ManagerError>
    where
        K: Borrow<Q>,
    {
        change::entry(&self.object, self.object.raw(key)?, function, arg)?.wait()
    }

    /// Sends [`update`](Self::update), whose value is fetched later.
    pub fn update_async<Q: Serialize + ?Sized, A: Message, R: Message>(
        &self,
        key: &Q,
        function: fn(&mut Option<V>, A) -> R,
        arg: A,
    ) -> Result<AsyncReply<R>, ManagerError>
    where
        K: Borrow<Q>,
    {
        change::entry(&self.object, self.object.raw(key)?, function, arg)?.send()
    }
}

fn last<K: Message, V: Message>(
    reply: Result<Reply, ManagerError>,
    object: &ObjectRef,
) -> Result<Option<(K, V)>, ManagerError> {
    Ok(calls::pairs(reply, object)?.pop())
}

fn pairs<'a, K: Message, V: Message>(
    epoch: u128,
    items: impl IntoIterator<Item = (&'a K, &'a V)>,
) -> Result<Vec<(Raw, Raw)>, ManagerError> {
    items.into_iter().map(|(key, value)| Ok((super::raw(epoch, key)?, super::raw(epoch, value)?))).collect()
}
