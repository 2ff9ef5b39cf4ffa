//! Tasks that take more memory than they may.

use std::time::{Duration, Instant};

use super::{Driver, State};
use crate::error::TaskKind;

/// How often the memory of workers is measured that are at a task.
const MEASURE_EVERY: Duration = Duration::from_millis(5);

impl Driver {
    /// Kills workers whose memory has grown too much in the task they are at; whether there
    /// were any. Now and then, if there is a limit.
    pub(super) fn stop_overgrown(&self, state: &mut State) -> bool {
        let Some(limit) = state.core.rules.task_memory else { return false };
        if state.measured.elapsed() < MEASURE_EVERY {
            return false;
        }
        state.measured = Instant::now();
        let mut any = false;
        for (place, turn) in state.core.at_work() {
            let Some(station) = state.stations[place].clone() else { continue };
            let Some(before) = station.board().memory_before(turn) else { continue };
            let now = station.process().resident_memory().unwrap_or(0);
            let grown = now.saturating_sub(before);
            if grown > limit {
                any = true;
                state.core.doom(place, TaskKind::TooMuchMemory { limit, grown });
                let _ = station.process().kill();
            }
        }
        any
    }
}

impl State {
    /// When the memory of workers is to be measured again, if any is.
    pub(super) fn next_measuring(&self) -> Option<Instant> {
        self.core.rules.task_memory?;
        (!self.core.at_work().is_empty()).then(|| self.measured + MEASURE_EVERY)
    }
}
