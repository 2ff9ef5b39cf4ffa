//! How far apart the two processors are on which contestants are measured.
//!
//! On a virtual machine this changes while it runs, and everything that goes between the two
//! with it: see [`states`](crate::stats::states).

use std::hint;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::pin;
use crate::contest::{Failure, Mode};
use crate::stats::{is_same, percentile};

/// So many looks are taken, of which the middle one counts.
const LOOKS: u32 = 300;
/// Somebody else has the other processor.
const TOO_LONG: Duration = Duration::from_millis(20);

/// A word in a line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU32);

/// How long it takes to see what the other processor has written, in nanoseconds; nothing if
/// there is one processor, or if it is at work for somebody else.
pub(super) fn look() -> Option<f64> {
    let [Some(one), Some(other)] = Mode::Hot.processors() else { return None };
    let (there, back) = (Line::default(), Line::default());
    let asked = || -> Result<Option<f64>, Failure> {
        let mut times = Vec::with_capacity(LOOKS as usize);
        pin(Some(one))?;
        for turn in 1..=LOOKS {
            let begun = Instant::now();
            there.0.store(turn, Release);
            if !until(&back, turn) {
                there.0.store(u32::MAX, Release);
                return Ok(None);
            }
            times.push(begun.elapsed().as_secs_f64() * 1e9 / 2.0);
        }
        times.sort_by(f64::total_cmp);
        Ok(Some(percentile(&times, 0.5)))
    };
    let answer = || {
        if pin(Some(other)).is_err() {
            return;
        }
        for turn in 1..=LOOKS {
            if !until(&there, turn) || there.0.load(Acquire) != turn {
                return;
            }
            back.0.store(turn, Release);
        }
    };
    thread::scope(|scope| {
        scope.spawn(answer);
        scope.spawn(|| asked().ok().flatten()).join().ok().flatten()
    })
}

/// The state that two looks have in common.
pub(super) fn settled(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    let (before, after) = (before?, after?);
    is_same(before, after).then(|| before.max(after))
}

fn until(line: &Line, turn: u32) -> bool {
    let begun = Instant::now();
    while line.0.load(Acquire) < turn {
        if begun.elapsed() > TOO_LONG {
            return false;
        }
        hint::spin_loop();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_takes_some_time() {
        // With one processor, or others at work on it, there may be none.
        for look in [look(), look()].into_iter().flatten() {
            assert!(look > 0.0);
        }
    }

    #[test]
    fn what_changed_meanwhile_is_not_settled() {
        assert_eq!(settled(Some(100.0), Some(110.0)), Some(110.0));
        assert_eq!(settled(Some(100.0), Some(490.0)), None);
        assert_eq!(settled(None, Some(490.0)), None);
    }
}
