//! The bugs planted in the simulated world itself.

use super::{LAWS, Planted, planted};

/// The world's.
pub(super) const WORLD: &[Planted] = &[
    planted("world_reset_crosses_cut", "a peer's reset arrives over a cut link").by(LAWS),
    planted("world_power_loss_resets", "a power loss resets its connections").by(LAWS),
    planted("world_no_window", "a stream takes everything at once").by(LAWS),
    planted("world_connect_waits_on", "a connect ignores its deadline").by(LAWS),
    planted("world_timer_early", "a sleep ends a millisecond early").by(LAWS),
    planted("world_pause_ignored", "a held process runs").by(LAWS),
    planted("world_power_loss_keeps_cache", "a power loss keeps the page cache").by(LAWS),
    planted("world_sync_skipped", "a sync does nothing and says it did").by(LAWS),
    planted("world_kill_loses_cache", "a kill loses the page cache").by(LAWS),
    planted("world_dropped_write_undone", "a dropped write is taken back").by(LAWS),
    planted(
        "world_queue_outlives_throttle",
        "what waits for a narrow link does so when it is wide again",
    )
    .by(LAWS),
];
