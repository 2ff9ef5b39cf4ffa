//! What workers run, on its way to them: functions bound to their types.

use std::any::Any;

use ipc_core::{EncodeError, Message, Packet};
use mp_process::{Function, Function2, Function3, Function4, StateFunction, ViewFunction};

use super::run::{Runner, refuse_rest, run};
use crate::spans::{Caller, Spans};
use crate::wire::{Job, ShareId};

macro_rules! jobs {
    ($(
        $(#[$doc:meta])*
        $job:ident, $bind:ident: $function:ident<$($type:ident),+> for $argument:ty,
        |$f:ident, $value:pat_param| $call:expr;
    )+) => {$(
        $(#[$doc])*
        pub(crate) fn $job<$($type: Message),+, R: Message>(
            function: fn($($type),+) -> R,
        ) -> Result<Vec<u8>, EncodeError> {
            encode(Function::new($bind::<$($type),+, R>), &$function::new(function))
        }

        fn $bind<$($type: Message),+, R: Message>(mut job: Packet) -> Option<Runner> {
            let $f: $function<$($type),+, R> = job.read().ok()?;
            Some(Runner(Box::new(move |_, items, answer, progress| {
                run(|$value: $argument| $call, items, answer, progress);
            })))
        }
    )+};
}

jobs! {
    /// Encodes what the tasks of a job run.
    job, bind: Function<A> for A, |f, a| f(a);
    /// As [`job`], for two parameters.
    star2_job, bind_star2: Function2<A, B> for (A, B), |f, (a, b)| f(a, b);
    /// As [`job`], for three parameters.
    star3_job, bind_star3: Function3<A, B, C> for (A, B, C), |f, (a, b, c)| f(a, b, c);
    /// As [`job`], for four parameters.
    star4_job, bind_star4: Function4<A, B, C, D> for (A, B, C, D), |f, (a, b, c, d)| f(a, b, c, d);
}

fn encode(
    bind: Function<Packet, Option<Runner>>,
    function: &impl serde::Serialize,
) -> Result<Vec<u8>, EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Job { bind, caller: Caller::here() })?;
    packet.append(function)?;
    Ok(packet.bytes().to_vec())
}

/// As [`job`], for a function that takes the worker's state.
pub(crate) fn state_job<S: 'static, A: Message, R: Message>(
    function: fn(&mut S, A) -> R,
) -> Result<Vec<u8>, EncodeError> {
    encode(Function::new(bind_state::<S, A, R>), &StateFunction::new(function))
}

fn bind_state<S: 'static, A: Message, R: Message>(mut job: Packet) -> Option<Runner> {
    let function: StateFunction<S, A, R> = job.read().ok()?;
    Some(Runner(Box::new(move |gear, items, answer, progress| {
        // The pool's type says which state its workers have.
        let Some(state) = gear.state.downcast_mut::<S>() else {
            return refuse_rest(answer, progress, UNKNOWN_JOB);
        };
        run(|argument: A| function(state, argument), items, answer, progress);
    })))
}

/// As [`job`], for a function that looks at a value which the worker has been sent.
pub(crate) fn shared_job<T: Message, A: Message, R: Message>(
    function: fn(&T, A) -> R,
    id: ShareId,
) -> Result<Vec<u8>, EncodeError> {
    encode(Function::new(bind_shared::<T, A, R>), &(ViewFunction::new(function), id))
}

fn bind_shared<T: Message, A: Message, R: Message>(mut job: Packet) -> Option<Runner> {
    let (function, id): (ViewFunction<T, A, R>, ShareId) = job.read().ok()?;
    Some(Runner(Box::new(move |gear, items, answer, progress| match gear.shared::<T>(id) {
        Ok(shared) => run(|argument: A| function(shared, argument), items, answer, progress),
        Err(reason) => refuse_rest(answer, progress, reason),
    })))
}

/// Encodes how a worker's state is made.
pub(crate) fn setup<S: 'static, A: Message>(make: fn(A) -> S, argument: &A) -> Result<Packet, EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Function::new(set_up::<S, A>))?;
    packet.append(&Function::new(make))?;
    packet.append_item(argument)?;
    Ok(packet)
}

/// Encodes what a worker does with its state when it leaves.
pub(crate) fn farewell<S: 'static, A: Message>(
    function: fn(&mut S, A),
    argument: &A,
) -> Result<Packet, EncodeError> {
    let mut packet = Packet::new();
    packet.append(&Function::new(part::<S, A>))?;
    packet.append(&StateFunction::new(function))?;
    packet.append_item(argument)?;
    Ok(packet)
}

/// A state and what to do with it.
type Parting = (Box<dyn Any>, Packet);

fn part<S: 'static, A: Message>((mut state, mut packet): Parting) {
    let Ok(function) = packet.read::<StateFunction<S, A, ()>>() else { return };
    if let (Ok(argument), Some(state)) = (packet.read_item::<A>(), state.downcast_mut::<S>()) {
        function(state, argument);
    }
}

pub(super) fn obey_farewell(state: Box<dyn Any>, mut packet: Packet) {
    if let Ok(part) = packet.read::<Function<Parting, ()>>() {
        part((state, packet));
    }
}

/// What a setup leaves.
type Made = Result<Box<dyn Any>, String>;

fn set_up<S: 'static, A: Message>(mut setup: Packet) -> Made {
    let make: Function<A, S> = setup.read().map_err(|error| error.to_string())?;
    let argument = setup.read_item::<A>().map_err(|error| error.to_string())?;
    Ok(Box::new(make(argument)))
}

pub(super) fn obey_setup(mut setup: Packet) -> Made {
    let set_up: Function<Packet, Made> = setup.read().map_err(|error| error.to_string())?;
    set_up(setup)
}

/// Makes the runner of a job.
pub(super) fn resolve(job: &[u8]) -> Option<(Runner, Spans)> {
    let mut packet = Packet::new();
    packet.extend_bytes(job);
    // The bytes came over the pool's own link, which is of this tree.
    packet.mark_trusted();
    let job: Job = packet.read().ok()?;
    Some(((job.bind)(packet)?, job.caller.into_spans()))
}

/// What is said of items whose function is missing.
pub(super) const UNKNOWN_JOB: &str = "the worker could not make out the function of its task";
