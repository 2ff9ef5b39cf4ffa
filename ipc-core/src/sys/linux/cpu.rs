//! Which CPU a thread runs on: one read of the thread's restartable-sequence
//! area in glibc 2.35 and later, a vDSO call elsewhere.
//!
//! # Safety
//! `sched_getcpu` takes nothing and touches nothing of ours.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// The answer where the kernel does not say.
pub(crate) const UNKNOWN: u32 = u32::MAX;

pub(crate) fn current() -> u32 {
    // SAFETY: the call has no preconditions.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu).unwrap_or(UNKNOWN)
}

/// How many CPUs this thread may use at a time: on one, polling only keeps the other
/// side from running.
///
/// The answer is kept, but that of a thread which had only one CPU holds on that one
/// alone: a process starts on its parent's CPU and may then be given another.
pub(crate) fn count() -> usize {
    static ANSWER: AtomicU64 = AtomicU64::new(NOT_ASKED);
    count_at(current(), &ANSWER, || std::thread::available_parallelism().map_or(1, usize::from))
}

const NOT_ASKED: u64 = 0;

/// `answer` is a count, and above it the CPU on which that was asked.
fn count_at(here: u32, answer: &AtomicU64, ask: impl FnOnce() -> usize) -> usize {
    let known = answer.load(Ordering::Relaxed);
    let count = known as u32 as usize;
    if count > 1 || (count == 1 && (known >> 32) as u32 == here) {
        return count;
    }
    let count = ask();
    let short = u32::try_from(count).unwrap_or(u32::MAX);
    answer.store(u64::from(here) << 32 | u64::from(short), Ordering::Relaxed);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_moved_to_another_cpu_is_asked_again() {
        let answer = AtomicU64::new(NOT_ASKED);
        let kept = || panic!("asked although the answer holds");
        assert_eq!(count_at(3, &answer, || 1), 1);
        assert_eq!(count_at(3, &answer, kept), 1);
        assert_eq!(count_at(5, &answer, || 2), 2);
        assert_eq!(count_at(3, &answer, kept), 2);
    }
}
