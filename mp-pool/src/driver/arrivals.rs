//! Workers on their way to a pool over a transport.
//!
//! A thread for each starts its process and waits for it without the pool's lock: it may not
//! come, and what is asked of the transport is anybody's code.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::raw::start_thread;
use mp_process::{Process, catch_panic};

use super::burial::{END_GRACE, end_now};
use super::locked::Locked;
use super::{Driver, State};
use crate::error::{PoolError, PoolKind, WorkerId};
use crate::station::{Newcomer, Opening, Station};
use crate::transport::CONNECT_TIMEOUT;

/// A worker that is on its way.
#[derive(Debug)]
pub(super) struct Arrival {
    id: WorkerId,
    /// Once it has been started.
    process: Option<Arc<Process<()>>>,
}

/// Why a worker did not come, and when that was known.
#[derive(Debug)]
pub(super) struct Refusal(PoolError, Instant);

/// How much longer than a worker may take its thread is waited for: what it asks of the
/// transport may never return.
const MEETING_GRACE: Duration = Duration::from_secs(1);
/// How long the pool goes on with the others before it tries again.
const PAUSE: Duration = Duration::from_millis(500);

impl Driver {
    /// Has workers come where there should be more.
    pub(super) fn send_for_more(&self, state: &mut State) {
        if !state.may_send() {
            return;
        }
        while let Some(place) = state.core.vacancy() {
            if let Err(error) = self.send_for(state, place) {
                return self.do_without(state, error);
            }
        }
    }

    /// Has all workers come of a pool that is being made.
    pub(super) fn send_for_all(&self, state: &mut State) -> Result<(), PoolError> {
        // Those that are forks of this process are so of this thread, before there are others.
        let mut newcomers = Vec::new();
        for place in 0..state.core.places() {
            let (id, opening) = self.opening(state, place);
            newcomers.push((place, id, opening.start()?, opening));
        }
        for (place, id, newcomer, opening) in newcomers {
            self.await_at_door(state, place, id, opening, Some(newcomer))?;
        }
        Ok(())
    }

    fn send_for(&self, state: &mut State, place: usize) -> Result<(), PoolError> {
        let (id, opening) = self.opening(state, place);
        self.await_at_door(state, place, id, opening, None)
    }

    fn await_at_door(
        &self,
        state: &mut State,
        place: usize,
        id: WorkerId,
        opening: Opening,
        newcomer: Option<Newcomer>,
    ) -> Result<(), PoolError> {
        let driver = self.this.upgrade().ok_or(PoolKind::Closed)?;
        let process = newcomer.as_ref().map(|newcomer| Arc::clone(newcomer.process()));
        let thread = std::thread::Builder::new().name("mp-pool-door".into()).stack_size(256 << 10);
        start_thread(thread, move || driver.meet(place, id, &opening, newcomer))?;
        state.core.set_on_its_way(place, true);
        state.arrivals.push(Arrival { id, process });
        Ok(())
    }

    /// Starts a worker, if it has not been, waits for it, and gives it its place.
    fn meet(&self, place: usize, id: WorkerId, opening: &Opening, newcomer: Option<Newcomer>) {
        // A transport that panics is one that fails: who waits for the worker is told.
        let outcome = catch_panic(|| {
            let newcomer = newcomer.map_or_else(|| opening.start(), Ok);
            newcomer.and_then(|newcomer| {
                self.announce(id, newcomer.process())?;
                newcomer.meet(opening)
            })
        });
        let outcome = outcome.unwrap_or_else(|panic| {
            Err(io::Error::other(format!("the pool's transport panicked: {panic}")).into())
        });
        let mut state = self.lock();
        state.arrivals.retain(|arrival| arrival.id != id);
        state.core.set_on_its_way(place, false);
        let late = match outcome {
            Ok(station) if state.core.broken.is_some() => Some(station),
            Ok(station) => {
                self.welcome(&mut state, place, id, station);
                None
            }
            Err(error) => {
                self.miss(&mut state, error);
                None
            }
        };
        self.arrived.notify_all();
        if state.driven {
            self.bell.ring();
        } else {
            self.hand_over(&mut state);
        }
        drop(state);
        if let Some(station) = late {
            end_now(&[station.process()]);
        }
    }

    /// From now on the pool's end is that of the process.
    fn announce(&self, id: WorkerId, process: &Arc<Process<()>>) -> Result<(), PoolError> {
        let mut state = self.lock();
        Self::check(&state)?;
        let arrival = state.arrivals.iter_mut().find(|arrival| arrival.id == id);
        arrival.ok_or(PoolKind::Closed)?.process = Some(Arc::clone(process));
        Ok(())
    }

    fn welcome(&self, state: &mut State, place: usize, id: WorkerId, station: Station) {
        state.refusal = None;
        self.install(state, place, id, station);
        if state.core.is_overstaffed() {
            // The pool was made smaller meanwhile.
            state.core.retire(place);
            self.retire(state);
        }
        self.dispatch(state);
    }

    /// A worker has not come.
    fn miss(&self, state: &mut State, error: PoolError) {
        // One that was killed on its way is a worker that died.
        if error.is_killed_on_its_way() && !state.core.is_stillborn() {
            self.send_for_more(state);
        } else {
            self.do_without(state, error);
        }
    }

    /// The others go on; without any, nothing would ever come.
    fn do_without(&self, state: &mut State, error: PoolError) {
        if !state.has_workers() && state.arrivals.is_empty() {
            state.give_up(error);
            self.call_back(state);
            self.supervise.notify_all();
        } else {
            state.refusal = Some(Refusal(error, Instant::now()));
        }
    }

    /// Waits for those that are on their way now, or for the pool's end; not for ever.
    pub(super) fn await_arrivals(&self, state: Locked<'_>) -> Result<(), PoolError> {
        self.await_arrivals_until(state, Instant::now() + CONNECT_TIMEOUT + MEETING_GRACE)
    }

    fn await_arrivals_until(&self, mut state: Locked<'_>, deadline: Instant) -> Result<(), PoolError> {
        let awaited: Vec<WorkerId> = state.arrivals.iter().map(|arrival| arrival.id).collect();
        let are_awaited = |arrivals: &[Arrival]| arrivals.iter().any(|arrival| awaited.contains(&arrival.id));
        while state.core.broken.is_none() && are_awaited(&state.arrivals) {
            if Instant::now() >= deadline {
                return Err(PoolKind::NoLink(None).into());
            }
            state = state.wait(&self.arrived, Some(deadline));
        }
        Self::check(&state)?;
        match &state.refusal {
            Some(Refusal(error, _)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// The pool has ended: nobody is to be on the way to it.
    pub(super) fn turn_away_arrivals(&self) {
        let deadline = Instant::now() + END_GRACE;
        let mut state = self.lock();
        while !state.arrivals.is_empty() && Instant::now() < deadline {
            for process in state.arrivals.iter().filter_map(|arrival| arrival.process.as_ref()) {
                let _ = process.kill();
            }
            state = state.wait(&self.arrived, Some(deadline));
        }
    }
}

impl State {
    /// Whether those that did not come may be tried again.
    fn may_send(&self) -> bool {
        match &self.refusal {
            None => true,
            Some(Refusal(_, since)) if self.has_workers() => since.elapsed() >= PAUSE,
            // If those that are on their way do not come either, nobody does.
            Some(_) => self.arrivals.is_empty(),
        }
    }

    /// When they are, if the pool can go on without them.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let Refusal(_, since) = self.refusal.as_ref()?;
        (self.has_workers() && self.core.vacancy().is_some()).then(|| *since + PAUSE)
    }

    fn has_workers(&self) -> bool {
        self.stations.iter().any(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::budget::Seats;
    use crate::rules::Rules;

    /// Its thread is in a call of the transport that does not return.
    #[test]
    fn a_worker_that_neither_comes_nor_fails_is_not_waited_for_without_end() {
        let driver = Driver::without_workers(Rules::new(1), 1, Seats::take(1)).unwrap();
        driver.lock().arrivals.push(Arrival { id: WorkerId { pool: 1, number: 1 }, process: None });
        let (tx, rx) = mpsc::channel();
        thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_millis(20);
            tx.send(driver.await_arrivals_until(driver.lock(), deadline)).unwrap();
        });
        let ended = rx.recv_timeout(Duration::from_secs(20)).expect("it waits past its deadline");
        assert!(ended.unwrap_err().to_string().contains("connect"));
    }
}
