//! One end of a ring, as its two directions see it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::handshake::ASLEEP_ON_BELL;
use super::layout::{Lane, Senders, Side};
use super::post::Post;
use super::sleep::{self, Sleeper};
use crate::link::share::Share;
use crate::raw::Settled;
use crate::sys::companion::Companion;
use crate::sys::poll::Interest;
use crate::sys::{cpu, process};
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
    /// Who waits for a message learns of the peer's death by other means.
    receives_unwatched: AtomicBool,
    ticket: Mutex<Option<Ticket>>,
    /// Where the senders take turns, if other processes send over this end as well.
    share: Settled<Share>,
    /// Which version of the senders' names is followed.
    heard: AtomicU32,
    /// What wakes those who wait for the bell when one of many senders has died.
    rattle: Settled<(Companion, Companion)>,
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
    pub(super) fn new(companion: Companion, lanes: Vec<(Arc<Lane>, bool)>, share: Option<Share>) -> Self {
        Self {
            companion,
            lanes,
            post: Post::default(),
            gone: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            polls: AtomicBool::new(true),
            followed: AtomicU32::new(NOBODY),
            receives_unwatched: AtomicBool::new(false),
            ticket: Mutex::new(None),
            share: share.map_or_else(Settled::new, Settled::from),
            heard: AtomicU32::new(0),
            rattle: Settled::new(),
        }
    }

    fn own(&self) -> impl Iterator<Item = &Side> {
        self.lanes.iter().map(|(lane, writes)| lane.side(*writes))
    }

    fn peers(&self) -> impl Iterator<Item = &Side> {
        self.lanes.iter().map(|(lane, writes)| lane.side(!*writes))
    }

    pub(super) fn share(&self) -> Option<&Share> {
        self.share.get()
    }

    /// Other processes send over this end as well from now on.
    pub(super) fn set_share(&self, share: Share) {
        self.share.settle(share);
        self.lanes.iter().for_each(|(lane, _)| lane.header().senders.0.open());
        // A peer that sleeps has others to watch now.
        self.wake_peer();
    }

    /// Says that this process holds the end, if it is the only one.
    pub(super) fn claim(&self) {
        if self.share().is_some() {
            return;
        }
        self.own().for_each(Side::claim);
        // A peer that sleeps has another process to watch now.
        self.wake_peer();
    }

    /// Whether this process may claim the end, or has done so.
    pub(super) fn is_free(&self) -> bool {
        let me = process::current_id();
        self.own().all(|side| matches!(side.holder().id, id if id == 0 || id == me))
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
        let is_second = self.detached.swap(true, Ordering::SeqCst);
        if self.share().is_none() {
            self.own().for_each(Side::release);
        }
        // The kernel counts who holds the socket, and it is not to be this process: the message
        // with the end may be lost, or dropped by a receiver that does not decode it.
        if !is_second {
            self.leave_watch();
            self.companion.let_go();
        }
        self.own().for_each(sleep::disturb);
    }

    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    /// Tells the peer that this end is closed, unless another process holds it:
    /// what a fork copied is no end of its own.
    pub(super) fn close(&self) {
        // Of many senders each lets go of the socket, and the last one is the end.
        if self.is_detached() || self.share().is_some() || !self.is_free() {
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

    pub(super) fn leave_receiving_unwatched(&self) {
        self.receives_unwatched.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn is_followed(&self) -> bool {
        self.ticket.lock().unwrap().is_some()
    }

    /// As [`follow_peer`](Self::follow_peer), for one who waits for a message.
    fn follow_sender(self: &Arc<Self>) -> io::Result<()> {
        if self.receives_unwatched.load(Ordering::Relaxed) { Ok(()) } else { self.follow_peer() }
    }

    /// Before a sleep: have somebody notice if the peer dies. Costs two loads
    /// where nothing has changed.
    fn follow_peer(self: &Arc<Self>) -> io::Result<()> {
        if let Some(senders) = self.senders() {
            return self.follow_senders(senders);
        }
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

    /// As [`follow_peer`](Self::follow_peer), where any of several processes may die with the
    /// news that it has sent something.
    fn follow_senders(self: &Arc<Self>, senders: &Senders) -> io::Result<()> {
        let version = senders.version();
        if self.heard.load(Ordering::Relaxed) == version {
            return Ok(());
        }
        let mut ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        if ticket.is_none() {
            *ticket = Some(watch::add(self)?);
        }
        if let Some(ticket) = ticket.as_ref() {
            // What one that has ended already sent is found by the next look.
            senders.names().try_for_each(|name| ticket.follow_too(name).map(drop))?;
        }
        self.heard.store(version, Ordering::Relaxed);
        Ok(())
    }

    /// The peers, if they may be several.
    fn senders(&self) -> Option<&Senders> {
        let inward = self.lanes.iter().find(|(_, writes)| !writes)?;
        Some(&inward.0.header().senders.0).filter(|senders| senders.version() != 0)
    }

    /// Whether there are senders that nobody watches yet.
    fn has_news(&self) -> bool {
        self.senders().is_some_and(|senders| senders.version() != self.heard.load(Ordering::Relaxed))
    }

    fn peer(&self) -> Name {
        self.peers().next().map(Side::holder).unwrap_or_default()
    }

    /// Has all who wait here look again.
    fn look_again(&self) {
        self.own().for_each(sleep::disturb);
        if let Some((bell, _)) = self.rattle.get() {
            bell.ring();
        }
    }

    /// The handle that becomes readable when one of several senders has died.
    pub(super) fn rattle(&self) -> Option<&Companion> {
        self.senders()?;
        if self.rattle.get().is_none() {
            // Without it a wait may sleep over what a sender died with, until the next one sends.
            self.rattle.settle(Companion::pair().ok()?);
        }
        self.rattle.get().map(|(_, ear)| ear)
    }

    fn leave_watch(&self) {
        let ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ticket) = ticket {
            ticket.leave(self.companion.hangup());
        }
    }
}

impl Watched for Common {
    fn hangup(&self) -> Interest<'_> {
        self.companion.hangup()
    }

    fn ended(&self, name: Name) -> Option<Name> {
        let peer = self.peer();
        if self.senders().is_some() {
            // The others live, and it may have died before it woke anybody.
            self.look_again();
            None
        } else if peer == name {
            self.gone();
            None
        } else {
            Some(peer)
        }
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
        self.leave_watch();
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

    /// Whether the peer was last seen on the CPU of this thread, as far as is known.
    pub(super) fn peer_is_here(&self) -> bool {
        let here = self.own().publish_cpu();
        here != cpu::UNKNOWN && self.peer().cpu.load(Ordering::Relaxed) == here
    }

    pub(super) fn wake_peer(&self) {
        sleep::wake(self.peer(), &self.common.companion);
    }

    /// As [`wake_peer`](Self::wake_peer), also if another one took note of the peer's sleep
    /// and died before it woke it.
    pub(super) fn rouse_peer(&self) {
        sleep::rouse(self.peer(), &self.common.companion);
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
        self.wait(deadline, sleep::POLL_FOR, ready, Common::follow_sender)
    }

    /// As [`wait_for_frame`](Self::wait_for_frame), for the peer to make room.
    pub(super) fn wait_for_room(
        &self,
        deadline: Option<Instant>,
        ready: impl Fn() -> bool,
    ) -> io::Result<bool> {
        self.wait(deadline, sleep::POLL_FOR_ROOM, ready, Common::follow_peer)
    }

    fn wait(
        &self,
        deadline: Option<Instant>,
        poll_for: Duration,
        ready: impl Fn() -> bool,
        follow: fn(&Arc<Common>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let sleeper = Sleeper {
            own: self.own(),
            peer: self.peer(),
            poll_for: self.common.polls.load(Ordering::Relaxed).then_some(poll_for),
            deadline,
        };
        sleeper.wait(
            || ready() || self.peer_has_closed() || self.common.is_detached(),
            || follow(&self.common),
            || self.common.has_news(),
        )
    }

    /// Where the next frame to be read begins.
    pub(super) fn read_to(&self) -> u64 {
        self.read_to.load(Ordering::Relaxed)
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
        let _ = self.common.follow_sender();
        let mut post = self.common.post.arm(nudge, self.common.rattle());
        if self.is_ready() {
            return;
        }
        if !post.drain(&self.common.companion, self.read_to()) {
            self.common.gone();
        }
        // ORDERING: as in `Sleeper::wait`; whoever armed looks again afterwards.
        self.own().sleep.fetch_or(ASLEEP_ON_BELL, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.common.has_news() {
            let _ = self.common.follow_sender();
        }
    }

    pub(super) fn disarm(&self) {
        let unset = || {
            self.own().sleep.fetch_and(!ASLEEP_ON_BELL, Ordering::Relaxed);
        };
        self.common.post.disarm(unset);
    }
}
