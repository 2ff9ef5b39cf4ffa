//! Values that many tasks look at, and which workers have them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ipc_core::Packet;

use super::Core;
use crate::wire::ShareId;

/// The shared values of a pool.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    last: ShareId,
    /// What makes a worker keep each.
    orders: HashMap<ShareId, Packet>,
    returned: Arc<Returned>,
    /// Values that nobody needs, and that a worker may still have.
    unwanted: Vec<ShareId>,
}

/// Held by whoever needs a shared value: its handle and the jobs that look at it.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: ShareId,
    returned: Arc<Returned>,
}

/// Values that the last holder has let go of: where, under which locks, is all the same.
#[derive(Debug, Default)]
struct Returned {
    any: AtomicBool,
    ids: Mutex<Vec<ShareId>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.returned.ids.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        // ORDERING: who sees the mark finds the number.
        self.returned.any.store(true, Ordering::Release);
    }
}

impl Shares {
    /// A number for a new value.
    pub(crate) fn next_id(&mut self) -> ShareId {
        self.last += 1;
        self.last
    }

    /// Has a value that `order` makes workers keep.
    pub(crate) fn add(&mut self, id: ShareId, order: Packet) -> Arc<Lease> {
        self.orders.insert(id, order);
        Arc::new(Lease { id, returned: Arc::clone(&self.returned) })
    }

    pub(crate) fn order(&mut self, id: ShareId) -> Option<&mut Packet> {
        self.orders.get_mut(&id)
    }

    /// Whether there are values to be dropped.
    fn has_unwanted(&mut self) -> bool {
        // ORDERING: see `Lease`.
        if self.returned.any.swap(false, Ordering::Acquire) {
            let mut ids = self.returned.ids.lock().unwrap_or_else(PoisonError::into_inner);
            for id in ids.drain(..) {
                self.orders.remove(&id);
                self.unwanted.push(id);
            }
        }
        !self.unwanted.is_empty()
    }
}

impl Core {
    /// Whether a worker has been sent a value.
    pub(crate) fn knows(&self, worker: usize, id: ShareId) -> bool {
        self.workers[worker].knows.contains(&id)
    }

    /// A worker has been sent a value.
    pub(crate) fn learned(&mut self, worker: usize, id: ShareId) {
        self.workers[worker].knows.push(id);
    }

    /// A worker has been told to drop a value.
    pub(crate) fn unlearned(&mut self, worker: usize, id: ShareId) {
        self.workers[worker].knows.retain(|known| *known != id);
    }

    /// Which workers have values that nobody needs.
    pub(crate) fn unwanted(&mut self) -> Vec<(usize, ShareId)> {
        if !self.shares.has_unwanted() {
            return Vec::new();
        }
        let Self { shares, workers, .. } = self;
        let known = |id: &ShareId| workers.iter().any(|hands| hands.knows.contains(id));
        shares.unwanted.retain(known);
        let places = workers.iter().enumerate();
        places
            .flat_map(|(place, hands)| hands.knows.iter().map(move |id| (place, *id)))
            .filter(|(_, id)| shares.unwanted.contains(id))
            .collect()
    }
}
