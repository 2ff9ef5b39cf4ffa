//! Whether processes have ended, asked again and again.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::identity::has_fired;
use super::{PerProcess, ProcessId, fork_generation};
use crate::deadline;
use crate::sys::poll::{Interest, poll};
use crate::sys::process::Watch;

/// Processes whose ends are asked for again and again: to ask costs one call of the system,
/// however many they are, once they are known.
///
/// The rolls of this process have one handle for each process that lives and stands in them.
#[derive(Debug, Default)]
pub struct Roll {
    generation: u32,
    known: HashMap<ProcessId, Arc<Watch>>,
}

/// The watches of all rolls and death notices of this process.
static WATCHES: PerProcess<Mutex<Watches>> = PerProcess::new(Mutex::new(None), |_| Mutex::new(None));

type Watches = Option<HashMap<ProcessId, Weak<Watch>>>;

impl Roll {
    /// Those among `processes` that have ended.
    pub fn ended(&mut self, processes: impl IntoIterator<Item = ProcessId>) -> Vec<ProcessId> {
        let processes: Vec<ProcessId> = processes.into_iter().collect();
        self.ask(&processes).unwrap_or_else(|_| {
            // No handles: each is looked at by itself.
            processes.into_iter().filter(|process| !process.is_alive()).collect()
        })
    }

    fn ask(&mut self, processes: &[ProcessId]) -> io::Result<Vec<ProcessId>> {
        let generation = fork_generation();
        if self.generation != generation {
            (self.generation, self.known) = (generation, HashMap::new());
        }
        for process in
            processes.iter().filter(|process| !self.known.contains_key(process)).collect::<Vec<_>>()
        {
            if let Some(watch) = shared_watch(*process)? {
                self.known.insert(*process, watch);
            }
        }
        self.strike_the_dead()?;
        Ok(processes.iter().copied().filter(|process| !self.known.contains_key(process)).collect())
    }

    fn strike_the_dead(&mut self) -> io::Result<()> {
        let known: Vec<(ProcessId, Arc<Watch>)> =
            self.known.iter().map(|(process, watch)| (*process, Arc::clone(watch))).collect();
        let interests: Vec<Interest<'_>> = known.iter().map(|(_, watch)| watch.interest()).collect();
        if interests.is_empty() {
            return Ok(());
        }
        let fired = poll(&interests, deadline::now())?;
        for ((process, _), _) in known.iter().zip(fired).filter(|(_, fired)| *fired) {
            self.known.remove(process);
        }
        Ok(())
    }
}

/// The watch on a process, if it lives: that of another one who asked, or a new one.
pub(super) fn shared_watch(process: ProcessId) -> io::Result<Option<Arc<Watch>>> {
    let mut known = WATCHES.here().lock().unwrap_or_else(PoisonError::into_inner);
    let watches = known.get_or_insert_default();
    if let Some(watch) = watches.get(&process).and_then(Weak::upgrade) {
        return Ok(Some(watch).filter(|watch| !has_fired(watch)));
    }
    watches.retain(|_, watch| watch.strong_count() > 0);
    let Some(watch) = process.watch()?.map(Arc::new) else { return Ok(None) };
    watches.insert(process, Arc::downgrade(&watch));
    Ok(Some(watch))
}

/// As another thread that asks does it, for tests.
#[cfg(test)]
pub(crate) fn ask_and_hold() -> impl Sized {
    WATCHES.here().lock().unwrap()
}
