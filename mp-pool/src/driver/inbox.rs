//! What is handed in without the lock: whoever has the lock takes it in.
//!
//! Who hands something in tries the lock, and does not wait for it: if somebody else has it,
//! that one looks into the inbox after letting go. So many who hand in and one who works wait
//! for each other not at all, and a thing handed in costs no system call.
//!
//! ```text
//! who hands in                         who has the lock
//!   list += thing, any = true            let go of the lock
//!   fence(SeqCst)                        fence(SeqCst)
//!   try the lock                         look at any: try the lock again
//! ```
//!
//! Of the two, at least one sees the other. One who lets go of the lock by going to sleep
//! cannot look afterwards: it says before that it rests, looks, and sleeps. Who finds the lock
//! taken and somebody resting waits for the lock after all, which is soon free.
//!
//! The model checker runs these very lines (`tests/loom_inbox.rs`).

use super::atomic::{AtomicBool, Mutex, Ordering, fence};

/// Things that wait for the next one who has the lock.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    list: Mutex<Vec<T>>,
    /// There may be some.
    any: AtomicBool,
    /// Who has the lock will let go of it without a look.
    rests: AtomicBool,
}

impl<T> Inbox<T> {
    pub(super) fn new() -> Self {
        Self { list: Mutex::new(Vec::new()), any: AtomicBool::new(false), rests: AtomicBool::new(false) }
    }

    /// Hands something in; the lock is to be tried next.
    pub(super) fn put(&self, thing: T) {
        {
            let mut list = self.list.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            list.push(thing);
            self.any.store(true, Ordering::Relaxed);
        }
        // ORDERING: the thing is there before the lock is found taken.
        fence(Ordering::SeqCst);
    }

    /// The lock was found taken: whether to wait for it all the same.
    pub(super) fn must_wait(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    /// The lock has been taken.
    pub(super) fn taken(&self) {
        // Nearly always nobody does, and the line stays with those who only read it.
        if self.rests.load(Ordering::Relaxed) {
            self.rests.store(false, Ordering::Relaxed);
        }
    }

    /// The lock has been let go of: whether to try it again, because there is something.
    pub(super) fn let_go(&self) -> bool {
        // ORDERING: who finds the lock taken has put its thing there before.
        fence(Ordering::SeqCst);
        self.has_any()
    }

    /// The lock is about to be let go of without a look: whether there is something to be seen
    /// to before.
    pub(super) fn rest(&self) -> bool {
        self.rests.store(true, Ordering::Relaxed);
        self.let_go()
    }

    /// Whether there is something, for who has the lock.
    pub(super) fn has_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Takes all that is there in exchange for an empty list, in the order in which it came.
    pub(super) fn take(&self, empty: &mut Vec<T>) {
        let mut list = self.list.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.any.store(false, Ordering::Relaxed);
        std::mem::swap(&mut *list, empty);
    }
}
