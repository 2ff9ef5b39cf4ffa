//! The ring that a client on its manager's machine gets while it calls often.
//!
//! Requests keep their order: while a ring is asked for, nothing else is sent. Answers come over the
//! socket up to the one that brings the ring, and over the ring from then on, until it ends; a ring
//! that ends while the socket does not was dropped by a server in which nothing came over it for a
//! time twice as long as this side waits before it sends over it no more.
//!
//! Whoever stands still for so long between that look at the clock and the write may write into a
//! ring that was dropped meanwhile. Such a late request is kept. A server drops a ring when all that
//! it took from it is answered; so one without an answer when the ring has ended was not taken, and
//! goes over the socket.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::lock;
use crate::wire::{RING_UNUSED, Ring};

/// So many calls within [`OFTEN`] are many.
const MANY: u64 = 16;
const OFTEN: Duration = Duration::from_millis(250);
/// A server that has no ring to give is not asked again for so many calls.
const LATER: u64 = 256 * MANY;
/// A request that took longer to send may be too late: the server waits for as long as
/// [`RING_UNUSED`] after this side has sent over a ring for the last time.
const LATE: Duration = RING_UNUSED.checked_div(2).unwrap();
/// How long a server may take to give a ring, while others wait to send.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Fast {
    ring: RwLock<Option<Arc<Ring>>>,
    /// Requests go over the ring.
    sends: AtomicBool,
    /// Held by those who send, and alone by one that asks for a ring.
    gate: RwLock<()>,
    /// When the last [`MANY`] calls began.
    begun_at: Mutex<Instant>,
    /// No ring is asked for before this call.
    not_before: AtomicU64,
    born: Instant,
    /// When the last request over the ring was begun, in milliseconds since then.
    used_at: AtomicU64,
}

impl Default for Fast {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            ring: RwLock::default(),
            sends: AtomicBool::new(false),
            gate: RwLock::default(),
            begun_at: Mutex::new(now),
            not_before: AtomicU64::new(0),
            born: now,
            used_at: AtomicU64::new(0),
        }
    }
}

impl Fast {
    /// Whether it is time to ask for a ring, before the call of that number is sent.
    pub(super) fn is_wanted(&self, call: u64) -> bool {
        if !call.is_multiple_of(MANY) || call < self.not_before.load(Ordering::Relaxed) {
            return false;
        }
        let before = std::mem::replace(&mut *lock(&self.begun_at), Instant::now());
        before.elapsed() < OFTEN && self.inlet().is_none()
    }

    /// Keeps others from sending; `None` if some do right now.
    pub(super) fn close_gate(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.gate.try_write().ok()
    }

    pub(super) fn pass_gate(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_pass_gate(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.gate.try_read().ok()
    }

    /// The ring asked for at that time has come, or has not in time: then it serves for answers
    /// alone, if it still comes.
    pub(super) fn asked(&self, call: u64, at: u64) {
        if self.inlet().is_some() {
            self.used_at.store(at, Ordering::Relaxed);
            self.sends.store(true, Ordering::Relaxed);
        } else {
            self.not_before.store(call + LATER, Ordering::Relaxed);
        }
    }

    /// Takes in the ring that an answer brought.
    pub(super) fn install(&self, ring: Ring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(ring));
    }

    /// The server takes no more over the ring; answers may still lie in it.
    pub(super) fn stop_sending(&self) {
        self.sends.store(false, Ordering::Relaxed);
    }

    /// The ring has ended, and all answers that came over it are read.
    pub(super) fn uninstall(&self) {
        self.stop_sending();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn is_installed(&self, ring: &Arc<Ring>) -> bool {
        self.inlet().is_some_and(|inlet| Arc::ptr_eq(&inlet, ring))
    }

    /// Where answers come.
    pub(super) fn inlet(&self) -> Option<Arc<Ring>> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where requests go, and the time of this look.
    pub(super) fn outlet(&self) -> Option<(Arc<Ring>, u64)> {
        if !self.sends.load(Ordering::Relaxed) {
            return None;
        }
        let now = self.now();
        if now.saturating_sub(self.used_at.load(Ordering::Relaxed)) > RING_UNUSED.as_millis() as u64 {
            self.stop_sending();
            return None;
        }
        Some((self.inlet()?, now))
    }

    /// A request was sent over the ring that [`outlet`](Self::outlet) gave at that time; whether
    /// it may have been too late.
    pub(super) fn sent(&self, at: u64) -> bool {
        self.used_at.fetch_max(at, Ordering::Relaxed);
        self.now().saturating_sub(at) > LATE.as_millis() as u64
    }

    pub(super) fn now(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }
}
