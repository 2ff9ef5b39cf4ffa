//! What a pool says of itself.

use super::{Driver, State};
use crate::core::Place;
use crate::station::Station;
use crate::stats::{PoolStats, WorkerStats};

impl Driver {
    pub(crate) fn stats(&self) -> PoolStats {
        let mut state = self.lock();
        if !state.driven {
            // What has come counts.
            self.pump(&mut state, false);
        }
        let State { core, stations, .. } = &*state;
        let worker = |(place, book): (usize, &Place)| {
            let station = stations.get(place).and_then(Option::as_ref);
            let times =
                station.map_or_else(Default::default, |station| station.times(core.is_at_work(place)));
            WorkerStats {
                name: book.name.clone(),
                pid: station.map(|station| station.process().pid()),
                restarts: book.workers.saturating_sub(1),
                tasks: book.tasks,
                times: book.past + times,
            }
        };
        PoolStats {
            workers: core.ledger.places.iter().enumerate().map(worker).collect(),
            slowest: core.ledger.slowest.clone(),
            cpus: state.core.cpus,
            answers: core.ledger.places.iter().map(|book| book.answers).sum(),
        }
    }
}

impl State {
    /// A worker gets no more tasks: what its time went into is kept.
    pub(super) fn close_book(&mut self, place: usize, station: &Station) {
        let times = station.times(self.core.is_at_work(place));
        self.core.ledger.end(place, times);
    }

    /// As [`close_book`](Self::close_book), for all.
    pub(super) fn close_books(&mut self) {
        for place in 0..self.stations.len() {
            if let Some(station) = self.stations[place].clone() {
                self.close_book(place, &station);
            }
        }
    }
}
