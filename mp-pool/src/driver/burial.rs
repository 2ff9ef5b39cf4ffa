//! Workers' beginnings and ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc_core::Packet;
use mp_process::{Process, ProcessError, StartMethod};

use super::{Driver, State};
use crate::budget;
use crate::error::{Death, PoolError, PoolKind, TaskKind, WorkerDied, WorkerId};
use crate::station::{Opening, Station};
use crate::wire::{AnswerHead, send_stop};
use crate::worker::Board;

/// How long workers may take to end after they were asked to.
pub(super) const END_GRACE: Duration = Duration::from_secs(1);
/// How long they may take where each has something to do when it leaves.
const FAREWELL_GRACE: Duration = Duration::from_secs(10);
/// So many workers in a row whose initializer fails, and the pool gives up.
const SETUP_TRIES: u32 = 3;

impl Driver {
    pub(super) fn start_worker(&self, state: &mut State, place: usize) -> Result<(), PoolError> {
        self.start_worker_with(state, place, None)
    }

    /// Starts the workers of a pool that is being made.
    pub(super) fn start_all(&self, state: &mut State) -> Result<(), PoolError> {
        let places = state.core.places();
        // Forks of this process have its memory, so that theirs may as well be one piece.
        let mut boards = match state.core.rules.start_method {
            StartMethod::Fork => Board::several(places)?.into_iter(),
            _ => Vec::new().into_iter(),
        };
        (0..places).try_for_each(|place| self.start_worker_with(state, place, boards.next()))
    }

    fn start_worker_with(
        &self,
        state: &mut State,
        place: usize,
        board: Option<Board>,
    ) -> Result<(), PoolError> {
        let (id, mut opening) = self.opening(state, place);
        if let Some(board) = board {
            opening = opening.with_board(board);
        }
        let station = opening.start()?.meet(&opening)?;
        self.install(state, place, id, station);
        Ok(())
    }

    /// Who the worker at a place is, and what it is started with.
    pub(super) fn opening(&self, state: &mut State, place: usize) -> (WorkerId, Opening) {
        state.started += 1;
        let id = WorkerId { pool: self.number, number: state.started as u32 };
        let rules = &state.core.rules;
        // Once the pool is used there may be threads, and whoever drives is one of them:
        // a replacement for a forked worker comes from the fork server.
        let method = match rules.start_method {
            StartMethod::Fork if state.started > self.forks => StartMethod::ForkServer,
            method => method,
        };
        let budget = rules.budget.unwrap_or(rules.processes);
        let allowance = match budget {
            usize::MAX => budget,
            _ => budget::share(budget, rules.processes, place),
        };
        let polls = state.core.may_poll_at_first();
        (id, Opening::new(&id.to_string(), method, rules, allowance, polls))
    }

    /// A worker is there.
    pub(super) fn install(&self, state: &mut State, place: usize, id: WorkerId, station: Station) {
        state.core.ledger.begin(place, &id.to_string());
        state.stations[place] = Some(Arc::new(station));
        state.core.started(place, id);
        if state.driven {
            self.bell.ring();
        }
    }

    /// Replaces workers that have ended; whether there were any.
    pub(super) fn bury(&self, state: &mut State) -> bool {
        let mut any = false;
        for place in 0..state.stations.len() {
            let ended = state.stations[place].as_ref().is_some_and(|station| !station.process().is_alive());
            if ended {
                any = true;
                // What it sent before it ended counts.
                self.take_answers(state, place);
                self.bury_one(state, place);
            }
        }
        state.leaving.retain(|station| station.process().is_alive());
        any
    }

    fn bury_one(&self, state: &mut State, place: usize) {
        let Some(station) = state.stations[place].take() else { return };
        state.mute[place] = None;
        state.close_book(place, &station);
        let error = station.process().join_timeout(Duration::ZERO).err();
        let death = Arc::new(station.death(error));
        let why = TaskKind::WorkerDied(WorkerDied::new(&death));
        Self::recover(state, place, &station);
        let concerned = state.core.died(place, |turn| station.board().begun(turn), &why);
        Self::notify(state, concerned);
        if let Some(reason) = self.reason_to_give_up(state, death, station.board().is_setting_up()) {
            state.give_up(reason.into());
            self.arrived.notify_all();
        } else {
            self.fill(state);
        }
    }

    /// What the worker had done of its task and not sent counts as answered.
    fn recover(state: &mut State, place: usize, station: &Station) {
        let Some((id, task)) = state.core.current(place) else { return };
        let Some((items, bytes)) = station.board().kept(task.turn, task.answered) else { return };
        let mut packet = Packet::new();
        packet.extend_bytes(&bytes);
        packet.mark_trusted();
        let job = state.core.answer(
            place,
            AnswerHead { task: id, items, busy_nanos: 0, kept_bytes: 0, slowest: None },
            packet,
        );
        Self::notify(state, job);
    }

    fn reason_to_give_up(
        &self,
        state: &mut State,
        death: Arc<Death>,
        was_setting_up: bool,
    ) -> Option<PoolKind> {
        let error = death.error.as_ref();
        if error.is_some_and(ProcessError::is_start_failure) {
            return Some(PoolKind::NoStart(death));
        }
        // A task's own panic never ends its worker; the initializer's does, and that of a user's link.
        if was_setting_up && error.is_some_and(ProcessError::is_panic) {
            state.setup_failures += 1;
            let tries = state.setup_failures;
            return (tries >= SETUP_TRIES).then_some(PoolKind::Initializer { tries, last: death });
        }
        let deaths = state.core.is_hopeless(Instant::now())?;
        Some(PoolKind::Dying { deaths, last: death })
    }

    /// Starts workers where there should be more.
    pub(super) fn fill(&self, state: &mut State) {
        if state.core.rules.wires.is_some() {
            return self.send_for_more(state);
        }
        while let Some(place) = state.core.vacancy() {
            if let Err(error) = self.start_worker(state, place) {
                // The others go on; without any, nothing would ever come.
                if state.stations.iter().all(Option::is_none) {
                    state.give_up(error);
                }
                return;
            }
        }
    }

    /// Sets how many workers there are to be.
    pub(crate) fn resize(self: &Arc<Self>, processes: usize) -> Result<(), PoolError> {
        if processes == 0 {
            return Err(PoolKind::NoWorkers.into());
        }
        let mut state = self.lock();
        Self::check(&state)?;
        let processes = match &mut state.seats {
            None => processes,
            Some(seats) => {
                // What its workers were told they may have is not taken away from them.
                seats.resize(processes.max(seats.count()));
                processes.min(seats.count())
            }
        };
        state.core.resize(processes);
        let places = state.core.places();
        state.stations.resize_with(places, || None);
        state.mute.resize(places, None);
        state.listened.resize(places, false);
        // Those that did not come before are tried again now.
        state.refusal = None;
        self.pump(&mut state, false);
        let short = state.core.vacancy();
        self.watch_over(&mut state);
        self.hand_over(&mut state);
        match short {
            // What could not be started now is tried again when a worker ends.
            Some(place) if state.core.rules.wires.is_none() => self.start_worker(&mut state, place),
            _ => self.await_arrivals(state),
        }
    }

    /// Kills workers whose task has run out of time; whether there were any.
    pub(super) fn stop_overdue(&self, state: &mut State) -> bool {
        if state.core.rules.task_timeout.is_none() {
            return false;
        }
        let State { core, stations, .. } = &mut *state;
        let is_up = |place: usize| stations[place].as_ref().is_none_or(|station| station.board().is_ready());
        let overdue = core.take_overdue(Instant::now(), is_up);
        for place in &overdue {
            if let Some(station) = &state.stations[*place] {
                let _ = station.process().kill();
            }
        }
        !overdue.is_empty()
    }

    /// Sends workers home that have run as many items as they may or are not needed,
    /// and starts those that are.
    pub(super) fn retire(&self, state: &mut State) {
        for place in state.core.take_leavers() {
            if let Some(station) = state.stations[place].take() {
                state.mute[place] = None;
                state.close_book(place, &station);
                send_stop(station.link());
                state.leaving.push(station);
            }
        }
        self.fill(state);
    }

    /// Waits until every task has been answered, and ends the workers.
    pub(crate) fn end_gently(&self) {
        self.finish_all();
        let grace = match self.lock().core.rules.farewell {
            Some(_) => FAREWELL_GRACE,
            None => END_GRACE,
        };
        let stations = self.take_stations(PoolKind::Closed.into());
        for station in &stations {
            send_stop(station.link());
        }
        let deadline = Instant::now() + grace;
        let slow: Vec<_> = processes_of(&stations).filter(|process| !has_ended(process, deadline)).collect();
        end_now(&slow);
        self.turn_away_arrivals();
    }

    fn finish_all(&self) {
        let mut state = self.lock();
        self.shut(&mut state);
        // A job without tasks, to be woken by when somebody else drives.
        let waiting = self.next_job();
        state.core.open_job(waiting, 0);
        while state.core.broken.is_none() && state.core.has_work() {
            state = self.turn(state, waiting, None);
        }
        state.core.close_job(waiting);
    }

    /// Ends the workers, whatever they do.
    pub(crate) fn terminate(&self) {
        // Where a worker has nothing of a user's to run when it comes up, one that has not yet
        // need not be asked to end: it would only hear of it once it is there.
        let at_once = self.lock().core.rules.setup.is_none();
        let stations = self.take_stations(PoolKind::Terminated.into());
        for station in stations.iter().filter(|station| at_once && !station.board().is_ready()) {
            let _ = station.process().kill();
        }
        end_now(&processes_of(&stations).collect::<Vec<_>>());
        self.turn_away_arrivals();
    }

    fn take_stations(&self, why: PoolError) -> Vec<Arc<Station>> {
        let mut state = self.lock();
        self.shut(&mut state);
        state.seats = None;
        state.give_up(why);
        self.call_back(&mut state);
        self.supervise.notify_all();
        self.arrived.notify_all();
        let leaving = std::mem::take(&mut state.leaving);
        state.close_books();
        state.stations.iter_mut().filter_map(Option::take).chain(leaving).collect()
    }
}

impl State {
    /// Nothing will be done any more, and here is why.
    pub(super) fn give_up(&mut self, why: PoolError) {
        self.core.give_up(why);
        let wakers = self.core.take_wakers();
        self.leftovers.wakers.extend(wakers);
    }
}

fn processes_of(stations: &[Arc<Station>]) -> impl Iterator<Item = &Process<()>> {
    stations.iter().map(|station| &**station.process())
}

/// Asks all to end, and after a grace kills those that have not.
pub(super) fn end_now(processes: &[&Process<()>]) {
    for process in processes {
        let _ = process.terminate();
    }
    let deadline = Instant::now() + END_GRACE;
    for process in processes {
        if !has_ended(process, deadline) {
            let _ = process.kill();
            has_ended(process, Instant::now() + END_GRACE);
        }
    }
}

/// Waits for a worker to end by itself; whether it did.
fn has_ended(process: &Process<()>, deadline: Instant) -> bool {
    match process.join_timeout(deadline.saturating_duration_since(Instant::now())) {
        Err(error) => !error.is_timeout(),
        Ok(()) => true,
    }
}
