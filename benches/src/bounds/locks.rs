//! Bare locks of the C library and of the futex.
//!
//! # Safety
//! The objects lie in shared memory of their own, are made before anybody else has
//! it, and live as long as it.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

use super::shared::{APART, Shared, sleep_on, wake};
use crate::clock::{ns_per_turn, pin, time_each};
use crate::contest::{Answer, Failure, Job};
use crate::kernel::Fork;
use crate::rows::{of_turns, take_turns};

/// A lock at the beginning of shared memory.
pub(super) trait Bare {
    fn lock(&self);
    fn unlock(&self);
}

pub(super) fn uncontended(name: &str, job: &Job) -> Result<Answer, Failure> {
    pin(job.mode.processors()[0])?;
    let shared = Shared::new(4096)?;
    let lock = bare(name, &shared)?;
    Ok(ns_per_turn(job.budget, || {
        lock.lock();
        lock.unlock();
    }))
}

const COUNTER: usize = APART;
const ARRIVED: usize = 2 * APART;
const RESULTS: usize = 3 * APART;

pub(super) fn contended(name: &str, job: &Job) -> Result<Answer, Failure> {
    let shared = Shared::new(4096)?;
    let lock = bare(name, &shared)?;
    let parties = job.number;
    let count_up = |turn: usize| {
        meet(&shared, parties as u32);
        let counter = shared.word(COUNTER);
        let (count, time) = take_turns(job.budget, || {
            lock.lock();
            counter.store(counter.load(Relaxed) + 1, Relaxed);
            lock.unlock();
        });
        shared.word(RESULTS + 16 * turn).store(count, SeqCst);
        shared.word(RESULTS + 16 * turn + 8).store(time.as_nanos() as u64, SeqCst);
    };
    let forks: io::Result<Vec<Fork>> = (0..parties).map(|turn| Fork::run(|| count_up(turn))).collect();
    forks?.into_iter().try_for_each(Fork::join)?;
    let result = |turn: usize| {
        let word = |offset| shared.word(RESULTS + 16 * turn + offset).load(SeqCst);
        (word(0), Duration::from_nanos(word(8)))
    };
    let turns: Vec<(u64, Duration)> = (0..parties).map(result).collect();
    of_turns(&turns, shared.word(COUNTER).load(SeqCst))
}

/// There and back, each time by one futex word.
pub(super) fn event(job: &Job) -> Result<Answer, Failure> {
    let shared = Shared::new(4096)?;
    let [own, other] = job.mode.processors();
    let (there, back) = (shared.small_word(0), shared.small_word(APART));
    let last = shared.small_word(2 * APART);
    let peer = Fork::run(|| {
        pin(other).expect("a processor");
        loop {
            take(there);
            if last.load(SeqCst) == 1 {
                return;
            }
            give(back);
        }
    })?;
    pin(own)?;
    let answer = time_each(job.mode, job.budget, |_| {
        give(there);
        take(back);
        Ok(())
    })?;
    last.store(1, SeqCst);
    give(there);
    peer.join()?;
    Ok(answer)
}

pub(super) fn barrier(job: &Job) -> Result<Answer, Failure> {
    let shared = Shared::new(4096)?;
    let parties = job.number as u32;
    let last = shared.small_word(2 * APART);
    // They leave after the round that was said to be the last before it began.
    let meet = || {
        for round in 1.. {
            turn(&shared, parties);
            if last.load(SeqCst) == round {
                return;
            }
        }
    };
    let others: io::Result<Vec<Fork>> = (1..parties).map(|_| Fork::run(meet)).collect();
    let mut rounds = 0;
    let answer = time_each(job.mode, job.budget, |_| {
        rounds += 1;
        turn(&shared, parties);
        Ok(())
    })?;
    last.store(rounds + 1, SeqCst);
    turn(&shared, parties);
    others?.into_iter().try_for_each(Fork::join)?;
    Ok(answer)
}

/// Waits until all parties are in this round of a barrier.
fn turn(shared: &Shared, parties: u32) {
    let (round, arrived) = (shared.small_word(0), shared.small_word(APART));
    let this = round.load(SeqCst);
    if arrived.fetch_add(1, SeqCst) + 1 == parties {
        arrived.store(0, SeqCst);
        round.store(this.wrapping_add(1), SeqCst);
        return wake(round, i32::MAX as u32);
    }
    while round.load(SeqCst) == this {
        sleep_on(round, this);
    }
}

fn meet(shared: &Shared, parties: u32) {
    let arrived = shared.small_word(ARRIVED);
    if arrived.fetch_add(1, SeqCst) + 1 == parties {
        return wake(arrived, i32::MAX as u32);
    }
    loop {
        let now = arrived.load(SeqCst);
        if now >= parties {
            return;
        }
        sleep_on(arrived, now);
    }
}

fn give(word: &AtomicU32) {
    word.store(1, SeqCst);
    wake(word, 1);
}

fn take(word: &AtomicU32) {
    while word.swap(0, SeqCst) == 0 {
        sleep_on(word, 0);
    }
}

fn bare<'a>(name: &str, shared: &'a Shared) -> Result<Box<dyn Bare + 'a>, Failure> {
    Ok(match name {
        "robust" => Box::new(Robust::at_offset(shared, 0)?),
        "sem" => Box::new(Sem::new(shared)?),
        "futex" => Box::new(Futex(shared.small_word(0))),
        _ => return Err(format!("no lock is called {name}").into()),
    })
}

/// A pthread mutex, robust and shared.
#[derive(Clone, Copy)]
pub(super) struct Robust<'a>(&'a Shared, usize);

impl<'a> Robust<'a> {
    pub(super) fn at_offset(shared: &'a Shared, offset: usize) -> io::Result<Self> {
        let mutex = Self(shared, offset);
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are made, used and given back here, and the mutex is new.
        let failed = unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            let failed = libc::pthread_mutex_init(mutex.at(), attributes.as_ptr());
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
            failed
        };
        if failed == 0 { Ok(mutex) } else { Err(io::Error::from_raw_os_error(failed)) }
    }

    fn at(&self) -> *mut libc::pthread_mutex_t {
        self.0.at(self.1, size_of::<libc::pthread_mutex_t>()).cast()
    }
}

impl Bare for Robust<'_> {
    fn lock(&self) {
        // SAFETY: initialised by `at_offset`.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.at()) }, 0);
    }

    fn unlock(&self) {
        // SAFETY: this thread holds it.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.at()) }, 0);
    }
}

/// A POSIX semaphore of one permit.
struct Sem<'a>(&'a Shared);

impl<'a> Sem<'a> {
    fn new(shared: &'a Shared) -> io::Result<Self> {
        let sem = Self(shared);
        // SAFETY: the semaphore is new.
        match unsafe { libc::sem_init(sem.at(), 1, 1) } {
            0 => Ok(sem),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn at(&self) -> *mut libc::sem_t {
        self.0.at(0, size_of::<libc::sem_t>()).cast()
    }
}

impl Bare for Sem<'_> {
    fn lock(&self) {
        // SAFETY: initialised by `new`.
        while unsafe { libc::sem_wait(self.at()) } != 0 {}
    }

    fn unlock(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sem_post(self.at()) }, 0);
    }
}

/// A mutex of one futex word: free, held, or held and wanted.
struct Futex<'a>(&'a AtomicU32);

impl Bare for Futex<'_> {
    fn lock(&self) {
        // ORDERING: what the last holder did is seen.
        if self.0.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            // ORDERING: as above.
            while self.0.swap(2, Acquire) != 0 {
                sleep_on(self.0, 2);
            }
        }
    }

    fn unlock(&self) {
        // ORDERING: the next holder sees what was done.
        if self.0.swap(0, Release) == 2 {
            wake(self.0, 1);
        }
    }
}
