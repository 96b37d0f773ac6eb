//! What benchmarks ask of a store: keys, values, skew, and how answers are timed.
//!
//! The keys are 16 ASCII bytes in an order that is random to a tree and the same in every run; the
//! values do not compress. Nothing here depends on a store, so that ours and its peers are asked
//! exactly the same.
//!
//! Not here: the stores (`bench.rs`, `bin/benches/engines.rs`), the machine's limits (`raw.rs`).
#![allow(dead_code, reason = "the benches take the file too, and neither uses all of it")]

use std::time::{Duration, Instant};

/// A bijection of 64 bits with no visible order: the finaliser of splitmix64.
pub const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of that number: 16 hexadecimal digits.
pub fn key(number: u64) -> String {
    format!("{:016x}", mix(number))
}

/// A value of that length that no compressor shortens, different for every number and round.
pub fn value(number: u64, round: u64, len: usize) -> Vec<u8> {
    let mut state = mix(number) ^ mix(round.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = mix(state);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A stream of luck with a stated beginning.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream of that seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(end)) >> 64) as u64
    }
}

/// Zipf's law with exponent 0.99 over `0..n`, as YCSB draws it (Gray et al., 1994).
#[derive(Clone, Debug)]
pub struct Zipf {
    n: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    /// For that many keys; costs one pass over them.
    pub fn new(n: u64) -> Self {
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-Self::THETA)).sum::<f64>();
        let all = zeta(n);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - Self::THETA)) / (1.0 - zeta(2) / all);
        Self { n: n as f64, alpha: 1.0 / (1.0 - Self::THETA), zeta: all, eta }
    }

    /// The rank of the next key; 0 is the most popular.
    pub fn draw(&self, dice: &mut Dice) -> u64 {
        let u = (dice.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(Self::THETA) {
            return 1;
        }
        let rank = (self.n * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64;
        rank.min(self.n as u64 - 1)
    }
}

/// Durations of single operations.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u64>);

impl Times {
    /// Runs and times.
    pub fn time<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = operation();
        self.0.push(began.elapsed().as_nanos() as u64);
        result
    }

    /// Takes another's.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that `percent` of them do not exceed; zero when there is none.
    pub fn percentile(&mut self, percent: f64) -> Duration {
        self.0.sort_unstable();
        let rank = (self.0.len() as f64 * percent / 100.0).ceil() as usize;
        let nanos = self.0.get(rank.max(1) - 1).copied().unwrap_or(0);
        Duration::from_nanos(nanos)
    }
}

/// The middle of some measurements; of an even number, the lower middle.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sixteen_bytes_and_values_as_long_as_asked() {
        assert_eq!(key(7).len(), 16);
        assert_ne!(key(7), key(8));
        assert_eq!(value(1, 0, 101).len(), 101);
        assert_ne!(value(1, 0, 16), value(1, 1, 16));
    }

    #[test]
    fn the_most_popular_key_is_drawn_as_often_as_zipf_says() {
        let (zipf, mut dice) = (Zipf::new(1000), Dice::new(1));
        let draws: Vec<u64> = (0..100_000).map(|_| zipf.draw(&mut dice)).collect();
        let first = draws.iter().filter(|rank| **rank == 0).count();
        assert!((11_000..15_000).contains(&first), "{first} of 100,000, expected about 12,900");
        assert!(draws.iter().all(|rank| *rank < 1000), "a rank beyond the end");
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut times = Times((1..=100).rev().collect());
        assert_eq!(times.percentile(50.0).as_nanos(), 50);
        assert_eq!(times.percentile(99.0).as_nanos(), 99);
        assert_eq!(times.percentile(100.0).as_nanos(), 100);
        assert_eq!(Times::default().percentile(50.0).as_nanos(), 0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
