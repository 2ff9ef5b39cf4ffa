//! Waiting for a queue beside other things.
//!
//! `ipc_core::wait` sleeps on handles, and a consumer of a queue on a word. So a
//! thread of this process sleeps on the word in the stead of those who wait, and
//! rings a bell that only this process hears. Nothing of that is in shared memory:
//! an item is put, and all who sleep on the word are woken, in one step, and one who
//! is killed while it waits leaves nothing behind.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use ipc_core::raw::{Post, fork_generation};
use ipc_core::{Arm, Waitable};

use super::store::Ear;

/// The bells of one handle to a queue: one, and another in each forked child, which
/// has neither the thread nor a bell of its own.
#[derive(Default)]
pub(super) struct Bells(OnceLock<Box<Bell>>);

struct Bell {
    generation: u32,
    /// None if the system had no thread or no descriptors for it.
    office: Option<Arc<Office>>,
    next: OnceLock<Box<Bell>>,
}

struct Office {
    ear: Ear,
    /// Holds a batch while the bell rings.
    post: Post,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many wait.
    waiting: usize,
    /// The bell has rung since the last one began to wait.
    has_rung: bool,
    is_over: bool,
}

impl Bells {
    /// One begins to wait; what it is to listen to. Whoever waits now is heard again.
    pub(super) fn arm<'a>(&'a self, ear: &Ear, arm: &mut Arm<'a>) {
        let Some(office) = self.here(ear) else { return };
        let mut state = office.state();
        // A bell that rang for what is gone meanwhile rings again if there is more.
        while let Ok(Some(_)) = office.post.take() {}
        state.has_rung = false;
        state.waiting += 1;
        office.changed.notify_all();
        drop(state);
        office.post.arm(arm);
    }

    /// One waits no more.
    pub(super) fn disarm(&self, ear: &Ear) {
        if let Some(office) = self.here(ear) {
            office.state().waiting -= 1;
        }
    }

    /// Whether nobody can be woken here, because the system refused a bell.
    pub(super) fn is_mute(&self, ear: &Ear) -> bool {
        self.here(ear).is_none()
    }

    fn here(&self, ear: &Ear) -> Option<&Office> {
        let generation = fork_generation();
        let mut place = &self.0;
        loop {
            let bell = place.get_or_init(|| {
                let office = Office::open(ear.clone()).ok();
                Box::new(Bell { generation, office, next: OnceLock::new() })
            });
            if bell.generation == generation {
                return bell.office.as_deref();
            }
            place = &bell.next;
        }
    }
}

impl Office {
    fn open(ear: Ear) -> io::Result<Arc<Self>> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let office = Arc::new(Self { ear, post: Post::new()?, state, changed });
        let served = Arc::clone(&office);
        std::thread::Builder::new().name("mp-sync-bell".to_owned()).spawn(move || served.serve())?;
        Ok(office)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        while self.await_waiter() {
            let seen = self.ear.listen();
            if self.ear.is_ready() {
                self.ring();
            } else {
                self.ear.sleep(seen);
            }
        }
    }

    /// Waits until somebody waits; `false` if nobody will any more.
    fn await_waiter(&self) -> bool {
        let has_nothing = |state: &mut State| !state.is_over && (state.waiting == 0 || state.has_rung);
        let state = self.changed.wait_while(self.state(), has_nothing);
        !state.unwrap_or_else(PoisonError::into_inner).is_over
    }

    fn ring(&self) {
        let mut state = self.state();
        // One that fails to ring tries again in the next round.
        state.has_rung = state.waiting > 0 && self.post.put(0, &[]).is_ok();
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        // In a forked child there is no thread that could be told, and its mutex may be locked.
        if let Some(office) = &self.office
            && self.generation == fork_generation()
        {
            office.state().is_over = true;
            office.changed.notify_all();
            office.ear.disturb();
        }
    }
}
