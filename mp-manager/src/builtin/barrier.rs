//! A place where a number of callers wait for each other.

use std::sync::Arc;
use std::time::Duration;

use ipc_core::{Message, Packet};
use mp_process::Function;
use serde::{Deserialize, Serialize};

use super::calls::{calls, count, plain, size};
use super::{admit, create, logged, not_a_change, raw, unraw};
use crate::durable::{Snapshot, Verb};
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply, in_micros};
use crate::server::builtin::{BuiltIn, Desk, Errand, Run, Running};
use crate::server::table::{Kept, Table};
use crate::server::{Answer, CallKey};
use crate::wire::Raw;

pub(super) const NAME: &str = "barrier";

/// To make one with more than a number of parties. It is called and logged as the others are.
pub(super) const WITH: &str = "barrier-with";

pub(super) struct Barrier {
    parties: u64,
    /// Those of this turn, and behind them those who came while its action ran.
    waiting: Vec<Answer>,
    broken: bool,
    /// How long it is waited for, in microseconds, by those who do not say it.
    limit: Option<u64>,
    action: Option<Action>,
    stage: Stage,
}

/// What is run when all have come.
struct Action {
    run: Run,
    /// The caller's function and its argument.
    args: Kept,
}

/// What becomes of the action.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Gathering,
    /// It runs, and all of this turn are there.
    Acting,
    /// It runs for those who were turned away meanwhile. Another one does not begin before its end.
    Abandoned,
}

/// What one is made with.
#[derive(Serialize, Deserialize)]
pub(super) struct With {
    parties: u64,
    limit: Option<u64>,
    action: Option<(Run, Raw)>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Wait,
    Reset,
    Abort,
    /// Parties, waiting, broken.
    State,
    /// In logs: how long it is waited for by those who do not say it.
    Limit(u64),
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
        Ok(Self {
            parties,
            waiting: Vec::new(),
            broken: false,
            limit: None,
            action: None,
            stage: Stage::Gathering,
        })
    }

    pub(super) fn with(With { parties, limit, action }: With, table: &Arc<Table>) -> Result<Self, Fault> {
        let keep = |(run, args)| table.keep(args).map(|args| Action { run, args });
        Ok(Self { limit, action: action.map(keep).transpose()?, ..Self::new(parties)? })
    }

    fn is_complete(&self) -> bool {
        self.waiting.len() as u64 >= self.parties
    }

    fn obey(&mut self, call: Call, answer: Answer) {
        match call {
            Call::Wait if self.broken => answer.fail(FaultKind::Broken),
            Call::Wait => {
                self.waiting.push(answer);
                if self.action.is_none() && self.is_complete() {
                    self.let_go();
                }
            }
            Call::Reset => {
                self.turn_away();
                self.broken = false;
                answer.value(&());
            }
            Call::Abort => {
                self.break_up();
                answer.value(&());
            }
            Call::State => {
                let waiting = self.parties.min(self.waiting.len() as u64);
                answer.value(&(self.parties, waiting, self.broken));
            }
            Call::Limit(_) => answer.fail(FaultKind::NoMethod),
        }
    }

    fn let_go(&mut self) {
        let turn = self.waiting.len().min(size(self.parties));
        for (index, answer) in self.waiting.drain(..turn).enumerate() {
            answer.value(&(index as u64));
        }
    }

    fn break_up(&mut self) {
        self.broken = true;
        self.turn_away();
    }

    fn turn_away(&mut self) {
        if self.stage == Stage::Acting {
            self.stage = Stage::Abandoned;
        }
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
        if let Some(limit) = self.limit {
            snapshot.then(&Call::Limit(limit));
        }
        if self.broken {
            snapshot.then(&Call::Abort);
        }
        snapshot
    }

    fn replay(&mut self, _desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        let call: Call = logged(change)?;
        if let Call::Limit(limit) = call {
            self.limit = Some(limit);
            return Ok(());
        }
        if !call.changes() {
            return Err(not_a_change());
        }
        Answer::again(|answer| self.obey(call, answer))
    }

    fn give_up(&mut self, call: CallKey) {
        if self.waiting.iter().any(|waiting| waiting.key() == call) {
            self.break_up();
        }
    }

    fn leave(&mut self, session: u64) {
        if self.waiting.iter().any(|waiting| waiting.key().session == session) {
            self.break_up();
        }
    }

    fn limit(&self) -> Option<Duration> {
        self.limit.map(Duration::from_micros)
    }

    fn errand(&mut self) -> Option<Errand> {
        let Some(Action { run, args }) = &self.action else { return None };
        let begins = self.stage == Stage::Gathering && self.is_complete();
        begins.then(|| {
            self.stage = Stage::Acting;
            Errand { run: *run, args: args.bytes.0.clone() }
        })
    }

    fn done(&mut self, result: Result<(), Fault>) {
        match (std::mem::replace(&mut self.stage, Stage::Gathering), result) {
            (Stage::Acting, Ok(())) => self.let_go(),
            (Stage::Acting, Err(fault)) => {
                // One is told why: the last that came, who would have run it as in `mp-sync`.
                self.waiting.remove(size(self.parties) - 1).fail(fault);
                self.break_up();
            }
            _ => {}
        }
    }

    fn may_be_kept(&self) -> Result<(), Fault> {
        if self.action.is_none() {
            return Ok(());
        }
        Err(Fault::refused("a barrier with an action is not kept: a function does not survive its program"))
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

    /// Makes a barrier for a number of callers, with an action or a timeout of its own.
    ///
    /// # Errors
    /// See [`ManagerError`]; for one that the number is zero, or that there is an action and this process
    /// is not of the manager's own tree, so that it may send no function.
    ///
    /// # Examples
    /// ```
    /// # mp_manager::init();
    /// use std::time::Duration;
    ///
    /// use mp_manager::{BarrierOptions, ListProxy, Manager};
    ///
    /// let manager = Manager::start()?;
    /// let rounds = manager.list::<u32>()?;
    /// let note = |rounds: ListProxy<u32>| rounds.push(&1).unwrap();
    /// let options = BarrierOptions::new().timeout(Duration::from_secs(10)).action(note, rounds.clone());
    /// let barrier = manager.barrier_with(1, options)?;
    /// barrier.wait()?;
    /// barrier.wait()?;
    /// assert_eq!(rounds.len()?, 2);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    pub fn barrier_with<A: Message>(
        &self,
        parties: usize,
        BarrierOptions { timeout, action }: BarrierOptions<A>,
    ) -> Result<BarrierProxy, ManagerError> {
        if action.is_some() && !self.is_trusted() {
            return Err(FaultKind::NotTrusted.into());
        }
        let args = action.map(|action| raw(self.epoch(), &action)).transpose()?;
        let action = args.map(|args| (Function::new(act::<A>), args));
        let with = With { parties: parties as u64, limit: timeout.map(in_micros), action };
        create(self, WITH, &with).map(crate::Proxy::from_object)
    }
}

/// What a barrier does beside letting its callers wait for each other; for
/// [`Manager::barrier_with`].
///
/// With no option set, it is as one of [`Manager::barrier`].
#[derive(Debug, Clone)]
pub struct BarrierOptions<A = ()> {
    timeout: Option<Duration>,
    action: Option<(Function<A, ()>, A)>,
}

impl BarrierOptions {
    /// Neither a timeout nor an action.
    #[must_use]
    pub fn new() -> Self {
        Self { timeout: None, action: None }
    }
}

impl Default for BarrierOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Message> BarrierOptions<A> {
    /// How long [`wait`](BarrierProxy::wait) waits, after which the barrier is broken; a
    /// [`wait_timeout`](BarrierProxy::wait_timeout) says it for itself.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// A function that runs in the server, with a copy of `arg`, each time when all have come and
    /// before any goes on. It is run once, whoever came last, and never twice at a time.
    ///
    /// If it panics, or its argument cannot be had any more, the barrier is broken: the last who came
    /// gets that error, the others that it is broken. So it is when one that waits ends or gives up
    /// meanwhile, as its time is over or by [`abort`](BarrierProxy::abort): all are told at once,
    /// and the action comes to its end by itself. It must not use the barrier, which is an error
    /// there. It takes a thread of the server while it runs.
    ///
    /// Only processes of the manager's own tree may give one, and a barrier that has one cannot be made
    /// [durable](Manager::make_durable).
    #[must_use]
    pub fn action<B: Message>(self, action: fn(B), arg: B) -> BarrierOptions<B> {
        BarrierOptions { timeout: self.timeout, action: Some((Function::new(action), arg)) }
    }
}

/// In the server: runs a caller's function.
fn act<A: Message>(Running { trusted, args }: Running) -> Result<(), Fault> {
    let (action, arg): (Function<A, ()>, A) = unraw(&args, trusted).map_err(Fault::arguments)?;
    action(arg);
    Ok(())
}

/// See [`ManagerError`] for how methods may fail.
#[allow(clippy::missing_errors_doc)]
impl BarrierProxy {
    calls! {
        /// Waits until all have come; a number from zero that each gets another one of. It waits as
        /// long as the barrier's own [timeout](BarrierOptions::timeout), if it has one.
        pub fn wait | wait_async(&self) -> usize {
            self.object.ask(Call::Wait, come)
        }

        /// As [`wait`](Self::wait), for up to `timeout`, after which the barrier is broken.
        pub fn wait_timeout | wait_timeout_async(&self, timeout: Duration) -> usize {
            self.object.ask(Call::Wait, come).until(timeout)
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

/// A wait that is given up in the server's own process breaks the barrier too.
fn come(reply: Result<Reply, ManagerError>, object: &ObjectRef) -> Result<usize, ManagerError> {
    match count(reply, object) {
        Err(error) if error.is_given_up() => Err(FaultKind::Broken.into()),
        other => other,
    }
}
