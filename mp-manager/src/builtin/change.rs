//! Callers' functions, run in the server on values that are kept there.

use std::sync::Arc;

use ipc_core::{Message, Packet};
use mp_process::{Function, Function2, StateFunction};

use super::calls::{Ask, Writes, plain};
use super::unraw;
use crate::context;
use crate::error::{Fault, FaultKind, Kind, ManagerError};
use crate::lease::Lease;
use crate::object_ref::ObjectRef;
use crate::server::builtin::{ARRANGE, CHANGE};
use crate::wire::{Bytes, Raw};

/// A value and what is to be done with it.
#[derive(Debug)]
pub(crate) struct Changing {
    pub(crate) epoch: u128,
    pub(crate) trusted: bool,
    pub(crate) old: Option<Vec<u8>>,
    pub(crate) args: Packet,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) new: Option<Raw>,
    pub(crate) value: Packet,
    pub(crate) objects: Vec<u64>,
    /// They hold until what is above has its own references.
    pub(crate) leases: Vec<Arc<Lease>>,
}

/// Runs `function` on the value at `place`, in the server.
pub(super) fn value<T: Message, A: Message, R: Message>(
    object: &ObjectRef,
    place: Raw,
    function: fn(&mut T, A) -> R,
    arg: A,
) -> Result<Ask<'_, impl Writes, R>, ManagerError> {
    let function = StateFunction::new(function);
    ready(object, place, change_value::<T, A, R>, move |packet| packet.append(&function), arg)
}

/// As [`value`], for a place that may be empty before and after.
pub(super) fn entry<T: Message, A: Message, R: Message>(
    object: &ObjectRef,
    place: Raw,
    function: fn(&mut Option<T>, A) -> R,
    arg: A,
) -> Result<Ask<'_, impl Writes, R>, ManagerError> {
    let function = StateFunction::new(function);
    ready(object, place, change_entry::<T, A, R>, move |packet| packet.append(&function), arg)
}

/// Says the order of a list's values; what came with the call goes to it.
pub(crate) type Order = Function2<Vec<Vec<u8>>, Packet, Result<Vec<u64>, Fault>>;

/// Puts the values of a list into the order that `function` says.
pub(super) fn arrange(
    object: &ObjectRef,
    function: Order,
    args: impl Writes,
) -> Result<Ask<'_, impl Writes, ()>, ManagerError> {
    if !object.is_trusted() {
        return Err(FaultKind::NotTrusted.into());
    }
    let write = move |packet: &mut Packet| {
        packet.append(&function)?;
        args(packet)
    };
    Ok(object.ask_raw(ARRANGE, write, plain))
}

fn ready<A: Message, R: Message>(
    object: &ObjectRef,
    place: Raw,
    change: fn(Changing) -> Result<Changed, Fault>,
    function: impl Writes,
    arg: A,
) -> Result<Ask<'_, impl Writes, R>, ManagerError> {
    if !object.is_trusted() {
        return Err(FaultKind::NotTrusted.into());
    }
    let write = move |packet: &mut Packet| {
        packet.append(&place)?;
        packet.append(&Function::new(change))?;
        function(packet)?;
        packet.append_item(&arg)
    };
    Ok(object.ask_raw(CHANGE, write, plain))
}

fn change_value<T: Message, A: Message, R: Message>(changing: Changing) -> Result<Changed, Fault> {
    let Changing { epoch, trusted, old, mut args } = changing;
    let (function, arg) = read::<StateFunction<T, A, R>, A>(&mut args)?;
    let old = old.ok_or_else(|| Fault::refused("there is no value to change"))?;
    let mut state: T = unraw(&old, trusted).map_err(Fault::arguments)?;
    let value = function(&mut state, arg);
    finish(epoch, Some(&state), &value)
}

fn change_entry<T: Message, A: Message, R: Message>(changing: Changing) -> Result<Changed, Fault> {
    let Changing { epoch, trusted, old, mut args } = changing;
    let (function, arg) = read::<StateFunction<Option<T>, A, R>, A>(&mut args)?;
    let old = old.map(|old| unraw(&old, trusted)).transpose().map_err(Fault::arguments)?;
    let mut state: Option<T> = old;
    let value = function(&mut state, arg);
    finish(epoch, state.as_ref(), &value)
}

fn read<F: serde::de::DeserializeOwned, A: Message>(args: &mut Packet) -> Result<(F, A), Fault> {
    let function = args.read().map_err(Fault::arguments)?;
    Ok((function, args.read_item().map_err(Fault::arguments)?))
}

fn finish<T: Message, R: Message>(epoch: u128, state: Option<&T>, value: &R) -> Result<Changed, Fault> {
    let new = state.map(|state| super::raw(epoch, state)).transpose().map_err(Fault::reply)?;
    let mut packet = Packet::new();
    let (written, of_value) = context::collecting(epoch, || packet.append_item(value));
    written.map_err(|error| Fault::reply(Kind::Encode(error)))?;
    let objects = context::numbers(&of_value);
    Ok(Changed { new, value: packet, objects, leases: of_value })
}

/// A place of a list.
pub(super) fn place(index: usize) -> Raw {
    Raw { bytes: Bytes((index as u64).to_le_bytes().to_vec()), objects: Vec::new(), ..Raw::default() }
}

/// In the server: which place of a list is meant.
pub(super) fn index(place: &Raw) -> Result<usize, Fault> {
    let bytes = place.bytes.0.as_slice().try_into();
    let index = bytes.map(u64::from_le_bytes).map_err(Fault::arguments)?;
    usize::try_from(index).map_err(Fault::arguments)
}
