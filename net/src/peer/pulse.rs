//! Pulse: whether the node that links serve still moves.
//!
//! A link's own tasks answer whoever asks whether the node is there. They would do so too while the
//! node itself hangs, in a read of a disk that does not answer: then the others believe in a leader
//! that says nothing, and of groups that were quiet anyway nobody would ever notice. So the node says
//! when it begins to work and when it waits, and for one that has worked at the same thing for too
//! long nobody answers.
//!
//! Not here: what the others make of a silence (`link.rs`, `trilith_engine::raft`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use trilith_engine::{planted, runtime::Instant};

/// Since when the node works at the same thing: nanoseconds and one more; 0 while it waits.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    /// The node begins something.
    pub(super) fn works(&self, now: Instant) {
        self.0.store(now.0.saturating_add(1), Ordering::Relaxed);
    }

    /// The node waits for something to happen.
    pub(super) fn rests(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether it has worked at the same thing for longer than that.
    pub(super) fn hangs(&self, now: Instant, patience: Duration) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        let works = since > 0 && !planted!("peer_hung_node_is_vouched_for");
        works && Instant(since - 1) + patience < now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_hangs_that_neither_rests_nor_begins_anew() {
        let (pulse, patience) = (Pulse::default(), Duration::from_nanos(50));
        assert!(!pulse.hangs(Instant(1000), patience));
        pulse.works(Instant(1000));
        assert!(!pulse.hangs(Instant(1050), patience));
        assert!(pulse.hangs(Instant(1051), patience));
        pulse.works(Instant(1040));
        assert!(!pulse.hangs(Instant(1051), patience));
        pulse.rests();
        assert!(!pulse.hangs(Instant(9000), patience));
    }
}
