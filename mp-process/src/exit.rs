//! The children of this process: those that nobody holds any more, and what
//! happens to all of them at the end.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ipc_core::{Handle, Waitable, wait_deadline};

use crate::child::Child;
use crate::per_process::PerProcess;
use crate::sys::setup::Place;
use crate::sys::{leave, start};

/// How long the end of `main` waits for a child unless told otherwise.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// How long the end waits for other threads to let go of the list.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Children {
    /// All that live, and for forks where their links are.
    held: Vec<(Weak<Child>, Duration, Arc<Place>)>,
    /// Those whose last handle was dropped while they ran.
    adopted: Vec<(Arc<Child>, Duration)>,
}

static CHILDREN: PerProcess<Children> = PerProcess::new();

/// Notes a child that was started, and how long the end of `main` waits for it.
pub(crate) fn enrol(child: &Arc<Child>, grace: Duration) {
    leave::at_exit(wait_for_all);
    CHILDREN.with(|children| {
        children.held.retain(|(child, ..)| child.strong_count() > 0);
        children.held.push((Arc::downgrade(child), grace, Arc::clone(child.place())));
    });
}

/// Notes a child whose handle is dropped while it runs: it is collected when the
/// next one is started, and at the end.
pub(crate) fn adopt(child: &Arc<Child>, grace: Duration) {
    CHILDREN.with(|children| children.adopted.push((Arc::clone(child), grace)));
}

/// Collects those that have ended.
pub(crate) fn collect() {
    start::tend();
    // Dropped outside of the lock.
    let _ended: Vec<_> = CHILDREN.with(|children| {
        children.adopted.extract_if(.., |(child, _)| !matches!(child.status(), Ok(None))).collect()
    });
}

/// The children that have not ended.
pub(crate) fn living() -> Vec<Arc<Child>> {
    let mut all: Vec<Arc<Child>> = CHILDREN.with(|children| {
        let adopted = children.adopted.iter().map(|(child, _)| Arc::clone(child));
        let held = children.held.iter().filter_map(|(child, ..)| child.upgrade());
        held.chain(adopted).collect()
    });
    all.sort_by_key(|child| child.pid());
    all.dedup_by_key(|child| child.pid());
    all.retain(|child| matches!(child.status(), Ok(None)));
    all
}

/// Waits for each child as long as it was granted. What still runs then ends with
/// this process.
///
/// It takes no lock for long, as `exit` may be called by any thread at any time.
pub(crate) fn wait_for_all() {
    let awaited = CHILDREN.try_with(PATIENCE, |children| {
        let held = children.held.drain(..).filter_map(|(child, grace, _)| Some((child.upgrade()?, grace)));
        held.chain(children.adopted.drain(..)).collect::<Vec<_>>()
    });
    let awaited = awaited.unwrap_or_default();
    if awaited.is_empty() {
        return;
    }
    let began = Instant::now();
    for (child, grace) in awaited {
        if let Some(end) = child.try_end(PATIENCE) {
            let items: [&dyn Waitable; 1] = [&*end as &Handle];
            let _ = wait_deadline(&items, began.checked_add(grace));
        }
        // Other threads may still use it, and dropping it can wait.
        std::mem::forget(child);
    }
}

/// In a fork: takes the ends of the parent's links to its children away from this
/// process, so that they see their parent's end when it comes.
pub(crate) fn let_go_of_siblings(blind: impl Fn(&Place)) {
    let _ = CHILDREN.inherited(|children| children.held.iter().for_each(|(.., place)| blind(place)));
}
