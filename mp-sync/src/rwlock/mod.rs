//! `RwLock`: many readers or one writer.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::time::{Duration, Instant};

use ipc_core::raw::{Acquired, LockFailure, ProcessId, ThreadId, fork_generation};

use crate::deadlock::{self, DeadlockWatch, NameWords, Refusal};
use crate::error::LockError;
use crate::memory::{Kind, Slot, allocate, shared_words};
use crate::protocol::call::{self, Call};
use crate::protocol::ledger::{Ledger, MAX_COUNT, Step};
use crate::protocol::robust::{self, Patience};
use crate::protocol::words::AtomicU32;
use crate::sleep::{self, Coroner};
use crate::timeout;

mod guards;

pub use guards::{ReadGuard, WriteGuard};

/// Held by many readers at a time, or by one writer. A writer that waits keeps new
/// readers out.
///
/// A thread that reads must not lock again, neither to read nor to write: it may
/// wait for itself.
///
/// # If a process dies
/// The part of a reader that dies is given back: to a writer that waits, at once.
/// After a writer has died, reading and writing gives [`LockError::OwnerDied`] with
/// the guard, until one calls [`WriteGuard::mark_sound`]. One who dies waiting
/// disturbs nobody.
///
/// # If a process is stopped
/// A writer that waits for readers to go and is stopped there, as by `SIGSTOP` or a debugger, keeps the others
/// out until it goes on or dies: [`read`](Self::read) and [`write`](Self::write) wait for that. Where it may
/// happen call [`read_timeout`](Self::read_timeout) and [`write_timeout`](Self::write_timeout), which come back
/// with an error. So it is with one that is stopped while it holds the lock.
///
/// # Limits
/// 255 living processes that have read under one lock; 2,000 write guards per thread.
///
/// # Examples
/// ```
/// use mp_sync::RwLock;
///
/// let lock = RwLock::new()?;
/// let (one, two) = (lock.read()?, lock.read()?);
/// assert!(lock.try_write().is_err());
/// drop((one, two));
/// assert!(lock.try_write().is_ok());
/// # Ok::<(), mp_sync::Error>(())
/// ```
pub struct RwLock {
    slot: Slot,
    /// This process's entry in the ledger: generation of forks, and place.
    entry: AtomicU64,
    coroner: Coroner,
    watch: Option<DeadlockWatch>,
}

shared_words! {
    struct RwWords {
        /// What the writer sleeps on until the readers are gone.
        call: Call,
        /// Whether a writer has got the lock: readers hold the mutex too, for a moment.
        writing: AtomicU32,
        /// The count is how many read, an entry how many of its process do.
        ledger: Ledger,
    }
}

shared_words! {
    /// What a watched lock has behind its other words.
    struct WatchedWords {
        name: NameWords,
        /// The threads that read; zero is nobody.
        readers: [AtomicU64; READERS],
    }
}

/// How many readers of a watched lock are known.
const READERS: usize = 64;

impl RwLock {
    /// A lock that nobody holds.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self::over(allocate(Kind::RwLock, size_of::<RwWords>())?, None))
    }

    /// A lock that nobody holds, of which `watch` reports deadlocks, under a name of up
    /// to 56 bytes; also that of a thread which reads and waits to write.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn watched(watch: &DeadlockWatch, name: &str) -> io::Result<Self> {
        let slot = allocate(Kind::RwLock, size_of::<RwWords>() + size_of::<WatchedWords>())?;
        deadlock::set_name(name_behind(&slot), name);
        Ok(Self::over(slot, Some(watch.clone())))
    }

    fn over(slot: Slot, watch: Option<DeadlockWatch>) -> Self {
        Self { slot, entry: AtomicU64::new(0), coroner: Coroner::default(), watch }
    }

    /// Waits until no writer holds the lock or waits for it, and reads.
    ///
    /// # Errors
    /// See [`LockError`]; no `Timeout`.
    pub fn read(&self) -> Result<ReadGuard<'_>, LockError<ReadGuard<'_>>> {
        self.begin_read(Patience::Until(None))
    }

    /// Reads if no writer holds the lock or waits for it.
    ///
    /// # Errors
    /// See [`LockError`]; `Timeout` if one does, and, after a tenth of a second, if a process was
    /// stopped as it began to read.
    pub fn try_read(&self) -> Result<ReadGuard<'_>, LockError<ReadGuard<'_>>> {
        self.begin_read(Patience::None)
    }

    /// As [`read`](Self::read), up to `timeout`.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn read_timeout(&self, timeout: Duration) -> Result<ReadGuard<'_>, LockError<ReadGuard<'_>>> {
        self.begin_read(Patience::Until(timeout::after(timeout)))
    }

    /// Waits until nobody else holds the lock, and writes.
    ///
    /// # Errors
    /// See [`LockError`]; no `Timeout`.
    pub fn write(&self) -> Result<WriteGuard<'_>, LockError<WriteGuard<'_>>> {
        self.begin_write(Patience::Until(None))
    }

    /// Writes if nobody else holds the lock.
    ///
    /// # Errors
    /// See [`LockError`]; `Timeout` if somebody does, and, after a tenth of a second, if a process
    /// was stopped as it began to read.
    pub fn try_write(&self) -> Result<WriteGuard<'_>, LockError<WriteGuard<'_>>> {
        self.begin_write(Patience::None)
    }

    /// As [`write`](Self::write), up to `timeout`.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn write_timeout(&self, timeout: Duration) -> Result<WriteGuard<'_>, LockError<WriteGuard<'_>>> {
        self.begin_write(Patience::Until(timeout::after(timeout)))
    }

    /// How many readers there are, as of now.
    #[must_use]
    pub fn readers(&self) -> u32 {
        let words = self.words();
        if words.ledger.count() > 0 {
            self.recover(words.ledger.holders().map(|(entry, owner, _)| (entry, owner)));
        }
        words.ledger.count()
    }

    /// Who writes, as of now.
    #[must_use]
    pub fn writer(&self) -> Option<ThreadId> {
        if self.words().writing.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let writer = ThreadId::from_word(self.slot.head().owner.load(Ordering::Relaxed))?;
        // The numbers of one who has died may be another one's by now: the gate knows.
        if !robust::is_mine(&self.slot)
            && let Ok(acquired) = self.slot.mutex().try_lock()
        {
            self.enter_gate(acquired);
            self.unlock_gate();
            return None;
        }
        Some(writer)
    }

    /// Whether somebody reads or writes, as of now.
    #[doc(alias = "locked")]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.is_read_locked() || self.is_write_locked()
    }

    /// Whether somebody reads, as of now.
    #[must_use]
    pub fn is_read_locked(&self) -> bool {
        self.readers() > 0
    }

    /// Whether somebody writes, as of now.
    #[must_use]
    pub fn is_write_locked(&self) -> bool {
        self.writer().is_some()
    }

    fn words(&self) -> &RwWords {
        self.slot.words()
    }

    fn begin_read(&self, patience: Patience) -> Result<ReadGuard<'_>, LockError<ReadGuard<'_>>> {
        let entry = self.entry()?;
        self.lock_gate(patience)?;
        let added =
            self.words().ledger.change(entry, Step::Raise, |count| (count < MAX_COUNT).then_some(count + 1));
        if added.is_none() {
            // A reader that is not counted would be none for writers.
            self.unlock_gate();
            return Err(Refusal::from(LockFailure::TooMany).into());
        }
        let place = self.watch.as_ref().and_then(|_| self.sit_down());
        self.unlock_gate();
        let guard = ReadGuard { lock: self, entry, generation: fork_generation(), place };
        if robust::is_sound(&self.slot) { Ok(guard) } else { Err(LockError::OwnerDied(guard)) }
    }

    fn begin_write(&self, patience: Patience) -> Result<WriteGuard<'_>, LockError<WriteGuard<'_>>> {
        self.lock_gate(patience)?;
        if let Err(refusal) = self.await_readers(patience) {
            self.unlock_gate();
            return Err(refusal.into());
        }
        self.words().writing.store(1, Ordering::Relaxed);
        // ORDERING: see `robust::lock`.
        compiler_fence(Ordering::SeqCst);
        let guard = WriteGuard { lock: self, stays: PhantomData };
        if robust::is_sound(&self.slot) { Ok(guard) } else { Err(LockError::OwnerDied(guard)) }
    }

    /// The gate: a writer holds it all the time, a reader while it enters.
    fn lock_gate(&self, patience: Patience) -> Result<(), Refusal> {
        let acquired = match (patience, &self.watch) {
            (Patience::None, _) => self.try_gate()?,
            (Patience::Until(deadline), None) => self.slot.mutex().lock(deadline)?,
            (Patience::Until(deadline), Some(watch)) => self.await_gate(watch, deadline)?,
        };
        self.enter_gate(acquired);
        Ok(())
    }

    /// With the gate held: puts right what one who died there has left.
    fn enter_gate(&self, acquired: Acquired) {
        let (head, words) = (self.slot.head(), self.words());
        head.owner.store(ThreadId::current().to_word(), Ordering::Relaxed);
        if acquired != Acquired::OwnerDied {
            return;
        }
        // A writer that died waiting does not keep readers out.
        words.call.leave();
        if words.writing.load(Ordering::Relaxed) != 0 {
            // Before it is forgotten that a writer was there.
            robust::mark_unsound(&self.slot);
            words.writing.store(0, Ordering::Relaxed);
        }
    }

    /// A reader that enters holds the gate for some nanoseconds only: that is no refusal.
    fn try_gate(&self) -> Result<Acquired, LockFailure> {
        let words = self.words();
        let is_for_a_writer = || words.writing.load(Ordering::Relaxed) != 0 || words.call.is_listened_to();
        robust::try_briefly(self.slot.mutex(), is_for_a_writer)
    }

    /// Under watch, waits for the one who holds the gate.
    fn await_gate(&self, watch: &DeadlockWatch, deadline: Option<Instant>) -> Result<Acquired, Refusal> {
        match self.try_gate() {
            Err(LockFailure::Timeout) => {}
            other => return Ok(other?),
        }
        let mut lookout = watch.lookout(name_behind(&self.slot));
        loop {
            lookout.look(std::iter::once(self.slot.head().owner.load(Ordering::SeqCst)))?;
            match self.slot.mutex().lock(lookout.until(deadline)) {
                Err(LockFailure::Timeout) if !timeout::expired(deadline) => {}
                other => return Ok(other?),
            }
        }
    }

    fn unlock_gate(&self) {
        robust::unlock(&self.slot);
    }

    /// With the gate held, waits until the last reader has gone.
    fn await_readers(&self, patience: Patience) -> Result<(), Refusal> {
        let words = self.words();
        if words.ledger.count() == 0 {
            return Ok(());
        }
        let Patience::Until(deadline) = patience else {
            self.recover(words.ledger.holders().map(|(entry, owner, _)| (entry, owner)));
            return if words.ledger.count() == 0 { Ok(()) } else { Err(LockFailure::Timeout.into()) };
        };
        let result = self.sleep_until_none_reads(deadline);
        words.call.leave();
        result
    }

    fn sleep_until_none_reads(&self, deadline: Option<Instant>) -> Result<(), Refusal> {
        let words = self.words();
        let mut sleeper = sleep::sleeper(&self.slot, words.call.word(), call::LOOKS);
        let mut lookout = self.watch.as_ref().map(|watch| watch.lookout(name_behind(&self.slot)));
        loop {
            let seen = words.call.listen();
            // A reader may be killed before it wakes us, as it leaves: all are watched.
            if !sleeper.watch(|| words.ledger.owners().map(|(_, owner)| owner)) {
                self.recover(words.ledger.owners());
                continue;
            }
            if words.ledger.count() == 0 {
                return Ok(());
            }
            if timeout::expired(deadline) {
                // The dead are not watched for in the first milliseconds: here they are asked for.
                self.recover(words.ledger.holders().map(|(entry, owner, _)| (entry, owner)));
                return if words.ledger.count() == 0 { Ok(()) } else { Err(LockFailure::Timeout.into()) };
            }
            let mut until = deadline;
            if let Some(lookout) = &mut lookout {
                lookout.look(self.readers_known().iter().map(|reader| reader.load(Ordering::SeqCst)))?;
                until = lookout.until(deadline);
            }
            sleeper.sleep(seen, until);
        }
    }

    /// The threads that read under a watched lock.
    fn readers_known(&self) -> &[AtomicU64] {
        &self.slot.words_at::<WatchedWords>(size_of::<RwWords>()).readers
    }

    /// Writes down that this thread reads, where nobody does or one who is dead did.
    fn sit_down(&self) -> Option<usize> {
        let own = ThreadId::current().to_word();
        self.readers_known().iter().position(|reader| {
            let old = reader.load(Ordering::SeqCst);
            let is_free = old == 0 || !ThreadId::from_word(old).is_some_and(ThreadId::is_alive);
            is_free && reader.compare_exchange(old, own, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
    }

    /// Gives back what the dead among some processes held.
    #[cold]
    fn recover(&self, owners: impl Iterator<Item = (usize, u64)>) {
        for (entry, owner) in self.coroner.dead(owners) {
            self.words().ledger.recover(entry, owner, |count, held| count.saturating_sub(held));
        }
    }

    fn end_read(&self, entry: usize) {
        let words = self.words();
        words.ledger.change(entry, Step::Lower, |count| Some(count.saturating_sub(1)));
        if words.call.is_listened_to() && words.ledger.count() == 0 {
            words.call.call();
        }
    }

    fn entry(&self) -> io::Result<usize> {
        let known = self.entry.load(Ordering::Relaxed);
        if (known >> 32) as u32 == fork_generation() {
            return Ok(known as u32 as usize);
        }
        let own = ProcessId::current()?.to_word();
        let claim = || self.words().ledger.claim(own);
        let entry = claim().or_else(|| {
            self.recover(self.words().ledger.owners());
            claim()
        });
        let entry = entry.ok_or_else(|| io::Error::other("more than 255 processes read under this lock"))?;
        // A writer that sleeps must watch over this process too.
        self.words().call.announce();
        self.entry.store(u64::from(fork_generation()) << 32 | entry as u64, Ordering::Relaxed);
        Ok(entry)
    }
}

impl Clone for RwLock {
    fn clone(&self) -> Self {
        Self::over(self.slot.clone(), self.watch.clone())
    }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock")
            .field("readers", &self.readers())
            .field("writer", &self.writer())
            .finish_non_exhaustive()
    }
}

fn name_behind(slot: &Slot) -> &NameWords {
    &slot.words_at::<WatchedWords>(size_of::<RwWords>()).name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `work` in a thread that ends as if it had been killed: the kernel lets go for it.
    fn die_after(lock: &RwLock, work: fn(&RwLock)) {
        // Joined: its end is to be over, not only its work.
        std::thread::scope(|scope| scope.spawn(|| work(lock)).join().unwrap());
    }

    #[test]
    fn a_writer_that_died_waiting_keeps_nobody_out() {
        let lock = RwLock::new().unwrap();
        die_after(&lock, |lock| {
            assert!(lock.lock_gate(Patience::None).is_ok());
            lock.words().call.listen();
        });
        // Held: a reader that leaves would call.
        let _guard = lock.try_read().unwrap();
        assert!(!lock.words().call.is_listened_to(), "nobody waits");
    }

    #[test]
    fn a_reader_that_cannot_be_counted_is_refused() {
        let lock = RwLock::new().unwrap();
        let ledger = &lock.words().ledger;
        ledger.begin(MAX_COUNT);
        assert!(matches!(lock.try_read(), Err(LockError::TooMany)));
        assert_eq!(ledger.count(), MAX_COUNT);
        ledger.begin(MAX_COUNT - 1);
        assert!(lock.try_read().is_ok(), "the gate is free");
    }

    #[test]
    fn a_writer_that_died_is_no_writer_whoever_has_its_number() {
        let lock = RwLock::new().unwrap();
        die_after(&lock, |lock| std::mem::forget(lock.write().unwrap()));
        let (there, done) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                lock.slot.head().owner.store(ThreadId::current().to_word(), Ordering::Relaxed);
                there.wait();
                done.wait();
            });
            there.wait();
            let (writer, is_locked) = (lock.writer(), lock.is_locked());
            done.wait();
            assert_eq!((writer, is_locked), (None, false));
        });
        assert!(matches!(lock.read(), Err(LockError::OwnerDied(_))), "it is told all the same");
    }
}

deadlock::travels_watched!(RwLock, Kind::RwLock, size_of::<RwWords>());
