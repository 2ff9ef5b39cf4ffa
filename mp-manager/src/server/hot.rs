//! Rings over which something came lately: they are looked at without the kernel's help.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::Waitable;

use super::Server;
use super::ring::{MOST, Ring};

/// What whoever is at the helm knows of such rings.
pub(super) struct Hot {
    /// Those at the front are looked at each time, of the others a few in turn.
    rings: Vec<Arc<Ring>>,
    /// The place in the front whose ring is the next to make room for another one.
    oldest: usize,
    /// The one of the others that was looked at last.
    looked_at: usize,
    /// The time of the last look.
    now: Instant,
    /// When another client than those last said something.
    others: Instant,
    /// Rings that were answered, and whose clients may sleep: they are woken in this order.
    owed: VecDeque<Arc<Ring>>,
    /// When the next of them is woken, even if others go on without that.
    wake_at: Instant,
    /// So many are woken the next time that all are silent.
    group: usize,
}

/// What a look at the rings has shown.
#[derive(PartialEq, Eq)]
pub(super) enum Seen {
    /// There is a request.
    Ready,
    /// There is none yet: somebody was woken.
    Woken,
    /// Nobody says anything, or the bell calls: the thread may sleep.
    Nothing,
}

/// So many rings are looked at each time, and so many of the others in turn.
const FRONT: usize = 16;
const OTHERS: usize = 8;
/// A ring over which nothing came while the kernel was asked so often is waited for by the kernel.
const QUIET: u32 = 256;
/// The same for the times at which the thread was about to sleep.
const DOZES: u32 = 16;
/// How long rings over which something came lately are looked at before the thread sleeps.
const LINGER: Duration = Duration::from_micros(10);
/// The same for one, if nobody else has anything to say: then the wait is a sleep. A shorter one
/// would have the kernel set a timer each time, which costs more than all the rest.
const LINGER_ALONE: Duration = Duration::from_millis(4);
/// A client that sleeps beside its answer is woken only so often while others, which look for theirs,
/// go on calling. It may run on this very processor, and they would give up looking meanwhile: then
/// each call of all of them costs a wake and two changes of processes.
const WAKE_EVERY: Duration = Duration::from_micros(250);
/// If they have said nothing for so long, one is woken at once.
const PAUSE: Duration = Duration::from_micros(2);
/// It has so long to say something before others are woken, each time twice as many. If all were woken
/// at once, they would keep each other and this thread from running, and give up looking.
const WAKING: Duration = Duration::from_micros(20);
/// The longest that one look at all of them takes.
const LOOK: Duration = Duration::from_nanos(250);
/// Who has said nothing for so long has nothing to say.
const SILENCE: Duration = Duration::from_millis(10);

impl Hot {
    pub(super) fn new() -> Self {
        Self {
            rings: Vec::new(),
            oldest: 0,
            looked_at: 0,
            now: Instant::now(),
            others: Instant::now(),
            owed: VecDeque::new(),
            wake_at: Instant::now(),
            group: 1,
        }
    }

    /// A request came over a ring.
    pub(super) fn heat(&mut self, ring: Arc<Ring>) {
        if ring.is_hot.swap(true, Ordering::Relaxed) {
            if ring.will_owe() {
                self.owed.push_back(ring);
            }
        } else {
            // Who calls seldom is woken at once.
            self.rings.push(ring);
            self.bring_forward(self.rings.len() - 1);
        }
    }

    /// The kernel tells of a client, which has this ring or none.
    pub(super) fn note(&mut self, ring: Option<&Ring>) {
        if ring.is_none_or(|ring| !self.rings.is_empty() && !ring.is_hot.load(Ordering::Relaxed)) {
            self.others = Instant::now();
        }
        self.group = 1;
    }

    /// The time of the last look.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Somebody else comes, or several say something.
    pub(super) fn note_other(&mut self) {
        self.others = Instant::now();
    }

    /// Whoever has just said something over its ring most likely says more: it is waited for a
    /// little while without the kernel's help, or the bell's. Rings that are ready are taken, if
    /// that can be.
    pub(super) fn look(&mut self, server: &Server, mut take: impl FnMut(&Arc<Ring>) -> bool) -> Seen {
        let linger = match &self.rings[..] {
            [] => return Seen::Nothing,
            [_] if self.others.elapsed() > SILENCE && server.crew.is_calm() => LINGER_ALONE,
            // Whoever is to run here does so only while this thread sleeps.
            hot if hot.iter().all(|ring| ring.link().is_peer_here()) => Duration::ZERO,
            _ => LINGER,
        };
        if matches!(linger, LINGER_ALONE | Duration::ZERO) {
            self.wake_all();
        }
        let (mut last, mut looked) = (Instant::now(), Duration::ZERO);
        let until = last + linger;
        let pause = if self.group == 1 { PAUSE } else { WAKING };
        loop {
            if linger == LINGER_ALONE && !server.has_rung.load(Ordering::Relaxed) {
                // An end or an error is for whoever receives.
                let _ = self.rings[0].link().poll(Some(until));
            }
            let has_taken = self.look_once(&mut take);
            let now = Instant::now();
            self.now = now;
            if has_taken {
                self.group = 1;
                if now >= self.wake_at {
                    self.wake_some(1, now);
                }
                return Seen::Ready;
            }
            if server.has_rung.load(Ordering::Relaxed) {
                return Seen::Nothing;
            }
            // Time in which somebody else ran here was no look.
            looked += (now - last).min(LOOK);
            last = now;
            if looked >= pause && self.wake_some(self.group, now) {
                self.group = (2 * self.group).min(MOST);
                return Seen::Woken;
            }
            if now >= until && self.owed.is_empty() {
                self.group = 1;
                return Seen::Nothing;
            }
            std::hint::spin_loop();
        }
    }

    /// Takes rings that are ready; whether there was one.
    pub(super) fn look_once(&mut self, mut take: impl FnMut(&Arc<Ring>) -> bool) -> bool {
        let mut has_taken = false;
        let mut look_at = |ring: &Arc<Ring>| {
            let takes = ring.is_ready() == Some(true) && take(ring);
            has_taken |= takes;
            takes
        };
        let front = self.rings.len().min(FRONT);
        for ring in &self.rings[..front] {
            look_at(ring);
        }
        for _ in 0..OTHERS.min(self.rings.len() - front) {
            self.looked_at += 1;
            if self.looked_at < front || self.looked_at >= self.rings.len() {
                self.looked_at = front;
            }
            if look_at(&self.rings[self.looked_at]) {
                self.bring_forward(self.looked_at);
            }
        }
        has_taken
    }

    fn bring_forward(&mut self, place: usize) {
        if place >= FRONT {
            self.rings.swap(self.oldest, place);
            self.oldest = (self.oldest + 1) % FRONT;
        }
    }

    /// The thread may sleep: of all rings the kernel tells too. Those over which something came lately are
    /// looked at again when it is awake. One process may be several clients, which call in turn: if only the one
    /// that wakes this thread were looked at, each call would have to.
    pub(super) fn doze(&mut self) {
        self.wake_all();
        self.cool(|ring| ring.is_spoken_over(DOZES));
    }

    /// Leaves those to the kernel over which nothing came for a while.
    pub(super) fn cool_some(&mut self) {
        self.cool(|ring| ring.is_spoken_over(QUIET));
    }

    fn cool(&mut self, stays: impl Fn(&Ring) -> bool) {
        self.rings.retain(|ring| {
            let stays = stays(ring);
            ring.is_hot.store(stays, Ordering::Relaxed);
            stays
        });
    }

    /// A client has no ring any more.
    pub(super) fn remove(&mut self, session: u64) {
        self.rings.retain(|ring| ring.session() != session);
    }

    /// Wakes the clients that have slept longest beside their answers; whether there was one to wake.
    fn wake_some(&mut self, most: usize, now: Instant) -> bool {
        let mut woken = 0;
        while woken < most
            && let Some(ring) = self.owed.pop_front()
        {
            if ring.pay() {
                woken += 1;
                if let Some(place) = self.rings.iter().position(|hot| Arc::ptr_eq(hot, &ring)) {
                    self.bring_forward(place);
                }
            }
        }
        if woken > 0 {
            self.wake_at = now + WAKE_EVERY;
        }
        woken > 0
    }

    /// Nobody sleeps beside its answer any more.
    pub(super) fn wake_all(&mut self) {
        for ring in self.owed.drain(..) {
            ring.pay();
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc_core::Connection;
    use ipc_core::link::{RingLink, RingOptions};

    use super::*;

    #[test]
    fn rings_are_looked_at_after_a_sleep_if_something_came_over_them_lately() {
        let (mut hot, mut theirs) = (Hot::new(), Vec::new());
        for session in 0..2 {
            let (ours, peers) = RingLink::duplex(RingOptions::default()).unwrap();
            hot.heat(Arc::new(Ring::new(Connection::over(ours), session, session, true, (64, 64))));
            theirs.push(Connection::<u8, u8>::over(peers));
        }
        hot.doze();
        theirs[1].send(&1).unwrap();
        let mut taken = Vec::new();
        assert!(hot.look_once(|ring| {
            taken.push(ring.session());
            true
        }));
        assert_eq!(taken, [1]);
        (1..DOZES).for_each(|_| hot.doze());
        assert!(!hot.look_once(|_| true), "by now it is left to the kernel");
    }
}
