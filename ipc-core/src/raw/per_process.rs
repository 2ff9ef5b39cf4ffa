//! Something that each process has one of, whatever its parent was doing when it was forked.
//!
//! # Safety
//! What the children of forks have is made once, leaked, and shared from then on.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};

use super::fork_generation;

/// What a static holds for one process; in the child of a fork another one stands for it, made
/// from that of its parent, where a thread that is not here may have held a mutex.
#[derive(Debug)]
pub struct PerProcess<T> {
    /// Whose it is; zero until somebody comes.
    generation: AtomicU32,
    value: T,
    make: fn(&T) -> T,
    next: AtomicPtr<PerProcess<T>>,
}

impl<T: Sync> PerProcess<T> {
    /// With the `first` one, and how that of a child is made from the one that it was forked with.
    pub const fn new(first: T, make: fn(&T) -> T) -> Self {
        Self { generation: AtomicU32::new(0), value: first, make, next: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// That of this process.
    pub fn here(&'static self) -> &'static T {
        let generation = fork_generation();
        let mut place = self;
        loop {
            // The first one belongs to whoever comes first.
            let (relaxed, free) = (Ordering::Relaxed, 0);
            match place.generation.compare_exchange(free, generation, relaxed, relaxed) {
                Ok(_) => return &place.value,
                Err(other) if other == generation => return &place.value,
                Err(_) => place = place.following(generation),
            }
        }
    }

    /// The next one, made if there is none.
    fn following(&self, generation: u32) -> &'static Self {
        if let Some(next) = self.linked() {
            return next;
        }
        let new =
            Self { generation: AtomicU32::new(generation), ..Self::new((self.make)(&self.value), self.make) };
        let new = Box::into_raw(Box::new(new));
        // ORDERING: who finds it also finds what is in it.
        let set = self.next.compare_exchange(std::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
        if set.is_err() {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
        self.linked().expect("one was set")
    }

    fn linked(&self) -> Option<&'static Self> {
        // SAFETY: null, or leaked by `following`, so that it lives for ever.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }
}

/// For a child of a fork: what `take` gets out of its parent's mutex, or a default if a thread held
/// that when the process was forked, as it may have been in the middle of a change.
pub(crate) fn inherited<T: Default>(parents: &Mutex<T>, take: impl FnOnce(&mut T) -> T) -> Mutex<T> {
    /// Threads of the child that come together hold it for a shorter time.
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        match parents.try_lock() {
            Ok(mut value) => return Mutex::new(take(&mut value)),
            Err(TryLockError::Poisoned(value)) => return Mutex::new(take(&mut value.into_inner())),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    Mutex::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_the_same_in_one_process() {
        static ONE: PerProcess<Mutex<u32>> = PerProcess::new(Mutex::new(5), |_| Mutex::new(7));
        *ONE.here().lock().unwrap() += 1;
        let seen = std::thread::spawn(|| *ONE.here().lock().unwrap()).join().unwrap();
        assert_eq!(seen, 6);
    }

    #[test]
    fn another_process_has_another_one() {
        static TWO: PerProcess<Mutex<u32>> = PerProcess::new(Mutex::new(5), |_| Mutex::new(7));
        // As in the child of a fork: the first one is that of others.
        TWO.generation.store(u32::MAX, Ordering::Relaxed);
        let held = TWO.value.lock().unwrap();
        assert_eq!(*TWO.here().lock().unwrap(), 7);
        *TWO.here().lock().unwrap() += 1;
        assert_eq!((*TWO.here().lock().unwrap(), *held), (8, 5));
    }

    #[test]
    fn a_child_goes_on_with_what_no_thread_was_changing() {
        let parents = Mutex::new(vec![1]);
        assert_eq!(*inherited(&parents, |value| value.clone()).lock().unwrap(), [1]);
        let held = parents.lock().unwrap();
        assert!(inherited(&parents, |value| value.clone()).lock().unwrap().is_empty());
        drop(held);
        assert_eq!(*inherited(&parents, std::mem::take).lock().unwrap(), [1]);
        assert!(parents.lock().unwrap().is_empty());
    }
}
