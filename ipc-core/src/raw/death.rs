//! A word bumped when a process ends: for those who sleep on the word and hold
//! nothing else by which the kernel could tell them.
//!
//! One thread of this process waits for all of them, in `poll`. It starts with
//! the first notice.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::region::WeakRegion;
use super::{ProcessId, Region, fork_generation, wake};
use crate::sys::companion::{Companion, Packet};
use crate::sys::poll::poll;
use crate::sys::process::Watch;

/// Asks that a word be bumped, and those that sleep on it woken, once any of some
/// processes has ended. The request ends when it is dropped.
#[derive(Debug)]
pub struct DeathNotice(u64);

struct Request {
    id: u64,
    region: WeakRegion,
    offset: usize,
    watches: Vec<Arc<Watch>>,
}

struct Office {
    generation: u32,
    requests: Vec<Request>,
    bell: Companion,
}

static OFFICE: Mutex<Option<Office>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(1);

impl DeathNotice {
    /// Asks for it. If one of `processes` has ended already, the answer is `None`.
    ///
    /// # Errors
    /// What the system says: no descriptors, no thread.
    ///
    /// # Panics
    /// If `offset` is not that of a word inside `region`.
    pub fn new(
        processes: impl IntoIterator<Item = ProcessId>,
        region: &Region,
        offset: usize,
    ) -> io::Result<Option<Self>> {
        let _ = region.atomic_u32(offset);
        let mut watches = Vec::new();
        for process in processes {
            match process.watch() {
                Some(watch) => watches.push(Arc::new(watch)),
                None => return Ok(None),
            }
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let region = region.downgrade();
        office(|office| {
            office.requests.push(Request { id, region, offset, watches });
            office.bell.ring();
        })?;
        Ok(Some(Self(id)))
    }
}

impl Drop for DeathNotice {
    fn drop(&mut self) {
        let _ = office(|office| {
            office.requests.retain(|request| request.id != self.0);
            // The thread may hold a descriptor of each process until it looks again.
            office.bell.ring();
        });
    }
}

/// Runs `use_it` on this process's office; opens one if there is none, as after a fork.
fn office<R>(use_it: impl FnOnce(&mut Office) -> R) -> io::Result<R> {
    let mut place = OFFICE.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = fork_generation();
    match &mut *place {
        Some(office) if office.generation == generation => Ok(use_it(office)),
        _ => {
            let (bell, ear) = Companion::pair()?;
            std::thread::Builder::new().name("ipc-core deaths".into()).spawn(move || serve(&ear))?;
            let office = place.insert(Office { generation, requests: Vec::new(), bell });
            Ok(use_it(office))
        }
    }
}

fn serve(ear: &Companion) {
    loop {
        let watches: Vec<(u64, Arc<Watch>)> = list();
        let mut interests = vec![ear.interest()];
        interests.extend(watches.iter().map(|(_, watch)| watch.interest()));
        let Ok(fired) = poll(&interests, None) else {
            continue;
        };
        while let Ok(Packet::Bell) = ear.receive() {}
        for ((id, _), _) in watches.iter().zip(&fired[1..]).filter(|(_, fired)| **fired) {
            tell(*id);
        }
    }
}

fn list() -> Vec<(u64, Arc<Watch>)> {
    let place = OFFICE.lock().unwrap_or_else(PoisonError::into_inner);
    let requests = place.iter().flat_map(|office| &office.requests);
    requests.flat_map(|request| request.watches.iter().map(|watch| (request.id, Arc::clone(watch)))).collect()
}

/// Wakes the one who asked, and strikes the request.
fn tell(id: u64) {
    let request = {
        let mut place = OFFICE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(office) = &mut *place else { return };
        let at = office.requests.iter().position(|request| request.id == id);
        at.map(|at| office.requests.swap_remove(at))
    };
    let Some(request) = request else { return };
    if let Some(region) = request.region.upgrade() {
        let word = region.atomic_u32(request.offset);
        // ORDERING: the sleeper compares this very word under the kernel's own lock.
        word.fetch_add(1, Ordering::SeqCst);
        wake(word, u32::MAX);
    }
}
