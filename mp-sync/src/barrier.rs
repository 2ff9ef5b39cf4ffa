//! `Barrier`: nobody goes on before all have come.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_core::raw::{Acquired, LockFailure, ProcessId, ThreadId, cpu_count};

use crate::memory::{Kind, SEAT, SEAT_OWN, Slot, allocate, shared_words};
use crate::protocol::generation::{self, CALLS, Ending};
use crate::protocol::seats::{Chairs, Claim, Seat, SeatWords, Seats};
use crate::protocol::words::{self, AtomicU32, wake};
use crate::sleep::{self, Eagerness};
use crate::timeout::{self, HELD_UP};
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
/// # If a process is stopped
/// Each one that waits watches one other. So if one of them is stopped, as by `SIGSTOP` or a debugger, the
/// others may learn of a death only when it goes on or dies, when the last party comes, or when a timeout is over.
///
/// # Timeouts
/// Whoever's time is over breaks the barrier, as in Python: one who waits, one who
/// waits for a turn because others of the last one have not gone yet, and one who
/// does not get inside because another process was stopped there.
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
pub struct Barrier {
    slot: Slot,
    eagerness: Eagerness,
    /// Which thread sat down last by this handle, and where: it finds that seat free again.
    sat: AtomicU64,
}

shared_words! {
    struct BarrierWords {
        /// The generation, as in `protocol::generation`: it ends with a change of this word,
        /// which is also what is slept on. The calls are deaths and newcomers.
        word: AtomicU32,
        /// The first one watches the last one who has come: newcomers say that they are here.
        watched: AtomicU32,
        parties: AtomicU32,
        /// Whether the barrier is broken, or is to be.
        broken: AtomicU32,
        /// How many have come, in generation `arrivals_of`.
        arrived: AtomicU32,
        arrivals_of: AtomicU32,
        /// How the last 64 generations ended: a bit is set for one that was broken.
        endings: words::AtomicU64,
    }
}

const _: () = assert!(size_of::<BarrierWords>() <= SEAT && SEAT_OWN + size_of::<SeatWords>() <= SEAT);

/// One's place among those that went through together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierTurn(u32);

/// The barrier did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// A process died waiting, another one's wait timed out, or it was aborted or reset.
    #[error("the barrier is broken until it is reset: a party died, timed out, or gave it up")]
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

/// It is as new, or has been reset.
const WHOLE: u32 = 0;
/// Nobody goes through, and nobody waits.
const BROKEN: u32 = 1;
/// Nobody goes through; one who could not get inside says so, to the next who can.
const GIVEN_UP: u32 = 2;

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
        let barrier = Self::over(allocate(Kind::Barrier, SEAT * (1 + parties as usize))?);
        barrier.words().parties.store(parties, Ordering::Relaxed);
        Ok(barrier)
    }

    fn over(slot: Slot) -> Self {
        Self { slot, eagerness: Eagerness::default(), sat: AtomicU64::new(0) }
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

    /// As [`wait_with`](Self::wait_with), up to `timeout`, which does not hold for the action.
    ///
    /// # Errors
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait_with_timeout(
        &self,
        timeout: Duration,
        action: impl FnOnce(),
    ) -> Result<BarrierTurn, BarrierError> {
        self.wait_until(timeout::after(timeout), Some(action))
    }

    /// Breaks the barrier: all who wait, and all who come, fail. It takes a tenth of a second at
    /// most, also where a process was stopped in the middle of coming.
    ///
    /// # Errors
    /// What the system says.
    pub fn abort(&self) -> Result<(), BarrierError> {
        match self.enter_or_break(Some(Instant::now())) {
            Ok(_inside) => self.give_up_inside(),
            // From outside, which those who wait have been told.
            Err(BarrierError::Timeout) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes the barrier as new; those who wait fail with `Broken`. Where a process was stopped in
    /// the middle of coming, it waits until that one goes on or dies.
    ///
    /// # Errors
    /// What the system says.
    pub fn reset(&self) -> Result<(), BarrierError> {
        let _inside = self.enter(None)?;
        if self.arrived() > 0 {
            self.end_broken();
        }
        self.words().broken.store(WHOLE, Ordering::SeqCst);
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
        self.words().broken.load(Ordering::SeqCst) != WHOLE
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

    fn seats(&self) -> Seats<'_, Self> {
        Seats(self)
    }

    fn wait_until(
        &self,
        deadline: Option<Instant>,
        action: Option<impl FnOnce()>,
    ) -> Result<BarrierTurn, BarrierError> {
        let own = ProcessId::current()?;
        loop {
            let inside = self.enter_or_break(deadline)?;
            if self.is_broken() {
                return Err(BarrierError::Broken);
            }
            let generation = self.generation();
            let place = self.open_generation(generation);
            if place >= self.parties() {
                // All have come, and the last one still runs its action: the next turn is ours.
                drop(inside);
                let _ = self.sleep(generation, place, deadline)?;
                continue;
            }
            let is_last = place + 1 == self.parties();
            // Each of those who have come holds its seat, or has died.
            if is_last && self.seats().count_living(generation).map_err(failed)? < place {
                self.give_up_inside();
                return Err(BarrierError::Broken);
            }
            let seat = match self.seats().claim(generation).map_err(failed)? {
                Claim::Seat(seat) => {
                    let thread = u64::from(ThreadId::current().thread());
                    self.sat.store(thread << 32 | seat.number() as u64, Ordering::Relaxed);
                    seat
                }
                Claim::HasLostOne => {
                    self.give_up_inside();
                    return Err(BarrierError::Broken);
                }
                Claim::AllHeld => {
                    drop(inside);
                    match self.seats().await_leaver(generation, deadline) {
                        Ok(()) => continue,
                        Err(LockFailure::Timeout) => {
                            let inside = self.enter_or_break(deadline)?;
                            self.give_up_inside();
                            drop(inside);
                            return Err(BarrierError::Timeout);
                        }
                        Err(failure) => return Err(failed(failure)),
                    }
                }
            };
            self.come(&seat, own, generation, place);
            if !is_last {
                drop(inside);
                return match self.sleep(generation, place, deadline)? {
                    Ending::Open => Ok(BarrierTurn(place)),
                    Ending::Broken => Err(BarrierError::Broken),
                };
            }
            return match action {
                None => Ok(self.open(inside, place)),
                Some(action) => {
                    drop(inside);
                    self.act(generation, place, action)
                }
            };
        }
    }

    fn act(&self, generation: u32, place: u32, action: impl FnOnce()) -> Result<BarrierTurn, BarrierError> {
        let unless = Unless(self);
        action();
        std::mem::forget(unless);
        let inside = self.enter(None)?;
        if self.generation() != generation {
            return Err(BarrierError::Broken);
        }
        Ok(self.open(inside, place))
    }

    /// Lets all go. They are woken outside, where those whom they overtake hold nothing; should
    /// this process die before, they know it by its seat.
    fn open(&self, inside: Inside<'_>, place: u32) -> BarrierTurn {
        let words = self.words();
        let is_slept_on = generation::open(&words.word, &words.endings);
        drop(inside);
        if is_slept_on {
            wake(&words.word, u32::MAX);
        }
        BarrierTurn(place)
    }

    /// Takes the mutex. If the last one to hold it died, the barrier is broken.
    fn enter(&self, deadline: Option<Instant>) -> Result<Inside<'_>, BarrierError> {
        let acquired = self.slot.mutex().lock(deadline).map_err(failed)?;
        let inside = Inside(self);
        let is_given_up = self.words().broken.load(Ordering::SeqCst) == GIVEN_UP;
        if acquired == Acquired::OwnerDied || is_given_up {
            self.give_up_inside();
        }
        Ok(inside)
    }

    /// As [`enter`](Self::enter). At the deadline, who is inside has been stopped: then the barrier
    /// is broken from outside, and those who wait are told.
    fn enter_or_break(&self, deadline: Option<Instant>) -> Result<Inside<'_>, BarrierError> {
        let deadline = deadline.map(|deadline| deadline.max(Instant::now() + HELD_UP));
        let entered = self.enter(deadline);
        if matches!(entered, Err(BarrierError::Timeout)) {
            let words = self.words();
            let give_up = |old: u32| (old == WHOLE).then_some(GIVEN_UP);
            // ORDERING: before the call, after which those who wait look at it.
            let _ = words.broken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, give_up);
            generation::call(&words.word);
        }
        entered
    }

    /// Inside: how many have come in `generation`.
    fn open_generation(&self, generation: u32) -> u32 {
        let words = self.words();
        if words.arrivals_of.load(Ordering::Relaxed) != generation {
            if generation == 0 {
                self.seats().forget_all();
            }
            words.arrived.store(0, Ordering::Relaxed);
            words.arrivals_of.store(generation, Ordering::Release);
        }
        words.arrived.load(Ordering::Relaxed)
    }

    /// Inside: writes down who comes, lets those know who watch, and only then has come.
    fn come(&self, seat: &Seat<'_, Self>, own: ProcessId, generation: u32, place: u32) {
        let words = self.words();
        seat.come(own.to_word(), generation, place);
        // ORDERING: against `watched`, which is set before the seats are looked at.
        if words::read_small(&words.watched) != 0 && words.watched.swap(0, Ordering::SeqCst) != 0 {
            generation::call(&words.word);
        }
        words.arrived.store(place + 1, Ordering::Release);
    }

    /// Inside: ends the generation as broken, for all at once.
    fn end_broken(&self) {
        let words = self.words();
        generation::end_broken(&words.word, &words.endings);
    }

    /// Sleeps until `generation` ends; how it did.
    fn sleep(&self, generation: u32, place: u32, deadline: Option<Instant>) -> Result<Ending, BarrierError> {
        let words = self.words();
        let is_over = || generation::of(words.word.load(Ordering::SeqCst)) != generation;
        // Where each of them has a processor, the others may be about to come.
        if cpu_count() >= self.parties() as usize {
            self.eagerness.look(is_over);
        }
        let mut sleeper = sleep::sleeper(&self.slot, &words.word, CALLS);
        loop {
            let seen = words.word.load(Ordering::SeqCst);
            if is_over() {
                return Ok(generation::ending(&words.endings, generation));
            }
            if !sleeper.watch(|| self.watched_from(place, generation).into_iter()) {
                self.give_up(generation, deadline)?;
                continue;
            }
            if words.broken.load(Ordering::SeqCst) == GIVEN_UP {
                // The one who is inside may be letting all go: whoever gets inside finds out.
                self.give_up(generation, deadline)?;
                continue;
            }
            if timeout::expired(deadline) && self.give_up(generation, deadline)? {
                return Err(BarrierError::Timeout);
            }
            if let Some(asleep) = generation::announce(&words.word, seen) {
                sleeper.sleep(asleep, deadline);
            }
        }
    }

    fn watched_from(&self, place: u32, generation: u32) -> Option<u64> {
        if place == 0 {
            // ORDERING: before the seats are looked at; see `come`.
            words::write_small(&self.words().watched, 1);
        }
        self.seats().watched_from(place, generation)
    }

    /// Breaks the barrier if `generation` still lasts; whether it did.
    fn give_up(&self, generation: u32, deadline: Option<Instant>) -> Result<bool, BarrierError> {
        let _inside = self.enter_or_break(deadline)?;
        let lasts = self.generation() == generation;
        if lasts {
            self.give_up_inside();
        }
        Ok(lasts)
    }

    /// Inside: breaks the barrier.
    fn give_up_inside(&self) {
        self.words().broken.store(BROKEN, Ordering::SeqCst);
        self.end_broken();
    }
}

/// A seat for each party behind the barrier's own words, so that one is free for each of them,
/// however late those of the last generation get up.
impl Chairs for Barrier {
    fn count(&self) -> usize {
        self.slot.seats()
    }

    fn first(&self) -> usize {
        let (thread, sat) = (ThreadId::current().thread(), self.sat.load(Ordering::Relaxed));
        // Threads that were started one after the other try another one each at first.
        let first = if sat >> 32 == u64::from(thread) { sat as u32 } else { thread };
        first as usize % self.slot.seats()
    }

    fn words(&self, seat: usize) -> &SeatWords {
        self.slot.words_at(SEAT * (seat + 1) + SEAT_OWN)
    }

    fn try_lock(&self, seat: usize) -> Result<(), LockFailure> {
        self.slot.seat_mutex(seat).try_lock().map(drop)
    }

    fn lock(&self, seat: usize, deadline: Instant) -> Result<(), LockFailure> {
        self.slot.seat_mutex(seat).lock(Some(deadline)).map(drop)
    }

    fn unlock(&self, seat: usize) {
        self.slot.seat_mutex(seat).unlock();
    }
}

impl Clone for Barrier {
    fn clone(&self) -> Self {
        Self::over(self.slot.clone())
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

fn failed(failure: LockFailure) -> BarrierError {
    match failure {
        LockFailure::Timeout => BarrierError::Timeout,
        LockFailure::Io(error) => BarrierError::Io(error),
        _ => BarrierError::Io(io::Error::other("this thread holds too many locks to wait")),
    }
}

/// Refuses a barrier whose words say that it has more parties than seats.
fn checked(slot: Slot) -> Result<Barrier, &'static str> {
    let barrier = Barrier::over(slot);
    if (barrier.parties() as usize) <= barrier.slot.seats() { Ok(barrier) } else { Err("not a barrier") }
}

travels!(Barrier, Kind::Barrier, 2 * SEAT, checked);

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn one_who_does_not_get_inside_in_time_breaks_it() {
        let barrier = Barrier::new(3).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| barrier.wait());
            while barrier.n_waiting() == 0 {
                std::thread::yield_now();
            }
            // As one that is stopped there.
            let inside = barrier.enter(None).unwrap();
            let late = scope.spawn(|| barrier.wait_timeout(SHORT)).join().unwrap();
            assert!(matches!(late, Err(BarrierError::Timeout)), "{late:?}");
            assert!(barrier.is_broken());
            drop(inside);
            assert!(matches!(waiter.join().unwrap(), Err(BarrierError::Broken)));
        });
        assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
        barrier.reset().unwrap();
        assert!(!barrier.is_broken() && barrier.n_waiting() == 0);
    }

    #[test]
    fn one_who_is_inside_for_long_is_not_waited_for_to_abort() {
        let barrier = Barrier::new(2).unwrap();
        let inside = barrier.enter(None).unwrap();
        std::thread::scope(|scope| scope.spawn(|| barrier.abort().unwrap()).join().unwrap());
        assert!(barrier.is_broken());
        drop(inside);
        assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    }

    #[test]
    fn what_was_given_up_does_not_open_after_the_action() {
        let barrier = Barrier::new(2).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| barrier.wait_timeout(20 * SHORT));
            while barrier.n_waiting() == 0 {
                std::thread::yield_now();
            }
            let last = barrier.wait_with(|| {
                // As one that is stopped there.
                let _inside = barrier.enter(None).unwrap();
                assert!(matches!(waiter.join().unwrap(), Err(BarrierError::Timeout)));
            });
            assert!(matches!(last, Err(BarrierError::Broken)), "{last:?}");
        });
    }

    #[test]
    fn one_whose_time_is_over_does_not_wait_for_one_inside() {
        let barrier = Barrier::new(2).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| barrier.wait_timeout(4 * SHORT));
            while barrier.n_waiting() == 0 {
                std::thread::yield_now();
            }
            let inside = barrier.enter(None).unwrap();
            let late = waiter.join().unwrap();
            assert!(matches!(late, Err(BarrierError::Timeout)), "{late:?}");
            assert!(barrier.is_broken());
            drop(inside);
        });
        assert!(matches!(barrier.wait(), Err(BarrierError::Broken)), "the one who left is not counted");
    }
}
