//! The seats at a barrier: who waits holds one, by which the others see that it lives.
//!
//! A seat begins with a robust mutex. When its holder dies, the kernel marks it before
//! anybody can learn of the death in another way, so that to look at it is enough, and
//! costs no call of the system.

use std::time::{Duration, Instant};

use ipc_core::raw::LockFailure;

use super::words::{AtomicU64, read, write};
use crate::memory::shared_words;
use crate::timeout;

shared_words! {
    /// What a seat has beside its mutex.
    pub(crate) struct SeatWords {
        /// For which generation its holder has come, plus one; zero is none.
        came: AtomicU64,
        /// The holder's process.
        process: AtomicU64,
        /// How many had come before it.
        place: AtomicU64,
    }
}

/// The seats of a barrier: those in its memory, or such that the models play.
pub(crate) trait Chairs {
    fn count(&self) -> usize;

    /// Where this thread begins to look for a free one.
    fn first(&self) -> usize;

    fn words(&self, seat: usize) -> &SeatWords;

    /// Locks the seat's mutex if nobody holds it who lives.
    fn try_lock(&self, seat: usize) -> Result<(), LockFailure>;

    /// As `try_lock`, and waits until the deadline.
    fn lock(&self, seat: usize, deadline: Instant) -> Result<(), LockFailure>;

    fn unlock(&self, seat: usize);
}

/// All seats of a barrier: as many as parties, so that one is free for each of them,
/// however late those of the last generation get up.
pub(crate) struct Seats<'a, C>(pub(crate) &'a C);

/// A seat that this thread holds; it gets up when this is dropped.
pub(crate) struct Seat<'a, C: Chairs> {
    chairs: &'a C,
    number: usize,
}

/// What is found by one who looks for a seat.
pub(crate) enum Claim<'a, C: Chairs> {
    Seat(Seat<'a, C>),
    /// One who had come for this generation has died.
    HasLostOne,
    /// There are more processes than parties, and of the last generation some get up.
    AllHeld,
}

/// How long to wait for one of those who get up.
const SOON: Duration = Duration::from_millis(1);

impl<'a, C: Chairs> Seats<'a, C> {
    /// A free seat, for one who comes for `generation`.
    pub(crate) fn claim(self, generation: u32) -> Result<Claim<'a, C>, LockFailure> {
        let (count, chairs) = (self.0.count(), self.0);
        let first = chairs.first();
        for number in (first..count).chain(0..first) {
            match chairs.try_lock(number) {
                Ok(()) if self.has_come(number, generation) => {
                    drop(Seat { chairs, number });
                    return Ok(Claim::HasLostOne);
                }
                Ok(()) => return Ok(Claim::Seat(Seat { chairs, number })),
                Err(LockFailure::Timeout | LockFailure::Deadlock) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(Claim::AllHeld)
    }

    /// Waits shortly for one who gets up: another one may be faster and sit down there.
    pub(crate) fn await_leaver(self, generation: u32, deadline: Option<Instant>) -> Result<(), LockFailure> {
        let Some(number) = (0..self.0.count()).find(|seat| !self.has_come(*seat, generation)) else {
            return Ok(());
        };
        let soon = Instant::now() + SOON;
        match self.0.lock(number, deadline.map_or(soon, |deadline| deadline.min(soon))) {
            Ok(()) => {
                self.0.unlock(number);
                Ok(())
            }
            Err(LockFailure::Timeout) if !timeout::expired(deadline) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// How many have come for `generation` and live, this thread apart. To be called
    /// where nobody can come meanwhile.
    pub(crate) fn count_living(self, generation: u32) -> Result<u32, LockFailure> {
        let mut living = 0;
        for number in (0..self.0.count()).filter(|seat| self.has_come(*seat, generation)) {
            match self.0.try_lock(number) {
                Ok(()) => self.0.unlock(number),
                Err(LockFailure::Timeout) => living += 1,
                Err(LockFailure::Deadlock) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(living)
    }

    /// The process that one watches who came for `generation` as `place`: of the one who came
    /// before it, and for the first one of the one who came last. In this circle somebody who
    /// lives watches one who is dead, whoever they are, and nobody watches more than one.
    pub(crate) fn watched_from(self, place: u32, generation: u32) -> Option<u64> {
        let came = (0..self.0.count()).filter(|seat| self.has_come(*seat, generation));
        let mut came = came.map(|seat| self.0.words(seat));
        let watched = match u64::from(place).checked_sub(1) {
            Some(before) => came.find(|words| read(&words.place) == before),
            None => came.max_by_key(|words| read(&words.place)),
        };
        watched.map(|words| read(&words.process))
    }

    /// Forgets who has come: what the dead have left there is not to be found again
    /// once the numbers of generations have gone round.
    pub(crate) fn forget_all(self) {
        (0..self.0.count()).for_each(|seat| write(&self.0.words(seat).came, 0));
    }

    fn has_come(self, seat: usize, generation: u32) -> bool {
        read(&self.0.words(seat).came) == u64::from(generation) + 1
    }
}

impl<C> Clone for Seats<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Seats<'_, C> {}

impl<C: Chairs> Seat<'_, C> {
    /// Which one it is.
    #[cfg_attr(under_loom, allow(dead_code))]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Says that one has come.
    pub(crate) fn come(&self, process: u64, generation: u32, place: u32) {
        let words = self.chairs.words(self.number);
        // ORDERING: who finds that somebody has come also finds who, and as which.
        write(&words.process, process);
        write(&words.place, place.into());
        write(&words.came, u64::from(generation) + 1);
    }
}

impl<C: Chairs> Drop for Seat<'_, C> {
    fn drop(&mut self) {
        write(&self.chairs.words(self.number).came, 0);
        self.chairs.unlock(self.number);
    }
}

#[cfg(under_loom)]
impl SeatWords {
    pub(crate) fn empty() -> Self {
        Self { came: AtomicU64::new(0), process: AtomicU64::new(0), place: AtomicU64::new(0) }
    }
}

#[cfg(all(test, under_loom))]
mod models {
    // The checker's own counts, and cannot do that any more once a model has failed.
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use loom::sync::Mutex;
    use loom::thread;

    use super::*;
    use crate::protocol::generation::{self, CALLS, Ending};
    use crate::protocol::kernel::{self, ChairsOf, Deaths, PlayedChairs};
    use crate::protocol::sleeper::Sleeper;
    use crate::protocol::words::{AtomicU32, read_small, wake, write_small};

    /// What a barrier is made of, for as many parties.
    struct Barrier {
        word: AtomicU32,
        endings: AtomicU64,
        watched: AtomicU32,
        /// How many have come in the only generation there is, and whether it is broken. The
        /// mutex around them is marked by a holder that dies.
        inside: Mutex<Inside>,
        chairs: PlayedChairs<2>,
        deaths: Deaths,
        how: How,
    }

    #[derive(Default)]
    struct Inside {
        arrived: u32,
        is_broken: bool,
        owner_died: bool,
    }

    /// How those who meet do it: rightly, or not.
    #[derive(Clone, Copy)]
    struct How {
        parties: u32,
        counts_the_living: bool,
        /// The last one sits down before it opens.
        sits_down_last: bool,
        wakes: bool,
        /// Says that it watches before it looks at the seats.
        watches_first: bool,
        /// Which of them watch another one.
        watches: fn(u32) -> bool,
        /// Asks again for a death that it was told of.
        asks_again: bool,
        /// Calls those who watch before it has come.
        calls_first: bool,
        come: fn(&Barrier),
    }

    const RIGHT: How = How {
        parties: 2,
        counts_the_living: true,
        sits_down_last: true,
        wakes: true,
        watches_first: true,
        watches: |_| true,
        asks_again: true,
        calls_first: false,
        come: call_watchers,
    };

    fn call_watchers(barrier: &Barrier) {
        if read_small(&barrier.watched) != 0 && barrier.watched.swap(0, Ordering::SeqCst) != 0 {
            generation::call(&barrier.word);
        }
    }

    /// Where one is killed.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Killed {
        Seated,
        HavingCome,
        HavingArrived,
        /// Before it sleeps, or before it wakes.
        Outside,
        Never,
    }

    const INSIDE: [Killed; 3] = [Killed::Seated, Killed::HavingCome, Killed::HavingArrived];

    impl Barrier {
        /// As [`Barrier::wait`](crate::Barrier::wait) does; `None` of one who is killed.
        fn wait(&self, process: u32, killed: Killed) -> Option<Ending> {
            let chairs = ChairsOf { chairs: &self.chairs, process };
            let seats = Seats(&chairs);
            let mut inside = self.enter();
            if inside.is_broken {
                return Some(Ending::Broken);
            }
            let place = inside.arrived;
            let is_last = place + 1 == self.how.parties;
            if is_last && self.how.counts_the_living && seats.count_living(0).unwrap() < place {
                self.give_up_inside(&mut inside);
                return Some(Ending::Broken);
            }
            let seat = match is_last && !self.how.sits_down_last {
                true => None,
                false => match seats.claim(0).unwrap() {
                    Claim::Seat(seat) => Some(seat),
                    Claim::HasLostOne => {
                        self.give_up_inside(&mut inside);
                        return Some(Ending::Broken);
                    }
                    Claim::AllHeld => panic!("there is a seat for each party"),
                },
            };
            for step in INSIDE {
                match (step, &seat) {
                    (Killed::HavingCome, Some(_)) if self.how.calls_first => (self.how.come)(self),
                    (Killed::HavingCome, Some(seat)) => seat.come(process.into(), 0, place),
                    (Killed::HavingArrived, Some(seat)) => {
                        match self.how.calls_first {
                            true => seat.come(process.into(), 0, place),
                            false => (self.how.come)(self),
                        }
                        inside.arrived += 1;
                    }
                    _ => {}
                }
                if step == killed {
                    inside.owner_died = true;
                    drop(inside);
                    return self.die(process, seat);
                }
            }
            if is_last {
                let is_slept_on = generation::open(&self.word, &self.endings);
                drop(inside);
                if killed == Killed::Outside {
                    return self.die(process, seat);
                }
                if is_slept_on && self.how.wakes {
                    wake(&self.word, u32::MAX);
                }
                return Some(Ending::Open);
            }
            drop(inside);
            if killed == Killed::Outside {
                return self.die(process, seat);
            }
            // Kept from a model that fails: the checker cannot write while it unwinds.
            let seat = std::mem::ManuallyDrop::new(seat);
            let ending = self.sleep(seats, place);
            drop(std::mem::ManuallyDrop::into_inner(seat));
            Some(ending)
        }

        fn sleep<C: Chairs>(&self, seats: Seats<'_, C>, place: u32) -> Ending {
            let mut sleeper = Sleeper::new(self.deaths.reported_in(CALLS, self.how.asks_again), &self.word);
            loop {
                let seen = self.word.fetch_or(0, Ordering::SeqCst);
                if generation::of(seen) != 0 {
                    return generation::ending(&self.endings, 0);
                }
                let watched = || {
                    if place == 0 && self.how.watches_first {
                        write_small(&self.watched, 1);
                    }
                    let process = seats.watched_from(place, 0);
                    if place == 0 && !self.how.watches_first {
                        write_small(&self.watched, 1);
                    }
                    process.filter(|_| (self.how.watches)(place)).into_iter()
                };
                if !sleeper.watch(watched) {
                    let mut inside = self.enter();
                    if generation::of(self.word.fetch_or(0, Ordering::SeqCst)) == 0 {
                        self.give_up_inside(&mut inside);
                    }
                    continue;
                }
                if let Some(asleep) = generation::announce(&self.word, seen) {
                    sleeper.sleep(asleep, None);
                }
            }
        }

        fn enter(&self) -> loom::sync::MutexGuard<'_, Inside> {
            let mut inside = self.inside.lock().unwrap();
            if std::mem::take(&mut inside.owner_died) {
                self.give_up_inside(&mut inside);
            }
            inside
        }

        fn give_up_inside(&self, inside: &mut Inside) {
            inside.is_broken = true;
            inside.arrived = 0;
            generation::end_broken(&self.word, &self.endings);
        }

        /// The kernel marks its mutexes first, and then tells those who asked.
        fn die<C: Chairs>(&self, process: u32, seat: Option<Seat<'_, C>>) -> Option<Ending> {
            std::mem::forget(seat);
            self.chairs.release_dead(process);
            self.deaths.die(process.into(), &self.word);
            None
        }
    }

    /// Runs the model: with bounded preemption, as there are many steps.
    fn meet(how: How, model: impl Fn(Arc<Barrier>) + Send + Sync + 'static) {
        let mut checker = loom::model::Builder::new();
        checker.preemption_bound = Some(3);
        checker.check(move || {
            kernel::boot();
            let (word, watched) = (AtomicU32::new(0), AtomicU32::new(0));
            let (endings, inside) = (AtomicU64::new(0), Mutex::default());
            let (chairs, deaths) = (PlayedChairs::new(), Deaths::new());
            model(Arc::new(Barrier { word, endings, watched, inside, chairs, deaths, how }));
        });
    }

    /// Two processes: one that lives, and another one that begins to look for a seat elsewhere.
    const LIVES: u32 = 1;
    const OTHER: u32 = 2;
    /// One that begins to look at the same seat as the one that lives.
    const NEAR: u32 = 3;

    fn beside(barrier: &Arc<Barrier>, killed: Killed) -> thread::JoinHandle<Option<Ending>> {
        let barrier = Arc::clone(barrier);
        thread::spawn(move || barrier.wait(OTHER, killed))
    }

    /// Both live.
    fn two_meet(how: How) {
        meet(how, |barrier| {
            let other = beside(&barrier, Killed::Never);
            assert_eq!(barrier.wait(LIVES, Killed::Never), Some(Ending::Open));
            assert_eq!(other.join().unwrap(), Some(Ending::Open));
        });
    }

    /// One is killed before the other one comes.
    fn one_comes_after_a_death(how: How, process: u32, killed: Killed) {
        meet(how, move |barrier| {
            assert_eq!(barrier.wait(process, killed), None);
            assert_eq!(barrier.wait(LIVES, Killed::Never), Some(Ending::Broken), "filled by the dead");
        });
    }

    /// One is killed while the other one comes, or waits: it goes on, one way or the other.
    fn one_meets_a_death(how: How, killed: Killed) {
        meet(how, move |barrier| {
            let victim = beside(&barrier, killed);
            assert!(barrier.wait(LIVES, Killed::Never).is_some());
            assert!(victim.join().unwrap().is_none() || killed == Killed::Seated);
        });
    }

    type Come = fn(&Seat<'_, ChairsOf<'_, 2>>);

    /// One comes, and another one who finds that finds who.
    fn who_has_come_is_known(come: Come) {
        loom::model(move || {
            let chairs = Arc::new(PlayedChairs::<2>::new());
            let other = {
                let chairs = Arc::clone(&chairs);
                thread::spawn(move || {
                    let chairs = ChairsOf { chairs: &chairs, process: OTHER };
                    let Claim::Seat(seat) = Seats(&chairs).claim(0).unwrap() else { panic!("both are free") };
                    come(&seat);
                    std::mem::forget(seat);
                })
            };
            let words = &chairs.words[OTHER as usize % 2];
            if words.came.load(Ordering::Acquire) == 1 {
                assert_eq!(words.process.load(Ordering::Relaxed), OTHER.into(), "who has come");
            }
            other.join().unwrap();
        });
    }

    #[test]
    fn who_finds_that_one_has_come_finds_who() {
        who_has_come_is_known(|seat| seat.come(OTHER.into(), 0, 0));
    }

    #[test]
    #[should_panic(expected = "who has come")]
    fn mutant_that_comes_before_it_says_who() {
        who_has_come_is_known(|seat| {
            write(&seat.chairs.words(seat.number).came, 1);
            write(&seat.chairs.words(seat.number).process, OTHER.into());
        });
    }

    #[test]
    #[should_panic(expected = "who has come")]
    fn mutant_that_comes_without_releasing() {
        who_has_come_is_known(|seat| {
            let words = seat.chairs.words(seat.number);
            words.process.store(OTHER.into(), Ordering::Relaxed);
            words.came.store(1, Ordering::Relaxed);
        });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_calls_before_it_comes() {
        // Those who watch look again, and do not find it yet.
        one_meets_a_death(How { parties: 3, calls_first: true, ..RIGHT }, Killed::Outside);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_says_too_late_that_it_watches() {
        one_meets_a_death(How { parties: 3, watches_first: false, ..RIGHT }, Killed::Outside);
    }

    #[test]
    fn all_go_when_the_last_one_comes() {
        two_meet(RIGHT);
    }

    #[test]
    fn the_dead_fill_no_barrier() {
        for killed in [Killed::HavingCome, Killed::HavingArrived, Killed::Outside] {
            [OTHER, NEAR].into_iter().for_each(|process| one_comes_after_a_death(RIGHT, process, killed));
        }
    }

    #[test]
    fn one_who_waits_beside_a_death_goes_on() {
        one_meets_a_death(RIGHT, Killed::Outside);
        one_meets_a_death(RIGHT, Killed::HavingArrived);
    }

    #[test]
    fn one_who_comes_and_dies_beside_a_sleeper_is_noticed() {
        one_meets_a_death(How { parties: 3, ..RIGHT }, Killed::Outside);
    }

    #[test]
    #[should_panic(expected = "filled by the dead")]
    fn mutant_that_counts_the_dead() {
        one_comes_after_a_death(How { counts_the_living: false, ..RIGHT }, OTHER, Killed::Outside);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_opens_without_waking() {
        two_meet(How { wakes: false, ..RIGHT });
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_opens_without_a_seat() {
        one_meets_a_death(How { sits_down_last: false, ..RIGHT }, Killed::Outside);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_comes_first_and_watches_nobody() {
        one_meets_a_death(How { parties: 3, watches: |place| place != 0, ..RIGHT }, Killed::Outside);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_comes_later_and_watches_nobody() {
        one_meets_a_death(How { parties: 3, watches: |place| place == 0, ..RIGHT }, Killed::Outside);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_keeps_a_notice_that_has_come() {
        one_meets_a_death(How { parties: 3, asks_again: false, ..RIGHT }, Killed::Outside);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn mutant_that_comes_without_calling() {
        one_meets_a_death(How { parties: 3, come: |_| (), ..RIGHT }, Killed::Outside);
    }
}
