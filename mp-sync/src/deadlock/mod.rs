//! Deadlocks: threads of any processes that wait for each other's locks.

mod report;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{LockFailure, ThreadId};

use crate::error::LockError;
use crate::memory::{Kind, Slot, allocate};
use crate::protocol::board::{Board, NAME, Seen, Waiting};
use crate::protocol::robust::{self, Patience};
use crate::timeout;
use crate::travel::travels;

pub use report::{Deadlock, DeadlockWait};

/// Reports deadlocks among the locks that it watches, for the time in which a program is
/// made and tested.
///
/// One of the threads in the circle, the same one each time, gets
/// [`LockError::Deadlock`], which names every process, thread and lock in it. Once
/// that one lets go of what it holds the others go on. Locks are watched that were
/// made with [`Lock::watched`](crate::Lock::watched),
/// [`RLock::watched`](crate::RLock::watched) or [`RwLock::watched`](crate::RwLock::watched),
/// also where a [`Condition`](crate::Condition), a [`Value`](crate::Value) or an
/// [`Array`](crate::Array) takes them. They cost about the same as others while they are free,
/// and who waits for one looks around at first after 1 ms, later every 10 ms.
///
/// # If a process dies
/// As with other locks. One who died waiting is in no circle.
///
/// # Limits
/// Up to 256 threads that wait at a time are watched. Of the readers of an
/// [`RwLock`](crate::RwLock) 64 are known by name, and a writer that waits follows eight of
/// them at a time.
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

/// What a watched lock has in its slot: the length of its name, and the name.
pub(crate) type NameWords = [AtomicU64; NAME];

/// How many bytes of a name are kept.
const NAME_LEN: usize = 8 * NAME.saturating_sub(1);

/// The body of a watched lock that has no other words.
pub(crate) const NAMED: usize = size_of::<NameWords>();

/// How long to sleep before the second look, each time twice as long, and how long at most: most
/// circles are formed by those who have just begun to wait.
const PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];

/// Why a watched lock was not taken.
pub(crate) enum Refusal {
    Failure(LockFailure),
    Deadlock(Box<Deadlock>),
}

impl From<LockFailure> for Refusal {
    fn from(failure: LockFailure) -> Self {
        Self::Failure(failure)
    }
}

impl<G> From<Refusal> for LockError<G> {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Failure(failure) => failure.into(),
            Refusal::Deadlock(deadlock) => Self::Deadlock(deadlock),
        }
    }
}

/// One who waits and looks around.
pub(crate) struct Lookout<'a> {
    watch: &'a DeadlockWatch,
    /// None if as many wait as there is room for.
    waiting: Option<Waiting<'a>>,
    before: Option<Vec<Seen>>,
    /// How long to sleep before the next look.
    pause: Duration,
}

impl DeadlockWatch {
    /// A watch over no locks yet.
    ///
    /// # Errors
    /// What the system says: no memory, no descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { slot: allocate(Kind::Watch, size_of::<Board>())? })
    }

    /// One begins to wait for the lock of this name.
    pub(crate) fn lookout(&self, name: &NameWords) -> Lookout<'_> {
        let name = std::array::from_fn(|word| name[word].load(Ordering::Relaxed));
        let is_alive = |thread| ThreadId::from_word(thread).is_some_and(ThreadId::is_alive);
        let waiting = self.board().begin(ThreadId::current().to_word(), &name, is_alive);
        Lookout { watch: self, waiting, before: None, pause: PAUSE[0] }
    }

    fn board(&self) -> &Board {
        self.slot.words()
    }
}

impl Lookout<'_> {
    /// To be called at the beginning and then as often as [`until`](Self::until) says.
    pub(crate) fn look(&mut self, holders: impl Iterator<Item = u64>) -> Result<(), Refusal> {
        let Some(waiting) = &self.waiting else { return Ok(()) };
        waiting.look(holders);
        let board = self.watch.board();
        let now = board.circle(waiting);
        match (&self.before, now) {
            (Some(before), Some(now)) if Board::<256>::lasts(before, &now) => {
                if Board::<256>::is_told(&now) {
                    return Err(Refusal::Deadlock(Box::new(Deadlock::of(&now, |place| board.name(place)))));
                }
            }
            // It is remembered as it was when it was seen first.
            (Some(before), Some(now)) if Board::<256>::are_same(before, &now) => {}
            (_, now) => self.before = now,
        }
        Ok(())
    }

    /// Until when to sleep before the next look.
    pub(crate) fn until(&mut self, deadline: Option<Instant>) -> Option<Instant> {
        let soon = Instant::now() + self.pause;
        self.pause = PAUSE[1].min(2 * self.pause);
        match &self.waiting {
            Some(_) => Some(deadline.map_or(soon, |deadline| deadline.min(soon))),
            None => deadline,
        }
    }
}

/// Locks, watched or not; whether the state is sound. A watched one has its name at `name`.
#[inline]
pub(crate) fn lock<'a>(
    slot: &'a Slot,
    watch: Option<&'a DeadlockWatch>,
    name: impl FnOnce(&'a Slot) -> &'a NameWords,
    patience: Patience,
) -> Result<bool, Refusal> {
    match watch {
        None => Ok(robust::lock(slot, patience)?),
        Some(watch) => lock_watched(slot, watch, name(slot), patience),
    }
}

fn lock_watched(
    slot: &Slot,
    watch: &DeadlockWatch,
    name: &NameWords,
    patience: Patience,
) -> Result<bool, Refusal> {
    let deadline = match (robust::lock(slot, Patience::None), patience) {
        (Err(LockFailure::Timeout), Patience::Until(deadline)) => deadline,
        (other, _) => return Ok(other?),
    };
    let mut lookout = watch.lookout(name);
    loop {
        lookout.look(std::iter::once(slot.head().owner.load(Ordering::SeqCst)))?;
        match robust::lock(slot, Patience::Until(lookout.until(deadline))) {
            Err(LockFailure::Timeout) if !timeout::expired(deadline) => {}
            other => return Ok(other?),
        }
    }
}

/// Where the name of a lock lies that has no other words.
pub(crate) fn name_alone(slot: &Slot) -> &NameWords {
    slot.words()
}

/// Writes the name of a lock, before anybody else sees it.
pub(crate) fn set_name(words: &NameWords, name: &str) {
    let mut bytes = [0u8; NAME_LEN];
    let len = (0..=name.len().min(NAME_LEN)).rfind(|len| name.is_char_boundary(*len)).unwrap_or(0);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    words[0].store(len as u64, Ordering::Relaxed);
    for (word, bytes) in words[1..].iter().zip(bytes.chunks_exact(8)) {
        word.store(bytes.try_into().map_or(0, u64::from_ne_bytes), Ordering::Relaxed);
    }
}

/// What [`set_name`] wrote.
fn name_of(words: &[u64; NAME]) -> String {
    let len = (words[0] as usize).min(NAME_LEN);
    let bytes: Vec<u8> = words[1..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

impl fmt::Debug for DeadlockWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let board = self.board();
        let waits = board
            .waits()
            .filter_map(|(thread, holder, place)| DeadlockWait::new(thread, holder, &board.name(place)));
        f.debug_struct("DeadlockWatch").field("waiting", &waits.collect::<Vec<_>>()).finish()
    }
}

/// For a lock that travels as its slot and its watch, and that is followed in its slot, after
/// `$own` bytes, by its name where there is a watch.
macro_rules! travels_watched {
    ($type:ident, $kind:expr, $own:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                (SlotOnly { slot: self.slot.clone() }, &self.watch).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (SlotOnly { slot }, watch): (_, Option<crate::DeadlockWatch>) =
                    serde::Deserialize::deserialize(deserializer)?;
                if watch.is_some() && slot.body_len() < $own + crate::deadlock::NAMED {
                    return Err(ipc_core::raw::deserialize_error(
                        "the message names a lock that is not watched",
                    ));
                }
                Ok($type::over(slot, watch))
            }
        }

        /// The lock without its watch, as it travels.
        struct SlotOnly {
            slot: Slot,
        }

        crate::travel::travels!(SlotOnly, $kind, $own, |slot| Ok::<_, String>(SlotOnly { slot }));
    };
}

pub(crate) use travels_watched;

travels!(DeadlockWatch, Kind::Watch, size_of::<Board>(), |slot| Ok::<_, String>(DeadlockWatch { slot }));
