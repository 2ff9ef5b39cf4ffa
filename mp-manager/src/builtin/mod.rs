//! The objects that every manager knows.
//!
//! Each file has the object as it lives in the server, and its proxy. Values are
//! kept encoded: the server decodes none of them, so it need not know their types
//! and runs no code of theirs. What it compares, it compares encoded.

use std::sync::Arc;

use ipc_core::{DecodeError, EncodeError, Message, Packet};
use serde::Serialize;

use crate::context;
use crate::durable::Verb;
use crate::error::{Fault, Kind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::ObjectRef;
use crate::server::Answer;
use crate::server::builtin::{BuiltIn, Desk};
use crate::server::table::{Hold, Kept, Table};
use crate::wire::Raw;

pub(crate) mod barrier;
pub(crate) mod by_name;
mod calls;
pub(crate) mod change;
pub(crate) mod condition;
pub(crate) mod dict;
pub(crate) mod event;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod namespace;
pub(crate) mod queue;
pub(crate) mod rlock;
pub(crate) mod semaphore;
pub(crate) mod set;
pub(crate) mod value;

/// Makes an object of this crate; `None` if it has none by that name.
pub(crate) fn make(
    name: &str,
    args: &mut Args<'_>,
    table: &Arc<Table>,
) -> Result<Option<Box<dyn BuiltIn>>, Fault> {
    let object: Box<dyn BuiltIn> = match name {
        list::NAME => Box::new(list::List::new(args.read()?, table)?),
        dict::NAME => Box::new(dict::Dict::new(args.read()?, table)?),
        set::NAME => Box::new(set::Set::new(args.read()?, table)?),
        namespace::NAME => Box::new(namespace::Names::default()),
        value::NAME => Box::new(value::Cell::new(args.read()?, table)?),
        queue::NAME => Box::new(queue::Queue::new(args.read()?)),
        lock::NAME => Box::new(lock::Lock::default()),
        rlock::NAME => Box::new(rlock::RLock::default()),
        semaphore::NAME => Box::new(semaphore::Semaphore::new(args.read()?)),
        condition::NAME => Box::new(condition::Condition::default()),
        event::NAME => Box::new(event::Event::default()),
        barrier::NAME => Box::new(barrier::Barrier::new(args.read()?)?),
        barrier::WITH => Box::new(barrier::Barrier::with(args.read()?, table)?),
        _ => return Ok(None),
    };
    Ok(Some(object))
}

/// What an object is made with.
pub(crate) enum Args<'a> {
    /// As a client sends it.
    Sent(&'a mut Packet),
    /// As it stands in a log.
    Stored(Packet),
}

impl Args<'_> {
    fn read<A: Message>(&mut self) -> Result<A, Fault> {
        match self {
            Self::Sent(packet) => packet.read_item(),
            Self::Stored(packet) => packet.read(),
        }
        .map_err(Fault::arguments)
    }
}

/// Makes an object in a manager.
fn create<A: Message>(manager: &Manager, name: &str, args: &A) -> Result<ObjectRef, ManagerError> {
    manager.create(name, false, |packet| packet.append_item(args))
}

/// In the server: decodes which method is meant.
fn decode<C: Message>(args: &mut Packet, answer: Answer) -> Option<(C, Answer)> {
    match args.read_item() {
        Ok(call) => Some((call, answer)),
        Err(error) => {
            answer.fail(Fault::arguments(error));
            None
        }
    }
}

/// As [`decode`], for calls that may change an object: those of a durable one are logged.
///
/// A call that fails is not to be in a log: `check` tells of those that the object refuses, and
/// what stands in the values is held until the call has been done.
fn admit<V: Verb>(
    desk: &Desk<'_>,
    args: &mut Packet,
    answer: Answer,
    check: impl FnOnce(&V) -> Result<(), Fault>,
) -> Option<(V, Answer, Vec<Hold>)> {
    let (verb, answer) = decode::<V>(args, answer)?;
    if !verb.changes() {
        return Some((verb, answer.of_look(), Vec::new()));
    }
    if !desk.journal.is_kept() {
        return Some((verb, answer, Vec::new()));
    }
    let logged = check(&verb).and_then(|()| {
        let objects = verb.values().into_iter().flat_map(|raw| raw.objects.iter().copied());
        let holds = desk.table.hold(objects)?;
        desk.journal.log(&verb).map(|()| holds)
    });
    match logged {
        Ok(holds) => Some((verb, answer, holds)),
        Err(fault) => {
            answer.fail(fault);
            None
        }
    }
}

/// Decodes a call that was logged.
fn logged<V: Verb>(change: &mut Packet) -> Result<V, Fault> {
    let verb = change.read().map_err(Fault::arguments)?;
    if change.is_at_end() { Ok(verb) } else { Err(Fault::arguments("there is more in it than a call")) }
}

/// A call in a log that is never logged.
fn not_a_change() -> Fault {
    Fault::refused("it changes nothing, and so is in no log")
}

/// Answers with a value that is kept; `false` if the caller is gone.
fn give(answer: Answer, kept: Option<&Kept>) -> bool {
    let raw = kept.map(Kept::raw);
    let objects = raw.as_ref().map(|raw| raw.objects.clone()).unwrap_or_default();
    answer.value_with(&raw, objects)
}

/// Answers with many.
fn give_all<'a>(answer: Answer, kept: impl Iterator<Item = &'a Kept>) -> bool {
    let raws: Vec<Raw> = kept.map(Kept::raw).collect();
    let objects = raws.iter().flat_map(|raw| raw.objects.iter().copied()).collect();
    answer.value_with(&raws, objects)
}

fn keep_all(table: &Arc<Table>, raws: Vec<Raw>) -> Result<Vec<Kept>, Fault> {
    raws.into_iter().map(|raw| table.keep(raw)).collect()
}

/// Encodes a value to be kept in the manager `epoch`, with what is in it.
fn raw<T: Serialize + ?Sized>(epoch: u128, value: &T) -> Result<Raw, ManagerError> {
    let mut packet = Packet::new();
    let (written, leases) = context::collecting(epoch, || packet.append(value));
    written.map_err(Kind::Encode)?;
    if packet.handle_count() > 0 {
        let why = "a manager keeps no handles, channel ends or locks: put them into an object of your own";
        return Err(Kind::Encode(EncodeError::new::<T>(why)).into());
    }
    let bytes = crate::wire::Bytes(packet.bytes().to_vec());
    Ok(Raw { bytes, objects: context::numbers(&leases), epoch: Some(epoch), leases })
}

fn raws<'a, T: Message>(
    epoch: u128,
    values: impl IntoIterator<Item = &'a T>,
) -> Result<Vec<Raw>, ManagerError> {
    values.into_iter().map(|value| raw(epoch, value)).collect()
}

/// Decodes a value that was kept.
fn unraw<T: Message>(bytes: &[u8], trusted: bool) -> Result<T, DecodeError> {
    let mut packet = Packet::new();
    packet.extend_bytes(bytes);
    if trusted {
        packet.mark_trusted();
    }
    let value = packet.read()?;
    if packet.is_at_end() { Ok(value) } else { Err(DecodeError::new::<T>("it is a value of another type")) }
}

impl ObjectRef {
    fn raw<T: Serialize + ?Sized>(&self, value: &T) -> Result<Raw, ManagerError> {
        raw(self.epoch(), value)
    }
}
