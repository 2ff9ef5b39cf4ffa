//! `Barrier`: nobody goes on before all have come.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{Acquired, LockFailure, ProcessId};

use crate::memory::{Kind, Slot, allocate, shared_words};
use crate::protocol::generation::{self, CALLS, Ending};
use crate::protocol::words::{self, AtomicU32};
use crate::sleep::Sleeper;
use crate::timeout;
use crate::travel::travels;

/// A number of parties that wait for each other, again and again.
///
/// A broken barrier fails at once, for all, until somebody resets it.
///
/// # If a process dies
/// If it was waiting, the barrier is broken, and the others, those who wait and
/// those who come, get [`BarrierError::Broken`] at once. If it died before it came,
/// nobody knows that it was to come: give the wait a timeout. If it died after all
/// had come, the others may have gone on.
///
/// # Examples
/// ```
/// use mp_sync::Barrier;
///
/// let barrier = Barrier::new(2)?;
/// std::thread::scope(|scope| {
///     let other = scope.spawn(|| barrier.wait().unwrap().is_leader());
///     let leads = barrier.wait().unwrap().is_leader();
///     assert!(leads != other.join().unwrap(), "exactly one leads");
/// });
/// # Ok::<(), mp_sync::Error>(())
/// ```
#[derive(Clone)]
pub struct Barrier {
    slot: Slot,
}

shared_words! {
    struct BarrierWords {
        /// The generation, from bit 8 on: it ends with a change of this word, which is
        /// also what is slept on. The bits below count deaths and newcomers.
        word: AtomicU32,
        /// Somebody watches over those who have come: newcomers say that they are here.
        watched: AtomicU32,
        parties: AtomicU32,
        /// Whether the barrier is broken.
        broken: AtomicU32,
        /// How many have come, in generation `arrivals_of`.
        arrived: AtomicU32,
        arrivals_of: AtomicU32,
        /// How the last 64 generations ended: a bit is set for one that was broken.
        endings: words::AtomicU64,
    }
}

/// Where in the body it is written which process has come as which.
const ARRIVALS: usize = 64;

/// One's place among those that went through together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierTurn(u32);

/// The barrier did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// A process died waiting, another one's wait timed out, or it was aborted or reset.
    #[error("the barrier is broken: a party died, timed out, or gave it up")]
    Broken,
    /// The others did not come in time; the barrier is broken now.
    #[error("not all parties came before the deadline: the barrier is broken")]
    Timeout,
    /// The system refused.
    #[error("waiting at the barrier failed: {0}")]
    Io(#[from] io::Error),
}

impl BarrierTurn {
    /// From zero on, another one for each party.
    #[must_use]
    pub fn index(self) -> u32 {
        self.0
    }

    /// Exactly one of the parties is the leader.
    #[must_use]
    pub fn is_leader(self) -> bool {
        self.0 == 0
    }
}

/// The mutex, held for a moment.
struct Inside<'a>(&'a Barrier);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.slot.mutex().unlock();
    }
}

/// Breaks the barrier unless the action came to its end.
struct Unless<'a>(&'a Barrier);

impl Drop for Unless<'_> {
    fn drop(&mut self) {
        let _ = self.0.abort();
    }
}

impl Barrier {
    /// A barrier for so many parties.
    ///
    /// # Errors
    /// What the system says, and `InvalidInput` for none or more than 65,535.
    pub fn new(parties: u32) -> io::Result<Self> {
        if !(1..=0xffff).contains(&parties) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a barrier has 1 to 65535 parties"));
        }
        let barrier = Self { slot: allocate(Kind::Barrier, ARRIVALS + 8 * parties as usize)? };
        barrier.words().parties.store(parties, Ordering::Relaxed);
        Ok(barrier)
    }

    /// Waits until all have come.
    ///
    /// # Errors
    /// See [`BarrierError`]; no `Timeout`.
    pub fn wait(&self) -> Result<BarrierTurn, BarrierError> {
        self.wait_until(None, None::<fn()>)
    }

    /// Waits until all have come; if they have not by then, the barrier breaks.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierTurn, BarrierError> {
        self.wait_until(timeout::after(timeout), None::<fn()>)
    }

    /// As [`wait`](Self::wait); the one that comes last runs its `action` before any
    /// goes on. A panic in it breaks the barrier.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    #[doc(alias = "action")]
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<BarrierTurn, BarrierError> {
        self.wait_until(None, Some(action))
    }

    /// Breaks the barrier: all who wait, and all who come, fail.
    ///
    /// # Errors
    /// What the system says.
    pub fn abort(&self) -> Result<(), BarrierError> {
        let _inside = self.enter(None)?;
        self.words().broken.store(1, Ordering::Relaxed);
        self.end(Ending::Broken);
        Ok(())
    }

    /// Makes the barrier as new; those who wait fail with `Broken`.
    ///
    /// # Errors
    /// What the system says.
    pub fn reset(&self) -> Result<(), BarrierError> {
        let _inside = self.enter(None)?;
        if self.arrived() > 0 {
            self.end(Ending::Broken);
        }
        self.words().broken.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// How many parties there are.
    #[must_use]
    pub fn parties(&self) -> u32 {
        self.words().parties.load(Ordering::Relaxed)
    }

    /// How many wait now.
    #[must_use]
    pub fn n_waiting(&self) -> u32 {
        self.arrived()
    }

    /// Whether it is broken.
    #[doc(alias = "broken")]
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.words().broken.load(Ordering::Acquire) != 0
    }

    fn words(&self) -> &BarrierWords {
        self.slot.words()
    }

    fn generation(&self) -> u32 {
        generation::of(self.words().word.load(Ordering::SeqCst))
    }

    fn arrived(&self) -> u32 {
        let words = self.words();
        let of = words.arrivals_of.load(Ordering::Acquire);
        let arrived = words.arrived.load(Ordering::Acquire);
        if of == self.generation() { arrived } else { 0 }
    }

    fn arrival(&self, place: u32) -> &AtomicU64 {
        self.slot.word_at(ARRIVALS + 8 * place as usize)
    }

    fn wait_until(
        &self,
        deadline: Option<Instant>,
        action: Option<impl FnOnce()>,
    ) -> Result<BarrierTurn, BarrierError> {
        let own = ProcessId::current()?;
        loop {
            let inside = self.enter(deadline)?;
            if self.is_broken() {
                return Err(BarrierError::Broken);
            }
            let generation = self.generation();
            let place = self.open_generation(generation);
            if place >= self.parties() {
                // All have come, and the last one still runs its action: the next turn is ours.
                drop(inside);
                let _ = self.sleep(generation, deadline)?;
                continue;
            }
            self.arrive(place, own);
            if place + 1 < self.parties() {
                drop(inside);
                return match self.sleep(generation, deadline)? {
                    Ending::Open => Ok(BarrierTurn(place)),
                    Ending::Broken => Err(BarrierError::Broken),
                };
            }
            if self.has_lost_one() {
                self.words().broken.store(1, Ordering::Relaxed);
                self.end(Ending::Broken);
                return Err(BarrierError::Broken);
            }
            let Some(action) = action else {
                self.end(Ending::Open);
                return Ok(BarrierTurn(place));
            };
            drop(inside);
            return self.act(generation, place, action);
        }
    }

    fn act(&self, generation: u32, place: u32, action: impl FnOnce()) -> Result<BarrierTurn, BarrierError> {
        let unless = Unless(self);
        action();
        std::mem::forget(unless);
        let _inside = self.enter(None)?;
        if self.generation() != generation {
            return Err(BarrierError::Broken);
        }
        self.end(Ending::Open);
        Ok(BarrierTurn(place))
    }

    /// Takes the mutex. If the last one to hold it died, the barrier is broken.
    fn enter(&self, deadline: Option<Instant>) -> Result<Inside<'_>, BarrierError> {
        let acquired = self.slot.mutex().lock(deadline).map_err(|failure| match failure {
            LockFailure::Timeout => BarrierError::Timeout,
            LockFailure::Io(error) => BarrierError::Io(error),
            _ => BarrierError::Io(io::Error::other("this thread holds too many locks to wait")),
        });
        let inside = match acquired {
            Ok(acquired) => (Inside(self), acquired),
            Err(error) => return Err(error),
        };
        if inside.1 == Acquired::OwnerDied {
            self.words().broken.store(1, Ordering::Relaxed);
            self.end(Ending::Broken);
        }
        Ok(inside.0)
    }

    /// Inside: the place of the next one to come in `generation`.
    fn open_generation(&self, generation: u32) -> u32 {
        let words = self.words();
        if words.arrivals_of.load(Ordering::Relaxed) != generation {
            (0..self.parties()).for_each(|place| self.arrival(place).store(0, Ordering::Relaxed));
            words.arrived.store(0, Ordering::Relaxed);
            words.arrivals_of.store(generation, Ordering::Release);
        }
        words.arrived.load(Ordering::Relaxed)
    }

    /// Inside: writes down who comes, lets those know who watch, and only then has come.
    fn arrive(&self, place: u32, own: ProcessId) {
        let words = self.words();
        // ORDERING: against `watched`, which is set before the arrivals are read.
        self.arrival(place).store(own.to_word(), Ordering::SeqCst);
        if words.watched.swap(0, Ordering::SeqCst) != 0 {
            generation::call(&words.word);
        }
        words.arrived.store(place + 1, Ordering::Release);
    }

    /// Inside: whether one of those who have come has died since.
    fn has_lost_one(&self) -> bool {
        let own = ProcessId::current().ok();
        let arrivals = (0..self.parties()).map(|place| self.arrival(place).load(Ordering::Relaxed));
        let others = arrivals.filter_map(ProcessId::from_word).filter(|other| Some(*other) != own);
        let mut others = others;
        others.any(ProcessId::has_ended)
    }

    /// Inside: ends the generation, for all at once.
    fn end(&self, ending: Ending) {
        let words = self.words();
        generation::end(&words.word, &words.endings, ending);
    }

    /// Sleeps until `generation` ends; how it did.
    fn sleep(&self, generation: u32, deadline: Option<Instant>) -> Result<Ending, BarrierError> {
        let words = self.words();
        let mut sleeper = Sleeper::new(&self.slot, &words.word, CALLS);
        loop {
            let seen = words.word.load(Ordering::SeqCst);
            if generation::of(seen) != generation {
                return Ok(generation::ending(&words.endings, generation));
            }
            if !sleeper.watch(|| self.who_has_come()) {
                self.give_up(generation)?;
                continue;
            }
            if timeout::expired(deadline) && self.give_up(generation)? {
                return Err(BarrierError::Timeout);
            }
            sleeper.sleep(seen, deadline);
        }
    }

    fn who_has_come(&self) -> impl Iterator<Item = u64> + '_ {
        self.words().watched.store(1, Ordering::SeqCst);
        (0..self.parties()).map(|place| self.arrival(place).load(Ordering::SeqCst))
    }

    /// Breaks the barrier if `generation` still lasts; whether it did.
    fn give_up(&self, generation: u32) -> Result<bool, BarrierError> {
        let _inside = self.enter(None)?;
        let lasts = self.generation() == generation;
        if lasts {
            self.words().broken.store(1, Ordering::Relaxed);
            self.end(Ending::Broken);
        }
        Ok(lasts)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("n_waiting", &self.n_waiting())
            .field("is_broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}

/// Refuses a barrier whose words say that it has more parties than places.
fn checked(slot: Slot) -> Result<Barrier, &'static str> {
    let barrier = Barrier { slot };
    let places = barrier.slot.body_len().saturating_sub(ARRIVALS) / 8;
    if (barrier.parties() as usize) <= places { Ok(barrier) } else { Err("not a barrier") }
}

travels!(Barrier, Kind::Barrier, ARRIVALS + 8, checked);
