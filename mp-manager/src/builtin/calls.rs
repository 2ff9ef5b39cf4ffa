//! How proxies of this crate's objects make their calls: each method once, for a value that is
//! waited for and for one that is fetched later.

use std::time::Duration;

use ipc_core::{DecodeError, EncodeError, Message, Packet};

use super::unraw;
use crate::async_reply::{AsyncReply, Read};
use crate::error::{Fault, ManagerError};
use crate::object_ref::{ObjectRef, Reply};
use crate::server::builtin::METHOD;
use crate::wire::Raw;

/// A call that is ready to be made.
pub(super) struct Ask<'a, W, R> {
    object: &'a ObjectRef,
    method: u64,
    limit: Option<Duration>,
    write: W,
    read: Read<R>,
}

/// Writes the arguments of a call.
pub(super) trait Writes: Fn(&mut Packet) -> Result<(), EncodeError> {}

impl<W: Fn(&mut Packet) -> Result<(), EncodeError>> Writes for W {}

impl<W: Writes, R> Ask<'_, W, R> {
    /// Waits in the object for so long at most.
    pub(super) fn until(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Makes the call and waits for its value.
    pub(super) fn wait(self) -> Result<R, ManagerError> {
        match self.object.exchange_there(self.method, self.limit, self.write) {
            // What the value holds, it holds in the manager that gave it.
            Ok((reply, lease)) => match self.object.there(lease) {
                Some(there) => (self.read)(Ok(reply), &there),
                None => (self.read)(Ok(reply), self.object),
            },
            Err(error) => (self.read)(Err(error), self.object),
        }
    }

    /// Makes the call.
    pub(super) fn send(self) -> Result<AsyncReply<R>, ManagerError> {
        self.object.begin(self.method, self.limit, self.write, self.read)
    }
}

impl ObjectRef {
    /// A call of a method, and what makes a value of its answer.
    pub(super) fn ask<C: Message, R>(&self, call: C, read: Read<R>) -> Ask<'_, impl Writes, R> {
        self.ask_raw(METHOD, move |packet: &mut Packet| packet.append_item(&call), read)
    }

    /// As [`ask`](Self::ask), with what is written raw.
    pub(super) fn ask_raw<W, R>(&self, method: u64, write: W, read: Read<R>) -> Ask<'_, W, R> {
        Ask { object: self, method, limit: None, write, read }
    }
}

/// Writes methods in both forms, with what is generic and what is asked of it in brackets. A body makes the [`Ask`]; what it returns is the type of the value.
macro_rules! calls {
    ($(
        $(#[$meta:meta])*
        pub fn $name:ident | $later:ident $([$($generic:tt)+])? (
            &$self:ident $(, $argument:ident : $of:ty)* $(,)?
        ) $(-> $value:ty)? $(where [$($wanted:tt)+])? $body:block
    )*) => {$(
        $(#[$meta])*
        pub fn $name $(<$($generic)+>)? (
            &$self $(, $argument: $of)*
        ) -> Result<$crate::builtin::calls::or_unit!($($value)?), $crate::ManagerError>
        $(where $($wanted)+)? {
            $body.wait()
        }

        #[doc = concat!("Sends [`", stringify!($name), "`](Self::", stringify!($name), "), whose value is fetched later.")]
        pub fn $later $(<$($generic)+>)? (
            &$self $(, $argument: $of)*
        ) -> Result<$crate::AsyncReply<$crate::builtin::calls::or_unit!($($value)?)>, $crate::ManagerError>
        $(where $($wanted)+)? {
            $body.send()
        }
    )*};
}

macro_rules! or_unit {
    () => {
        ()
    };
    ($value:ty) => {
        $value
    };
}

pub(super) use {calls, or_unit};

type Answer = Result<Reply, ManagerError>;

/// The value as it is.
pub(super) fn plain<R: Message>(reply: Answer, _: &ObjectRef) -> Result<R, ManagerError> {
    reply?.read()
}

/// Nothing, where the manager says something.
pub(super) fn no_value<R: Message>(reply: Answer, _: &ObjectRef) -> Result<(), ManagerError> {
    reply?.read::<R>().map(drop)
}

/// A value that is kept, if there is one.
pub(super) fn kept<T: Message>(reply: Answer, object: &ObjectRef) -> Result<Option<T>, ManagerError> {
    let trusted = object.is_trusted();
    reply?.read_with(|raw: Option<Raw>| raw.map(|raw| unraw(&raw.bytes.0, trusted)).transpose())
}

/// A value that is kept and always there.
pub(super) fn whole<T: Message>(reply: Answer, object: &ObjectRef) -> Result<T, ManagerError> {
    some(kept(reply, object)?)
}

/// As [`kept`], for many.
pub(super) fn many<T: Message>(reply: Answer, object: &ObjectRef) -> Result<Vec<T>, ManagerError> {
    let trusted = object.is_trusted();
    reply?.read_with(|raws: Vec<Raw>| raws.iter().map(|raw| unraw(&raw.bytes.0, trusted)).collect())
}

/// Pairs of values that come in turn.
pub(super) fn pairs<K: Message, V: Message>(
    reply: Answer,
    object: &ObjectRef,
) -> Result<Vec<(K, V)>, ManagerError> {
    let trusted = object.is_trusted();
    let pair = |pair: &[Raw]| Ok((unraw(&pair[0].bytes.0, trusted)?, unraw(&pair[1].bytes.0, trusted)?));
    reply?.read_with(|raws: Vec<Raw>| raws.chunks_exact(2).map(pair).collect::<Result<_, DecodeError>>())
}

/// A number.
pub(super) fn count(reply: Answer, _: &ObjectRef) -> Result<usize, ManagerError> {
    reply?.read().map(size)
}

/// Whether a number is one.
pub(super) fn is_one(reply: Answer, _: &ObjectRef) -> Result<bool, ManagerError> {
    reply?.read::<u64>().map(|number| number == 1)
}

/// What was waited for, if it came in time.
pub(super) fn in_time<T>(value: Result<Option<T>, ManagerError>) -> Result<Option<T>, ManagerError> {
    match value {
        Err(error) if error.is_given_up() => Ok(None),
        other => other,
    }
}

/// Whether it was done in time.
pub(super) fn is_done(reply: Answer, _: &ObjectRef) -> Result<bool, ManagerError> {
    Ok(in_time(reply.and_then(Reply::read).map(Some))?.unwrap_or(false))
}

/// The value of an answer that always has one.
pub(super) fn some<T>(value: Option<T>) -> Result<T, ManagerError> {
    value.ok_or_else(|| Fault::reply("the manager sent no value").into())
}

pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
