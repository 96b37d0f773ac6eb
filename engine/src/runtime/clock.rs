//! Time, as the engine may see it.

use core::{future::Future, ops, time::Duration};

/// A point on a node's monotonic clock, in nanoseconds since some moment before its start.
/// Means nothing to another node, nor to the same node's next life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The time since `earlier`; zero when `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Duration> for Instant {
    type Output = Self;
    /// Saturates: a deadline beyond the end of time is the end of time.
    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// What the wall clock says: milliseconds since 1970. It may jump either way; nothing is ordered
/// by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

/// The node's clocks.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The monotonic clock. Never goes back within a life; two calls may answer the same.
    fn now(&self) -> Instant;

    /// The wall clock. May jump forward and back.
    fn wall(&self) -> WallTime;

    /// Sleeps until the monotonic clock has reached `deadline`. Never ends early; may end late. A
    /// deadline in the past ends at the next poll.
    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send;
}
