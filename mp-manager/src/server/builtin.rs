//! What the objects of this crate have in common, as the server sees them.

use std::sync::Arc;
use std::time::Duration;

use ipc_core::{Message, Packet};
use mp_process::Function;

use super::answer::{Answer, CallKey};
use super::table::{Kept, Table};
use crate::durable::{Journal, Snapshot};
use crate::error::{Fault, FaultKind};
use crate::wire::Raw;

/// The method of all of them that runs a function of the caller's on a value.
pub(crate) const CHANGE: u64 = 1;
/// As [`CHANGE`], for a function that says in which order values shall stand.
pub(crate) const ARRANGE: u64 = 2;
/// All other methods: the arguments say which.
pub(crate) const METHOD: u64 = 0;

/// Whether a method runs code of the caller's.
pub(crate) fn runs_function(method: u64) -> bool {
    method == CHANGE || method == ARRANGE
}

/// Answers with what came of a call.
pub(crate) fn reply<T: Message>(answer: Answer, result: Result<T, Fault>) {
    match result {
        Ok(value) => answer.say(&value),
        Err(fault) => answer.fail(fault),
    }
}

/// What a call finds: other objects, and where changes are logged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Desk<'a> {
    /// The number of the object itself.
    pub(crate) object: u64,
    pub(crate) table: &'a Arc<Table>,
    pub(crate) journal: &'a Journal,
}

/// An object of this crate. Its methods are short and never wait: a call that has
/// to wait is kept in the object, and answered when its time has come.
pub(crate) trait BuiltIn: Send {
    /// By which it is made.
    fn name(&self) -> &'static str;

    /// Runs a call, or keeps it.
    ///
    /// What it changes is logged before, and answered after that.
    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer);

    /// What it takes to make another one like it, for a log. What clients hold here is theirs,
    /// and goes with them.
    fn snapshot(&self) -> Snapshot;

    /// Does a call again that was logged.
    fn replay(&mut self, _desk: &Desk<'_>, _change: &mut Packet) -> Result<(), Fault> {
        Err(FaultKind::NoMethod.into())
    }

    /// A call that may wait here has waited long enough (`Some`: the answer is to
    /// say so), or its caller has given up.
    fn give_up(&mut self, _call: CallKey) {}

    /// A client has ended; what it holds here comes back.
    fn leave(&mut self, _session: u64) {}

    /// An item that was taken out for a caller, as how many-eth, did not reach it.
    fn take_back(&mut self, _desk: &Desk<'_>, _item: Kept, _number: u64) {}

    /// How long a call waits here that does not say it.
    fn limit(&self) -> Option<Duration> {
        None
    }

    /// What is to be done now without the object, of which it is told with [`done`](Self::done)
    /// then; it is asked for after each call.
    fn errand(&mut self) -> Option<Errand> {
        None
    }

    /// The errand is done, or failed.
    fn done(&mut self, _result: Result<(), Fault>) {}

    /// Whether it can be made durable; why not.
    fn may_be_kept(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether clients may hold something here, or wait.
    fn is_held(&self) -> bool {
        false
    }

    /// Changes the value at a place.
    fn change(&mut self, _desk: &Desk<'_>, _place: &Raw, _change: &mut Change<'_>) -> Result<(), Fault> {
        Err(FaultKind::NoMethod.into())
    }

    /// Puts the values into another order: the places from which they come.
    fn arrange(&mut self, _desk: &Desk<'_>, _arrange: &mut Arrange<'_>) -> Result<(), Fault> {
        Err(FaultKind::NoMethod.into())
    }
}

/// A caller's function, which runs while others use the object that it is for.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) run: Run,
    pub(crate) args: Vec<u8>,
}

pub(crate) type Run = Function<Running, Result<(), Fault>>;

/// What such a function is run with.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) trusted: bool,
    pub(crate) args: Vec<u8>,
}

/// The order of encoded values.
pub(crate) type Arrange<'a> = dyn FnMut(Vec<Vec<u8>>) -> Result<Vec<u64>, Fault> + 'a;

/// Makes a new value of an old one; an error leaves the old one.
pub(crate) type Change<'a> = dyn FnMut(Option<&Kept>) -> Result<Option<Kept>, Fault> + 'a;
