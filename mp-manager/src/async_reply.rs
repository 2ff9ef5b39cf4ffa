//! Calls that are sent now and waited for later.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ipc_core::Message;

use crate::client::{Begun, Client};
use crate::error::ManagerError;

/// The value to come of a call that was sent; dropped, it is waited for by nobody.
///
/// Calls of one process arrive in the order in which they were sent. Those of one
/// object that change it are also run in this order.
#[must_use = "dropping it gives the call up"]
pub struct AsyncReply<R> {
    state: Option<State<R>>,
    value: PhantomData<fn() -> R>,
}

enum State<R> {
    Begun { client: Arc<Client>, begun: Begun, patience: Duration },
    Done(Result<R, ManagerError>),
}

impl<R: Message> AsyncReply<R> {
    pub(crate) fn begun(client: Arc<Client>, begun: Begun, patience: Duration) -> Self {
        Self { state: Some(State::Begun { client, begun, patience }), value: PhantomData }
    }

    pub(crate) fn done(result: Result<R, ManagerError>) -> Self {
        Self { state: Some(State::Done(result)), value: PhantomData }
    }

    /// Waits for the value, as long as the proxy's timeout from now.
    ///
    /// # Errors
    /// See [`ManagerError`].
    pub fn get(mut self) -> Result<R, ManagerError> {
        match self.state.take() {
            Some(State::Begun { client, begun, patience }) => {
                client.attend(begun);
                let (packet, objects) = client.finish(begun, patience)?;
                client.reply(packet, objects).read()
            }
            Some(State::Done(result)) => result,
            // It is taken only here and in `drop`.
            None => Err(crate::error::Fault::reply("the value was taken").into()),
        }
    }
}

impl<R> AsyncReply<R> {
    /// Whether the value is here, as far as some thread has read for all.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.state {
            Some(State::Begun { client, begun, .. }) => client.has_answer(*begun),
            _ => true,
        }
    }
}

impl<R: Message> AsyncReply<R> {
    /// Waits until one of them is here, or will not come, and says which: its
    /// [`get`](Self::get) waits no more. Those of one manager; `None` if there are none.
    pub fn wait_any<'a>(replies: impl IntoIterator<Item = &'a Self>) -> Option<usize> {
        let (mut client, mut calls) = (None, Vec::new());
        for (place, reply) in replies.into_iter().enumerate() {
            let Some(State::Begun { client: one, begun, patience }) = &reply.state else {
                return Some(place);
            };
            let (first, _) = *client.get_or_insert((one, *patience));
            if !Arc::ptr_eq(first, one) {
                return Some(place);
            }
            calls.push(*begun);
        }
        let (client, patience) = client?;
        Some(client.await_any(&calls, patience))
    }
}

impl<R> Drop for AsyncReply<R> {
    fn drop(&mut self) {
        if let Some(State::Begun { client, begun, .. }) = self.state.take() {
            client.give_up(begun);
        }
    }
}

impl<R> fmt::Debug for AsyncReply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncReply").field("is_ready", &self.is_ready()).finish()
    }
}
