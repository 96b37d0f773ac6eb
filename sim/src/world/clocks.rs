//! A node's clocks: two straight lines over the world's time, and the jumps between them.
//!
//! ```text
//!   monotonic   base + (t - since) * (1 + drift)    never back; may leap ahead
//!   wall        the same rate, another base; leaps both ways
//! ```
//!
//! Integers only: `local = base + floor(dt * (10^6 + ppm) / 10^6)`. The way back is exact: the
//! first moment at which the clock shows a deadline is `ceil(d * 10^6 / (10^6 + ppm))`, so a sleep
//! never ends early, not by a nanosecond.
//!
//! Programs read the monotonic clock in every turn, several times, so its line lies outside of the
//! world's lock ([`Hands`]). One thread runs a world at a time: plain loads and stores are enough.
//!
//! Not here: who jumps them (`state.rs`, by the plan), the timers that must move when they do.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A million: drift is counted in parts of it.
const MILLION: i64 = 1_000_000;
/// No clock runs slower than a tenth or faster than twice; a plan that asks for more gets this.
const DRIFT_PPM_MAX: i32 = 900_000;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// The line of a monotonic clock.
#[derive(Debug)]
pub(crate) struct Hands {
    /// The world's time at which it begins.
    since: AtomicU64,
    /// What the clock showed then.
    mono: AtomicU64,
    /// 10^6 plus the drift in ppm.
    rate: AtomicU64,
}

impl Hands {
    #[inline]
    fn passed(&self, now: u64) -> u64 {
        let (real, rate) = (now - self.since.load(Relaxed), self.rate.load(Relaxed));
        if rate == MILLION as u64 {
            return real;
        }
        (u128::from(real) * u128::from(rate) / MILLION as u128) as u64
    }

    /// What the clock shows.
    #[inline]
    pub(crate) fn at(&self, now: u64) -> u64 {
        self.mono.load(Relaxed).saturating_add(self.passed(now))
    }
}

/// The clocks of one node.
#[derive(Clone, Debug)]
pub(crate) struct NodeClock {
    pub(crate) hands: Arc<Hands>,
    /// What the wall clock showed where the line begins, in nanoseconds since 1970.
    wall: u64,
}

impl NodeClock {
    pub(crate) fn new(now: u64, mono: u64, wall: u64, drift_ppm: i32) -> Self {
        let (since, rate) = (AtomicU64::new(now), AtomicU64::new(MILLION as u64));
        let hands = Arc::new(Hands { since, mono: AtomicU64::new(mono), rate });
        let mut clock = Self { hands, wall };
        clock.set_drift(now, drift_ppm);
        clock
    }

    /// What the monotonic clock shows.
    #[inline]
    pub(crate) fn mono_at(&self, now: u64) -> u64 {
        self.hands.at(now)
    }

    /// What the wall clock shows, in milliseconds since 1970.
    #[inline]
    pub(crate) fn wall_at(&self, now: u64) -> u64 {
        self.wall.saturating_add(self.hands.passed(now)) / NANOS_PER_MILLI
    }

    /// The first moment of the world at which the monotonic clock shows `deadline`; `None` for one
    /// that will not come.
    #[inline]
    pub(crate) fn when(&self, deadline: u64) -> Option<u64> {
        let Hands { since, mono, rate } = &*self.hands;
        let (ahead, rate) = (deadline.saturating_sub(mono.load(Relaxed)), rate.load(Relaxed));
        let real = if rate == MILLION as u64 {
            ahead
        } else {
            let exact = (u128::from(ahead) * MILLION as u128).div_ceil(u128::from(rate));
            u64::try_from(exact).ok()?
        };
        since.load(Relaxed).checked_add(real).filter(|at| *at < u64::MAX / 2)
    }

    /// Begins a new line at `now`, from what the clocks show.
    fn rebase(&mut self, now: u64) {
        let passed = self.hands.passed(now);
        self.hands.mono.store(self.hands.at(now), Relaxed);
        self.wall = self.wall.saturating_add(passed);
        self.hands.since.store(now, Relaxed);
    }

    /// The rate changes, what is shown does not jump.
    pub(crate) fn set_drift(&mut self, now: u64, ppm: i32) {
        self.rebase(now);
        let ppm = ppm.clamp(-DRIFT_PPM_MAX, DRIFT_PPM_MAX);
        self.hands.rate.store((MILLION + i64::from(ppm)) as u64, Relaxed);
    }

    /// The monotonic clock leaps ahead, as after a machine was suspended.
    pub(crate) fn leap(&mut self, now: u64, by_ns: u64) {
        self.rebase(now);
        let mono = self.mono_at(now).saturating_add(by_ns);
        self.hands.mono.store(mono, Relaxed);
    }

    /// The wall clock jumps.
    pub(crate) fn jump_wall(&mut self, now: u64, by_ms: i64) {
        self.rebase(now);
        self.wall = self.wall.saturating_add_signed(by_ms.saturating_mul(MILLION));
    }

    /// A new life: the monotonic clock begins anew, the wall clock goes on.
    pub(crate) fn reborn(&mut self, now: u64, mono: u64) {
        self.rebase(now);
        self.hands.mono.store(mono, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_clocks_jump_apart() {
        let mut clock = NodeClock::new(0, 500, 7_000_000_000, 0);
        assert_eq!((clock.mono_at(1_000), clock.wall_at(2_000_000)), (1_500, 7_002));
        clock.jump_wall(2_000_000, -3);
        assert_eq!((clock.mono_at(2_000_000), clock.wall_at(2_000_000)), (2_000_500, 6_999));
        clock.leap(2_000_000, 9);
        assert_eq!((clock.mono_at(2_000_000), clock.wall_at(2_000_000)), (2_000_509, 6_999));
        clock.reborn(3_000_000, 42);
        assert_eq!((clock.mono_at(3_000_000), clock.wall_at(3_000_000)), (42, 7_000));
    }

    #[test]
    fn the_end_of_time_does_not_come() {
        let clock = NodeClock::new(0, 0, 0, -500_000);
        assert_eq!(clock.when(u64::MAX), None);
        assert_eq!(NodeClock::new(0, 0, 0, 0).when(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn a_deadline_is_met_at_the_first_moment(
            ppm in -200_000_i32..200_000,
            mono in 0_u64..1_000_000_000_000,
            ahead in 1_u64..100_000_000_000_000,
            change in 0_u64..1_000_000_000,
        ) {
            let mut clock = NodeClock::new(0, mono, 0, 77);
            clock.set_drift(change, ppm);
            let deadline = clock.mono_at(change) + ahead;
            let at = clock.when(deadline).expect("it comes");
            prop_assert!(clock.mono_at(at) >= deadline);
            prop_assert!(clock.mono_at(at - 1) < deadline);
        }
    }
}
