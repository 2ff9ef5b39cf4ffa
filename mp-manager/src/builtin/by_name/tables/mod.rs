//! The methods of each object: how they are told, and the calls that they are.

use ipc_core::{DecodeError, Packet};

use super::Known;
use super::value::Told;
use crate::builtin as objects;
use crate::wire::Raw;

mod containers;
mod sync;

/// What a caller chooses the type of.
type T = Raw;
type K = Raw;
type V = Raw;

/// The methods of objects of a name.
pub(super) fn of(name: &str) -> &'static [Known] {
    match name {
        objects::list::NAME => containers::LIST,
        objects::dict::NAME => containers::DICT,
        objects::set::NAME => containers::SET,
        objects::namespace::NAME => containers::NAMESPACE,
        objects::value::NAME => containers::VALUE,
        objects::queue::NAME => sync::QUEUE,
        objects::lock::NAME => sync::LOCK,
        objects::rlock::NAME => sync::RLOCK,
        objects::semaphore::NAME => sync::SEMAPHORE,
        objects::condition::NAME => sync::CONDITION,
        objects::event::NAME => sync::EVENT,
        objects::barrier::NAME => sync::BARRIER,
        _ => &[],
    }
}

/// Writes a table. Of a method: whether it looks or changes, how it is told, the call that it is, the
/// type of the answer, and what makes the value of it. With a limit, that and the value when it is up.
macro_rules! methods {
    ($table:ident {
        $($how:ident fn $name:ident ($($argument:ident: $of:ty),*) $(-> $value:ty)? {
            $call:expr
        } $(until $limit:ident $(else $late:expr)?;)? as $answer:ty => $read:expr;)*
    } by proxies {
        $($why:ident { $($kind:ident fn $only:ident ($($parameter:ident: $type:ty),*) $(-> $result:ty)?;)* })*
    }) => {
        pub(super) const $table: &[Known] = &[
            $(Known {
                method: method!($how fn $name($($argument: $of),*) $(-> $value)?),
                does: Does::Call(&[$(<$of as Parameter>::SHAPE),*], |mut _given| {
                    $(let $argument: $of = _given.next()?;)*
                    let call = $call;
                    Ok(Ready {
                        limit: limit!([$($value)?] $($limit $($late)?)?),
                        write: Box::new(move |packet| packet.append_item(&call)),
                        read: |packet| {
                            let read: fn($answer) -> or_unit!($($value)?) = $read;
                            told(&read(packet.read_item()?))
                        },
                    })
                }),
            },)*
            $($(Known {
                method: method!($kind fn $only($($parameter: $type),*) $(-> $result)?),
                does: Does::OnlyByProxy($why),
            },)*)*
        ];
    };
}

macro_rules! method {
    ($how:ident fn $name:ident ($($argument:ident: $of:ty),*) $(-> $value:ty)?) => {
        Method {
            name: stringify!($name),
            signature: concat!(
                "fn ", stringify!($name), "(", receiver!($how),
                $(", ", stringify!($argument), ": ", stringify!($of),)* ")" $(, " -> ", stringify!($value))?
            ),
            changes: changes!($how),
        }
    };
}

macro_rules! receiver {
    (looks) => {
        "&self"
    };
    (changes) => {
        "&mut self"
    };
}

macro_rules! changes {
    (looks) => {
        false
    };
    (changes) => {
        true
    };
}

macro_rules! limit {
    ([$($value:ty)?]) => {
        None
    };
    ([$($value:ty)?] $limit:ident) => {
        Some(($limit, None))
    };
    ([$value:ty] $limit:ident $late:expr) => {
        Some(($limit, Some(|| told::<$value>(&$late))))
    };
}

use {changes, limit, method, methods, receiver};

fn told<V: Told>(value: &V) -> Result<Packet, DecodeError> {
    let mut packet = Packet::new();
    value.write(&mut packet).map_err(DecodeError::new::<V>)?;
    Ok(packet)
}

/// What the manager says of a number.
fn size(number: u64) -> usize {
    objects::calls::size(number)
}

/// Keys and values that come in turn.
fn pairs(values: Vec<Raw>) -> Vec<(K, V)> {
    let mut values = values.into_iter();
    std::iter::from_fn(|| values.next().zip(values.next())).collect()
}

const GUARD: &str =
    "its value is a guard, which gives back what it holds when it is dropped: have a proxy of the type";
const CODE: &str = "it runs a function of the caller's: have a proxy of the type";
const HERE: &str = "it is done at the caller, with what other methods bring: call those";
