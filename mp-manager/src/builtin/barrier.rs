//! A place where a number of callers wait for each other.

use std::time::Duration;

use ipc_core::Packet;
use serde::{Deserialize, Serialize};

use super::calls::{calls, count, plain, size};
use super::{admit, create, logged, not_a_change};
use crate::durable::{Snapshot, Verb};
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::server::builtin::{BuiltIn, Desk};
use crate::server::{Answer, CallKey};

pub(super) const NAME: &str = "barrier";

pub(super) struct Barrier {
    parties: u64,
    waiting: Vec<Answer>,
    broken: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Wait,
    Reset,
    Abort,
    /// Parties, waiting, broken.
    State,
}

impl Verb for Call {
    fn changes(&self) -> bool {
        matches!(self, Self::Reset | Self::Abort)
    }
}

impl Barrier {
    pub(super) fn new(parties: u64) -> Result<Self, Fault> {
        if parties == 0 {
            return Err(Fault::refused("a barrier needs at least one party"));
        }
        Ok(Self { parties, waiting: Vec::new(), broken: false })
    }

    fn obey(&mut self, call: Call, answer: Answer) {
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

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        if let Some((call, answer, _holds)) = admit(desk, args, answer, |_| Ok(())) {
            self.obey(call, answer);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&self.parties, []);
        if self.broken {
            snapshot.then(&Call::Abort);
        }
        snapshot
    }

    fn replay(&mut self, _desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        let call: Call = logged(change)?;
        if !call.changes() {
            return Err(not_a_change());
        }
        Answer::again(|answer| self.obey(call, answer))
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
    calls! {
        /// Waits until all have come; a number from zero that each gets another one of.
        pub fn wait | wait_async(&self) -> usize {
            self.object.ask(Call::Wait, count)
        }

        /// As [`wait`](Self::wait), for up to `timeout`, after which the barrier is broken.
        pub fn wait_timeout | wait_timeout_async(&self, timeout: Duration) -> usize {
            self.object.ask(Call::Wait, count).until(timeout)
        }

        /// Turns those away that wait, and makes the barrier whole.
        pub fn reset | reset_async(&self) {
            self.object.ask(Call::Reset, plain)
        }

        /// Breaks the barrier.
        pub fn abort | abort_async(&self) {
            self.object.ask(Call::Abort, plain)
        }
    }

    /// How many callers it is for.
    pub fn parties(&self) -> Result<usize, ManagerError> {
        Ok(size(self.state()?.0))
    }

    /// How many wait.
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> Result<usize, ManagerError> {
        Ok(size(self.state()?.1))
    }

    /// Whether it is broken.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> Result<bool, ManagerError> {
        Ok(self.state()?.2)
    }

    fn state(&self) -> Result<(u64, u64, bool), ManagerError> {
        self.object.ask(Call::State, plain).wait()
    }
}
