//! How long things take: shapes with tails, drawn in integers.
//!
//! Not here: what is delayed (`wire.rs`, `storage.rs`).

use serde::{Deserialize, Serialize};
use trilith_engine::runtime::Rng as _;

use crate::luck::Luck;

/// A distribution of delays; all numbers are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// Always the same.
    Fixed {
        /// The delay.
        us: u32,
    },
    /// Any of these, equally likely.
    Uniform {
        /// The least.
        min_us: u32,
        /// The most.
        max_us: u32,
    },
    /// A floor and a tail that halves with every further `mean_us * ln 2`.
    Exponential {
        /// The least.
        min_us: u32,
        /// What the tail adds on average.
        mean_us: u32,
    },
    /// Mostly fast, now and then slow.
    Bimodal {
        /// Mostly up to this.
        fast_us: u32,
        /// Otherwise up to this.
        slow_us: u32,
        /// How often it is slow, in a million.
        slow_per_million: u32,
    },
}

/// ln 2 in 65536ths.
const LN2_16: u64 = 45_426;

impl Latency {
    /// One delay, in nanoseconds.
    #[inline]
    pub fn draw(self, luck: &mut Luck) -> u64 {
        match self {
            Self::Fixed { us } => u64::from(us) * 1000,
            Self::Uniform { min_us, max_us } => between(luck, min_us, max_us),
            Self::Exponential { min_us, mean_us } => {
                u64::from(min_us) * 1000 + exponential(luck.next_u64(), u64::from(mean_us) * 1000)
            }
            Self::Bimodal { fast_us, slow_us, slow_per_million } => {
                if luck.per_million(slow_per_million) {
                    between(luck, fast_us, slow_us)
                } else {
                    between(luck, fast_us / 2, fast_us)
                }
            }
        }
    }
}

fn between(luck: &mut Luck, min_us: u32, max_us: u32) -> u64 {
    let (min, max) = (u64::from(min_us) * 1000, u64::from(max_us) * 1000);
    if max <= min { min } else { luck.range(min..max + 1) }
}

/// The leading zeros of random bits are geometric, which is an exponential in steps of one
/// halving; the bits behind them say where within the step, along a straight line. Between the
/// corners the line lies a few percent off the curve; nobody here needs the curve.
fn exponential(bits: u64, mean: u64) -> u64 {
    let halvings = u64::from(bits.leading_zeros());
    let fraction = (bits << (halvings.min(47) + 1)) >> 48;
    let halvings_16 = (halvings << 16) + (65_536 - fraction);
    // 2^22 halvings of 2^16 and a mean under 2^42 nanoseconds: far from the edge of u128.
    ((u128::from(halvings_16) * u128::from(mean) * u128::from(LN2_16)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::luck::Domain;

    fn draws(latency: Latency) -> Vec<u64> {
        let mut luck = Luck::new(3, Domain::Network);
        let mut draws: Vec<u64> = (0..20_000).map(|_| latency.draw(&mut luck)).collect();
        draws.sort_unstable();
        draws
    }

    #[test]
    fn shapes_have_their_floor_their_mean_and_their_tail() {
        let exponential = draws(Latency::Exponential { min_us: 100, mean_us: 1000 });
        let mean = exponential.iter().sum::<u64>() / exponential.len() as u64;
        assert!((1_000_000..1_200_000).contains(&mean), "{mean}");
        assert!(exponential[0] >= 100_000);
        assert!(exponential[exponential.len() - 1] > 6_000_000, "no tail");
        let median = exponential[exponential.len() / 2];
        assert!((750_000..830_000).contains(&median), "{median}");

        let uniform = draws(Latency::Uniform { min_us: 5, max_us: 9 });
        assert!(uniform[0] >= 5_000 && uniform[uniform.len() - 1] <= 9_000);
        assert_eq!(draws(Latency::Fixed { us: 7 })[0], 7_000);

        let slow = Latency::Bimodal { fast_us: 100, slow_us: 9_000, slow_per_million: 10_000 };
        let slow = draws(slow).into_iter().filter(|draw| *draw > 100_000).count();
        assert!((120..300).contains(&slow), "{slow}");
    }

    #[test]
    fn a_shape_that_makes_no_sense_is_still_a_delay() {
        assert_eq!(draws(Latency::Uniform { min_us: 9, max_us: 5 })[0], 9_000);
        assert!(exponential(0, 1000) < 100_000);
        assert!(exponential(u64::MAX, 1000) < 10);
    }
}
