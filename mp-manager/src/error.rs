//! What can go wrong between a proxy and its object.

use std::fmt;
use std::time::Duration;

use ipc_core::{BindError, ConnectError, DecodeError, EncodeError};
use mp_process::{Panic, ProcessError};
use serde::{Deserialize, Serialize};

use crate::durable::StateError;

/// A call did not bring a value, or a manager could not be reached.
///
/// Its text says what happened and what can be done; the predicates tell the
/// kinds apart.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct ManagerError(Box<Kind>);

/// The text, which is what `main` shows of an error that it returns, and `unwrap`
/// of one that it met.
impl fmt::Debug for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    /// The call was not sent.
    #[error("the manager is gone: {0}")]
    Gone(String),
    #[error("the manager is gone, and whether the call has run is not known: {0}")]
    InFlight(String),
    #[error("the manager is gone, and none came back in its place: {0}")]
    Lost(String),
    #[error("the manager did not answer within {0:?}: it is stuck, or the call needs a longer timeout")]
    Timeout(Duration),
    #[error(transparent)]
    Fault(Fault),
    #[error("the call could not be sent: {0}")]
    Encode(EncodeError),
    #[error(
        "the manager's answer could not be decoded: {0}; the proxy is to be of the object's type, and the manager's \
         program of the same version as this one"
    )]
    Decode(DecodeError),
    #[error("the manager could not be reached: {0}")]
    Connect(ConnectError),
    #[error("the manager cannot listen: {0}")]
    Bind(BindError),
    #[error(
        "a manager on the network needs an authkey that is not empty: give it one with `Builder::authkey`"
    )]
    NeedsKey,
    #[error("the manager's process: {0}")]
    Process(ProcessError),
    #[error("the manager could not be started: {0}")]
    Start(String),
    #[error("another manager listens at the address by now: proxies of the one before are of no use")]
    OtherEpoch,
    #[error("the method cannot be called by its name: {0}")]
    NotByName(String),
    #[error(
        "only code that runs in a manager's server can do this: a method of an object, or a function of `update`"
    )]
    OutsideServer,
    #[error(transparent)]
    State(StateError),
    #[error("the system refused: {0}")]
    System(std::io::Error),
}

/// What the server says of a call that has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum FaultKind {
    #[error("the method panicked: {0}")]
    Panicked(Panic),
    #[error(
        "the object is poisoned: a method that changes it panicked before; make another one in its place"
    )]
    Poisoned,
    #[error(
        "there is no such object any more: all proxies to it were dropped, or its manager is another one"
    )]
    NoObject,
    #[error(
        "the object has no method like this: it is of another type than the proxy, or of another version"
    )]
    NoMethod,
    #[error("the manager is busy: {0}")]
    Busy(String),
    #[error(
        "a method called back into the object that runs it, which would never end: use `self` there, not a proxy"
    )]
    Reentrant,
    #[error(
        "the arguments could not be decoded in the manager: {0}; the proxy is to be of the object's type, and the \
         manager's program of the same version as the caller's"
    )]
    Arguments(String),
    #[error("the value could not be sent back: {0}")]
    Reply(String),
    #[error("{0}")]
    Refused(String),
    #[error("the object has no place {0}")]
    OutOfRange(u64),
    #[error("the wait was given up")]
    TimedOut,
    #[error(
        "the barrier is broken until it is reset: one that waited gave up or ended, its action failed, or it was \
         aborted"
    )]
    Broken,
    #[error("the manager knows no `{0}`: register it there, or let a process of its own tree create it")]
    Unregistered(String),
    #[error("nothing is published as `{0}`: publish a proxy under that name first")]
    NoName(String),
    #[error(
        "only processes of the manager's own tree may send it functions: one that connected has the methods alone"
    )]
    NotTrusted,
    #[error("the manager has no folder for what is to survive it: give it one with `Builder::state`")]
    NoState,
    #[error("the change was not kept: {0}")]
    NotKept(String),
    #[error(
        "the object is a `{0}` of the manager's own, whose methods are called by its proxy or by their names"
    )]
    BuiltIn(String),
    #[error("the queue is closed: it takes no more items, and gives no more than were left in it")]
    Closed,
}

/// What went wrong with a call, on the server's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault(pub(crate) FaultKind);

impl Fault {
    pub(crate) fn refused(text: impl fmt::Display) -> Self {
        Self(FaultKind::Refused(text.to_string()))
    }

    pub(crate) fn arguments(error: impl fmt::Display) -> Self {
        Self(FaultKind::Arguments(error.to_string()))
    }

    pub(crate) fn reply(error: impl fmt::Display) -> Self {
        Self(FaultKind::Reply(error.to_string()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self(kind)
    }
}

impl ManagerError {
    /// The manager has ended, or the connection to it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(*self.0, Kind::Gone(_) | Kind::InFlight(_) | Kind::Lost(_) | Kind::Connect(_))
    }

    /// The call may have run in the manager, although it brought no value: it was sent, and then
    /// the manager went away, or the time was up. Of all other errors the call is known to have
    /// failed, or not to have been sent.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        matches!(*self.0, Kind::InFlight(_) | Kind::Timeout(_))
    }

    pub(crate) fn is_unsent(&self) -> bool {
        matches!(*self.0, Kind::Gone(_))
    }

    /// No answer came in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(*self.0, Kind::Timeout(_) | Kind::Connect(ConnectError::Timeout))
    }

    /// The method panicked; see [`panic`](Self::panic).
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.panic().is_some()
    }

    /// The panic of the method.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        if let Some(FaultKind::Panicked(panic)) = self.fault() { Some(panic) } else { None }
    }

    /// A method that changes the object has panicked before.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::Poisoned))
    }

    /// The proxy's object is no more, or belongs to a manager that is no more.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(*self.0, Kind::OtherEpoch) || matches!(self.fault(), Some(FaultKind::NoObject))
    }

    /// The manager has as much to do, or as many objects, as it may have.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::Busy(_)))
    }

    /// A method called back into its own object.
    #[must_use]
    pub fn is_reentrant(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::Reentrant))
    }

    /// The object has no such method, or none that can be [called by its
    /// name](crate::ObjectRef::call_by_name), as the text says.
    #[must_use]
    pub fn is_no_method(&self) -> bool {
        matches!(*self.0, Kind::NotByName(_))
            || matches!(self.fault(), Some(FaultKind::NoMethod | FaultKind::BuiltIn(_)))
    }

    /// Which object of this crate's it is, if it was called as one of a user's type is.
    pub(crate) fn built_in(&self) -> Option<&str> {
        if let Some(FaultKind::BuiltIn(name)) = self.fault() { Some(name) } else { None }
    }

    /// A list or an array has no such place.
    #[must_use]
    pub fn is_out_of_range(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::OutOfRange(_)))
    }

    /// A barrier is broken: somebody gave up waiting, ended, or aborted it, or its action failed.
    #[must_use]
    pub fn is_broken_barrier(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::Broken))
    }

    /// A queue is closed, and for who gets from it, empty too.
    #[must_use]
    #[doc(alias = "ShutDown")]
    pub fn is_closed(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::Closed))
    }

    /// The key was wrong, or missing.
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        let Kind::Connect(error) = &*self.0 else { return false };
        matches!(
            error,
            ConnectError::KeyMissing
                | ConnectError::KeyUnexpected
                | ConnectError::WrongKey
                | ConnectError::Impostor
        )
    }

    /// The manager does not let this process do it, or the object says no.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(
            self.fault(),
            Some(
                FaultKind::Refused(_)
                    | FaultKind::NotTrusted
                    | FaultKind::Unregistered(_)
                    | FaultKind::NoName(_)
                    | FaultKind::NoState
            )
        )
    }

    /// The call's change is not in the log of a durable object, and a restart may bring back what
    /// was before: the disk is full, for one.
    ///
    /// The object is then as it was before the call; one of a type of your own is decoded again from
    /// what the log has. When there is room again, the next change is kept. Only after a disk has
    /// refused to sync (see [`Builder::sync`](crate::Builder::sync)) no change is kept any more, as the
    /// text says, and the manager is to be started again: until then it answers what only looks, of
    /// objects that may have changes that were not kept.
    #[must_use]
    pub fn is_not_kept(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::NotKept(_)))
    }

    /// The manager cannot have the state in its folder: another one has it
    /// ([`is_state_locked`](Self::is_state_locked)), or it is not of this program's types.
    #[must_use]
    pub fn is_state(&self) -> bool {
        matches!(*self.0, Kind::State(_))
    }

    /// Another server has the folder with the state.
    #[must_use]
    pub fn is_state_locked(&self) -> bool {
        matches!(*self.0, Kind::State(StateError::Locked(_)))
    }

    /// An argument or a value could not be encoded or decoded.
    #[must_use]
    pub fn is_codec(&self) -> bool {
        matches!(*self.0, Kind::Encode(_) | Kind::Decode(_))
            || matches!(self.fault(), Some(FaultKind::Arguments(_) | FaultKind::Reply(_)))
    }

    pub(crate) fn is_no_name(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::NoName(_)))
    }

    pub(crate) fn state(&self) -> Option<&StateError> {
        if let Kind::State(error) = &*self.0 { Some(error) } else { None }
    }

    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self.fault(), Some(FaultKind::TimedOut))
    }

    fn fault(&self) -> Option<&FaultKind> {
        if let Kind::Fault(fault) = &*self.0 { Some(&fault.0) } else { None }
    }
}

impl From<Kind> for ManagerError {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}

impl From<Fault> for ManagerError {
    fn from(fault: Fault) -> Self {
        Kind::Fault(fault).into()
    }
}

impl From<FaultKind> for ManagerError {
    fn from(kind: FaultKind) -> Self {
        Fault(kind).into()
    }
}
