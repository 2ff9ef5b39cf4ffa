//! Random numbers that can be repeated.

use std::env;
use std::process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A small generator (xorshift64*). One seed always gives the same numbers.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator with a seed of the caller's.
    pub fn new(seed: u64) -> Rng {
        // The state must not be zero, and close seeds should not begin alike.
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
        Rng { state: state.max(1) }
    }

    /// A generator seeded by `MP_TESTKIT_SEED` or anew; prints the seed, so that a run that
    /// failed can be repeated.
    pub fn announced(name: &str) -> Rng {
        let given = env::var("MP_TESTKIT_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(fresh_seed);
        eprintln!("{name}: MP_TESTKIT_SEED={seed}");
        Rng::new(seed)
    }

    /// The next number, of all 64-bit numbers.
    pub fn next_u64(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let scaled = u128::from(self.next_u64()) * bound as u128;
        (scaled >> 64) as usize
    }

    /// True in `percent` of a hundred calls.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, or `None` where there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// A time from zero up to `longest`.
    pub fn pause(&mut self, longest: Duration) -> Duration {
        let fraction = self.below(1 << 20) as f64 / f64::from(1 << 20);
        longest.mul_f64(fraction)
    }
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Six digits are enough to differ and few enough to type.
    (u64::from(now.subsec_nanos()) ^ u64::from(process::id())) % 1_000_000
}
