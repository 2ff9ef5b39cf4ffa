//! What the workers have done, and what it took.

use std::time::Duration;

use super::Core;
use crate::stats::{SlowInput, Times};
use crate::wire::Slowest;

/// So many of the slowest inputs are known.
const SLOWEST: usize = 5;

/// What is known of all workers that the pool has had.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) places: Vec<Place>,
    /// The slowest first.
    pub(crate) slowest: Vec<SlowInput>,
}

/// The workers that have followed each other in one place.
#[derive(Debug, Default, Clone)]
pub(crate) struct Place {
    /// Of the last one.
    pub(crate) name: String,
    /// How many there have been.
    pub(crate) workers: u32,
    pub(crate) tasks: u64,
    pub(crate) answers: u64,
    /// Of those that are no more.
    pub(crate) past: Times,
}

impl Ledger {
    /// A worker begins.
    pub(crate) fn begin(&mut self, place: usize, name: &str) {
        if self.places.len() <= place {
            self.places.resize_with(place + 1, Place::default);
        }
        let book = &mut self.places[place];
        name.clone_into(&mut book.name);
        book.workers += 1;
    }

    /// A worker is no more.
    pub(crate) fn end(&mut self, place: usize, times: Times) {
        if let Some(book) = self.places.get_mut(place) {
            book.past = book.past + times;
        }
    }

    /// A worker has done some items. The slowest may be among them, of the task that
    /// begins with item `index` of its call.
    #[inline]
    pub(super) fn done(&mut self, place: usize, items: u32, index: usize, slowest: Option<Slowest>) {
        let Some(book) = self.places.get_mut(place) else { return };
        book.tasks += u64::from(items);
        book.answers += 1;
        if let Some(slowest) = slowest {
            self.keep(place, index, slowest);
        }
    }

    fn keep(&mut self, place: usize, index: usize, slowest: Slowest) {
        let time = Duration::from_nanos(slowest.nanos);
        let at = self.slowest.partition_point(|other| other.time >= time);
        if at < SLOWEST {
            let worker = self.places[place].name.clone();
            let (index, items) = (index + slowest.item as usize, slowest.items as usize);
            self.slowest.insert(at, SlowInput { index, items, time, worker });
            self.slowest.truncate(SLOWEST);
        }
    }
}

impl Core {
    /// Whether a worker is at a task, as far as is known.
    pub(crate) fn is_at_work(&self, worker: usize) -> bool {
        !self.workers[worker].held.is_empty()
    }
}
