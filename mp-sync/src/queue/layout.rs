//! Where the next frame goes: arithmetic only.
//!
//! Frames lie one behind the other, each in one piece. A frame goes behind the
//! last one, or, with a mark left there, back to the beginning. It goes back as
//! soon as it may once the low part has been used, so that a queue whose consumers
//! keep up stays within memory that is in the CPU's cache, and one whose consumers
//! do not grows upwards.

/// Frames begin at multiples of this, and their heads are this long.
pub(crate) const UNIT: u64 = 16;

/// Behind this the beginning is preferred.
const LOW: u64 = 256 * 1024;

/// What a frame of `len` bytes takes.
pub(crate) fn frame_len(len: usize) -> u64 {
    UNIT + (len as u64).next_multiple_of(UNIT)
}

/// The largest frame: half the memory, so that an empty queue has room for it
/// wherever its positions stand.
pub(crate) fn largest_frame(capacity: u64) -> u64 {
    capacity / 2 / UNIT * UNIT
}

/// Where a frame may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the last one.
    Behind,
    /// At the beginning; a mark goes behind the last one, unless the memory ends there.
    Beginning,
    /// Nowhere now.
    Full,
}

/// The place for a frame of `need` bytes, where the oldest frame begins at `read`
/// and the newest ends at `write`.
pub(crate) fn place(empty: bool, read: u64, write: u64, capacity: u64, need: u64) -> Place {
    let behind = write + need <= capacity;
    if empty {
        return match need <= write {
            true if write >= LOW || !behind => Place::Beginning,
            _ if behind => Place::Behind,
            _ => Place::Full,
        };
    }
    if write <= read {
        // The newest have gone back already: only the gap is free.
        return if need <= read - write { Place::Behind } else { Place::Full };
    }
    match need <= read {
        true if write >= LOW || !behind => Place::Beginning,
        _ if behind => Place::Behind,
        _ => Place::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a queue of frame lengths through a small memory and checks that no byte in
    /// use is given out again.
    #[test]
    fn frames_never_overlap_and_an_empty_queue_takes_the_largest() {
        let capacity = 8 * UNIT;
        for seed in 0..2000u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut draw = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let (mut read, mut write) = (0, 0);
            let mut frames: std::collections::VecDeque<(u64, u64)> = Default::default();
            for _ in 0..100 {
                if draw(2) == 0 {
                    let need = UNIT * (1 + draw(largest_frame(capacity) / UNIT));
                    let at = match place(frames.is_empty(), read, write, capacity, need) {
                        Place::Behind => write,
                        Place::Beginning => 0,
                        Place::Full => {
                            assert!(!frames.is_empty(), "an empty queue has room");
                            continue;
                        }
                    };
                    for (begin, end) in &frames {
                        assert!(at + need <= *begin || *end <= at, "seed {seed}: overlap");
                    }
                    // The mark must survive as well.
                    assert!(at != 0 || write == 0 || need <= write || write == capacity, "seed {seed}");
                    frames.push_back((at, at + need));
                    write = at + need;
                } else if let Some((_, end)) = frames.pop_front() {
                    read = end;
                }
            }
        }
    }
}
