//! A queue, and one that counts what was done.

use std::collections::VecDeque;
use std::time::Duration;

use ipc_core::{Message, Packet};
use serde::{Deserialize, Serialize};

use super::calls::{calls, count, in_time, is_done, kept, no_value, plain, whole};
use super::{create, decode, give, logged, not_a_change};
use crate::durable::{Journal, Snapshot, Verb};
use crate::error::{Fault, FaultKind, ManagerError};
use crate::manager::Manager;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::builtin::{BuiltIn, Desk, reply};
use crate::server::table::Kept;
use crate::server::{Answer, CallKey};
use crate::wire::Raw;

pub(super) const NAME: &str = "queue";

pub(super) struct Queue {
    items: VecDeque<Kept>,
    /// Zero for no bound.
    most: u64,
    getters: VecDeque<Answer>,
    putters: VecDeque<(Answer, Kept)>,
    /// The first items, as far as they were taken out before and put back, in the order in which
    /// they were taken.
    returned: VecDeque<Returned>,
    /// How many items were taken out that had not been before.
    taken: u64,
    /// Items that were put and not yet reported as done.
    unfinished: u64,
    joiners: Vec<Answer>,
    stage: Stage,
    /// Items that came back when nobody gets them any more, of which the log does not know yet.
    dropped: u64,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Stage {
    Open,
    /// It takes nothing more.
    Closed,
    /// And it gives nothing more.
    Terminated,
}

/// An item that was put back.
struct Returned {
    /// As how many-eth it was taken, the first time.
    number: u64,
    is_logged: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    /// Whether it was put.
    Put {
        value: Raw,
        waits: bool,
    },
    /// The item, if there was one.
    Get {
        waits: bool,
    },
    Len,
    TaskDone,
    Join,
    /// In logs: so many items are not reported as done.
    Owe(u64),
    /// In logs: an item that was taken out did not reach who asked for it.
    PutBack(Raw),
    IsFull,
    /// In logs: the same of one that comes behind so many others that were put back.
    PutBackBehind(u64, Raw),
    Close,
    Terminate,
    IsClosed,
}

/// What waits is not logged, but the moment when it is let in or gets its item.
impl Verb for Call {
    fn changes(&self) -> bool {
        false
    }

    fn values(&self) -> Vec<&Raw> {
        match self {
            Self::Put { value, .. } | Self::PutBack(value) | Self::PutBackBehind(_, value) => vec![value],
            _ => Vec::new(),
        }
    }
}

impl Queue {
    pub(super) fn new(most: u64) -> Self {
        Self {
            items: VecDeque::new(),
            returned: VecDeque::new(),
            taken: 0,
            most,
            getters: VecDeque::new(),
            putters: VecDeque::new(),
            unfinished: 0,
            joiners: Vec::new(),
            stage: Stage::Open,
            dropped: 0,
        }
    }

    fn is_closed(&self) -> bool {
        self.stage != Stage::Open
    }

    fn is_full(&self) -> bool {
        self.most > 0 && self.items.len() as u64 >= self.most
    }

    fn put(&mut self, item: Kept, waits: bool, answer: Answer, desk: &Desk<'_>) {
        if self.is_closed() {
            answer.fail(FaultKind::Closed);
        } else if !self.is_full() {
            match self.let_in(item, desk.journal) {
                Ok(()) => answer.say(&true),
                Err(fault) => return answer.fail(fault),
            }
            self.serve(desk);
        } else if waits {
            self.putters.push_back((answer, item));
        } else {
            answer.value(&false);
        }
    }

    fn let_in(&mut self, item: Kept, journal: &Journal) -> Result<(), Fault> {
        self.log(journal, || Call::Put { value: item.raw(), waits: false })?;
        self.unfinished += 1;
        self.items.push_back(item);
        Ok(())
    }

    /// Gives items to those that wait, and room to those that wait for room.
    fn serve(&mut self, desk: &Desk<'_>) {
        loop {
            self.hand_out(desk);
            let mut has_let_in = false;
            while !self.is_full() {
                let Some((putter, item)) = self.putters.pop_front() else { break };
                // One that is gone puts nothing.
                if !putter.is_awaited() {
                    continue;
                }
                match self.let_in(item, desk.journal) {
                    Ok(()) => {
                        has_let_in = true;
                        putter.say(&true);
                    }
                    Err(fault) => putter.fail(fault),
                }
            }
            if !has_let_in || self.getters.is_empty() {
                break;
            }
        }
    }

    fn hand_out(&mut self, desk: &Desk<'_>) {
        while !self.items.is_empty() {
            let Some(getter) = self.getters.pop_front() else { break };
            if let Err(fault) = self.log(desk.journal, || Call::Get { waits: false }) {
                getter.fail(fault);
                continue;
            }
            // An item for one that is gone is the next one's.
            if let Some((item, number)) = self.take_out()
                && let Some(item) = getter.item(item, desk.object, number)
            {
                self.put_back(item, number, desk.journal);
            }
        }
    }

    /// The first item, and as how many-eth it was taken.
    fn take_out(&mut self) -> Option<(Kept, u64)> {
        let item = self.items.pop_front()?;
        let number = self.returned.pop_front().map_or(self.taken, |returned| returned.number);
        self.taken = self.taken.max(number + 1);
        Some((item, number))
    }

    /// An item that was taken out did not reach who asked for it. It comes behind those that were
    /// taken before it, which may have come back before it or not.
    fn put_back(&mut self, item: Kept, number: u64, journal: &Journal) {
        if self.stage == Stage::Terminated {
            return self.let_fall(item, journal);
        }
        let place = self.returned.partition_point(|returned| returned.number < number);
        self.items.insert(place, item);
        self.returned.insert(place, Returned { number, is_logged: false });
        // If the log takes nothing now, it does so before the next change.
        let _ = self.log_put_back(journal);
    }

    /// An item that has come back is done with, as those that were there at the end.
    fn let_fall(&mut self, item: Kept, journal: &Journal) {
        drop(item);
        if self.unfinished > 0 {
            self.dropped += 1;
            // As in `put_back`.
            let _ = self.log_put_back(journal);
            self.finish(1);
        }
    }

    fn log(&mut self, journal: &Journal, change: impl FnOnce() -> Call) -> Result<(), Fault> {
        self.log_put_back(journal)?;
        journal.write_with(change)
    }

    /// The log has all items that are there, and none that have come back and fallen.
    fn log_put_back(&mut self, journal: &Journal) -> Result<(), Fault> {
        while self.dropped > 0 {
            journal.write_with(|| Call::TaskDone)?;
            self.dropped -= 1;
        }
        for ((returned, item), behind) in self.returned.iter_mut().zip(&self.items).zip(0..) {
            if !returned.is_logged {
                journal.write_with(|| match behind {
                    0 => Call::PutBack(item.raw()),
                    _ => Call::PutBackBehind(behind, item.raw()),
                })?;
                returned.is_logged = true;
            }
        }
        Ok(())
    }

    fn task_done(&mut self, journal: &Journal) -> Result<(), Fault> {
        if self.unfinished == 0 {
            return Err(Fault::refused("task_done was called more often than items were put"));
        }
        self.log(journal, || Call::TaskDone)?;
        self.finish(1);
        Ok(())
    }

    /// So many items are done with.
    fn finish(&mut self, count: u64) {
        self.unfinished = self.unfinished.saturating_sub(count);
        if self.unfinished == 0 {
            self.joiners.drain(..).for_each(|joiner| joiner.say(&()));
        }
    }

    fn close(&mut self, stage: Stage, journal: &Journal) -> Result<(), Fault> {
        if self.stage < stage {
            self.log(journal, || if stage == Stage::Closed { Call::Close } else { Call::Terminate })?;
            self.come_to(stage);
        }
        Ok(())
    }

    /// Those who wait for an item, of which there is none, or for room find out.
    fn come_to(&mut self, stage: Stage) {
        self.stage = stage;
        if stage == Stage::Terminated {
            self.returned.clear();
            let left = std::mem::take(&mut self.items).len();
            self.finish(left as u64);
        }
        self.getters.drain(..).for_each(|getter| getter.fail(FaultKind::Closed));
        self.putters.drain(..).for_each(|(putter, _)| putter.fail(FaultKind::Closed));
    }
}

impl BuiltIn for Queue {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, desk: &Desk<'_>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        match call {
            Call::Put { value, waits } => match desk.table.keep(value) {
                Ok(item) => self.put(item, waits, answer, desk),
                Err(fault) => answer.fail(fault),
            },
            Call::Get { .. } if self.items.is_empty() && self.is_closed() => {
                answer.of_look().fail(FaultKind::Closed);
            }
            Call::Get { waits } if self.items.is_empty() && !waits => drop(give(answer.of_look(), None)),
            Call::Get { .. } => {
                self.getters.push_back(answer);
                self.serve(desk);
            }
            Call::Len => answer.of_look().say(&(self.items.len() as u64)),
            Call::IsFull => answer.of_look().say(&self.is_full()),
            Call::TaskDone => match self.task_done(desk.journal) {
                Ok(()) => answer.say(&()),
                Err(fault) => answer.fail(fault),
            },
            Call::Join if self.unfinished == 0 => answer.of_look().say(&()),
            Call::Join => self.joiners.push(answer.of_look()),
            Call::Close => reply(answer, self.close(Stage::Closed, desk.journal)),
            Call::Terminate => reply(answer, self.close(Stage::Terminated, desk.journal)),
            Call::IsClosed => answer.of_look().say(&self.is_closed()),
            Call::Owe(_) | Call::PutBack(_) | Call::PutBackBehind(..) => answer.fail(FaultKind::NoMethod),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&self.most, []);
        // What the log does not have yet is yet to be written.
        let is_logged = |place| self.returned.get(place).is_none_or(|returned| returned.is_logged);
        for (_, item) in self.items.iter().enumerate().filter(|(place, _)| is_logged(*place)) {
            snapshot.then(&Call::Put { value: item.raw(), waits: false });
        }
        match self.stage {
            Stage::Open => {}
            Stage::Closed => snapshot.then(&Call::Close),
            Stage::Terminated => snapshot.then(&Call::Terminate),
        }
        snapshot.then(&Call::Owe(self.unfinished + self.dropped));
        snapshot
    }

    fn replay(&mut self, desk: &Desk<'_>, change: &mut Packet) -> Result<(), Fault> {
        match logged(change)? {
            Call::Put { value, .. } => {
                self.items.push_back(desk.table.keep(value)?);
                self.unfinished += 1;
            }
            Call::Get { .. } => {
                drop(self.items.pop_front().ok_or_else(|| Fault::refused("there is no item to take out"))?);
            }
            Call::PutBack(value) => self.items.push_front(desk.table.keep(value)?),
            Call::PutBackBehind(place, value) => {
                let item = desk.table.keep(value)?;
                let place = usize::try_from(place).ok().filter(|place| *place <= self.items.len());
                let place = place.ok_or_else(|| Fault::refused("there are not so many items before it"))?;
                self.items.insert(place, item);
            }
            Call::TaskDone => self.unfinished = self.unfinished.saturating_sub(1),
            Call::Owe(count) => self.unfinished = count,
            Call::Close => self.come_to(Stage::Closed),
            Call::Terminate => self.come_to(Stage::Terminated),
            Call::Len | Call::Join | Call::IsFull | Call::IsClosed => return Err(not_a_change()),
        }
        Ok(())
    }

    fn take_back(&mut self, desk: &Desk<'_>, item: Kept, number: u64) {
        self.put_back(item, number, desk.journal);
        self.serve(desk);
    }

    fn give_up(&mut self, call: CallKey) {
        if let Some(place) = self.getters.iter().position(|getter| getter.key() == call) {
            self.getters.remove(place).map(|getter| give(getter, None));
        } else if let Some(place) = self.putters.iter().position(|(putter, _)| putter.key() == call) {
            self.putters.remove(place).map(|(putter, _)| putter.value(&false));
        } else if let Some(place) = self.joiners.iter().position(|joiner| joiner.key() == call) {
            self.joiners.remove(place).fail(FaultKind::TimedOut);
        }
    }

    fn leave(&mut self, session: u64) {
        self.getters.retain(|getter| getter.key().session != session);
        self.putters.retain(|(putter, _)| putter.key().session != session);
        self.joiners.retain(|joiner| joiner.key().session != session);
    }

    fn is_held(&self) -> bool {
        true
    }
}

crate::__proxy! {
    /// A queue in a manager, made by [`Manager::queue`].
    ///
    /// # Examples
    /// ```
    /// # mp_manager::init();
    /// let manager = mp_manager::Manager::start()?;
    /// let queue = manager.queue::<u32>()?;
    /// queue.put(&1)?;
    /// queue.close()?;
    /// assert!(queue.put(&2).unwrap_err().is_closed());
    /// assert_eq!(queue.get()?, 1);
    /// assert!(queue.get().unwrap_err().is_closed());
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    pub struct QueueProxy [T]
}

crate::__proxy! {
    /// A queue in a manager that counts what was done; made by
    /// [`Manager::joinable_queue`].
    pub struct JoinableQueueProxy [T]
}

impl Manager {
    /// Makes a queue without a bound.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "Queue")]
    pub fn queue<T: Message>(&self) -> Result<QueueProxy<T>, ManagerError> {
        create(self, NAME, &0u64).map(crate::Proxy::from_object)
    }

    /// Makes a queue for at most `most` items.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn bounded_queue<T: Message>(&self, most: usize) -> Result<QueueProxy<T>, ManagerError> {
        create(self, NAME, &(most.max(1) as u64)).map(crate::Proxy::from_object)
    }

    /// Makes a queue that counts what was done, without a bound.
    ///
    /// # Errors
    /// See [`ManagerError`].
    #[doc(alias = "JoinableQueue")]
    pub fn joinable_queue<T: Message>(&self) -> Result<JoinableQueueProxy<T>, ManagerError> {
        create(self, NAME, &0u64).map(crate::Proxy::from_object)
    }

    /// As [`joinable_queue`](Self::joinable_queue), for at most `most` items.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn bounded_joinable_queue<T: Message>(
        &self,
        most: usize,
    ) -> Result<JoinableQueueProxy<T>, ManagerError> {
        create(self, NAME, &(most.max(1) as u64)).map(crate::Proxy::from_object)
    }
}

/// The methods that both kinds have.
macro_rules! queue_methods {
    () => {
        calls! {
            /// Puts an item in; waits while the queue is full.
            pub fn put | put_async(&self, item: &T) {
                self.object.ask(Call::Put { value: self.object.raw(item)?, waits: true }, no_value::<bool>)
            }

            /// Puts an item in if there is room; whether there was.
            #[doc(alias = "put_nowait")]
            pub fn try_put | try_put_async(&self, item: &T) -> bool {
                self.object.ask(Call::Put { value: self.object.raw(item)?, waits: false }, plain)
            }

            /// Puts an item in; waits up to `timeout` for room. Whether it was put.
            pub fn put_timeout | put_timeout_async(&self, item: &T, timeout: Duration) -> bool {
                let call = Call::Put { value: self.object.raw(item)?, waits: true };
                self.object.ask(call, is_done).until(timeout)
            }

            /// Whether it has as many items as it may: [`put`](Self::put) would wait.
            #[doc(alias = "full")]
            pub fn is_full | is_full_async(&self) -> bool {
                self.object.ask(Call::IsFull, plain)
            }

            /// Takes the next item out; waits for one.
            pub fn get | get_async(&self) -> T {
                self.object.ask(Call::Get { waits: true }, whole)
            }

            /// Takes the next item out, if there is one.
            #[doc(alias = "get_nowait")]
            pub fn try_get | try_get_async(&self) -> Option<T> {
                self.object.ask(Call::Get { waits: false }, kept)
            }

            /// Takes the next item out; waits up to `timeout` for one.
            pub fn get_timeout | get_timeout_async(&self, timeout: Duration) -> Option<T> {
                self.object.ask(Call::Get { waits: true }, kept_in_time).until(timeout)
            }

            /// How many items there are.
            #[doc(alias = "qsize")]
            pub fn len | len_async(&self) -> usize {
                self.object.ask(Call::Len, count)
            }

            /// Lets nothing more in, for everybody: to put is an error
            /// ([`is_closed`](ManagerError::is_closed)). What is in can still be got; then getting
            /// is the same error. Whoever waits for an item or for room finds out at once.
            ///
            /// An item that was sent to a process which is killed before it takes it can be got
            /// again, also if somebody was told before that there is none.
            #[doc(alias = "shutdown")]
            pub fn close | close_async(&self) {
                self.object.ask(Call::Close, plain)
            }

            /// Closes the queue and drops what is in it: from now on getting is an error too.
            /// Items that are dropped count as done, so that who joins waits only for those
            /// that were taken out. One that comes back from a killed process is dropped as well.
            #[doc(alias("shutdown", "immediate"))]
            pub fn terminate | terminate_async(&self) {
                self.object.ask(Call::Terminate, plain)
            }

            /// Whether it has been closed or terminated.
            pub fn is_closed | is_closed_async(&self) -> bool {
                self.object.ask(Call::IsClosed, plain)
            }
        }

        /// Whether there is none.
        pub fn is_empty(&self) -> Result<bool, ManagerError> {
            Ok(self.len()? == 0)
        }
    };
}

/// See [`ManagerError`] for how methods may fail. What waits, waits as long as the
/// server lives.
#[allow(clippy::missing_errors_doc)]
impl<T: Message> QueueProxy<T> {
    queue_methods!();
}

/// See [`ManagerError`] for how methods may fail. What waits, waits as long as the
/// server lives.
#[allow(clippy::missing_errors_doc)]
impl<T: Message> JoinableQueueProxy<T> {
    queue_methods!();

    calls! {
        /// Says that an item that was taken out is done with.
        pub fn task_done | task_done_async(&self) {
            self.object.ask(Call::TaskDone, plain)
        }

        /// Waits until all items that were put are done with.
        pub fn join | join_async(&self) {
            self.object.ask(Call::Join, plain)
        }

        /// As [`join`](Self::join), up to `timeout`; whether all are done with.
        pub fn join_timeout | join_timeout_async(&self, timeout: Duration) -> bool {
            self.object.ask(Call::Join, is_joined).until(timeout)
        }
    }
}

fn kept_in_time<T: Message>(
    reply: Result<Reply, ManagerError>,
    object: &ObjectRef,
) -> Result<Option<T>, ManagerError> {
    in_time(kept(reply, object))
}

fn is_joined(reply: Result<Reply, ManagerError>, object: &ObjectRef) -> Result<bool, ManagerError> {
    Ok(in_time(plain::<()>(reply, object).map(Some))?.is_some())
}
