//! A list, and an array: a list whose length does not change.

use std::borrow::Borrow;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use ipc_core::{Message, Packet};
use mp_process::{Function, Function2};
use serde::{Deserialize, Serialize};

use super::calls::{calls, kept, many, no_value, size, whole};
use super::{admit, change, create, give, give_all, keep_all, logged, not_a_change, raws, unraw};
use crate::async_reply::AsyncReply;
use crate::durable::{Snapshot, Verb};
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::Answer;
use crate::server::builtin::{Arrange, BuiltIn, Change, Desk};
use crate::server::table::{Kept, Table};
use crate::wire::Raw;

pub(super) const NAME: &str = "list";

/// How many bytes a repeated list may have: one short call makes them all.
const LONGEST: u64 = 256 << 20;

pub(super) struct List(Vec<Kept>);

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Len,
    Get(u64),
    Set(u64, Raw),
    Push(Vec<Raw>),
    Insert(u64, Raw),
    /// The last one, or the one at a place.
    Pop(Option<u64>),
    Remove(Raw),
    Find(Raw),
    Count(Raw),
    Slice(u64, u64),
    /// Takes the values of a range out and puts others there.
    Splice(u64, u64, Vec<Raw>),
    Reverse,
    Repeat(u64),
    /// In logs: the places from which the values come.
    Arrange(Vec<u64>),
    /// Sets the values from a place on.
    SetAll(u64, Vec<Raw>),
    /// As `Find`, in a range.
    FindIn(Raw, u64, u64),
}

impl Verb for Call {
    fn changes(&self) -> bool {
        let looks =
            matches!(self, Self::Len | Self::Get(_) | Self::Find(_) | Self::FindIn(..) | Self::Count(_));
        !looks && !matches!(self, Self::Slice(..))
    }

    fn values(&self) -> Vec<&Raw> {
        match self {
            Self::Set(_, value) | Self::Insert(_, value) => vec![value],
            Self::Push(values) | Self::Splice(_, _, values) | Self::SetAll(_, values) => {
                values.iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

impl List {
    pub(super) fn new(values: Vec<Raw>, table: &Arc<Table>) -> Result<Self, Fault> {
        keep_all(table, values).map(Self)
    }

    fn place(&self, index: u64) -> Result<usize, Fault> {
        let place = usize::try_from(index).ok().filter(|place| *place < self.0.len());
        place.ok_or_else(|| FaultKind::OutOfRange(index).into())
    }

    /// So many places, all of which are there.
    fn places(&self, from: u64, count: usize) -> Result<std::ops::Range<usize>, Fault> {
        let end = from.saturating_add(count as u64);
        if end > self.0.len() as u64 {
            return Err(FaultKind::OutOfRange(self.0.len() as u64).into());
        }
        Ok(end as usize - count..end as usize)
    }

    /// A range, cut off where the list ends.
    fn range(&self, from: u64, to: u64) -> std::ops::Range<usize> {
        let cut = |index: u64| usize::try_from(index).unwrap_or(usize::MAX).min(self.0.len());
        let (from, to) = (cut(from), cut(to));
        from.min(to)..to
    }

    /// Whether a call that changes the list would be refused.
    fn check(&self, call: &Call) -> Result<(), Fault> {
        match call {
            Call::Set(index, _) => self.place(*index).map(drop),
            Call::SetAll(from, values) => self.places(*from, values.len()).map(drop),
            Call::Repeat(times) => self.check_repeat(*times),
            Call::Arrange(_) => Err(FaultKind::NoMethod.into()),
            _ => Ok(()),
        }
    }

    /// Where a value stands first in a range.
    fn find(&self, value: &Raw, from: u64, to: u64) -> Option<usize> {
        let range = self.range(from, to);
        let place = self.0[range.clone()].iter().position(|kept| kept.bytes == value.bytes)?;
        Some(range.start + place)
    }

    fn obey(&mut self, call: Call, table: &Arc<Table>, answer: Answer) {
        match call {
            Call::Get(index) => match self.place(index) {
                Ok(place) => drop(give(answer, self.0.get(place))),
                Err(fault) => answer.fail(fault),
            },
            Call::Pop(index) => {
                let last = self.0.len().checked_sub(1);
                let place = index.map_or(last, |index| self.place(index).ok());
                let popped = place.map(|place| self.0.remove(place));
                give(answer, popped.as_ref());
            }
            Call::Slice(from, to) => drop(give_all(answer, self.0[self.range(from, to)].iter())),
            Call::Splice(from, to, values) => match keep_all(table, values) {
                Ok(values) => {
                    let range = self.range(from, to);
                    let out: Vec<Kept> = self.0.splice(range, values).collect();
                    give_all(answer, out.iter());
                }
                Err(fault) => answer.fail(fault),
            },
            call => match self.alter(call, table) {
                Ok(number) => answer.say(&number),
                Err(fault) => answer.fail(fault),
            },
        }
    }

    fn put_in_order(&mut self, order: Vec<u64>) {
        let mut old: Vec<Option<Kept>> = std::mem::take(&mut self.0).into_iter().map(Some).collect();
        let take = |place: u64| usize::try_from(place).ok().and_then(|place| old.get_mut(place)?.take());
        self.0 = order.into_iter().filter_map(take).collect();
    }

    /// Methods that bring nothing, or a number.
    fn alter(&mut self, call: Call, table: &Arc<Table>) -> Result<Option<u64>, Fault> {
        match call {
            Call::Len => return Ok(Some(self.0.len() as u64)),
            Call::Set(index, value) => {
                let place = self.place(index)?;
                self.0[place] = table.keep(value)?;
            }
            Call::SetAll(from, values) => {
                let places = self.places(from, values.len())?;
                drop(self.0.splice(places, keep_all(table, values)?));
            }
            Call::Push(values) => self.0.extend(keep_all(table, values)?),
            Call::Insert(index, value) => {
                let place = self.range(index, u64::MAX).start;
                self.0.insert(place, table.keep(value)?);
            }
            Call::Remove(value) => {
                let place = self.find(&value, 0, u64::MAX);
                drop(place.map(|place| self.0.remove(place)));
                return Ok(place.map(|place| place as u64));
            }
            Call::Find(value) => return Ok(self.find(&value, 0, u64::MAX).map(|place| place as u64)),
            Call::FindIn(value, from, to) => {
                return Ok(self.find(&value, from, to).map(|place| place as u64));
            }
            Call::Count(value) => {
                return Ok(Some(self.0.iter().filter(|kept| kept.bytes == value.bytes).count() as u64));
            }
            Call::Reverse => self.0.reverse(),
            Call::Repeat(times) => self.repeat(times, table)?,
            _ => return Err(FaultKind::NoMethod.into()),
        }
        Ok(None)
    }

    fn repeat(&mut self, times: u64, table: &Arc<Table>) -> Result<(), Fault> {
        self.check_repeat(times)?;
        if times == 0 {
            self.0.clear();
        }
        let once: Vec<Raw> = self.0.iter().map(Kept::raw).collect();
        for _ in 1..times {
            self.0.extend(keep_all(table, once.clone())?);
        }
        Ok(())
    }

    fn check_repeat(&self, times: u64) -> Result<(), Fault> {
        let len = self.0.iter().map(|kept| kept.bytes.0.len() as u64 + 1).sum::<u64>();
        if len.saturating_mul(times) > LONGEST {
            return Err(Fault::refused("the list would become too long"));
        }
        Ok(())
    }
}

impl BuiltIn for List {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        if let Some((call, answer, _holds)) = admit(desk, args, answer, |call| self.check(call)) {
            self.obey(call, desk.table, answer);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&Vec::<Raw>::new(), []);
        snapshot.then_all(self.0.iter().map(Kept::raw), |raw| raw.bytes.0.len(), Call::Push);
        snapshot
    }

    fn replay(&mut self, desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        match logged(change)? {
            Call::Arrange(order) if order.len() == self.0.len() => {
                self.put_in_order(order);
                Ok(())
            }
            Call::Arrange(_) => Err(Fault::refused("it is an order of another list")),
            call if !call.changes() => Err(not_a_change()),
            call => Answer::again(|answer| self.obey(call, desk.table, answer)),
        }
    }

    fn change(&mut self, desk: &Desk<'_>, place: &Raw, change: &mut Change<'_>) -> Result<(), Fault> {
        let index = change::index(place)?;
        let kept = self.0.get_mut(index).ok_or(Fault(FaultKind::OutOfRange(index as u64)))?;
        if let Some(new) = change(Some(kept))? {
            desk.journal.log_with(|| Call::Set(index as u64, new.raw()))?;
            *kept = new;
        }
        Ok(())
    }

    fn arrange(&mut self, desk: &Desk<'_>, arrange: &mut Arrange<'_>) -> Result<(), Fault> {
        let order = arrange(self.0.iter().map(|kept| kept.bytes.0.clone()).collect())?;
        desk.journal.log_with(|| Call::Arrange(order.clone()))?;
        self.put_in_order(order);
        Ok(())
    }
}

crate::__proxy! {
    /// A list in a manager, made by [`Manager::list`].
    ///
    /// What compares values, compares them as they are encoded.
    pub struct ListProxy [T]
}

crate::__proxy! {
    /// An array in a manager, made by [`Manager::array`]: its length does not change.
    pub struct ArrayProxy [T]
}

impl Manager {
    /// Makes an empty list.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn list<T: Message>(&self) -> Result<ListProxy<T>, ManagerError> {
        self.list_from(&[])
    }

    /// Makes a list of values.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn list_from<T: Message>(&self, values: &[T]) -> Result<ListProxy<T>, ManagerError> {
        create(self, NAME, &raws(self.epoch(), values)?).map(crate::Proxy::from_object)
    }

    /// Makes an array of values.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "Array")]
    pub fn array<T: Message>(&self, values: &[T]) -> Result<ArrayProxy<T>, ManagerError> {
        create(self, NAME, &raws(self.epoch(), values)?).map(crate::Proxy::from_object)
    }
}

/// Methods that lists and arrays have; each is one call of the manager.
macro_rules! in_places {
    () => {
        calls! {
            /// How many values there are.
            pub fn len | len_async(&self) -> usize {
                self.object.ask(Call::Len, number)
            }

            /// The value at a place; beyond the end it is an error.
            pub fn get | get_async(&self, index: usize) -> T {
                self.object.ask(Call::Get(index as u64), whole)
            }

            /// Sets the value at a place; beyond the end it is an error.
            pub fn set | set_async(&self, index: usize, value: &T) {
                self.object.ask(Call::Set(index as u64, self.object.raw(value)?), altered)
            }

            /// Sets the values from a place on, as one step; beyond the end it is an error, and
            /// none is set.
            pub fn set_all | set_all_async(&self, from: usize, values: &[T]) {
                self.object.ask(Call::SetAll(from as u64, raws(self.object.epoch(), values)?), altered)
            }

            /// Copies of the values of a range, which is cut off where the end is.
            pub fn slice | slice_async(&self, range: impl RangeBounds<usize>) -> Vec<T> {
                let (from, to) = bounds(&range);
                self.object.ask(Call::Slice(from, to), many)
            }

            /// Copies of all values.
            #[doc(alias = "_getvalue")]
            pub fn to_vec | to_vec_async(&self) -> Vec<T> {
                self.object.ask(Call::Slice(0, u64::MAX), many)
            }
        }

        /// Whether there is none.
        pub fn is_empty(&self) -> Result<bool, ManagerError> {
            Ok(self.len()? == 0)
        }

        /// Goes over the values by their places, one call for each, and sees changes
        /// made meanwhile.
        pub fn iter(&self) -> impl Iterator<Item = Result<T, ManagerError>> + use<'_, T> {
            (0..).map(|index| self.get(index)).take_while(|value| !is_end(value))
        }

        /// Changes the value at a place in the server, as one step: `function` runs
        /// there. For processes of the manager's own tree.
        pub fn update<A: Message, R: Message>(
            &self,
            index: usize,
            function: fn(&mut T, A) -> R,
            arg: A,
        ) -> Result<R, ManagerError> {
            change::value(&self.object, change::place(index), function, arg)?.wait()
        }

        /// Sends [`update`](Self::update), whose value is fetched later.
        pub fn update_async<A: Message, R: Message>(
            &self,
            index: usize,
            function: fn(&mut T, A) -> R,
            arg: A,
        ) -> Result<AsyncReply<R>, ManagerError> {
            change::value(&self.object, change::place(index), function, arg)?.send()
        }
    };
}

/// Each method is one call of the manager; see [`ManagerError`] for how it may fail.
#[allow(clippy::missing_errors_doc)]
impl<T: Message> ArrayProxy<T> {
    in_places!();
}

/// Each method is one call of the manager; see [`ManagerError`] for how it may fail.
#[allow(clippy::missing_errors_doc)]
impl<T: Message> ListProxy<T> {
    in_places!();

    calls! {
        /// Adds a value at the end.
        #[doc(alias = "append")]
        pub fn push | push_async(&self, value: &T) {
            self.object.ask(Call::Push(vec![self.object.raw(value)?]), altered)
        }

        /// Adds values at the end, as one step.
        pub fn extend | extend_async['a](&self, values: impl IntoIterator<Item = &'a T>) {
            self.object.ask(Call::Push(raws(self.object.epoch(), values)?), altered)
        }

        /// Puts a value at a place, or at the end if that comes first.
        pub fn insert | insert_async(&self, index: usize, value: &T) {
            self.object.ask(Call::Insert(index as u64, self.object.raw(value)?), altered)
        }

        /// Takes the last value out, if there is one.
        pub fn pop | pop_async(&self) -> Option<T> {
            self.object.ask(Call::Pop(None), kept)
        }

        /// Takes the value at a place out, if there is one.
        #[doc(alias = "del")]
        pub fn remove_at | remove_at_async(&self, index: usize) -> Option<T> {
            self.object.ask(Call::Pop(Some(index as u64)), kept)
        }

        /// Takes the first value out that is equal; where it was.
        pub fn remove | remove_async[Q: Serialize + ?Sized](&self, value: &Q) -> Option<usize> where [T: Borrow<Q>] {
            self.object.ask(Call::Remove(self.object.raw(value)?), found)
        }

        /// Where the first value stands that is equal.
        #[doc(alias = "index")]
        pub fn position | position_async[Q: Serialize + ?Sized](&self, value: &Q) -> Option<usize> where [T: Borrow<Q>] {
            self.object.ask(Call::Find(self.object.raw(value)?), found)
        }

        /// Where the first value stands that is equal, of those in a range, which is cut off where the
        /// end is; its place in the list.
        #[doc(alias = "index")]
        pub fn position_in | position_in_async[Q: Serialize + ?Sized](
            &self, value: &Q, range: impl RangeBounds<usize>,
        ) -> Option<usize> where [T: Borrow<Q>] {
            let (from, to) = bounds(&range);
            self.object.ask(Call::FindIn(self.object.raw(value)?, from, to), found)
        }

        /// Whether a value is there.
        pub fn contains | contains_async[Q: Serialize + ?Sized](&self, value: &Q) -> bool where [T: Borrow<Q>] {
            self.object.ask(Call::Find(self.object.raw(value)?), is_found)
        }

        /// How often a value is there.
        pub fn count | count_async[Q: Serialize + ?Sized](&self, value: &Q) -> usize where [T: Borrow<Q>] {
            self.object.ask(Call::Count(self.object.raw(value)?), number)
        }

        /// Takes all values out.
        pub fn clear | clear_async(&self) {
            self.object.ask(Call::Splice(0, u64::MAX, Vec::new()), no_value::<Vec<Raw>>)
        }

        /// Puts `values` in the place of a range, as one step, and brings what was there.
        pub fn splice | splice_async(&self, range: impl RangeBounds<usize>, values: &[T]) -> Vec<T> {
            let (from, to) = bounds(&range);
            self.object.ask(Call::Splice(from, to, raws(self.object.epoch(), values)?), many)
        }

        /// Turns the list round.
        pub fn reverse | reverse_async(&self) {
            self.object.ask(Call::Reverse, altered)
        }

        /// Makes the list as long as `times` of it.
        #[doc(alias = "*=")]
        pub fn repeat | repeat_async(&self, times: usize) {
            self.object.ask(Call::Repeat(times as u64), altered)
        }

        /// Sorts the list in the server, as one step. For processes of the manager's own tree.
        pub fn sort | sort_async(&self) where [T: Ord] {
            change::arrange(&self.object, Function2::new(sorted::<T>), |_| Ok(()))?
        }

        /// As [`sort`](Self::sort), by what a plain function makes of each value. Values with equal
        /// keys stay in their order.
        pub fn sort_by_key | sort_by_key_async[K: Ord + 'static](&self, key: fn(T) -> K) {
            let key = Function::new(key);
            change::arrange(&self.object, Function2::new(sorted_by_key::<T, K>), move |packet| packet.append(&key))?
        }
    }
}

fn altered(reply: Result<Reply, ManagerError>, object: &ObjectRef) -> Result<(), ManagerError> {
    found(reply, object).map(drop)
}

fn found(reply: Result<Reply, ManagerError>, _: &ObjectRef) -> Result<Option<usize>, ManagerError> {
    let number: Option<u64> = reply?.read()?;
    Ok(number.map(size))
}

fn is_found(reply: Result<Reply, ManagerError>, object: &ObjectRef) -> Result<bool, ManagerError> {
    Ok(found(reply, object)?.is_some())
}

fn number(reply: Result<Reply, ManagerError>, object: &ObjectRef) -> Result<usize, ManagerError> {
    found(reply, object).map(Option::unwrap_or_default)
}

fn bounds(range: &impl RangeBounds<usize>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from as u64,
        Bound::Excluded(from) => (*from as u64).saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(to) => (*to as u64).saturating_add(1),
        Bound::Excluded(to) => *to as u64,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

fn is_end<T>(value: &Result<T, ManagerError>) -> bool {
    value.as_ref().is_err_and(ManagerError::is_out_of_range)
}

/// In the server: the places of values in their order.
fn sorted<T: Message + Ord>(values: Vec<Vec<u8>>, _: Packet) -> Result<Vec<u64>, Fault> {
    ordered(&values, |value: T| value)
}

/// In the server: as [`sorted`], by the keys that the caller's function makes.
fn sorted_by_key<T: Message, K: Ord + 'static>(
    values: Vec<Vec<u8>>,
    mut args: Packet,
) -> Result<Vec<u64>, Fault> {
    let key: Function<T, K> = args.read().map_err(Fault::arguments)?;
    ordered(&values, *key)
}

fn ordered<T: Message, K: Ord>(values: &[Vec<u8>], key: impl Fn(T) -> K) -> Result<Vec<u64>, Fault> {
    let keys = values.iter().map(|value| unraw::<T>(value, true).map(&key));
    let keys: Vec<K> = keys.collect::<Result<_, _>>().map_err(Fault::arguments)?;
    let mut keys: Vec<(K, u64)> = keys.into_iter().zip(0..).collect();
    keys.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(keys.into_iter().map(|(_, place)| place).collect())
}
