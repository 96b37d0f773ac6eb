//! The machine's clocks.
//!
//! `now` counts the time a machine spends suspended. The clock std uses on Linux stands still
//! then, and a node that wakes up would believe for a while longer in a lease it has long lost.
//!
//! Not here: how a sleeping thread is woken (`wait`).

#![expect(clippy::disallowed_methods, reason = "a door: this is where real time comes in")]

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use super::wait::Sleep;
use crate::runtime::{Clock, Instant, WallTime};

/// The machine's clocks. Its instants mean the same to every runtime of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeClock;

impl NativeClock {
    /// The monotonic clock.
    #[must_use]
    #[inline]
    pub fn monotonic() -> Instant {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let since = {
            use rustix::time::{ClockId, clock_gettime};
            let time = clock_gettime(ClockId::Boottime);
            // The kernel's monotonic clocks start at zero and their nanoseconds fit.
            Duration::new(
                u64::try_from(time.tv_sec).unwrap_or(0),
                u32::try_from(time.tv_nsec).unwrap_or(0),
            )
        };
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let since = {
            use std::{sync::OnceLock, time};
            static START: OnceLock<time::Instant> = OnceLock::new();
            START.get_or_init(time::Instant::now).elapsed()
        };
        Instant(0) + since
    }
}

impl Clock for NativeClock {
    fn now(&self) -> Instant {
        Self::monotonic()
    }

    fn wall(&self) -> WallTime {
        // Before 1970 is as good as 1970: nothing is ordered by this clock.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, deadline: Instant) {
        Sleep::new(deadline).await;
    }
}
