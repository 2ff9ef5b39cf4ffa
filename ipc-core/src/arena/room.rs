//! Which parts of an arena are free: arithmetic only.

use std::ops::Range;

/// Free ranges, in order; no two touch.
#[derive(Debug)]
pub(super) struct Room(Vec<Range<usize>>);

impl Room {
    pub(super) fn new(all: Range<usize>) -> Self {
        Self(vec![all])
    }

    /// Takes `len` bytes out of the smallest range that has them, so that memory which
    /// was used before is used again before new memory is.
    pub(super) fn take(&mut self, len: usize) -> Option<Range<usize>> {
        let fits = self.0.iter().enumerate().filter(|(_, range)| range.len() >= len);
        let (place, range) = fits.min_by_key(|(_, range)| range.len())?;
        let taken = range.start..range.start + len;
        if taken.end == range.end {
            self.0.remove(place);
        } else {
            self.0[place].start = taken.end;
        }
        Some(taken)
    }

    /// Puts back what was taken.
    pub(super) fn put(&mut self, range: Range<usize>) {
        let place = self.0.partition_point(|free| free.start < range.start);
        self.0.insert(place, range);
        let join = |ranges: &mut Vec<Range<usize>>, first: usize| {
            if ranges.get(first + 1).is_some_and(|next| next.start == ranges[first].end) {
                ranges[first].end = ranges.remove(first + 1).end;
            }
        };
        join(&mut self.0, place);
        if let Some(before) = place.checked_sub(1) {
            join(&mut self.0, before);
        }
    }

    pub(super) fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    /// The longest range.
    pub(super) fn largest(&self) -> usize {
        self.0.iter().map(Range::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_joins_its_neighbours() {
        let mut room = Room::new(10..100);
        let parts: Vec<_> = (0..3).map(|_| room.take(30).unwrap()).collect();
        assert_eq!((room.take(1), room.largest()), (None, 0));
        room.put(parts[0].clone());
        room.put(parts[2].clone());
        assert_eq!(room.largest(), 30);
        room.put(parts[1].clone());
        assert_eq!((room.largest(), room.ranges().len()), (90, 1));
    }

    #[test]
    fn nothing_is_given_out_twice() {
        let mut state = 7u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut room = Room::new(0..1000);
        let mut held: Vec<Range<usize>> = Vec::new();
        for _ in 0..20_000 {
            if draw(2) == 0 {
                if let Some(range) = room.take(1 + draw(200) as usize) {
                    assert!(held.iter().all(|other| range.end <= other.start || other.end <= range.start));
                    held.push(range);
                }
            } else if !held.is_empty() {
                room.put(held.swap_remove(draw(held.len() as u64) as usize));
            }
            let total = |ranges: &[Range<usize>]| ranges.iter().map(Range::len).sum::<usize>();
            assert_eq!(total(room.ranges()) + total(&held), 1000);
        }
    }
}
