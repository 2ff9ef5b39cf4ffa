//! What a connection goes over: a link, or over TCP one after the other, for a client that comes back
//! when it is cut.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use ipc_core::link::{Capabilities, Link};
use ipc_core::{Packet, PeerEnd, RecvError, SendError};

use super::{Once, at_once, lock};
use crate::said::{Heard, Said};
use crate::wire::{Request, Ticket, is_filler, request};

/// So many bytes wait for the other side to say that they have come.
const MOST: usize = 64 << 20;

pub(super) enum Line {
    /// On this machine.
    Near(Box<dyn Link>),
    Far(Arc<Far>),
}

impl Line {
    pub(super) fn over(link: Box<dyn Link>) -> Self {
        if link.capabilities().local { Self::Near(link) } else { Self::Far(Arc::new(Far::over(link.into()))) }
    }

    pub(super) fn far(&self) -> Option<&Arc<Far>> {
        if let Self::Far(far) = self { Some(far) } else { None }
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        match self {
            Self::Near(link) => link.capabilities(),
            Self::Far(_) => Capabilities::BYTES,
        }
    }

    pub(super) fn send(&self, once: &mut Once, until: Option<Instant>) -> Result<(), SendError> {
        match self {
            Self::Near(link) => link.send(once, until),
            Self::Far(far) => far.send(once, until),
        }
    }

    pub(super) fn recv(&self, packet: &mut Packet, until: Option<Instant>) -> Result<(), RecvError> {
        match self {
            Self::Near(link) => link.recv(packet, until),
            Self::Far(far) => far.recv(packet, until),
        }
    }

    /// Whether there is something to receive, or an end to be told of.
    pub(super) fn has_news(&self) -> bool {
        let link = match self {
            Self::Near(link) => return link.poll(Some(Instant::now())).unwrap_or(true),
            Self::Far(far) => far.current(at_once()),
        };
        link.is_ok_and(|(link, _)| link.poll(Some(Instant::now())).unwrap_or(true))
    }

    pub(super) fn detach(&self) {
        match self {
            Self::Near(link) => link.detach(),
            Self::Far(far) => far.current(at_once()).into_iter().for_each(|(link, _)| link.detach()),
        }
    }
}

/// Connections over TCP, the next in the place of the one before.
pub(super) struct Far {
    state: Mutex<State>,
    changed: Condvar,
    /// Held by who sends: the order on the link is the one in which messages are counted.
    outlet: Mutex<Outlet>,
}

#[derive(Default)]
struct State {
    /// `None` while it is cut.
    link: Option<Arc<dyn Link>>,
    /// How often it was cut or came back.
    turn: u64,
    heard: Heard,
    /// How many of this side's messages have come, as the manager says.
    was_heard: u64,
    /// With which it comes back.
    ticket: Option<Ticket>,
    /// Who sees to that.
    on_cut: Option<Box<dyn Fn() -> bool + Send>>,
    is_over: bool,
    /// Why nobody was found, until somebody is told.
    lost: Option<String>,
}

#[derive(Default)]
struct Outlet {
    /// Since the client has said that it comes back.
    said: Option<Said>,
    /// How many of these have gone over the link that is there.
    sent: u64,
}

type Current = (Arc<dyn Link>, u64);

impl Far {
    fn over(link: Arc<dyn Link>) -> Self {
        let state = State { link: Some(link), ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new(), outlet: Mutex::default() }
    }

    /// Says that this client comes back, in a message of its own; `false` if that was said before, or
    /// cannot be said. `on_cut` is called when it is cut, and says whether somebody sees to it.
    pub(super) fn begin(&self, packet: Packet, on_cut: impl Fn() -> bool + Send + 'static) -> bool {
        let mut outlet = lock(&self.outlet);
        let Ok((link, _)) = self.current(at_once()) else { return false };
        if outlet.said.is_some() {
            return false;
        }
        lock(&self.state).on_cut = Some(Box::new(on_cut));
        let mut once = Once { packet, taken: false };
        let is_sent = link.send(&mut once, super::slice(None)).is_ok() || once.taken;
        if is_sent {
            *outlet = Outlet { said: Some(Said::default()), sent: 0 };
        }
        is_sent
    }

    /// The manager keeps nothing for this client.
    pub(super) fn refused(&self) {
        lock(&self.outlet).said = None;
    }

    /// What comes from now on is counted.
    pub(super) fn admit(&self, ticket: Ticket) {
        let mut state = lock(&self.state);
        state.ticket = Some(ticket);
        state.heard = Heard::default();
    }

    /// What the manager is told by a client that comes back.
    pub(super) fn claim(&self) -> Option<(Ticket, u64)> {
        let state = lock(&self.state);
        state.ticket.map(|ticket| (ticket, state.heard.count()))
    }

    /// It goes on over this link; `false` if the manager has heard what was never said.
    pub(super) fn resume(&self, link: Arc<dyn Link>, was_heard: u64) -> bool {
        let mut outlet = lock(&self.outlet);
        let Outlet { said: Some(said), sent } = &mut *outlet else { return false };
        if !said.forget(was_heard) {
            return false;
        }
        *sent = was_heard;
        let mut state = lock(&self.state);
        state.was_heard = was_heard;
        state.link = Some(link);
        state.turn += 1;
        self.changed.notify_all();
        true
    }

    /// It does not come back.
    pub(super) fn end(&self, lost: Option<String>) {
        let mut state = lock(&self.state);
        (state.is_over, state.link, state.lost) = (true, None, lost);
        self.changed.notify_all();
    }

    /// Waits until it has come back, or is over.
    pub(super) fn settle(&self) {
        let mut state = lock(&self.state);
        while state.link.is_none() && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn take_lost(&self) -> Option<String> {
        lock(&self.state).lost.take()
    }

    /// Whether it may be cut without being over.
    pub(super) fn lasts(&self) -> bool {
        lock(&self.state).ticket.is_some()
    }

    pub(super) fn is_cut(&self) -> bool {
        let state = lock(&self.state);
        state.link.is_none() && !state.is_over
    }

    /// What tells that the link that is there is cut.
    pub(super) fn peer_end(&self) -> Option<PeerEnd<Arc<dyn Link>>> {
        self.current(at_once()).ok().and_then(|(link, _)| PeerEnd::of(link))
    }

    /// The link of this turn is of no use any more; `false` if that is the end of it.
    fn cut(&self, turn: u64) -> bool {
        let mut state = lock(&self.state);
        if state.ticket.is_none() {
            return false;
        }
        if state.turn == turn && state.link.take().is_some() {
            state.turn += 1;
            if !state.on_cut.as_ref().is_some_and(|on_cut| on_cut()) {
                state.is_over = true;
            }
            self.changed.notify_all();
        }
        true
    }

    fn current(&self, until: Option<Instant>) -> Result<Current, RecvError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(link) = &state.link {
                return Ok((Arc::clone(link), state.turn));
            }
            if state.is_over {
                return Err(RecvError::Closed);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return Err(RecvError::Timeout),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            }
        }
    }

    /// Sends. While the line is cut this is as when there is no room; what was taken arrives, unless the
    /// line does not come back.
    fn send(&self, once: &mut Once, until: Option<Instant>) -> Result<(), SendError> {
        let no_link = |error| match error {
            RecvError::Timeout => SendError::Timeout,
            _ => SendError::Closed,
        };
        // The wait is not for those who hold up others.
        self.current(until).map_err(no_link)?;
        let mut outlet = lock(&self.outlet);
        let (link, turn) = self.current(at_once()).map_err(no_link)?;
        let Outlet { said: Some(said), sent } = &mut *outlet else { return link.send(once, until) };
        // The manager says only what is so, or it is no manager.
        let _ = said.forget(lock(&self.state).was_heard.min(*sent));
        let cut = |error| match error {
            SendError::Closed | SendError::Io(_) if self.cut(turn) => SendError::Timeout,
            other => other,
        };
        while let Some(packet) = said.message(*sent) {
            let mut again = Once { packet, taken: false };
            let result = link.send(&mut again, until);
            *sent += u64::from(again.taken);
            result.map_err(cut)?;
        }
        let message = once.packet.bytes().to_vec();
        if said.bytes() + Said::cost(message.len()) > MOST && said.bytes() > 0 {
            return Err(SendError::Timeout);
        }
        let result = link.send(once, until);
        if once.taken {
            said.push(message);
            *sent += 1;
        }
        result.map_err(cut)
    }

    fn recv(&self, packet: &mut Packet, until: Option<Instant>) -> Result<(), RecvError> {
        loop {
            let (link, turn) = self.current(until)?;
            match link.recv(packet, until) {
                Ok(()) => match self.note(turn, packet) {
                    Note::Late => {}
                    Note::Taken(None) => return Ok(()),
                    Note::Taken(Some(count)) => {
                        self.tell_heard(count);
                        return Ok(());
                    }
                },
                Err(RecvError::Closed | RecvError::Cut | RecvError::Io(_)) if self.cut(turn) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Counts a message. One that came over a link before the one that is there comes again.
    fn note(&self, turn: u64, packet: &Packet) -> Note {
        let mut state = lock(&self.state);
        if state.turn != turn {
            return Note::Late;
        }
        if state.ticket.is_none() || is_filler(packet) {
            return Note::Taken(None);
        }
        Note::Taken(state.heard.note(packet.bytes().len()))
    }

    /// So many have come to the manager.
    pub(super) fn was_heard(&self, count: u64) {
        let mut state = lock(&self.state);
        state.was_heard = state.was_heard.max(count);
    }

    fn tell_heard(&self, count: u64) {
        if let Ok(packet) = request(0, Request::Heard { count }) {
            // If there is no room, the next one tells of these too.
            let _ = self.send(&mut Once { packet, taken: false }, at_once());
        }
    }
}

enum Note {
    Taken(Option<u64>),
    Late,
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Far").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ipc_core::link::PipeLink;

    use super::*;
    use crate::wire::filler;

    #[test]
    fn what_is_counted_are_the_messages_of_the_link_that_is_there() {
        let (link, _other) = PipeLink::pair().unwrap();
        let far = Far::over(Arc::new(link));
        let heard = || far.claim().unwrap().1;
        far.admit(Ticket { session: 1, token: 2 });
        let message = request(1, Request::Count).unwrap();
        assert!(matches!(far.note(0, &message), Note::Taken(None)));
        assert_eq!(heard(), 1);
        assert!(matches!(far.note(0, &filler()), Note::Taken(None)));
        assert_eq!(heard(), 1);
        // Over a link before this one: it is sent again.
        assert!(matches!(far.note(1, &message), Note::Late));
        assert_eq!(heard(), 1);
    }
}
