//! A place where a number of callers wait for each other.

use std::sync::Arc;
use std::time::Duration;

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::{create, decode};
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::server::builtin::BuiltIn;
use crate::server::table::Table;
use crate::server::{Answer, CallKey};

pub(super) const NAME: &str = "barrier";

pub(super) struct Barrier {
    parties: u64,
    waiting: Vec<Answer>,
    broken: bool,
}

#[derive(Serialize, Deserialize)]
enum Call {
    Wait,
    Reset,
    Abort,
    /// Parties, waiting, broken.
    State,
}

impl Barrier {
    pub(super) fn new(parties: u64) -> Result<Self, Fault> {
        if parties == 0 {
            return Err(Fault::refused("a barrier needs at least one party"));
        }
        Ok(Self { parties, waiting: Vec::new(), broken: false })
    }

    fn let_go(&mut self) {
        for (index, answer) in self.waiting.drain(..).enumerate() {
            answer.value(&(index as u64));
        }
    }

    fn turn_away(&mut self) {
        self.waiting.drain(..).for_each(|answer| answer.fail(FaultKind::Broken));
    }
}

impl BuiltIn for Barrier {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, _table: &Arc<Table>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        match call {
            Call::Wait if self.broken => answer.fail(FaultKind::Broken),
            Call::Wait => {
                self.waiting.push(answer);
                if self.waiting.len() as u64 == self.parties {
                    self.let_go();
                }
            }
            Call::Reset => {
                self.turn_away();
                self.broken = false;
                answer.value(&());
            }
            Call::Abort => {
                self.broken = true;
                self.turn_away();
                answer.value(&());
            }
            Call::State => {
                answer.value(&(self.parties, self.waiting.len() as u64, self.broken));
            }
        }
    }

    fn give_up(&mut self, call: CallKey) {
        if self.waiting.iter().any(|waiting| waiting.key() == call) {
            self.broken = true;
            self.turn_away();
        }
    }

    fn leave(&mut self, session: u64) {
        if self.waiting.iter().any(|waiting| waiting.key().session == session) {
            self.broken = true;
            self.turn_away();
        }
    }

    fn is_held(&self) -> bool {
        true
    }
}

crate::__proxy! {
    /// A place in a manager where a number of callers wait for each other; made by
    /// [`Manager::barrier`].
    ///
    /// It breaks when one that waits gives up or ends, and all are told.
    pub struct BarrierProxy []
}

impl Manager {
    /// Makes a barrier for a number of callers.
    ///
    /// # Errors
    /// See [`ManagerError`]; for one that the number is zero.
    #[doc(alias = "Barrier")]
    pub fn barrier(&self, parties: usize) -> Result<BarrierProxy, ManagerError> {
        create(self, NAME, &(parties as u64)).map(crate::Proxy::from_object)
    }
}

/// See [`ManagerError`] for how methods may fail.
#[allow(clippy::missing_errors_doc)]
impl BarrierProxy {
    /// Waits until all have come; a number from zero that each gets another one of.
    pub fn wait(&self) -> Result<usize, ManagerError> {
        self.meet(None)
    }

    /// As [`wait`](Self::wait), for up to `timeout`, after which the barrier is broken.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, ManagerError> {
        self.meet(Some(timeout))
    }

    /// Turns those away that wait, and makes the barrier whole.
    pub fn reset(&self) -> Result<(), ManagerError> {
        self.object.ask(&Call::Reset)
    }

    /// Breaks the barrier.
    pub fn abort(&self) -> Result<(), ManagerError> {
        self.object.ask(&Call::Abort)
    }

    /// How many callers it is for.
    pub fn parties(&self) -> Result<usize, ManagerError> {
        Ok(self.state()?.0 as usize)
    }

    /// How many wait.
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> Result<usize, ManagerError> {
        Ok(self.state()?.1 as usize)
    }

    /// Whether it is broken.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> Result<bool, ManagerError> {
        Ok(self.state()?.2)
    }

    fn state(&self) -> Result<(u64, u64, bool), ManagerError> {
        self.object.ask(&Call::State)
    }

    fn meet(&self, limit: Option<Duration>) -> Result<usize, ManagerError> {
        let index: u64 = self.object.ask_until(&Call::Wait, limit)?;
        Ok(usize::try_from(index).unwrap_or(usize::MAX))
    }
}
