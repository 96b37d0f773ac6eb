//! What a leader knows of one peer, and how fast it feeds it.
//!
//! ```text
//!            ack                            the log no longer has
//!   probe ----------> stream     any  -----------------------------> snapshot
//!     ^                 |                                               |
//!     +-- rejection ----+        <--- it has what the log begins with --+
//!     +-- a snapshot that did not arrive -------------------------------+
//! ```
//!
//! *Probe*: where the logs agree is not known; one append at a time, until it is answered or the
//! next heartbeat is. *Stream*: appends follow each other without waiting, as many messages and
//! bytes as the window allows. *Snapshot*: nothing is sent until one is installed.
//!
//! Invariant: `matched < next`. What lies between is on its way (stream) or a guess (probe).

use super::{Body, Config, Log, Position};
use crate::{
    mark, planted,
    types::{Index, ReplicaId},
};
use alloc::collections::VecDeque;

/// How a peer is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// One append at a time; `waiting` while it is not answered.
    Probe {
        /// An append is on its way.
        waiting: bool,
    },
    /// One append after the other.
    Stream,
    /// Not by appends: it lacks what the log no longer has.
    Snapshot,
}

/// What a leader knows of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    pub(super) id: ReplicaId,
    /// The newest entry that is certainly the same there, and durable.
    pub(super) matched: Index,
    /// The next entry to send.
    pub(super) next: Index,
    pub(super) flow: Flow,
    window: Window,
    /// The highest commit index that is on its way there.
    told: Index,
    /// It said something since the last check of the quorum.
    pub(super) active: bool,
    /// Its node answers, as far as nodes know.
    pub(super) alive: bool,
    /// The newest round of reads it has answered.
    pub(super) round: Position,
    /// Its own reads that wait for the next round, and those in the round on its way; 0 for none.
    pub(super) asked: Position,
    pub(super) flying: Position,
}

impl Progress {
    /// A peer of which nothing is known; it is probed at the log's end.
    #[must_use]
    pub(super) fn new(id: ReplicaId, next: Index) -> Self {
        Self {
            id,
            matched: Index(0),
            next,
            flow: Flow::Probe { waiting: false },
            window: Window::default(),
            told: Index(0),
            active: true,
            alive: true,
            round: Position(0),
            asked: Position(0),
            flying: Position(0),
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn id(&self) -> ReplicaId {
        self.id
    }

    /// The newest entry that is certainly the same there, and durable.
    #[must_use]
    pub const fn matched(&self) -> Index {
        self.matched
    }

    /// Whether it was heard of since the leader looked last.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// How it is fed.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        self.flow
    }

    /// Appends on their way there, and their bytes.
    pub(super) fn in_flight(&self) -> (usize, u64) {
        (self.window.sent.len(), self.window.bytes)
    }

    /// The next thing to say to this peer; `None` when there is nothing, or it must wait. To be
    /// asked until it is `None`.
    /// Up to `given_up`, damaged entries will not be repaired.
    pub(super) fn feed(
        &mut self,
        log: &Log,
        commit: Index,
        given_up: Index,
        config: &Config,
    ) -> Option<Body> {
        if matches!(self.flow, Flow::Snapshot | Flow::Probe { waiting: true }) {
            return None;
        }
        // Before the window: what fills it may be lost, and could not even be asked for any more.
        let is_lost = self.next <= given_up && log.is_faulty(self.next);
        let is_gone = self.next <= log.base().index || is_lost;
        if is_gone && !planted!("raft_full_window_hides_compaction") {
            mark!("raft_peer_needs_a_snapshot");
            self.flow = Flow::Snapshot;
            self.window.clear();
            return None;
        }
        if self.flow == Flow::Stream && self.next > log.last().index {
            return self.tell(commit);
        }
        if self.flow == Flow::Stream && self.window.is_full(config) {
            mark!("raft_window_is_full");
            return self.tell(commit);
        }
        let prev = log.id_at(Index(self.next.0 - 1))?;
        if self.next > log.last().index {
            self.flow = Flow::Probe { waiting: true };
            return Some(Body::Append { prev, last: prev.index, commit });
        }
        let (last, bytes) =
            log.fit(self.next, config.append_entries_max, config.append_bytes_max)?;
        if self.flow == Flow::Stream {
            self.window.push(last, bytes);
            self.next = last.next();
            self.told = self.told.max(commit.min(last));
        } else {
            self.flow = Flow::Probe { waiting: true };
        }
        Some(Body::Append { prev, last, commit })
    }

    /// Tells what is committed, if that is news; an append on its way may have told it already. While
    /// one is on its way, its answer brings the next occasion, mostly with another append, which says
    /// it for nothing.
    fn tell(&mut self, commit: Index) -> Option<Body> {
        let commit = commit.min(self.matched);
        if commit <= self.told || !self.window.sent.is_empty() {
            return None;
        }
        self.told = commit;
        Some(Body::Commit { commit })
    }

    /// An append that carries nothing and asks whether what was sent has arrived.
    pub(super) fn check(&self, log: &Log, commit: Index) -> Option<Body> {
        let prev = log.id_at(Index(self.next.0 - 1))?;
        Some(Body::Append { prev, last: prev.index, commit })
    }

    /// The peer has everything up to `matched`.
    pub(super) fn on_ack(&mut self, matched: Index, base: Index) {
        let is_answer = matched >= self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        self.window.free(matched);
        match self.flow {
            Flow::Probe { .. } if is_answer => self.stream(),
            Flow::Snapshot if matched >= base => {
                mark!("raft_snapshot_caught_up");
                self.stream();
            }
            Flow::Probe { .. } | Flow::Snapshot | Flow::Stream => {}
        }
    }

    /// The peer does not have the entry at `at`; the logs may agree at `agreement`. Answers whether
    /// that is news.
    pub(super) fn on_reject(&mut self, at: Index, agreement: Index, damaged: bool) -> bool {
        if damaged {
            // It has lost what it had acknowledged; it does not count as a copy of that any more.
            mark!("raft_follower_is_damaged");
            let is_known = self.matched <= agreement && self.next == agreement.next();
            if is_known && self.flow == (Flow::Probe { waiting: true }) {
                return false;
            }
            self.matched = self.matched.min(agreement);
            self.probe(agreement.next());
            return true;
        }
        let is_stale = match self.flow {
            Flow::Stream => at <= self.matched,
            // Rejecting what it has acknowledged would only be said again.
            Flow::Probe { .. } => at.next() != self.next || at <= self.matched,
            Flow::Snapshot => true,
        };
        if is_stale && !planted!("raft_stale_rejection_believed") {
            mark!("raft_stale_rejection");
            return false;
        }
        self.probe(agreement.next());
        true
    }

    /// Starts over: one append at a time from `next`.
    pub(super) fn probe(&mut self, next: Index) {
        self.flow = Flow::Probe { waiting: false };
        self.next = next.max(self.matched.next());
        self.window.clear();
    }

    fn stream(&mut self) {
        self.flow = Flow::Stream;
        self.next = self.matched.next();
        self.window.clear();
    }

    /// What must always hold.
    pub(super) fn invariants(&self, config: &Config) {
        assert!(self.matched < self.next, "what is known to be there is not sent again");
        let is_within = self.window.sent.len() <= config.inflight_messages_max;
        assert!(is_within || planted!("raft_window_has_no_end"), "the window is respected");
        let streams = self.flow == Flow::Stream;
        assert!(streams || self.window.sent.is_empty(), "only a stream has a window");
    }
}

/// Appends on their way, oldest first: the last entry of each, and its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Window {
    sent: VecDeque<(Index, u64)>,
    bytes: u64,
}

impl Window {
    fn is_full(&self, config: &Config) -> bool {
        let is_full = self.sent.len() >= config.inflight_messages_max
            || self.bytes >= config.inflight_bytes_max;
        is_full && !planted!("raft_window_has_no_end")
    }

    fn push(&mut self, last: Index, bytes: u64) {
        self.sent.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn free(&mut self, matched: Index) {
        while self.sent.front().is_some_and(|(last, _)| *last <= matched) {
            self.bytes -= self.sent.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn clear(&mut self) {
        self.sent.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
