//! A list, and an array: a list whose length does not change.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use ipc_core::{Message, Packet};
use mp_process::Function;
use serde::{Deserialize, Serialize};

use super::{change, create, decode, give, give_all, keep_all, raws, some, unraw};
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::ObjectRef;
use crate::server::Answer;
use crate::server::builtin::{Arrange, BuiltIn, Change};
use crate::server::table::{Kept, Table};
use crate::wire::Raw;

pub(super) const NAME: &str = "list";

/// How many bytes a repeated list may have: one short call makes them all.
const LONGEST: u64 = 256 << 20;

pub(super) struct List(Vec<Kept>);

#[derive(Serialize, Deserialize)]
enum Call {
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
}

impl List {
    pub(super) fn new(values: Vec<Raw>, table: &Arc<Table>) -> Result<Self, Fault> {
        keep_all(table, values).map(Self)
    }

    fn place(&self, index: u64) -> Result<usize, Fault> {
        let place = usize::try_from(index).ok().filter(|place| *place < self.0.len());
        place.ok_or_else(|| FaultKind::OutOfRange(index).into())
    }

    /// A range, cut off where the list ends.
    fn range(&self, from: u64, to: u64) -> std::ops::Range<usize> {
        let cut = |index: u64| usize::try_from(index).unwrap_or(usize::MAX).min(self.0.len());
        let (from, to) = (cut(from), cut(to));
        from.min(to)..to
    }

    fn find(&self, value: &Raw) -> Option<usize> {
        self.0.iter().position(|kept| kept.bytes == value.bytes)
    }

    /// Methods that bring nothing, or a number.
    fn alter(&mut self, call: Call, table: &Arc<Table>) -> Result<Option<u64>, Fault> {
        match call {
            Call::Len => return Ok(Some(self.0.len() as u64)),
            Call::Set(index, value) => {
                let place = self.place(index)?;
                self.0[place] = table.keep(value)?;
            }
            Call::Push(values) => self.0.extend(keep_all(table, values)?),
            Call::Insert(index, value) => {
                let place = self.range(index, u64::MAX).start;
                self.0.insert(place, table.keep(value)?);
            }
            Call::Remove(value) => {
                let place = self.find(&value);
                drop(place.map(|place| self.0.remove(place)));
                return Ok(place.map(|place| place as u64));
            }
            Call::Find(value) => return Ok(self.find(&value).map(|place| place as u64)),
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
        if times == 0 {
            self.0.clear();
        }
        let len = self.0.iter().map(|kept| kept.bytes.0.len() as u64 + 1).sum::<u64>();
        if len.saturating_mul(times) > LONGEST {
            return Err(Fault::refused("the list would become too long"));
        }
        let once: Vec<Raw> = self.0.iter().map(Kept::raw).collect();
        for _ in 1..times {
            self.0.extend(keep_all(table, once.clone())?);
        }
        Ok(())
    }
}

impl BuiltIn for List {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, table: &Arc<Table>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
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

    fn change(&mut self, place: &Raw, change: &mut Change<'_>) -> Result<(), Fault> {
        let index = change::index(place)?;
        let kept = self.0.get_mut(index).ok_or(Fault(FaultKind::OutOfRange(index as u64)))?;
        if let Some(new) = change(Some(kept))? {
            *kept = new;
        }
        Ok(())
    }

    fn arrange(&mut self, arrange: &mut Arrange<'_>) -> Result<(), Fault> {
        let order = arrange(self.0.iter().map(|kept| kept.bytes.0.clone()).collect())?;
        let mut old: Vec<Option<Kept>> = std::mem::take(&mut self.0).into_iter().map(Some).collect();
        let take = |place: u64| usize::try_from(place).ok().and_then(|place| old.get_mut(place)?.take());
        self.0 = order.into_iter().filter_map(take).collect();
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
        /// How many values there are.
        pub fn len(&self) -> Result<usize, ManagerError> {
            number(&self.object, &Call::Len).map(Option::unwrap_or_default)
        }

        /// Whether there is none.
        pub fn is_empty(&self) -> Result<bool, ManagerError> {
            Ok(self.len()? == 0)
        }

        /// The value at a place; beyond the end it is an error.
        pub fn get(&self, index: usize) -> Result<T, ManagerError> {
            some(self.object.fetch(&Call::Get(index as u64), None)?)
        }

        /// Sets the value at a place; beyond the end it is an error.
        pub fn set(&self, index: usize, value: &T) -> Result<(), ManagerError> {
            self.alter(&Call::Set(index as u64, self.object.raw(value)?))
        }

        /// Copies of the values of a range, which is cut off where the end is.
        pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Vec<T>, ManagerError> {
            let (from, to) = bounds(&range);
            self.object.fetch_all(&Call::Slice(from, to))
        }

        /// Copies of all values.
        #[doc(alias = "_getvalue")]
        pub fn to_vec(&self) -> Result<Vec<T>, ManagerError> {
            self.slice(..)
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
            change::value(&self.object, &change::place(index), function, &arg)
        }

        fn alter(&self, call: &Call) -> Result<(), ManagerError> {
            number(&self.object, call).map(drop)
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

    /// Adds a value at the end.
    #[doc(alias = "append")]
    pub fn push(&self, value: &T) -> Result<(), ManagerError> {
        self.extend([value])
    }

    /// Adds values at the end, as one step.
    pub fn extend<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<(), ManagerError> {
        self.alter(&Call::Push(raws(self.object.epoch(), values)?))
    }

    /// Puts a value at a place, or at the end if that comes first.
    pub fn insert(&self, index: usize, value: &T) -> Result<(), ManagerError> {
        self.alter(&Call::Insert(index as u64, self.object.raw(value)?))
    }

    /// Takes the last value out, if there is one.
    pub fn pop(&self) -> Result<Option<T>, ManagerError> {
        self.object.fetch(&Call::Pop(None), None)
    }

    /// Takes the value at a place out, if there is one.
    #[doc(alias = "del")]
    pub fn remove_at(&self, index: usize) -> Result<Option<T>, ManagerError> {
        self.object.fetch(&Call::Pop(Some(index as u64)), None)
    }

    /// Takes the first value out that is equal; where it was.
    pub fn remove(&self, value: &T) -> Result<Option<usize>, ManagerError> {
        number(&self.object, &Call::Remove(self.object.raw(value)?))
    }

    /// Where the first value stands that is equal.
    #[doc(alias = "index")]
    pub fn position(&self, value: &T) -> Result<Option<usize>, ManagerError> {
        number(&self.object, &Call::Find(self.object.raw(value)?))
    }

    /// Whether a value is there.
    pub fn contains(&self, value: &T) -> Result<bool, ManagerError> {
        Ok(self.position(value)?.is_some())
    }

    /// How often a value is there.
    pub fn count(&self, value: &T) -> Result<usize, ManagerError> {
        let count = number(&self.object, &Call::Count(self.object.raw(value)?))?;
        Ok(count.unwrap_or_default())
    }

    /// Takes all values out.
    pub fn clear(&self) -> Result<(), ManagerError> {
        self.splice(.., &[]).map(drop)
    }

    /// Puts `values` in the place of a range, as one step, and brings what was there.
    pub fn splice(&self, range: impl RangeBounds<usize>, values: &[T]) -> Result<Vec<T>, ManagerError> {
        let (from, to) = bounds(&range);
        self.object.fetch_all(&Call::Splice(from, to, raws(self.object.epoch(), values)?))
    }

    /// Turns the list round.
    pub fn reverse(&self) -> Result<(), ManagerError> {
        self.alter(&Call::Reverse)
    }

    /// Makes the list as long as `times` of it.
    #[doc(alias = "*=")]
    pub fn repeat(&self, times: usize) -> Result<(), ManagerError> {
        self.alter(&Call::Repeat(times as u64))
    }

    /// Sorts the list in the server, as one step. For processes of the manager's own tree.
    pub fn sort(&self) -> Result<(), ManagerError>
    where
        T: Ord,
    {
        change::arrange(&self.object, Function::new(sorted::<T>))
    }
}

fn number(object: &ObjectRef, call: &Call) -> Result<Option<usize>, ManagerError> {
    let number: Option<u64> = object.ask(call)?;
    Ok(number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
}

fn bounds(range: &impl RangeBounds<usize>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from as u64,
        Bound::Excluded(from) => *from as u64 + 1,
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
fn sorted<T: Message + Ord>(values: Vec<Vec<u8>>) -> Result<Vec<u64>, Fault> {
    let decoded: Result<Vec<T>, _> = values.iter().map(|value| unraw::<T>(value, true)).collect();
    let mut decoded: Vec<(T, u64)> = decoded.map_err(Fault::arguments)?.into_iter().zip(0..).collect();
    decoded.sort();
    Ok(decoded.into_iter().map(|(_, place)| place).collect())
}
