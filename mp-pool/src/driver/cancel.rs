//! Cancelling.

use super::{Driver, State};
use crate::core::JobId;
use crate::error::TaskKind;
use crate::worker::{Begun, Board};

impl Driver {
    /// Cancels what is left of a job: items that are not begun fail, and running ones are
    /// killed with their workers.
    pub(crate) fn cancel(&self, job: JobId) {
        let mut state = self.lock();
        self.pump(&mut state, false);
        state.core.cancel_queued(job);
        for place in 0..state.stations.len() {
            let Some(station) = state.stations[place].clone() else { continue };
            if withdraw(&mut state, place, station.board(), job) {
                state.core.doom(place, TaskKind::Cancelled);
                let _ = station.process().kill();
            }
        }
        Self::notify(&mut state, [job]);
        self.call_back(&mut state);
        self.dispatch(&mut state);
        self.hand_over(&mut state);
    }
}

/// Has a worker begin nothing more of a job; whether it has to be killed, because it is
/// at a task of it. Then it holds nothing else that could have been begun by the time it
/// is dead: that would die with it.
fn withdraw(state: &mut State, place: usize, board: &Board, job: JobId) -> bool {
    let mut behind = Vec::new();
    let mut held = state.core.held_by(place).into_iter();
    let begun = held.by_ref().find(|(id, turn, of)| {
        if *of != job {
            behind.push((*id, *turn));
            return false;
        }
        let is_skipped = board.skip(*turn);
        if is_skipped {
            state.core.forsake(*id);
        }
        !is_skipped
    });
    begun.is_some()
        && behind.into_iter().all(|(id, turn)| {
            // A worker that has begun it has done what was cancelled.
            let is_skipped = board.skip(turn);
            if is_skipped {
                state.core.take_back(place, id, Begun::Nothing);
            }
            is_skipped
        })
}
