//! Calls that threads of the server's own process make.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::{EncodeError, Packet};

use super::answer::{Answer, CallKey, Slot};
use super::object::Call;
use super::{Object, Server, homes};
use crate::client::lock;
use crate::error::{Fault, FaultKind, Kind, ManagerError};
use crate::lease::{Lease, Route};
use crate::object_ref::Reply;
use crate::wire::{AnswerKind, Patience};

/// A call that was begun here; dropped, it is given up.
pub(crate) struct HomeCall {
    server: Arc<Server>,
    slot: Arc<Slot>,
    key: CallKey,
    object: u64,
    /// How long it waits, and whether that was asked of the object.
    wait: Option<Duration>,
    is_limit: bool,
}

/// Begins a method. One of a user's object runs right here if its turn has come.
pub(crate) fn begin_at_home(
    server: &Arc<Server>,
    (object, method): (u64, u64),
    mut limit: Option<Duration>,
    patience: Duration,
    write: impl FnOnce(&mut Packet) -> Result<(), EncodeError>,
) -> Result<HomeCall, ManagerError> {
    if homes::is_running(server, object) {
        return Err(FaultKind::Reentrant.into());
    }
    let mut args = Packet::new();
    // What is in them is held here until they are read, or kept.
    let (written, arguments) = crate::context::collecting(server.access.epoch, || write(&mut args));
    written.map_err(Kind::Encode)?;
    let found = server.table.get(object).ok_or(Fault(FaultKind::NoObject))?;
    let number = server.home_calls.fetch_add(1, Ordering::Relaxed) + 1;
    let slot = Slot::new(&server.table, arguments);
    let answer = Answer::at_home(&slot, number);
    let key = answer.key();
    let call = Call { object, method, args, patience: Patience::default(), answer };
    let wait = match &*found {
        Object::Hosted(hosted) => {
            if let Some((call, exclusive)) = hosted.enter(call) {
                server.run_method(&found, call, exclusive);
            }
            (method != crate::functions::LATER).then_some(patience)
        }
        Object::BuiltIn(shelf) => {
            server.run_built_in(&found, call, None);
            if limit.is_none() && shelf.is_held && !slot.is_full() {
                limit = lock(&shelf.object).built_in.limit();
            }
            limit
        }
    };
    Ok(HomeCall { server: Arc::clone(server), slot, key, object, wait, is_limit: limit.is_some() })
}

impl HomeCall {
    /// Waits for the answer.
    pub(crate) fn finish(self) -> Result<Reply, ManagerError> {
        self.slot.attend();
        let Some((packet, tail)) = self.slot.wait(self.wait) else {
            return Err(match self.wait {
                Some(patience) if !self.is_limit => Kind::Timeout(patience).into(),
                _ => FaultKind::TimedOut.into(),
            });
        };
        let lease = |object| Lease::counted(Route::Home(Arc::downgrade(&self.server)), object);
        match tail.kind {
            AnswerKind::Fault(fault) => Err(fault.into()),
            _ => Ok(Reply { packet, leases: tail.objects.into_iter().map(lease).collect() }),
        }
    }

    /// Has this thread woken by the answer; whether it is there.
    pub(crate) fn attend(&self) -> bool {
        self.slot.attend();
        self.is_done()
    }

    /// Waits for the answer, which stays where it is; whether it is there by then.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        while !self.attend() {
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return false,
                Some(left) => std::thread::park_timeout(left),
            }
        }
        true
    }

    pub(crate) fn is_done(&self) -> bool {
        self.slot.is_full()
    }

    /// Nobody waits for the answer, and the method runs all the same.
    pub(crate) fn leave(&self) {
        self.slot.leave_alone();
    }
}

impl Drop for HomeCall {
    fn drop(&mut self) {
        if self.slot.leave() {
            self.server.give_up(self.key, self.object);
        }
    }
}
