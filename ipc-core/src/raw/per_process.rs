//! Something that each process has one of, whatever its parent was doing when it was forked.
//!
//! # Safety
//! What the children of forks have is made once, and shared from then on; the first one owns it, and
//! lends it for no longer than itself.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};

use super::fork_generation;

/// What one process has; in the child of a fork another one stands for it, made from that of its
/// parent, where a thread that is not here may have held a mutex. A process drops its own one alone.
#[derive(Debug)]
pub struct PerProcess<T> {
    /// Whose it is; zero until somebody comes.
    generation: AtomicU32,
    value: ManuallyDrop<T>,
    make: fn(&T) -> T,
    next: AtomicPtr<PerProcess<T>>,
}

impl<T: Sync> PerProcess<T> {
    /// With the `first` one, and how that of a child is made from the one that it was forked with.
    pub const fn new(first: T, make: fn(&T) -> T) -> Self {
        Self {
            generation: AtomicU32::new(0),
            value: ManuallyDrop::new(first),
            make,
            next: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// That of this process.
    pub fn here(&self) -> &T {
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

    /// That of the process which this one was forked from, or of one further up.
    pub fn inherited(&self) -> Option<&T> {
        let generation = fork_generation();
        let is_foreign = |place: &&Self| ![0, generation].contains(&place.generation.load(Ordering::Relaxed));
        let places = std::iter::successors(Some(self), |place| place.linked());
        places.take_while(is_foreign).last().map(|place| &*place.value)
    }

    /// The next one, made if there is none.
    fn following(&self, generation: u32) -> &Self {
        if let Some(next) = self.linked() {
            return next;
        }
        let new = Box::new(Self::new((self.make)(&self.value), self.make));
        new.generation.store(generation, Ordering::Relaxed);
        let new = Box::into_raw(new);
        // ORDERING: who finds it also finds what is in it.
        let set = self.next.compare_exchange(std::ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
        if set.is_err() {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
        self.linked().expect("one was set")
    }

    fn linked(&self) -> Option<&Self> {
        // SAFETY: null, or made by `following`, and dropped with this one.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let next = *self.next.get_mut();
        if !next.is_null() {
            // SAFETY: made by `following`, and nobody has what this one has lent.
            drop(unsafe { Box::from_raw(next) });
        }
        if [0, fork_generation()].contains(self.generation.get_mut()) {
            // SAFETY: it is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
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
    fn a_process_drops_its_own_alone() {
        use std::sync::Arc;
        let counted = Arc::new(());
        type Held = Mutex<Option<Arc<()>>>;
        let new = || PerProcess::<Held>::new(Mutex::default(), |_| Mutex::default());
        let own = new();
        assert!(own.inherited().is_none());
        *own.here().lock().unwrap() = Some(Arc::clone(&counted));
        assert!(own.inherited().is_none());
        drop(own);
        assert_eq!(Arc::strong_count(&counted), 1);

        let parents = new();
        *parents.here().lock().unwrap() = Some(Arc::clone(&counted));
        parents.generation.store(u32::MAX, Ordering::Relaxed);
        assert!(parents.inherited().unwrap().lock().unwrap().is_some());
        *parents.here().lock().unwrap() = Some(Arc::clone(&counted));
        assert_eq!(Arc::strong_count(&counted), 3);
        assert!(parents.inherited().unwrap().lock().unwrap().is_some());
        drop(parents);
        assert_eq!(Arc::strong_count(&counted), 2, "the parent's is left alone");
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
