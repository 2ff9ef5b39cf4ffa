//! Rounds by the state that the machine was in.
//!
//! A host may put two virtual processors nearer together or farther apart, and move them after
//! seconds. What goes between two processors then takes several times as long, by different
//! factors for different contestants, so that a run that saw more of one state has other
//! medians than the next run. So rounds of different states are not put together.

use super::Estimate;

/// One round's ratio, and how far apart the processors were for both who were measured:
/// nothing if that is not known, or was not the same for the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Above 1 means that ours is better.
    pub ratio: f64,
    /// How long a look at a line takes that the other processor has written, in nanoseconds.
    pub apart: Option<f64>,
}

/// What the rounds of one state say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// The longest look in these rounds, in nanoseconds.
    pub apart: Option<f64>,
    /// How many rounds there are.
    pub rounds: usize,
    /// Of their ratios.
    pub estimate: Estimate,
}

/// Two looks that differ by no more than this factor are of one state.
const SAME: f64 = 1.6;
/// With fewer rounds than this a state says nothing.
pub const LEAST: usize = 3;

/// Whether two looks are of one state.
#[must_use]
pub fn is_same(one: f64, other: f64) -> bool {
    one.max(other) <= SAME * one.min(other)
}

/// The states in which there were enough rounds, from the nearest to the farthest; if there
/// is none, all rounds together. Empty without rounds.
#[must_use]
pub fn states(rounds: &[Round]) -> Vec<State> {
    let mut known: Vec<(f64, f64)> =
        rounds.iter().filter_map(|round| Some((round.apart?, round.ratio))).collect();
    known.sort_by(|one, other| one.0.total_cmp(&other.0));
    let groups = known.chunk_by(|one, next| is_same(one.0, next.0));
    let groups = groups.filter(|group| group.len() >= LEAST);
    let states: Vec<State> = groups
        .map(|group| of(group.iter().map(|round| round.1), group.last().map(|round| round.0)))
        .collect();
    if states.is_empty() && !rounds.is_empty() {
        return vec![of(rounds.iter().map(|round| round.ratio), None)];
    }
    states
}

fn of(ratios: impl Iterator<Item = f64>, apart: Option<f64>) -> State {
    let ratios: Vec<f64> = ratios.collect();
    State { apart, rounds: ratios.len(), estimate: Estimate::of(&ratios) }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    /// Numbers that look random and are the same in each run.
    struct Noise(u64);

    impl Noise {
        /// Between 0 and 1.
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }

        /// Around a value, by a few percent.
        fn about(&mut self, value: f64) -> f64 {
            value * (0.97 + 0.06 * self.next())
        }
    }

    const NEAR: f64 = 100.0;
    const FAR: f64 = 490.0;

    /// Contestants on a machine that is near for so large a share of the time: we take 0.24 or
    /// 0.9 µs, and the other one 0.15 or 0.8. A state lasts for several measurements.
    fn run(noise: &mut Noise, rounds: usize, share_near: f64) -> Vec<Round> {
        let mut is_near = noise.next() < share_near;
        let mut measure = |noise: &mut Noise, near: f64, far: f64| {
            if noise.next() < 0.2 {
                is_near = noise.next() < share_near;
            }
            let (value, apart) = if is_near { (near, NEAR) } else { (far, FAR) };
            (noise.about(value), noise.about(apart))
        };
        let round = |_| {
            let (ours, apart) = measure(noise, 0.24, 0.9);
            let (other, its_apart) = measure(noise, 0.15, 0.8);
            Round { ratio: other / ours, apart: is_same(apart, its_apart).then_some(apart) }
        };
        (0..rounds).map(round).collect()
    }

    #[test]
    fn a_state_is_told_from_another() {
        let mut noise = Noise(1);
        let states = states(&run(&mut noise, 40, 0.5));
        assert_eq!(states.len(), 2, "{states:?}");
        assert!((0.57..0.68).contains(&states[0].estimate.middle), "{states:?}");
        assert!((0.84..0.95).contains(&states[1].estimate.middle), "{states:?}");
        assert!(states[0].apart < states[1].apart);
    }

    #[test]
    fn runs_that_saw_both_states_agree_however_long_each_was_there() {
        // The target lies between what the two states say, so all rounds together flap.
        let (target, mut together, mut runs) = (0.75, Vec::new(), 0);
        for seed in 0..200 {
            let mut noise = Noise(seed);
            let rounds = run(&mut noise, 15, 0.2 + 0.6 * (seed as f64 / 200.0));
            let all: Vec<f64> = rounds.iter().map(|round| round.ratio).collect();
            let states = states(&rounds);
            if states.len() < 2 {
                continue;
            }
            runs += 1;
            together.push(Estimate::of(&all).reaches(target));
            let verdicts: Vec<Verdict> = states.iter().map(|state| state.estimate.reaches(target)).collect();
            assert_eq!(verdicts, [Verdict::NotMet, Verdict::Met], "seed {seed}: {rounds:?}");
        }
        assert!(runs > 50, "{runs}");
        let first = together[0];
        assert!(together.iter().any(|verdict| *verdict != first), "the test shows nothing");
    }

    #[test]
    fn runs_in_one_state_agree() {
        for seed in 0..200 {
            let mut noise = Noise(seed);
            for (share_near, target, expected) in
                [(0.0, 0.8, Verdict::Met), (0.0, 1.0, Verdict::NotMet), (1.0, 0.7, Verdict::NotMet)]
            {
                let states = states(&run(&mut noise, 7, share_near));
                assert_eq!(states.len(), 1);
                assert_eq!(states[0].estimate.reaches(target), expected, "seed {seed}: {states:?}");
            }
        }
    }

    #[test]
    fn rounds_whose_state_is_not_known_are_put_together_only_if_there_are_no_others() {
        let round = |ratio, apart| Round { ratio, apart };
        let unknown = [round(1.0, None), round(2.0, None), round(3.0, None)];
        let one = states(&unknown);
        assert_eq!((one.len(), one[0].apart, one[0].estimate.middle), (1, None, 2.0));
        let known = [1.0, 1.1, 1.2].map(|ratio| round(ratio, Some(100.0)));
        let both = states(&[unknown, known].concat());
        assert_eq!((both.len(), both[0].estimate.middle), (1, 1.1));
        assert_eq!(states(&[]), []);
    }
}
