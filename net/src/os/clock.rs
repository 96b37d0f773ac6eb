//! The machine's clocks, and tokio's timer to sleep by.
//!
//! Not here: the reading of the clocks, shared with the embedded store's door.

#![expect(clippy::disallowed_methods, reason = "a door: this is where real time comes in")]

use trilith_engine::{
    embedded::os::NativeClock,
    runtime::{Clock, Instant, WallTime},
};

/// The machine's clocks. Its instants mean the same to every core of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsClock;

impl Clock for OsClock {
    fn now(&self) -> Instant {
        NativeClock::monotonic()
    }

    fn wall(&self) -> WallTime {
        NativeClock.wall()
    }

    /// Exact to tokio's millisecond, upwards.
    async fn sleep_until(&self, deadline: Instant) {
        // In a loop: tokio's clock stands still while the machine is suspended and rounds in its
        // own way; ours decides.
        loop {
            let now = self.now();
            if now >= deadline {
                return;
            }
            tokio::time::sleep(deadline.since(now)).await;
        }
    }
}
