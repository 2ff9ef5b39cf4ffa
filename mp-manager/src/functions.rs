//! Functions of callers, run in the server on objects of users' types.

use ipc_core::{Message, Packet};
use mp_process::{StateFunction, ViewFunction};

use crate::async_reply::AsyncReply;
use crate::context;
use crate::error::{Fault, FaultKind, ManagerError};
use crate::object_ref::ObjectRef;
use crate::server::Answer;

/// Runs a function that looks at the object.
pub(crate) const VIEW: u64 = 3;
/// Runs a function that may change the object.
pub(crate) const UPDATE: u64 = 4;
/// Runs a function that looks at the object, and answers when it likes.
pub(crate) const LATER: u64 = 5;

/// Whether a method of an object of a user's type runs code of the caller's, and then whether it
/// runs alone.
pub(crate) fn is_function(method: u64) -> Option<bool> {
    matches!(method, VIEW | UPDATE | LATER).then_some(method == UPDATE)
}

/// The right to answer a call later, from any thread of the server: see `later` of the proxies
/// that [`object`](crate::object) writes.
///
/// The caller waits as long as this is kept. Dropped without an answer, it is an error to it.
#[derive(Debug)]
pub struct Later<R> {
    answer: Answer,
    epoch: u128,
    value: std::marker::PhantomData<fn(R)>,
}

impl<R: Message> Later<R> {
    /// Answers the call. A caller that has gone does not get it.
    pub fn answer(self, value: &R) {
        let mut packet = Packet::new();
        let (written, leases) = context::collecting(self.epoch, || packet.append_item(value));
        match written {
            Ok(()) => drop(self.answer.packet(packet, context::numbers(&leases))),
            Err(error) => self.answer.fail(Fault::reply(error)),
        }
    }
}

/// A call whose function answers later.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) args: Packet,
    pub(crate) answer: Answer,
    pub(crate) epoch: u128,
}

pub(crate) type Look<T> = ViewFunction<T, Packet, Result<Packet, Fault>>;
pub(crate) type Change<T> = StateFunction<T, Packet, Result<Packet, Fault>>;
pub(crate) type LookLater<T> = ViewFunction<T, Open, ()>;

/// For proxies: runs `function` on the object of type `T`.
#[doc(hidden)]
pub fn view<T: 'static, A: Message, R: Message>(
    object: &ObjectRef,
    function: fn(&T, A) -> R,
    arg: &A,
) -> Result<R, ManagerError> {
    may_send(object)?;
    let reply = object.exchange(VIEW, None, |packet| {
        packet.append(&Look::<T>::new(look::<T, A, R>))?;
        packet.append(&ViewFunction::new(function))?;
        packet.append_item(arg)
    });
    reply?.read()
}

/// As [`view`], for a function that may change the object.
#[doc(hidden)]
pub fn update<T: 'static, A: Message, R: Message>(
    object: &ObjectRef,
    function: fn(&mut T, A) -> R,
    arg: &A,
) -> Result<R, ManagerError> {
    may_send(object)?;
    let reply = object.exchange(UPDATE, None, |packet| {
        packet.append(&Change::<T>::new(change::<T, A, R>))?;
        packet.append(&StateFunction::new(function))?;
        packet.append_item(arg)
    });
    reply?.read()
}

/// As [`view`], for a function that answers when it likes.
#[doc(hidden)]
pub fn later<T: 'static, A: Message, R: Message>(
    object: &ObjectRef,
    function: fn(&T, (A, Later<R>)),
    arg: &A,
) -> Result<AsyncReply<R>, ManagerError> {
    may_send(object)?;
    let write = |packet: &mut Packet| {
        packet.append(&LookLater::<T>::new(look_later::<T, A, R>))?;
        packet.append(&ViewFunction::new(function))?;
        packet.append_item(arg)
    };
    object.begin(LATER, None, write, |reply, _| reply?.read())
}

fn may_send(object: &ObjectRef) -> Result<(), ManagerError> {
    if object.is_trusted() { Ok(()) } else { Err(FaultKind::NotTrusted.into()) }
}

fn look<T: 'static, A: Message, R: Message>(object: &T, mut args: Packet) -> Result<Packet, Fault> {
    let function: ViewFunction<T, A, R> = args.read().map_err(Fault::arguments)?;
    let arg: A = args.read_item().map_err(Fault::arguments)?;
    written(&function(object, arg))
}

fn change<T: 'static, A: Message, R: Message>(object: &mut T, mut args: Packet) -> Result<Packet, Fault> {
    let function: StateFunction<T, A, R> = args.read().map_err(Fault::arguments)?;
    let arg: A = args.read_item().map_err(Fault::arguments)?;
    written(&function(object, arg))
}

fn written<R: Message>(value: &R) -> Result<Packet, Fault> {
    let mut packet = Packet::new();
    packet.append_item(value).map_err(Fault::reply)?;
    Ok(packet)
}

fn look_later<T: 'static, A: Message, R: Message>(object: &T, Open { mut args, answer, epoch }: Open) {
    let mut read = || -> Result<_, ipc_core::DecodeError> {
        let function: ViewFunction<T, (A, Later<R>), ()> = args.read()?;
        Ok((function, args.read_item::<A>()?))
    };
    match read() {
        Ok((function, arg)) => {
            function(object, (arg, Later { answer, epoch, value: std::marker::PhantomData }));
        }
        Err(error) => answer.fail(Fault::arguments(error)),
    }
}
