//! A queue, and one that counts what was done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ipc_core::{Message, Packet};
use serde::{Deserialize, Serialize};

use super::{create, decode, give, some};
use crate::error::{Fault, ManagerError};
use crate::manager::Manager;
use crate::object_ref::ObjectRef;
use crate::server::builtin::BuiltIn;
use crate::server::table::{Kept, Table};
use crate::server::{Answer, CallKey};
use crate::wire::Raw;

pub(super) const NAME: &str = "queue";

pub(super) struct Queue {
    items: VecDeque<Kept>,
    /// Zero for no bound.
    most: u64,
    getters: VecDeque<Answer>,
    putters: VecDeque<(Answer, Kept)>,
    /// Items that were put and not yet reported as done.
    unfinished: u64,
    joiners: Vec<Answer>,
}

#[derive(Serialize, Deserialize)]
enum Call {
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
}

impl Queue {
    pub(super) fn new(most: u64) -> Self {
        Self {
            items: VecDeque::new(),
            most,
            getters: VecDeque::new(),
            putters: VecDeque::new(),
            unfinished: 0,
            joiners: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.most > 0 && self.items.len() as u64 >= self.most
    }

    fn put(&mut self, item: Kept, waits: bool, answer: Answer) {
        if !self.is_full() {
            self.unfinished += 1;
            self.items.push_back(item);
            answer.value(&true);
            self.serve();
        } else if waits {
            self.putters.push_back((answer, item));
        } else {
            answer.value(&false);
        }
    }

    /// Gives items to those that wait, and room to those that wait for room.
    fn serve(&mut self) {
        while let Some(item) = self.items.pop_front() {
            let Some(getter) = self.getters.pop_front() else {
                self.items.push_front(item);
                break;
            };
            // An item for one that is gone is the next one's.
            if !give(getter, Some(&item)) {
                self.items.push_front(item);
            }
        }
        while !self.is_full() {
            let Some((putter, item)) = self.putters.pop_front() else { break };
            if putter.value(&true) {
                self.unfinished += 1;
                self.items.push_back(item);
            }
        }
        if !self.getters.is_empty() && !self.items.is_empty() {
            self.serve();
        }
    }

    fn task_done(&mut self) -> Result<(), Fault> {
        if self.unfinished == 0 {
            return Err(Fault::refused("task_done was called more often than items were put"));
        }
        self.unfinished -= 1;
        if self.unfinished == 0 {
            self.joiners.drain(..).for_each(|joiner| joiner.say(&()));
        }
        Ok(())
    }
}

impl BuiltIn for Queue {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, table: &Arc<Table>, args: &mut Packet, answer: Answer) {
        let Some((call, answer)) = decode(args, answer) else { return };
        match call {
            Call::Put { value, waits } => match table.keep(value) {
                Ok(item) => self.put(item, waits, answer),
                Err(fault) => answer.fail(fault),
            },
            Call::Get { waits } if self.items.is_empty() && !waits => drop(give(answer, None)),
            Call::Get { .. } => {
                self.getters.push_back(answer);
                self.serve();
            }
            Call::Len => answer.say(&(self.items.len() as u64)),
            Call::TaskDone => match self.task_done() {
                Ok(()) => answer.say(&()),
                Err(fault) => answer.fail(fault),
            },
            Call::Join if self.unfinished == 0 => answer.say(&()),
            Call::Join => self.joiners.push(answer),
        }
    }

    fn give_up(&mut self, call: CallKey) {
        if let Some(place) = self.getters.iter().position(|getter| getter.key() == call) {
            self.getters.remove(place).map(|getter| give(getter, None));
        } else if let Some(place) = self.putters.iter().position(|(putter, _)| putter.key() == call) {
            self.putters.remove(place).map(|(putter, _)| putter.value(&false));
        } else if let Some(place) = self.joiners.iter().position(|joiner| joiner.key() == call) {
            self.joiners.remove(place).fail(crate::error::FaultKind::TimedOut);
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
        /// Puts an item in; waits while the queue is full.
        pub fn put(&self, item: &T) -> Result<(), ManagerError> {
            put(&self.object, item, true, None).map(drop)
        }

        /// Puts an item in if there is room; whether there was.
        #[doc(alias = "put_nowait")]
        pub fn try_put(&self, item: &T) -> Result<bool, ManagerError> {
            put(&self.object, item, false, None)
        }

        /// Puts an item in; waits up to `timeout` for room. Whether it was put.
        pub fn put_timeout(&self, item: &T, timeout: Duration) -> Result<bool, ManagerError> {
            put(&self.object, item, true, Some(timeout))
        }

        /// Takes the next item out; waits for one.
        pub fn get(&self) -> Result<T, ManagerError> {
            some(self.object.fetch(&Call::Get { waits: true }, None)?)
        }

        /// Takes the next item out, if there is one.
        #[doc(alias = "get_nowait")]
        pub fn try_get(&self) -> Result<Option<T>, ManagerError> {
            self.object.fetch(&Call::Get { waits: false }, None)
        }

        /// Takes the next item out; waits up to `timeout` for one.
        pub fn get_timeout(&self, timeout: Duration) -> Result<Option<T>, ManagerError> {
            absent(self.object.fetch(&Call::Get { waits: true }, Some(timeout)))
        }

        /// How many items there are.
        #[doc(alias = "qsize")]
        pub fn len(&self) -> Result<usize, ManagerError> {
            let len: u64 = self.object.ask(&Call::Len)?;
            Ok(usize::try_from(len).unwrap_or(usize::MAX))
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

    /// Says that an item that was taken out is done with.
    pub fn task_done(&self) -> Result<(), ManagerError> {
        self.object.ask(&Call::TaskDone)
    }

    /// Waits until all items that were put are done with.
    pub fn join(&self) -> Result<(), ManagerError> {
        self.object.ask(&Call::Join)
    }

    /// As [`join`](Self::join), up to `timeout`; whether all are done with.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ManagerError> {
        Ok(absent(self.object.ask_until::<_, ()>(&Call::Join, Some(timeout)).map(Some))?.is_some())
    }
}

fn put<T: Message>(
    object: &ObjectRef,
    item: &T,
    waits: bool,
    limit: Option<Duration>,
) -> Result<bool, ManagerError> {
    let call = Call::Put { value: object.raw(item)?, waits };
    Ok(absent(object.ask_until(&call, limit).map(Some))?.unwrap_or(false))
}

/// A wait that was given up brings nothing.
pub(super) fn absent<T>(result: Result<Option<T>, ManagerError>) -> Result<Option<T>, ManagerError> {
    match result {
        Err(error) if error.is_given_up() => Ok(None),
        other => other,
    }
}
