//! Calls that are sent now and waited for later.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Gathered;
use crate::client::{Begun, Client};
use crate::error::{Fault, ManagerError};
use crate::lease::Lease;
use crate::object_ref::{ObjectRef, Reply};
use crate::server::HomeCall;

/// The value to come of a call that was sent; dropped, it is waited for by nobody.
///
/// Calls of one process arrive in the order in which they were sent. Those of one object of this crate are
/// also done in this order, those that run a function (`update`, `sort`) with the others, and what such a call
/// waits for goes to the calls in their order, too. Of an object of a user's type those are run in this order
/// that change it.
#[must_use = "dropping it gives the call up"]
pub struct AsyncReply<R> {
    state: State,
    /// What it was asked of, and what stands in the arguments: they stay until it is answered.
    object: ObjectRef,
    arguments: Vec<Arc<Lease>>,
    read: Read<R>,
}

/// Makes a value of an answer.
pub(crate) type Read<R> = fn(Result<Reply, ManagerError>, &ObjectRef) -> Result<R, ManagerError>;

pub(crate) enum State {
    /// Over a connection, and in a batch that may not have been sent yet.
    Away {
        client: Arc<Client>,
        begun: Begun,
        batch: Option<Arc<Gathered>>,
    },
    /// In the server's own process.
    Home(HomeCall),
    Taken,
}

impl<R> AsyncReply<R> {
    pub(crate) fn new(state: State, object: ObjectRef, arguments: Vec<Arc<Lease>>, read: Read<R>) -> Self {
        Self { state, object, arguments, read }
    }

    /// Waits for the value, as long as the proxy's timeout from now.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn get(mut self) -> Result<R, ManagerError> {
        self.take()
    }

    /// As [`get`](Self::get), for up to `timeout`, whatever the proxy's is: `None` if the value has not
    /// come by then. Nothing is lost: the call goes on, and can be asked again.
    ///
    /// Its value is given once: when it was, this is an error.
    ///
    /// # Errors
    /// See [`ManagerError`].
    ///
    /// # Examples
    /// ```
    /// # mp_process::init();
    /// # use std::time::Duration;
    /// # let manager = mp_manager::Manager::start()?;
    /// let jobs = manager.queue::<u32>()?;
    /// let mut next = jobs.get_async()?;
    /// assert!(next.get_timeout(Duration::from_millis(1)).is_none());
    /// jobs.put(&7)?;
    /// assert_eq!(next.get()?, 7);
    /// # Ok::<(), mp_manager::ManagerError>(())
    /// ```
    pub fn get_timeout(&mut self, timeout: Duration) -> Option<Result<R, ManagerError>> {
        self.wait_timeout(timeout).then(|| self.take())
    }

    /// Waits until the value is here, or will not come, up to `timeout`; whether [`get`](Self::get)
    /// waits no more.
    pub fn wait_timeout(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        match &self.state {
            State::Away { client, begun, batch } => {
                send_batch(batch.as_ref());
                // Whoever asks again and again for no time at all finds what has come, too.
                client.await_any(&[*begun], Duration::MAX, deadline).is_some() || self.is_ready()
            }
            State::Home(call) => call.wait_until(deadline),
            State::Taken => true,
        }
    }

    fn take(&mut self) -> Result<R, ManagerError> {
        let reply = match std::mem::replace(&mut self.state, State::Taken) {
            State::Away { client, begun, batch } => {
                send_batch(batch.as_ref());
                client.attend(begun);
                let answer = client.finish(begun, self.object.patience());
                answer.map(|(packet, objects)| client.reply(packet, objects))
            }
            State::Home(call) => call.finish(),
            State::Taken => Err(Fault::reply("the value was taken before").into()),
        };
        (self.read)(reply, &self.object)
    }

    /// Leaves the call to itself: it runs, and nobody waits for its value.
    pub fn detach(mut self) {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Away { client, begun, .. } => client.leave(begun),
            State::Home(call) => call.leave(),
            State::Taken => {}
        }
    }

    /// Whether the value is here, or will not come: [`get`](Self::get) waits no more. Does not wait.
    ///
    /// Of a call in a batch that was not sent it is not here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if let State::Away { client, begun, .. } = &self.state
            && !client.has_answer(*begun)
        {
            client.read_at_once();
        }
        self.has_come()
    }

    /// The same, as far as some thread has read for all.
    fn has_come(&self) -> bool {
        match &self.state {
            State::Away { client, begun, .. } => client.has_answer(*begun),
            State::Home(call) => call.is_done(),
            State::Taken => true,
        }
    }

    /// Waits until one of them is here, or will not come, and says which: its
    /// [`get`](Self::get) waits no more. Those of one manager; `None` if there are none.
    pub fn wait_any<'a>(replies: impl IntoIterator<Item = &'a Self>) -> Option<usize>
    where
        R: 'a,
    {
        let replies: Vec<&Self> = replies.into_iter().collect();
        match &replies.first()?.state {
            State::Away { client, .. } => wait_any_away(client, &replies),
            State::Home(_) => wait_any_home(&replies),
            State::Taken => Some(0),
        }
    }
}

fn wait_any_away<R>(client: &Arc<Client>, replies: &[&AsyncReply<R>]) -> Option<usize> {
    let mut calls = Vec::with_capacity(replies.len());
    for (place, reply) in replies.iter().enumerate() {
        match &reply.state {
            State::Away { client: one, begun, batch } if Arc::ptr_eq(one, client) => {
                send_batch(batch.as_ref());
                calls.push(*begun);
            }
            _ => return Some(place),
        }
    }
    client.await_any(&calls, replies.first()?.object.patience(), None)
}

fn wait_any_home<R>(replies: &[&AsyncReply<R>]) -> Option<usize> {
    let patience = replies.first()?.object.patience();
    let deadline = Instant::now().checked_add(patience);
    loop {
        let is_done = |reply: &&AsyncReply<R>| match &reply.state {
            State::Home(call) => call.attend(),
            _ => true,
        };
        if let Some(place) = replies.iter().position(is_done) {
            return Some(place);
        }
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            None => std::thread::park(),
            Some(left) if left.is_zero() => return Some(0),
            Some(left) => std::thread::park_timeout(left),
        }
    }
}

/// Sends the batch that a call is in; how that went is the answer's to say.
fn send_batch(batch: Option<&Arc<Gathered>>) {
    if let Some(batch) = batch {
        let _ = batch.send();
    }
}

impl<R> Drop for AsyncReply<R> {
    fn drop(&mut self) {
        if let State::Away { client, begun, batch } = &self.state {
            client.give_up_in(*begun, batch.as_deref());
        }
        // One at home gives itself up.
    }
}

impl<R> fmt::Debug for AsyncReply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncReply")
            .field("of", &self.object)
            .field("is_ready", &self.has_come())
            .field("with_objects", &self.arguments.len())
            .finish()
    }
}
