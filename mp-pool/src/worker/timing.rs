//! What a worker's time goes into.
//!
//! The clock is read where it is read anyhow, and the rest is found out from samples: a quick
//! item costs some arithmetic.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::board::Board;
use crate::wire::Slowest;

/// Of quick items, the parts of one in so many are timed.
const SAMPLE_EVERY: u32 = 64;
/// Of items that take longer than this, those of each are.
const SLOW: Duration = Duration::from_micros(10);
/// How many of the slowest are told of.
const TOLD: usize = 5;

/// A worker's time, of which it tells on its board.
pub(super) struct Timing<'a> {
    board: &'a Board,
    /// Since when it has been at what it is at.
    since: Cell<Instant>,
    busy: Cell<u64>,
    waiting: Cell<u64>,
    serialising: Cell<u64>,
    /// Items since the parts of one were timed.
    unsampled: Cell<u32>,
    /// Items take so long that the clock costs nothing beside them.
    is_slow: Cell<bool>,
    /// What it costs to read the clock.
    clock: Duration,
    /// The times of the slowest items that the pool was told of, in nanoseconds.
    told: [Cell<u64>; TOLD],
    slowest: Cell<Option<Slowest>>,
}

impl<'a> Timing<'a> {
    /// The worker waits for its first task.
    pub(super) fn begin(board: &'a Board) -> Self {
        board.tell_ready();
        Self {
            board,
            since: Cell::new(Instant::now()),
            busy: Cell::new(0),
            waiting: Cell::new(0),
            serialising: Cell::new(0),
            unsampled: Cell::new(0),
            is_slow: Cell::new(false),
            clock: cost_of_clock(),
            told: Default::default(),
            slowest: Cell::new(None),
        }
    }

    /// A task begins.
    pub(super) fn task_begins(&self, now: Instant) {
        add(&self.waiting, now - self.since.replace(now));
        self.tell();
    }

    /// Some items of a task are done, or all; what was slow about them.
    pub(super) fn items_end(&self, now: Instant) -> Option<Slowest> {
        add(&self.busy, now - self.since.replace(now));
        self.tell();
        let slowest = self.slowest.take()?;
        if let Some(place) = self.told.iter().min_by_key(|told| told.get()) {
            place.set(slowest.nanos);
        }
        Some(slowest)
    }

    fn tell(&self) {
        let busy = self.busy.get();
        let serialising = self.serialising.get().min(busy);
        self.board.tell_times(busy - serialising, serialising, self.waiting.get());
    }

    /// Some items of a task, from number `item` on, took so long together.
    pub(super) fn note(&self, item: u32, items: u32, time: Duration) {
        self.is_slow.set(time > SLOW * items);
        let nanos = nanos(time);
        let least = self.slowest.get().map_or_else(|| self.least_told(), |slowest| slowest.nanos);
        if nanos > least {
            self.slowest.set(Some(Slowest { item, items, nanos }));
        }
    }

    fn least_told(&self) -> u64 {
        self.told.iter().map(Cell::get).min().unwrap_or(0)
    }

    /// Whether the parts of the next item are to be timed.
    #[inline]
    pub(super) fn is_sampled(&self) -> bool {
        let unsampled = self.unsampled.get() + 1;
        self.unsampled.set(unsampled);
        unsampled >= SAMPLE_EVERY || self.is_slow.get()
    }

    /// An item's decoding and encoding took so long, in two parts.
    pub(super) fn sample(&self, codec: Duration) {
        let codec = codec.saturating_sub(2 * self.clock);
        add(&self.serialising, codec * self.unsampled.replace(0));
    }
}

fn add(sum: &Cell<u64>, time: Duration) {
    sum.set(sum.get().saturating_add(nanos(time)));
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn cost_of_clock() -> Duration {
    let readings = (0..8).map(|_| {
        let begun = Instant::now();
        Instant::now() - begun
    });
    readings.min().unwrap_or_default()
}
