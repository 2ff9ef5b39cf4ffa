//! Deadlocks: threads of any processes that wait for each other's locks.
//!
//! Who waits for a watched lock writes on a board, in shared memory, for which lock
//! and who holds it, and looks again every few milliseconds. One who finds a circle
//! that leads back to itself remembers it; if it finds the same one again, and each of
//! those in it has looked meanwhile and seen the same holder, it has been there
//! all along: who waits cannot let go of anything. What the dead have left on the
//! board does not count, as they do not look.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{LockFailure, ThreadId};

use crate::error::LockError;
use crate::memory::{Kind, Slot, allocate, shared_words};
use crate::protocol::robust::{self, Patience};
use crate::timeout;
use crate::travel::travels;

/// Reports deadlocks among the [`Lock`](crate::Lock)s that it watches, for the time in
/// which a program is made and tested.
///
/// One of the threads in the circle, the same one each time, gets
/// [`LockError::Deadlock`], which names every process, thread and lock in it. Once
/// that one lets go of what it holds the others go on. Locks are watched that were
/// made with [`Lock::watched`](crate::Lock::watched), where they are taken by themselves or by
/// their [`Condition`](crate::Condition), not by a [`Value`](crate::Value) that was given one. They cost the same as others while
/// they are free, and who waits for one looks around every 10 ms.
///
/// # If a process dies
/// As with other locks. One who died waiting is in no circle.
///
/// # Limits
/// Up to 256 threads that wait at a time are watched.
///
/// # Examples
/// ```
/// use mp_sync::{DeadlockWatch, Lock, LockError};
///
/// let watch = DeadlockWatch::new()?;
/// let (a, b) = (Lock::watched(&watch, "a")?, Lock::watched(&watch, "b")?);
/// let meet = std::sync::Barrier::new(2);
/// let take = |first: &Lock, second: &Lock| {
///     let _first = first.lock().unwrap();
///     meet.wait();
///     matches!(second.lock(), Err(LockError::Deadlock(_)))
/// };
/// std::thread::scope(|scope| {
///     let other = scope.spawn(|| take(&a, &b));
///     assert!(take(&b, &a) != other.join().unwrap(), "one of the two is told");
/// });
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct DeadlockWatch {
    slot: Slot,
}

/// Threads that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlock {
    waits: Vec<DeadlockWait>,
}

/// One thread in a [`Deadlock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlockWait {
    thread: ThreadId,
    lock: String,
    holder: ThreadId,
}

shared_words! {
    struct Board {
        /// The number of the last wait.
        waits: AtomicU64,
        entries: [AtomicU64; WAITING * ENTRY],
    }
}

/// How many may wait at a time.
const WAITING: usize = 256;
/// How many words an entry has: those below, and a lock's name.
const ENTRY: usize = 5 + NAME / 8;
/// Who waits; zero is nobody.
const THREAD: usize = 0;
/// The number of the wait; zero if the rest means nothing.
const WAIT: usize = 1;
/// How often the one who waits has looked who holds the lock.
const LOOKS: usize = 2;
/// Who held it then.
const HOLDER: usize = 3;
/// The length of the lock's name, and the words that it begins with.
const NAME_LEN: usize = 4;

/// How many bytes of a name are kept.
const NAME: usize = 56;
/// The body of a watched lock: the length of its name, and the name.
pub(crate) const NAMED: usize = 8 + NAME;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One who waits, for as long as it does.
struct Waiting<'a> {
    entry: &'a [AtomicU64],
    slot: &'a Slot,
}

/// An entry, as another one reads it.
#[derive(Clone)]
struct Seen {
    wait: u64,
    looks: u64,
    about: DeadlockWait,
}

impl DeadlockWatch {
    /// A watch over no locks yet.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { slot: allocate(Kind::Watch, size_of::<Board>())? })
    }

    /// Locks a watched lock; whether the state is sound.
    pub(crate) fn lock<G>(&self, slot: &Slot, patience: Patience) -> Result<bool, LockError<G>> {
        match robust::lock(slot, Patience::None) {
            Err(LockFailure::Timeout) => {}
            other => return other.map_err(LockError::from),
        }
        match patience {
            Patience::None => Err(LockError::Timeout),
            Patience::Until(deadline) => self.lock_slowly(slot, deadline),
        }
    }

    #[cold]
    fn lock_slowly<G>(&self, slot: &Slot, deadline: Option<Instant>) -> Result<bool, LockError<G>> {
        let Some(waiting) = self.begin(slot) else {
            return robust::lock(slot, Patience::Until(deadline)).map_err(LockError::from);
        };
        let mut before: Option<Vec<Seen>> = None;
        loop {
            waiting.look();
            let now = self.circle(&waiting);
            match (&before, now) {
                (Some(before), Some(now)) if are_same(before, &now) => {
                    if lasts(before, &now) && is_told(&now) {
                        return Err(LockError::Deadlock(Box::new(Deadlock::of(now))));
                    }
                }
                (_, now) => before = now,
            }
            let soon = Instant::now() + LOOK_EVERY;
            let until = deadline.map_or(soon, |deadline| deadline.min(soon));
            match robust::lock(slot, Patience::Until(Some(until))) {
                Err(LockFailure::Timeout) if !timeout::expired(deadline) => {}
                other => return other.map_err(LockError::from),
            }
        }
    }

    fn board(&self) -> &Board {
        self.slot.words()
    }

    fn entries(&self) -> impl Iterator<Item = &[AtomicU64]> {
        self.board().entries.chunks_exact(ENTRY)
    }

    /// Takes an entry for this thread, of nobody or of one who is dead.
    fn begin<'a>(&'a self, slot: &'a Slot) -> Option<Waiting<'a>> {
        let own = ThreadId::current().to_word();
        let claim = |entry: &&[AtomicU64], old: u64| {
            entry[THREAD].compare_exchange(old, own, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        };
        let dead = |entry: &&[AtomicU64]| {
            let old = entry[THREAD].load(Ordering::SeqCst);
            let is_dead = ThreadId::from_word(old).is_some_and(|thread| old == own || !thread.is_alive());
            is_dead && claim(entry, old)
        };
        let entry = self.entries().find(|entry| claim(entry, 0)).or_else(|| self.entries().find(dead))?;
        entry[WAIT].store(0, Ordering::SeqCst);
        let words = slot.words::<[AtomicU64; NAMED / 8]>();
        for (to, from) in entry[NAME_LEN..].iter().zip(words) {
            to.store(from.load(Ordering::Relaxed), Ordering::SeqCst);
        }
        entry[HOLDER].store(0, Ordering::SeqCst);
        let number = self.board().waits.fetch_add(1, Ordering::SeqCst) + 1;
        entry[WAIT].store(number, Ordering::SeqCst);
        Some(Waiting { entry, slot })
    }

    /// The circle that leads from one who waits back to itself.
    fn circle(&self, waiting: &Waiting<'_>) -> Option<Vec<Seen>> {
        let first = see(waiting.entry)?;
        let own = first.about.thread;
        let mut circle = vec![first];
        loop {
            let holder = circle.last()?.about.holder;
            if holder == own {
                return Some(circle);
            }
            if circle.iter().any(|seen| seen.about.thread == holder) {
                return None;
            }
            let entries =
                self.entries().filter(|entry| entry[THREAD].load(Ordering::SeqCst) == holder.to_word());
            circle.push(entries.filter_map(see).next()?);
        }
    }
}

impl Waiting<'_> {
    fn look(&self) {
        let holder = self.slot.head().owner.load(Ordering::SeqCst);
        self.entry[HOLDER].store(holder, Ordering::SeqCst);
        self.entry[LOOKS].fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.entry[WAIT].store(0, Ordering::SeqCst);
        self.entry[THREAD].store(0, Ordering::SeqCst);
    }
}

/// Reads an entry; `None` if nobody waits there, or another one does meanwhile.
fn see(entry: &[AtomicU64]) -> Option<Seen> {
    let load = |at: usize| entry[at].load(Ordering::SeqCst);
    let (wait, looks) = (load(WAIT), load(LOOKS));
    let (thread, holder) = (ThreadId::from_word(load(THREAD))?, ThreadId::from_word(load(HOLDER))?);
    let lock = name_in(&entry[NAME_LEN..]);
    let is_one = wait != 0 && load(WAIT) == wait;
    is_one.then_some(Seen { wait, looks, about: DeadlockWait { thread, lock, holder } })
}

fn are_same(before: &[Seen], now: &[Seen]) -> bool {
    let same = |(old, new): (&Seen, &Seen)| old.wait == new.wait && old.about == new.about;
    before.len() == now.len() && before.iter().zip(now).all(same)
}

/// Whether each of those who wait has begun to look, and has finished, between the two.
fn lasts(before: &[Seen], now: &[Seen]) -> bool {
    before.iter().zip(now).all(|(old, new)| new.looks.wrapping_sub(old.looks) >= 2)
}

/// Whether the first in the circle is the one that is told.
fn is_told(circle: &[Seen]) -> bool {
    let thread = |seen: &Seen| seen.about.thread.to_word();
    circle.iter().map(thread).max() == circle.first().map(thread)
}

/// Writes a name into the body of a lock, before anybody else sees it.
pub(crate) fn set_name(slot: &Slot, name: &str) {
    let words = slot.words::<[AtomicU64; NAMED / 8]>();
    let mut bytes = [0u8; NAME];
    let len = (0..=name.len().min(NAME)).rfind(|len| name.is_char_boundary(*len)).unwrap_or(0);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    words[0].store(len as u64, Ordering::Relaxed);
    for (word, bytes) in words[1..].iter().zip(bytes.chunks_exact(8)) {
        word.store(bytes.try_into().map_or(0, u64::from_ne_bytes), Ordering::Relaxed);
    }
}

fn name_in(words: &[AtomicU64]) -> String {
    let len = (words[0].load(Ordering::SeqCst) as usize).min(NAME);
    let bytes: Vec<u8> =
        words[1..].iter().flat_map(|word| word.load(Ordering::SeqCst).to_ne_bytes()).collect();
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

impl Deadlock {
    fn of(circle: Vec<Seen>) -> Self {
        Self { waits: circle.into_iter().map(|seen| seen.about).collect() }
    }

    /// Those who wait: this thread first, then the one that holds what it waits for,
    /// and so on to the one that waits for what this thread holds.
    #[must_use]
    pub fn waits(&self) -> &[DeadlockWait] {
        &self.waits
    }
}

impl DeadlockWait {
    /// The thread that waits.
    #[must_use]
    pub fn thread(&self) -> ThreadId {
        self.thread
    }

    /// The name of the lock that it waits for.
    #[must_use]
    pub fn lock(&self) -> &str {
        &self.lock
    }

    /// The thread that holds the lock.
    #[must_use]
    pub fn holder(&self) -> ThreadId {
        self.holder
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a deadlock: ")?;
        for (place, DeadlockWait { thread, lock, holder }) in self.waits.iter().enumerate() {
            let comma = if place == 0 { "" } else { "; " };
            write!(f, "{comma}{thread:?} waits for the lock `{lock}`, which {holder:?} holds")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DeadlockWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.entries().filter_map(see).map(|seen| seen.about);
        f.debug_struct("DeadlockWatch").field("waiting", &waiting.collect::<Vec<_>>()).finish()
    }
}

travels!(DeadlockWatch, Kind::Watch, size_of::<Board>(), |slot| Ok::<_, String>(DeadlockWatch { slot }));
