//! `Semaphore` and `BoundedSemaphore`: permits that come back from dead holders.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{LockFailure, ProcessId, cpu_count, fork_generation};

use crate::error::{AcquireError, ReleaseError};
use crate::memory::{Kind, Slot, allocate, shared_words};
use crate::protocol::call::{self, Call};
use crate::protocol::ledger::{Ledger, MAX_COUNT, MAX_HELD, PROCESSES, Step};
use crate::protocol::robust::Patience;
use crate::protocol::words::AtomicU32;
use crate::sleep::{self, Coroner};
use crate::timeout;
use crate::travel::travels;

/// A number of permits, shared by processes.
///
/// A [`Permit`] goes back when it is dropped. Programs that count things, acquire
/// here and release there, use [`Permit::forget`] and [`release`](Self::release).
///
/// # If a process dies
/// The permits that it held come back: at once to one who waits, else when they
/// are next asked for. What was forgotten, or has been released by number, belongs
/// to nobody and does not come back. A process that dies while it waits disturbs
/// nobody: a permit never lies free beside one who sleeps.
///
/// # If a process is stopped
/// One that holds permits keeps them. One that waits gets none meanwhile: behind the one that is
/// first in the line the others look for a permit after 20 ms, and then less and less often down
/// to every 320 ms.
///
/// # Limits
/// Up to 1,048,575 permits, 16,383 of them held by one process, which is refused more of them with
/// [`AcquireError::TooManyHeld`], and 255 living processes that have used one semaphore.
///
/// # Examples
/// ```
/// use mp_sync::Semaphore;
///
/// let seats = Semaphore::new(2)?;
/// let first = seats.acquire()?;
/// let second = seats.acquire()?;
/// assert!(seats.try_acquire().is_err());
/// drop(first);
/// second.forget();
/// assert_eq!(seats.available(), 1);
/// # Ok::<(), mp_sync::Error>(())
/// ```
pub struct Semaphore {
    pub(crate) slot: Slot,
    /// This process's entry in the ledger: generation of forks, and place.
    entry: AtomicU64,
    coroner: Coroner,
}

/// A [`Semaphore`] that refuses to have more permits than it began with.
///
/// # If a process dies
/// As with a [`Semaphore`].
///
/// # Examples
/// ```
/// use mp_sync::BoundedSemaphore;
///
/// let semaphore = BoundedSemaphore::new(1)?;
/// semaphore.acquire()?.forget();
/// semaphore.release(1)?;
/// assert!(semaphore.release(1).is_err());
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BoundedSemaphore(Semaphore);

/// The right to go on; it goes back when this is dropped.
#[must_use = "the permit goes back when it is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    entry: usize,
    /// In the child of a fork, a copy of this owns nothing.
    generation: u32,
}

shared_words! {
    struct SemaphoreWords {
        /// What the one who waits sleeps on.
        call: Call,
        unused: AtomicU32,
        /// The largest count.
        limit: AtomicU64,
        /// The count is what is free, an entry what its process holds.
        ledger: Ledger,
    }
}

impl Semaphore {
    /// A semaphore with `permits` free.
    ///
    /// # Errors
    /// What the system says, and `InvalidInput` for more than 1,048,575 permits.
    pub fn new(permits: u32) -> io::Result<Self> {
        Self::limited(permits, MAX_COUNT)
    }

    pub(crate) fn limited(permits: u32, limit: u32) -> io::Result<Self> {
        if permits > MAX_COUNT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a semaphore has at most 1048575 permits",
            ));
        }
        let slot = allocate(Kind::Semaphore, size_of::<SemaphoreWords>())?;
        let words = slot.words::<SemaphoreWords>();
        words.ledger.begin(permits);
        words.limit.store(u64::from(limit), Ordering::Relaxed);
        Ok(Self::over(slot))
    }

    fn over(slot: Slot) -> Self {
        Self { slot, entry: AtomicU64::new(0), coroner: Coroner::default() }
    }

    /// Takes a permit; waits until one is free.
    ///
    /// # Errors
    /// See [`AcquireError`]; no `Timeout`.
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.permit(Patience::Until(None))
    }

    /// Takes a permit if one is free.
    ///
    /// # Errors
    /// See [`AcquireError`]; `Timeout` if none is.
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.permit(Patience::None)
    }

    /// Takes a permit; waits for one up to `timeout`.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, AcquireError> {
        self.permit(Patience::Until(timeout::after(timeout)))
    }

    /// Adds `permits` that belonged to nobody: new ones, or forgotten ones.
    ///
    /// # Errors
    /// [`ReleaseError::TooMany`] if there would be more than there may be; then none is added.
    pub fn release(&self, permits: u32) -> Result<(), ReleaseError> {
        // So that those who wait watch over this process until they are told.
        let entry = self.entry().map_err(|error| match error {
            AcquireError::TooManyProcesses(limit) => ReleaseError::TooManyProcesses(limit),
            AcquireError::Io(error) => ReleaseError::Io(error),
            other => ReleaseError::Io(io::Error::other(other)),
        })?;
        let words = self.words();
        let limit = words.limit.load(Ordering::Relaxed);
        let add = |count: u32| {
            let sum = u64::from(count) + u64::from(permits);
            (sum <= limit).then_some(sum as u32)
        };
        words.ledger.change(entry, Step::None, add).ok_or(ReleaseError::TooMany)?;
        words.call.call();
        Ok(())
    }

    /// How many permits are free, as of now.
    #[doc(alias = "get_value")]
    #[must_use]
    pub fn available(&self) -> u32 {
        self.words().ledger.count()
    }

    fn words(&self) -> &SemaphoreWords {
        self.slot.words()
    }

    #[inline]
    fn permit(&self, patience: Patience) -> Result<Permit<'_>, AcquireError> {
        let entry = self.take(Step::Raise, patience)?;
        Ok(Permit { semaphore: self, entry, generation: fork_generation() })
    }

    /// Takes one, for this process's entry or for nobody; the entry.
    #[inline]
    pub(crate) fn take(&self, step: Step, patience: Patience) -> Result<usize, AcquireError> {
        let entry = self.entry()?;
        if self.attempt(entry, step) {
            return Ok(entry);
        }
        self.take_slowly(entry, step, patience)?;
        Ok(entry)
    }

    #[inline]
    fn attempt(&self, entry: usize, step: Step) -> bool {
        self.words().ledger.change(entry, step, |count| count.checked_sub(1)).is_some()
    }

    #[cold]
    fn take_slowly(&self, entry: usize, step: Step, patience: Patience) -> Result<(), AcquireError> {
        let Patience::Until(deadline) = patience else {
            // Who holds nothing has nothing to give back: where permits are only counted, nobody
            // is asked for.
            self.recover(self.words().ledger.holders().map(|(entry, owner, _)| (entry, owner)));
            return if self.attempt(entry, step) { Ok(()) } else { Err(self.refusal(entry, step)) };
        };
        if self.look(entry, step) {
            return Ok(());
        }
        // The anteroom: one sleeps on the word, the others here, so that a wake-up
        // given to one who is then killed passes to the next.
        let mutex = self.slot.mutex();
        // Who sleeps before us may have been stopped, and a permit given back meanwhile.
        let mut tried = Err(AcquireError::Timeout);
        let locked = mutex.lock_unless(deadline, || {
            tried = self.take_slowly(entry, step, Patience::None);
            !matches!(tried, Err(AcquireError::Timeout))
        });
        match (locked, tried) {
            (Err(LockFailure::Timeout), Err(AcquireError::Timeout)) => {
                return self.take_slowly(entry, step, Patience::None);
            }
            (Err(LockFailure::Timeout), tried) => return tried,
            (locked, _) => locked.map_err(acquire_error)?,
        };
        let result = self.wait(entry, step, deadline);
        self.words().call.leave();
        mutex.unlock();
        result
    }

    /// Looks for a permit for a while, seldom, so that one who takes and gives permits
    /// meanwhile keeps the count in its cache.
    fn look(&self, entry: usize, step: Step) -> bool {
        let looks = if cpu_count() > 1 { LOOKS } else { 0 };
        (0..looks).any(|look| {
            (0..1 << look).for_each(|_| std::hint::spin_loop());
            self.words().ledger.count() > 0 && self.attempt(entry, step)
        })
    }

    fn wait(&self, entry: usize, step: Step, deadline: Option<Instant>) -> Result<(), AcquireError> {
        let words = self.words();
        let mut sleeper = sleep::sleeper(&self.slot, words.call.word(), call::LOOKS);
        loop {
            let seen = words.call.listen();
            // A process that releases may be killed before it wakes us: all who use the
            // semaphore are watched, and who begins to use it says so first.
            if !sleeper.watch(|| words.ledger.owners().map(|(_, owner)| owner)) {
                self.recover(words.ledger.owners());
            } else if !self.attempt(entry, step) {
                let refusal = self.refusal(entry, step);
                if !matches!(refusal, AcquireError::Timeout) {
                    return Err(refusal);
                }
                if timeout::expired(deadline) {
                    // The dead are not watched for in the first milliseconds: here they are asked for.
                    self.recover(words.ledger.holders().map(|(entry, owner, _)| (entry, owner)));
                    return if self.attempt(entry, step) { Ok(()) } else { Err(AcquireError::Timeout) };
                }
                sleeper.sleep(seen, deadline);
                // Others that did not sleep may have been faster, again and again.
                if self.look(entry, step) {
                    return Ok(());
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Why an attempt failed.
    fn refusal(&self, entry: usize, step: Step) -> AcquireError {
        let ledger = &self.words().ledger;
        if step == Step::Raise && ledger.held(entry) == MAX_HELD && ledger.count() > 0 {
            return AcquireError::TooManyHeld(MAX_HELD);
        }
        AcquireError::Timeout
    }

    /// Gives back what the dead among some processes held.
    #[cold]
    fn recover(&self, owners: impl Iterator<Item = (usize, u64)>) {
        for (entry, owner) in self.coroner.dead(owners) {
            let most = self.most();
            self.words().ledger.recover(entry, owner, |count, held| count.saturating_add(held).min(most));
        }
    }

    #[inline]
    fn give(&self, entry: usize) {
        let (words, most) = (self.words(), self.most());
        words.ledger.change(entry, Step::Lower, |count| Some((count + 1).min(most)));
        words.call.call();
    }

    /// How many permits there can be: what others released in the place of a holder is not
    /// given back again.
    #[inline]
    fn most(&self) -> u32 {
        self.words().limit.load(Ordering::Relaxed).min(u64::from(MAX_COUNT)) as u32
    }

    /// This process's entry in the ledger.
    #[inline]
    fn entry(&self) -> Result<usize, AcquireError> {
        let known = self.entry.load(Ordering::Relaxed);
        if (known >> 32) as u32 == fork_generation() {
            return Ok(known as u32 as usize);
        }
        self.enter()
    }

    #[cold]
    fn enter(&self) -> Result<usize, AcquireError> {
        let own = ProcessId::current()?.to_word();
        let words = self.words();
        let claim = || words.ledger.claim(own);
        let entry = claim()
            .or_else(|| {
                self.recover(words.ledger.owners());
                claim()
            })
            .ok_or(AcquireError::TooManyProcesses(PROCESSES))?;
        // Who sleeps must watch over this process too.
        words.call.announce();
        let known = u64::from(fork_generation()) << 32 | entry as u64;
        self.entry.store(known, Ordering::Relaxed);
        Ok(entry)
    }
}

/// How often to look for a permit before going to sleep, each time after twice as many pauses:
/// about as long in all as it takes to fall asleep and to be woken.
const LOOKS: u32 = 10;

pub(crate) fn acquire_error(failure: LockFailure) -> AcquireError {
    match failure {
        LockFailure::Timeout => AcquireError::Timeout,
        LockFailure::Io(error) => AcquireError::Io(error),
        _ => AcquireError::Busy,
    }
}

impl BoundedSemaphore {
    /// A semaphore with `permits` free, and never more.
    ///
    /// # Errors
    /// As [`Semaphore::new`].
    pub fn new(permits: u32) -> io::Result<Self> {
        Semaphore::limited(permits, permits).map(Self)
    }

    /// As [`Semaphore::acquire`].
    ///
    /// # Errors
    /// See [`AcquireError`]; no `Timeout`.
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.0.acquire()
    }

    /// As [`Semaphore::try_acquire`].
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.0.try_acquire()
    }

    /// As [`Semaphore::acquire_timeout`].
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, AcquireError> {
        self.0.acquire_timeout(timeout)
    }

    /// As [`Semaphore::release`].
    ///
    /// # Errors
    /// [`ReleaseError::TooMany`] if there would be more permits than at the beginning.
    pub fn release(&self, permits: u32) -> Result<(), ReleaseError> {
        self.0.release(permits)
    }

    /// How many permits are free, as of now.
    #[doc(alias = "get_value")]
    #[must_use]
    pub fn available(&self) -> u32 {
        self.0.available()
    }
}

impl Permit<'_> {
    /// Keeps the permit taken after this is gone, even after this process is:
    /// until somebody calls [`Semaphore::release`].
    pub fn forget(self) {
        if self.generation == fork_generation() {
            self.semaphore.words().ledger.change(self.entry, Step::Lower, Some);
        }
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.generation == fork_generation() {
            self.semaphore.give(self.entry);
        }
    }
}

impl Clone for Semaphore {
    fn clone(&self) -> Self {
        Self::over(self.slot.clone())
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders = self
            .words()
            .ledger
            .holders()
            .filter_map(|(_, owner, held)| Some(Holder(ProcessId::from_word(owner)?, held)));
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .field("held_by", &holders.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A process, and how much it holds.
struct Holder(ProcessId, u32);

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gone = if self.0.is_alive() { "" } else { " that is gone" };
        write!(f, "({:?}{gone}, {})", self.0, self.1)
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

travels!(Semaphore, Kind::Semaphore, size_of::<SemaphoreWords>(), |slot| Ok::<_, String>(Self::over(slot)));

impl serde::Serialize for BoundedSemaphore {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for BoundedSemaphore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Semaphore::deserialize(deserializer).map(Self)
    }
}
