//! One end of a ring, as its two directions see it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::handshake::ASLEEP_ON_BELL;
use super::layout::{Lane, Side};
use super::post::Post;
use super::sleep::{self, Sleeper};
use crate::sys::companion::Companion;
use crate::sys::poll::Interest;
use crate::sys::process;
use crate::wait_set::Nudge;
use crate::watch::{self, Name, Ticket, Watched};

/// Nobody is followed yet.
const NOBODY: u32 = 0;
/// Nobody need be followed: a peer's death ends this process by other means.
const UNWATCHED: u32 = u32::MAX;

/// What both directions of an end have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) companion: Companion,
    pub(super) post: Post,
    /// Each lane, and whether this end writes to it.
    lanes: Vec<(Arc<Lane>, bool)>,
    /// The peer's process has ended, or closed everything.
    gone: AtomicBool,
    /// This end has left for another process.
    detached: AtomicBool,
    polls: AtomicBool,
    /// Whom the watch follows: a process id.
    followed: AtomicU32,
    ticket: Mutex<Option<Ticket>>,
}

/// One direction of an end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) lane: Arc<Lane>,
    pub(super) common: Arc<Common>,
    is_producer: bool,
    /// How far this end has read; the shared counter lags behind it.
    pub(super) read_to: AtomicU64,
}

impl Common {
    pub(super) fn new(companion: Companion, lanes: Vec<(Arc<Lane>, bool)>) -> Self {
        Self {
            companion,
            lanes,
            post: Post::default(),
            gone: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            polls: AtomicBool::new(true),
            followed: AtomicU32::new(NOBODY),
            ticket: Mutex::new(None),
        }
    }

    fn own(&self) -> impl Iterator<Item = &Side> {
        self.lanes.iter().map(|(lane, writes)| lane.side(*writes))
    }

    fn peers(&self) -> impl Iterator<Item = &Side> {
        self.lanes.iter().map(|(lane, writes)| lane.side(!*writes))
    }

    /// Says that this process holds the end.
    pub(super) fn claim(&self) {
        self.own().for_each(Side::claim);
        // A peer that sleeps has another process to watch now.
        self.wake_peer();
    }

    /// After a fork: the end is this process's, and the watch on its peer was the parent's.
    pub(super) fn adopt(&self) {
        *self.ticket.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.followed.load(Ordering::Relaxed) != UNWATCHED {
            self.followed.store(NOBODY, Ordering::Relaxed);
        }
        self.detached.store(false, Ordering::Relaxed);
        self.claim();
    }

    pub(super) fn detach(&self) {
        // ORDERING: seen by sleepers that `disturb` wakes.
        self.detached.store(true, Ordering::SeqCst);
        self.own().for_each(Side::release);
        self.own().for_each(sleep::disturb);
    }

    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    /// Tells the peer that this end is closed, unless another process holds it:
    /// what a fork copied is no end of its own.
    pub(super) fn close(&self) {
        let me = process::current_id();
        let is_anothers = |side: &Side| !matches!(side.holder().id, id if id == 0 || id == me);
        if self.is_detached() || self.own().any(is_anothers) {
            return;
        }
        for side in self.own() {
            // ORDERING: what was sent before is visible to whoever sees the end.
            side.closed.store(1, Ordering::SeqCst);
        }
        self.wake_peer();
    }

    fn wake_peer(&self) {
        self.peers().for_each(|side| sleep::wake(side, &self.companion));
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Polling is good between CPUs only, which each wait looks at by itself.
    pub(super) fn set_polls(&self, polls: bool) {
        self.polls.store(polls, Ordering::Relaxed);
    }

    pub(super) fn leave_unwatched(&self) {
        self.followed.store(UNWATCHED, Ordering::Relaxed);
    }

    /// Before a sleep: have somebody notice if the peer dies. Costs two loads
    /// where nothing has changed.
    fn follow_peer(self: &Arc<Self>) -> io::Result<()> {
        let followed = self.followed.load(Ordering::Relaxed);
        let holder = self.peer();
        if followed == UNWATCHED || (followed == holder.id && followed != NOBODY) {
            return Ok(());
        }
        let mut ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        if ticket.is_none() {
            *ticket = Some(watch::add(self)?);
        }
        let lives = match ticket.as_ref() {
            Some(ticket) => ticket.follow(holder)?,
            None => true,
        };
        drop(ticket);
        self.followed.store(holder.id, Ordering::Relaxed);
        // The end may have moved from that process before it ended.
        if !lives && self.peer() == holder {
            self.gone();
        }
        Ok(())
    }
}

impl Watched for Common {
    fn hangup(&self) -> Interest<'_> {
        self.companion.hangup()
    }

    fn peer(&self) -> Name {
        self.peers().next().map(Side::holder).unwrap_or_default()
    }

    fn gone(&self) {
        // ORDERING: seen by sleepers that `disturb` wakes.
        self.gone.store(true, Ordering::SeqCst);
        self.own().for_each(sleep::disturb);
        // Forked siblings of the peer may hold copies of its socket: those who
        // wait for the bell are told all the same.
        self.companion.shut_down();
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        let ticket = self.ticket.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(ticket) = ticket.take() {
            ticket.leave(self.companion.hangup());
        }
    }
}

impl End {
    pub(super) fn new(lane: Arc<Lane>, common: Arc<Common>, is_producer: bool) -> Self {
        Self { lane, common, is_producer, read_to: AtomicU64::new(0) }
    }

    pub(super) fn own(&self) -> &Side {
        self.lane.side(self.is_producer)
    }

    fn peer(&self) -> &Side {
        self.lane.side(!self.is_producer)
    }

    pub(super) fn wake_peer(&self) {
        sleep::wake(self.peer(), &self.common.companion);
    }

    pub(super) fn peer_has_closed(&self) -> bool {
        // ORDERING: what the peer wrote before it closed is visible.
        self.peer().closed.load(Ordering::Acquire) != 0 || self.common.is_gone()
    }

    /// Waits for the peer to send until `ready`, or the peer or this end has gone;
    /// `false` at the deadline.
    pub(super) fn wait_for_frame(
        &self,
        deadline: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> io::Result<bool> {
        self.wait(deadline, sleep::POLL_FOR, ready)
    }

    /// As [`wait_for_frame`](Self::wait_for_frame), for the peer to make room.
    pub(super) fn wait_for_room(
        &self,
        deadline: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> io::Result<bool> {
        self.wait(deadline, sleep::POLL_FOR_ROOM, ready)
    }

    fn wait(
        &self,
        deadline: Option<Instant>,
        poll_for: Duration,
        ready: impl Fn() -> bool,
    ) -> io::Result<bool> {
        let sleeper = Sleeper {
            own: self.own(),
            peer: self.peer(),
            poll_for: self.common.polls.load(Ordering::Relaxed).then_some(poll_for),
            deadline,
        };
        sleeper.wait(
            || ready() || self.peer_has_closed() || self.common.is_detached(),
            || self.common.follow_peer(),
        )
    }

    /// Whether a frame or the end is there to be received.
    pub(super) fn is_ready(&self) -> bool {
        // ORDERING: as in `Consumer::await_frame`.
        let head = self.lane.header().head.0.load(Ordering::Acquire);
        head != self.read_to.load(Ordering::Relaxed) || self.peer_has_closed()
    }

    /// Has the peer ring from now on, unless there is something to receive already.
    pub(super) fn arm(&self, nudge: Option<&Arc<Nudge>>) {
        // Without a watch the kernel still tells of a peer that has closed everything.
        let _ = self.common.follow_peer();
        let mut post = self.common.post.arm(nudge);
        if self.is_ready() {
            return;
        }
        if !post.drain(&self.common.companion) {
            self.common.gone();
        }
        // ORDERING: as in `Sleeper::wait`; whoever armed looks again afterwards.
        self.own().sleep.fetch_or(ASLEEP_ON_BELL, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn disarm(&self) {
        let unset = || {
            self.own().sleep.fetch_and(!ASLEEP_ON_BELL, Ordering::Relaxed);
        };
        self.common.post.disarm(unset);
    }
}
