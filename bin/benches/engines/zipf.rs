//! Popular keys: numbers below an end, a few of them very often.
//!
//! The exponent is the 0.99 of YCSB, drawn by the method of Gray and others (1994); the popular
//! numbers are scattered over the whole range.
//!
//! Not here: uniform keys (`load.rs`).

use crate::load::{Dice, scatter};

const ZIPF_EXPONENT: f64 = 0.99;

/// Numbers below an end, a few of them very often.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    end: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// Over the numbers below `end`.
    pub(crate) fn new(end: u64) -> Self {
        let zeta = (1..=end).map(|rank| (rank as f64).powf(-ZIPF_EXPONENT)).sum::<f64>();
        let zeta2 = 1.0 + 0.5_f64.powf(ZIPF_EXPONENT);
        let eta = (1.0 - (2.0 / end as f64).powf(1.0 - ZIPF_EXPONENT)) / (1.0 - zeta2 / zeta);
        Self { end, zeta, alpha: 1.0 / (1.0 - ZIPF_EXPONENT), eta }
    }

    /// The next number.
    pub(crate) fn next(&self, dice: &mut Dice) -> u64 {
        let unit = unit(dice);
        let scaled = unit * self.zeta;
        let rank = if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5_f64.powf(ZIPF_EXPONENT) {
            1
        } else {
            let share = (self.eta * unit - self.eta + 1.0).powf(self.alpha);
            ((self.end as f64 * share) as u64).min(self.end - 1)
        };
        scatter(rank) % self.end
    }
}

/// A number from 0 up to, not including, 1.
fn unit(dice: &mut Dice) -> f64 {
    (dice.bits() >> 11) as f64 / (1_u64 << 53) as f64
}
