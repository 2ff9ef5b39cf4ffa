//! One thread that notices the end of peers, for those who sleep where the
//! kernel would not tell them: on a word of shared memory.
//!
//! It starts when the first of them goes to sleep, and sleeps in `poll` itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::sys::companion::Companion;
use crate::sys::poll::{Interest, poll};
use crate::sys::process;

/// Somebody whose peer may die.
pub(crate) trait Watched: Send + Sync {
    /// Becomes ready when the peer has closed its last copy of the connection.
    fn hangup(&self) -> Interest<'_>;

    /// The process that holds the peer now, and when it started; zero for unknown.
    fn peer(&self) -> (u32, u64);

    /// The peer is gone.
    fn gone(&self);
}

struct Watcher {
    entries: Mutex<Vec<Weak<dyn Watched>>>,
    bell: Companion,
}

static WATCHER: OnceLock<Option<Watcher>> = OnceLock::new();

/// Tells `entry` when its peer is gone.
pub(crate) fn add(entry: Weak<dyn Watched>) {
    let Some(watcher) = WATCHER.get_or_init(start).as_ref() else {
        return;
    };
    watcher.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    watcher.bell.ring();
}

/// Lets go at once of entries that were dropped.
pub(crate) fn forget() {
    if let Some(Some(watcher)) = WATCHER.get() {
        watcher.bell.ring();
    }
}

fn start() -> Option<Watcher> {
    let (bell, ear) = Companion::pair().ok()?;
    let run = move || {
        if let Some(watcher) = WATCHER.wait() {
            watch(watcher, &ear);
        }
    };
    std::thread::Builder::new().name("ipc-core-watch".into()).stack_size(128 * 1024).spawn(run).ok()?;
    Some(Watcher { entries: Mutex::new(Vec::new()), bell })
}

/// A process, by its id and start time.
type Name = (u32, u64);

fn watch(watcher: &Watcher, ear: &Companion) -> ! {
    let mut processes: HashMap<Name, Option<process::Watch>> = HashMap::new();
    loop {
        let living = watcher.living();
        let names: Vec<Name> = living.iter().map(|entry| entry.peer()).collect();
        processes.retain(|name, _| names.contains(name));
        for name in &names {
            processes.entry(*name).or_insert_with(|| open(*name));
        }
        let ended = round(ear, &living, &processes);
        while let Ok(crate::sys::companion::Packet::Bell) = ear.receive() {}
        for (place, entry) in living.iter().enumerate() {
            let by_process = ended.processes.contains(&names[place]) && entry.peer() == names[place];
            if ended.hangups[place] || by_process {
                entry.gone();
                watcher.remove(entry);
            }
        }
    }
}

/// What a round of waiting found.
struct Ended {
    hangups: Vec<bool>,
    processes: Vec<Name>,
}

fn round(
    ear: &Companion,
    living: &[Arc<dyn Watched>],
    processes: &HashMap<Name, Option<process::Watch>>,
) -> Ended {
    let watches: Vec<(Name, &process::Watch)> =
        processes.iter().filter_map(|(name, watch)| Some((*name, watch.as_ref()?))).collect();
    let mut interests = vec![ear.interest()];
    interests.extend(living.iter().map(|entry| entry.hangup()));
    interests.extend(watches.iter().map(|(_, watch)| watch.interest()));
    let fired = poll(&interests, None).unwrap_or_else(|_| vec![false; interests.len()]);
    let (hangups, by_process) = fired[1..].split_at(living.len());
    Ended {
        hangups: hangups.to_vec(),
        processes: watches
            .iter()
            .zip(by_process)
            .filter(|(_, fired)| **fired)
            .map(|((name, _), _)| *name)
            .collect(),
    }
}

/// Watches a process; one that is gone already needs none, as its connection hangs up.
fn open((pid, started): Name) -> Option<process::Watch> {
    if pid == 0 || pid == process::current_id() {
        return None;
    }
    let watch = process::Watch::open(pid).ok()?;
    // The id may have been given to another process meanwhile.
    (process::start_time(pid).ok()? == started).then_some(watch)
}

impl Watcher {
    fn living(&self) -> Vec<Arc<dyn Watched>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.strong_count() > 0);
        entries.iter().filter_map(Weak::upgrade).collect()
    }

    fn remove(&self, gone: &Arc<dyn Watched>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| !std::ptr::addr_eq(entry.as_ptr(), Arc::as_ptr(gone)));
    }
}
