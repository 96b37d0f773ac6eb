//! A moment on this node's monotonic clock, as a number: the core is told the time and never asks.

use core::{ops, time::Duration};

/// A moment, in nanoseconds since some other moment. Means nothing to another node, nor to the
/// same node's next life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl ops::Add<Duration> for Moment {
    type Output = Self;
    /// Saturates: a deadline beyond the end of time is the end of time.
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

/// A duration as a number; the longest one when it does not fit.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
