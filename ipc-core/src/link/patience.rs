//! When it pays to look again and again before a sleep.

/// After looking in vain so many times in a row, of how many waits at most none looks.
const MOST_RESTS: u32 = 255;

/// Whether looking pays, by what came of it before.
///
/// Where the other side answers late it never does; then it is tried ever more seldom.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Patience {
    /// So many more waits do not look.
    resting: u32,
    /// How many rested after the last time that was in vain.
    rests: u32,
}

impl Patience {
    pub(super) const NEW: Self = Self { resting: 0, rests: 0 };

    pub(super) fn looks(&mut self) -> bool {
        let looks = self.resting == 0;
        self.resting = self.resting.saturating_sub(1);
        looks
    }

    pub(super) fn was_rewarded(&mut self) {
        self.rests = 0;
    }

    pub(super) fn was_in_vain(&mut self) {
        self.rests = (2 * self.rests + 1).min(MOST_RESTS);
        self.resting = self.rests;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_in_vain_looks_ever_more_seldom() {
        let mut patience = Patience::default();
        let mut looked = 0;
        for _ in 0..100_000 {
            if patience.looks() {
                looked += 1;
                patience.was_in_vain();
            }
        }
        assert!(looked < 410, "it looked {looked} times of 100000");
        while !patience.looks() {}
        patience.was_rewarded();
        assert!((0..1000).all(|_| patience.looks()));
    }
}
