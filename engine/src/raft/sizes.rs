//! What a replica's core holds of what grows from outside, and how much of each it may.
//!
//! Not here: payloads, which the driver has (`shard/sizes.rs`).

use super::{Raft, election::State};
use crate::{
    limits::{RAFT_ENTRY_BYTES_MAX, RAFT_FAULTY_RANGES_MAX, RAFT_PROMISES_MAX},
    types::Size,
};

/// What a core holds. A walk over its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Promises that wait for the disk.
    pub promises: Size,
    /// Bytes handed out and not applied.
    pub applying_bytes: Size,
    /// Bytes a leader has taken and not committed. A new one begins with what it finds.
    pub uncommitted_bytes: Size,
    /// Appends on their way to the peer that has most of them.
    pub in_flight: Size,
    /// Their bytes.
    pub in_flight_bytes: Size,
    /// Stretches of damaged entries.
    pub damaged: Size,
}

impl Raft {
    /// What it holds.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let entry = u64::from(RAFT_ENTRY_BYTES_MAX);
        let config = &self.config;
        let mut sizes = Sizes {
            promises: Size::of(self.writes.held(), RAFT_PROMISES_MAX),
            // The last piece may be larger than what is left.
            applying_bytes: Size {
                now: self.applying,
                most: config.applying_bytes_max.saturating_add(entry),
            },
            damaged: Size::of(self.log.damaged_ranges(), RAFT_FAULTY_RANGES_MAX),
            ..Sizes::default()
        };
        let State::Leader(leading) = &self.state else { return sizes };
        sizes.uncommitted_bytes = Size { now: leading.uncommitted, most: Size::UNBOUNDED };
        let append = config.append_bytes_max.max(entry);
        for peer in &leading.peers {
            let (sent, bytes) = peer.in_flight();
            let most = config.inflight_messages_max;
            sizes.in_flight = sizes.in_flight.fuller(Size::of(sent, most));
            let most = config.inflight_bytes_max.saturating_add(append);
            sizes.in_flight_bytes = sizes.in_flight_bytes.fuller(Size { now: bytes, most });
        }
        sizes
    }
}
