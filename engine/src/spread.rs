//! A spread: how often something took how long.
//!
//! ```text
//!   10 µs  20  50  100  200  500  1 ms  2  5  10  20  50  100  200  500  1 s  2  5  10
//!   ──┴────┴───┴───┴────┴────┴────┴─────┴──┴──┴───┴───┴───┴────┴────┴────┴────┴──┴──┴──── longer
//! ```
//! Three bounds to a power of ten, so what is read off is wrong by a factor of two and a half at
//! most, from a fast disk's write to a client's whole patience. Noting something is a search among
//! nineteen numbers and two additions, without a float, and nothing is ever allocated.
//!
//! Counts only rise within a life, so whoever looks twice knows what happened between.
//!
//! Not here: how it is told to whom (`trilith-net`, metrics).

use core::time::Duration;

/// Up to where each count goes, in microseconds.
pub const BOUNDS_MICROS: [u64; 19] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    counts: [u64; BOUNDS_MICROS.len()],
    longer: u64,
    nanos: u64,
}

impl Spread {
    /// It took so long once more.
    pub fn note(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let micros = nanos.div_ceil(1000);
        let at = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        *self.counts.get_mut(at).unwrap_or(&mut self.longer) += 1;
        self.nanos = self.nanos.saturating_add(nanos);
    }

    /// How often it took up to each bound, in microseconds, from the shortest on.
    pub fn up_to(&self) -> impl Iterator<Item = (u64, u64)> {
        let sums = self.counts.iter().scan(0, |sum: &mut u64, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS_MICROS.into_iter().zip(sums)
    }

    /// How often.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.longer
    }

    /// How long, all together.
    #[must_use]
    pub const fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_up_to_every_bound_that_it_keeps() {
        let mut spread = Spread::default();
        for micros in [0, 10, 11, 20, 999, 1_000, 10_000_000, 10_000_001, u64::MAX / 1000] {
            spread.note(Duration::from_micros(micros));
        }
        spread.note(Duration::from_nanos(10_001));
        let at = |bound| spread.up_to().find(|(micros, _)| *micros == bound).map(|(_, sum)| sum);
        assert_eq!(at(10), Some(2));
        assert_eq!(at(20), Some(5), "a nanosecond more is more");
        assert_eq!(at(500), Some(5));
        assert_eq!(at(1_000), Some(7));
        assert_eq!(at(10_000_000), Some(8));
        assert_eq!(spread.count(), 10, "two took longer than any bound");
    }

    #[test]
    fn bounds_rise_and_are_near_each_other() {
        for pair in BOUNDS_MICROS.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] * 2 <= pair[0] * 5, "{pair:?}");
        }
        let mut spread = Spread::default();
        spread.note(Duration::MAX);
        spread.note(Duration::MAX);
        assert_eq!((spread.count(), spread.total()), (2, Duration::from_nanos(u64::MAX)));
    }
}
