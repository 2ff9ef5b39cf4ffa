//! A word bumped when a process ends: for those who sleep on the word and hold
//! nothing else by which the kernel could tell them.
//!
//! One thread of this process waits for all of them, in `poll`. It starts with
//! the first notice.
//!
//! # Safety
//! The office is made once for each process, leaked, and never changed but under
//! its mutex.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::region::WeakRegion;
use super::roll::shared_watch;
use super::{ProcessId, Region, fork_generation, start_thread, wake};
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
    mask: u32,
    watches: Vec<Arc<Watch>>,
}

struct Office {
    generation: u32,
    bell: Companion,
    ear: Companion,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    is_served: bool,
    requests: Vec<Request>,
}

/// This process's office. One of a parent is left alone after a fork, as the thread that
/// serves it is not here, and may have held its mutex.
static OFFICE: AtomicPtr<Office> = AtomicPtr::new(ptr::null_mut());
static NEXT: AtomicU64 = AtomicU64::new(1);

impl DeathNotice {
    /// Asks for it: the number in the bits `mask` of the word, the lowest ones, will
    /// be raised by one, round about. If one of `processes` has ended already, the answer is `None`.
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
        mask: u32,
    ) -> io::Result<Option<Self>> {
        let _ = region.atomic_u32(offset);
        let mut watches = Vec::new();
        for process in processes {
            match shared_watch(process)? {
                Some(watch) => watches.push(watch),
                None => return Ok(None),
            }
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let region = region.downgrade();
        let office = office()?;
        office.desk()?.requests.push(Request { id, region, offset, mask, watches });
        office.bell.ring();
        Ok(Some(Self(id)))
    }

    /// Whether none of them has ended yet, as far as this process was told; it is told before
    /// the word is changed.
    #[must_use]
    pub fn lasts(&self) -> bool {
        let desk = office().and_then(Office::desk);
        desk.is_ok_and(|desk| desk.requests.iter().any(|request| request.id == self.0))
    }
}

impl Drop for DeathNotice {
    fn drop(&mut self) {
        let Ok(office) = office() else { return };
        let Ok(mut desk) = office.desk() else { return };
        desk.requests.retain(|request| request.id != self.0);
        drop(desk);
        // The thread may hold a descriptor of each process until it looks again.
        office.bell.ring();
    }
}

/// This process's office; opens one if there is none, as after a fork.
fn office() -> io::Result<&'static Office> {
    let generation = fork_generation();
    let known = OFFICE.load(Ordering::Acquire);
    // SAFETY: what is stored there is leaked, so that it lives for ever.
    if let Some(office) = unsafe { known.as_ref() }
        && office.generation == generation
    {
        return Ok(office);
    }
    let (bell, ear) = Companion::pair()?;
    let new = Box::into_raw(Box::new(Office { generation, bell, ear, desk: Mutex::default() }));
    match OFFICE.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: it is leaked from here on.
        Ok(_) => Ok(unsafe { &*new }),
        Err(_) => {
            // SAFETY: nobody else has seen this one.
            drop(unsafe { Box::from_raw(new) });
            office()
        }
    }
}

impl Office {
    /// Its requests, with a thread that serves them.
    fn desk(&'static self) -> io::Result<MutexGuard<'static, Desk>> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if !desk.is_served {
            let thread = std::thread::Builder::new().name("ipc-core-deaths".to_owned());
            start_thread(thread, move || self.serve())?;
            desk.is_served = true;
        }
        Ok(desk)
    }

    fn serve(&self) {
        loop {
            let watches = self.list();
            let mut interests = vec![self.ear.interest()];
            interests.extend(watches.iter().map(|(watch, _)| watch.interest()));
            let Ok(fired) = poll(&interests, None) else { continue };
            while let Ok(Packet::Bell) = self.ear.receive() {}
            for ((_, ids), _) in watches.iter().zip(&fired[1..]).filter(|(_, fired)| **fired) {
                ids.iter().for_each(|id| self.tell(*id));
            }
        }
    }

    /// Each watch once, and whose it is: the kernel polls no more than there may be descriptors.
    fn list(&self) -> Vec<(Arc<Watch>, Vec<u64>)> {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: HashMap<*const Watch, (Arc<Watch>, Vec<u64>)> = HashMap::new();
        for request in &desk.requests {
            for watch in &request.watches {
                let entry = list.entry(Arc::as_ptr(watch));
                entry.or_insert_with(|| (Arc::clone(watch), Vec::new())).1.push(request.id);
            }
        }
        list.into_values().collect()
    }

    /// Wakes the one who asked, and strikes the request.
    fn tell(&self, id: u64) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let at = desk.requests.iter().position(|request| request.id == id);
        let request = at.map(|at| desk.requests.swap_remove(at));
        drop(desk);
        if let Some(request) = request {
            request.call();
        }
    }
}

impl Request {
    fn call(&self) {
        let Some(region) = self.region.upgrade() else { return };
        let word = region.atomic_u32(self.offset);
        // ORDERING: the sleeper compares this very word under the kernel's own lock.
        let raise = |old: u32| Some((old & !self.mask) | (old.wrapping_add(1) & self.mask));
        let _ = word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, raise);
        wake(word, u32::MAX);
    }
}
