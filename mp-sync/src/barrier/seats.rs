//! The seats at a barrier: who waits holds one, by which the others see that it lives.
//!
//! A seat begins with a robust mutex. When its holder dies, the kernel marks it before
//! anybody can learn of the death in another way, so that to look at it is enough, and
//! costs no call of the system.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::raw::{LockFailure, ProcessId, ThreadId};

use crate::memory::{SEAT, SEAT_OWN, Slot, shared_words};
use crate::protocol::words::AtomicU64;
use crate::timeout;

shared_words! {
    struct SeatWords {
        /// For which generation its holder has come, plus one; zero is none.
        came: AtomicU64,
        /// The holder's process.
        process: AtomicU64,
    }
}

const _: () = assert!(SEAT_OWN + size_of::<SeatWords>() <= SEAT);

/// All seats of a barrier: as many as parties, so that one is free for each of them,
/// however late those of the last generation get up.
#[derive(Clone, Copy)]
pub(super) struct Seats<'a>(pub(super) &'a Slot);

/// A seat that this thread holds; it gets up when this is dropped.
pub(super) struct Seat<'a> {
    slot: &'a Slot,
    number: usize,
}

/// What is found by one who looks for a seat.
pub(super) enum Claim<'a> {
    Seat(Seat<'a>),
    /// One who had come for this generation has died.
    HasLostOne,
    /// There are more processes than parties, and of the last generation some get up.
    AllHeld,
}

/// How long to wait for one of those who get up.
const SOON: Duration = Duration::from_millis(1);

impl<'a> Seats<'a> {
    /// A free seat, for one who comes for `generation`.
    pub(super) fn claim(self, generation: u32) -> Result<Claim<'a>, LockFailure> {
        let (count, slot) = (self.0.seats(), self.0);
        // Threads that were started one after the other try another one each.
        let first = ThreadId::current().thread() as usize % count;
        for number in (first..count).chain(0..first) {
            match slot.seat_mutex(number).try_lock() {
                Ok(_) if self.has_come(number, generation) => {
                    drop(Seat { slot, number });
                    return Ok(Claim::HasLostOne);
                }
                Ok(_) => return Ok(Claim::Seat(Seat { slot, number })),
                Err(LockFailure::Timeout | LockFailure::Deadlock) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(Claim::AllHeld)
    }

    /// Waits shortly for one who gets up: another one may be faster and sit down there.
    pub(super) fn await_leaver(self, generation: u32, deadline: Option<Instant>) -> Result<(), LockFailure> {
        let Some(number) = (0..self.0.seats()).find(|seat| !self.has_come(*seat, generation)) else {
            return Ok(());
        };
        let mutex = self.0.seat_mutex(number);
        let soon = Instant::now() + SOON;
        match mutex.lock(Some(deadline.map_or(soon, |deadline| deadline.min(soon)))) {
            Ok(_) => {
                mutex.unlock();
                Ok(())
            }
            Err(LockFailure::Timeout) if !timeout::expired(deadline) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// How many have come for `generation` and live, this thread apart. To be called
    /// where nobody can come meanwhile.
    pub(super) fn count_living(self, generation: u32) -> Result<u32, LockFailure> {
        let mut living = 0;
        for number in (0..self.0.seats()).filter(|seat| self.has_come(*seat, generation)) {
            let mutex = self.0.seat_mutex(number);
            match mutex.try_lock() {
                Ok(_) => mutex.unlock(),
                Err(LockFailure::Timeout) => living += 1,
                Err(LockFailure::Deadlock) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(living)
    }

    /// The processes that have come for `generation`.
    pub(super) fn processes(self, generation: u32) -> impl Iterator<Item = u64> + 'a {
        let came = (0..self.0.seats()).filter(move |seat| self.has_come(*seat, generation));
        came.map(move |seat| words(self.0, seat).process.load(Ordering::SeqCst))
    }

    /// Forgets who has come: what the dead have left there is not to be found again
    /// once the numbers of generations have gone round.
    pub(super) fn forget_all(self) {
        (0..self.0.seats()).for_each(|seat| words(self.0, seat).came.store(0, Ordering::SeqCst));
    }

    fn has_come(self, seat: usize, generation: u32) -> bool {
        words(self.0, seat).came.load(Ordering::SeqCst) == u64::from(generation) + 1
    }
}

impl Seat<'_> {
    /// Says that one has come.
    pub(super) fn come(&self, process: ProcessId, generation: u32) {
        let words = words(self.slot, self.number);
        // ORDERING: who finds that somebody has come also finds who.
        words.process.store(process.to_word(), Ordering::SeqCst);
        words.came.store(u64::from(generation) + 1, Ordering::SeqCst);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        words(self.slot, self.number).came.store(0, Ordering::SeqCst);
        self.slot.seat_mutex(self.number).unlock();
    }
}

fn words(slot: &Slot, seat: usize) -> &SeatWords {
    slot.words_at(SEAT * (seat + 1) + SEAT_OWN)
}
