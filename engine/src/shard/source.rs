//! Who sends a snapshot: the leader says who, preferably somebody else, and hears what becomes of it.
//!
//! ```text
//!   leader              source                             receiver
//!     │ SnapshotAsk ──────►│ waits until it has applied that │
//!     │                    │ Chunk ─────────────────────────►│
//!     │◄──────────────────────────────────────────── ChunkAck│ to both, whatever it says
//!     │                    │◄────────────────────────────────│
//!     │◄─ ChunkAck: refused│ it cannot, or has given up
//! ```
//! What a replica has applied is committed, so any replica's state is right; the leader is merely the
//! one who knows who needs it, and the one who has most to do already. It asks a replica that streams
//! and whose node answers, has room and is not slow, drawn by lot so that nobody is asked in vain for
//! ever. When the source refuses, gives up, or is not heard of any more, the leader sends the
//! snapshot itself, and when that fails too, the next attempt begins with a lot again: there is no
//! dead end that one of them could not leave.
//!
//! A receiver takes in one sending at a time, and while that moves, others are told of it instead:
//! whoever sends gives way, and a leader goes on watching. So a sending outlives the leader that asked
//! for it, and two leaders, or a leader that has lost its patience, do not tear it down in turns.
//!
//! Everything here is a hint. Raft decides what a replica needs and whether an arrived snapshot is
//! taken; whatever is lost or forged costs a repetition.
//!
//! Invariants: what is watched ends, by a word or in silence, and the core is told or the leader
//! sends; a source sends nothing older than what the leader had applied when it asked.
//!
//! Not here: the sending and the intake (`snapshot.rs`, `intake.rs`).

use alloc::vec::Vec;
use core::time::Duration;

use super::{
    Outbox, Shard,
    snapshot::{PATIENCE, RIVAL_PATIENCE, TRIES},
};
use crate::{
    limits, mark,
    packet::{ChunkAck, ChunkState, Envelope, Packet, SnapshotAsk, SnapshotId},
    planted,
    raft::{EntryId, Flow, Input, Moment, Role},
    runtime::{Rng, Runtime},
    types::{GroupId, Index, NodeId, ReplicaId},
};

/// How long a leader waits for a word about a sending: longer than its sender waits for one.
const SILENCE: Duration = PATIENCE.saturating_mul(TRIES + 4);
/// The same before the first word, and when the source's node does not answer: until the receiver
/// would take in another one.
const SHORT_SILENCE: Duration = RIVAL_PATIENCE.saturating_add(PATIENCE.saturating_mul(2));
/// How long a source waits until it has applied what the leader had.
const ASK_PATIENCE: Duration = PATIENCE.saturating_mul(2);

/// A sending of somebody else's to a replica of a group that is led here.
#[derive(Debug)]
pub(super) struct Watched {
    source: ReplicaId,
    until: Moment,
}

/// A sending that a leader wants.
#[derive(Debug)]
pub(super) struct Asked {
    by: NodeId,
    at_least: Index,
    until: Moment,
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// A replica of a group that is led here needs a snapshot.
    pub(super) fn want_snapshot(&mut self, id: GroupId, to: ReplicaId) {
        let key = (id, to);
        if self.snapshots.sending.contains_key(&key) || self.snapshots.watched.contains_key(&key) {
            return;
        }
        let (source, until) = (self.source_for(id, to), self.now() + SHORT_SILENCE);
        let applied = self.groups.get(&id).map(|group| group.raft.applied());
        let (Some((from, node)), Some(at_least)) = (source, applied) else {
            return self.send_snapshot(id, to);
        };
        mark!("shard_source_is_asked");
        tracing::info!(group = %id, %to, source = %from, "another replica is to send a snapshot");
        let ask = SnapshotAsk { group: id, from, to, at_least };
        self.outbox.send(Envelope { to: node, packet: Packet::SnapshotAsk(ask) });
        self.snapshots.watched.insert(key, Watched { source: from, until });
    }

    /// Who could send it instead of the leader.
    fn source_for(&mut self, id: GroupId, to: ReplicaId) -> Option<(ReplicaId, NodeId)> {
        if planted!("shard_only_the_leader_sends") {
            return None;
        }
        let now = self.now();
        let group = self.groups.get(&id)?;
        let away = [Some(self.node), group.node_of(to)];
        let is_fit = |node: NodeId| {
            let is_slow = self.pace.is_full(now, node) || self.pace.is_behind(node);
            !away.contains(&Some(node)) && self.peers.is_up(node) && !is_slow
        };
        let peers = group.raft.peers().iter();
        let streams = peers.filter(|peer| peer.id() != to && peer.flow() == Flow::Stream);
        let fit: Vec<(ReplicaId, NodeId)> = streams
            .filter_map(|peer| Some((peer.id(), group.node_of(peer.id())?)))
            .filter(|(_, node)| is_fit(*node))
            .collect();
        if fit.is_empty() {
            return None;
        }
        let drawn = self.rng.range(0..fit.len() as u64) as usize;
        fit.get(drawn).copied()
    }

    /// Somebody says how far a snapshot is that is not sent from here, or not any more.
    pub(super) fn hear_of_another(&mut self, by: NodeId, ack: ChunkAck) {
        let (id, now) = (ack.id, self.now());
        let key = (id.group, id.to);
        let Some(group) = self.groups.get(&id.group) else { return };
        if id.from == group.raft.id() {
            return;
        }
        let by_receiver = group.node_of(id.to) == Some(by);
        let by_source = group.node_of(id.from) == Some(by);
        let watched = self.snapshots.watched.get(&key);
        let is_watched = watched.is_some_and(|watched| watched.source == id.from);
        match ack.state {
            ChunkState::Going if by_receiver => {
                let leads = group.raft.role() == Role::Leader;
                let is_peer = group.raft.peers().iter().any(|peer| peer.id() == id.to);
                if self.snapshots.sending.remove(&key).is_some() {
                    mark!("shard_sending_gives_way");
                }
                if leads && is_peer {
                    let watched = Watched { source: id.from, until: now + SILENCE };
                    self.snapshots.watched.insert(key, watched);
                }
            }
            ChunkState::Whole if is_watched && (by_receiver || by_source) => {
                self.snapshots.watched.remove(&key);
                self.step(id.group, Input::SnapshotSent { to: id.to, arrived: true });
            }
            ChunkState::Refused if is_watched && (by_receiver || by_source) => {
                mark!("shard_source_refuses");
                self.snapshots.watched.remove(&key);
                self.take_over(id.group, id.to);
            }
            ChunkState::Going | ChunkState::Whole | ChunkState::Refused => {}
        }
    }

    /// A node does not answer any more: nor does what it sends.
    pub(super) fn lose_sources(&mut self, node: NodeId) {
        let soon = self.now() + SHORT_SILENCE;
        for ((id, _), watched) in &mut self.snapshots.watched {
            let sits = self.groups.get(id).and_then(|group| group.node_of(watched.source));
            if sits == Some(node) {
                watched.until = watched.until.min(soon);
            }
        }
    }

    /// The leader sends what nobody sent in its place, if it is still needed.
    fn take_over(&mut self, id: GroupId, to: ReplicaId) {
        let needs = self.groups.get(&id).is_some_and(|group| {
            let mut peers = group.raft.peers().iter();
            peers.any(|peer| peer.id() == to && peer.flow() == Flow::Snapshot)
        });
        if !needs {
            return;
        }
        if planted!("shard_refusing_source_is_asked_again") {
            return self.want_snapshot(id, to);
        }
        mark!("shard_leader_sends_itself");
        self.send_snapshot(id, to);
    }

    /// A leader wants a snapshot sent from here.
    pub(super) fn take_snapshot_ask(&mut self, by: NodeId, ask: SnapshotAsk) {
        let key = (ask.group, ask.to);
        let Some(group) = self.groups.get(&ask.group) else { return };
        let is_member = group.raft.membership().members().into_iter();
        let is_member = is_member.filter_map(|id| group.node_of(id)).any(|node| node == by);
        let is_leader = group.leader_node() == Some(by);
        if ask.from != group.raft.id() || !is_member && !is_leader {
            // Its directory may be another one than the leader means, and hold another replica.
            mark!("shard_snapshot_asked_of_another");
            return self.refuse_to_send(by, ask.group, ask.from, ask.to);
        }
        if let Some(sending) = self.snapshots.sending.get_mut(&key) {
            mark!("shard_sending_outlives_its_leader");
            sending.asked_by = Some(by);
            return;
        }
        let is_known = self.snapshots.asked.contains_key(&key);
        if !is_known && self.snapshots.asked.len() >= limits::SHARD_SNAPSHOTS_AT_ONCE {
            return self.refuse_to_send(by, ask.group, ask.from, ask.to);
        }
        let until = self.now() + ASK_PATIENCE;
        self.snapshots.asked.insert(key, Asked { by, at_least: ask.at_least, until });
    }

    /// Begins what leaders have asked for, and looks after what others send for this one.
    pub(super) fn keep_sources(&mut self) {
        let now = self.now();
        for ((id, to), asked) in core::mem::take(&mut self.snapshots.asked) {
            let Some(group) = self.groups.get(&id) else { continue };
            let is_level = group.raft.applied() >= asked.at_least && group.held.is_none();
            let begins = is_level || planted!("shard_source_sends_what_is_older");
            let reaches = group.node_of(to).is_some_and(|node| self.peers.is_up(node));
            let from = group.raft.id();
            if begins && reaches && self.begin_sending(id, to, Some(asked.by)) {
                mark!("shard_source_sends");
            } else if begins || now >= asked.until {
                mark!("shard_source_cannot_send");
                self.refuse_to_send(asked.by, id, from, to);
            } else {
                self.snapshots.asked.insert((id, to), asked);
            }
        }
        if planted!("shard_silent_source_is_waited_for") {
            return;
        }
        let watched = self.snapshots.watched.iter();
        let silent: Vec<(GroupId, ReplicaId)> =
            watched.filter(|(_, watched)| now >= watched.until).map(|(key, _)| *key).collect();
        for (id, to) in silent {
            mark!("shard_source_is_silent");
            self.snapshots.watched.remove(&(id, to));
            self.take_over(id, to);
        }
    }

    /// When something is to be done about that though nothing happens.
    pub(super) fn sources_at(&self) -> Option<Moment> {
        let asked = self.snapshots.asked.values().map(|asked| asked.until);
        let watched = self.snapshots.watched.values().map(|watched| watched.until);
        let watched = watched.filter(|_| !planted!("shard_silent_source_is_waited_for"));
        asked.chain(watched).min()
    }

    fn refuse_to_send(&mut self, by: NodeId, group: GroupId, from: ReplicaId, to: ReplicaId) {
        let id = SnapshotId { group, from, to, at: EntryId::default(), sending: 0 };
        self.report(by, id, ChunkState::Refused);
    }

    /// A sending has ended.
    pub(super) fn sending_ended(&mut self, id: SnapshotId, arrived: bool) {
        let key = (id.group, id.to);
        if self.snapshots.sending.get(&key).is_none_or(|sending| sending.id != id) {
            return;
        }
        self.counts.snapshots_sent += u64::from(arrived);
        let ended = if arrived && planted!("shard_sent_snapshot_is_kept") {
            None
        } else {
            self.snapshots.sending.remove(&key)
        };
        if let Some(by) = ended.and_then(|sending| sending.asked_by) {
            let state = if arrived { ChunkState::Whole } else { ChunkState::Refused };
            self.report(by, id, state);
        }
        self.step(id.group, Input::SnapshotSent { to: id.to, arrived });
    }

    fn report(&mut self, to: NodeId, id: SnapshotId, state: ChunkState) {
        let packet = Packet::ChunkAck(ChunkAck { id, offset: 0, state });
        self.outbox.send(Envelope { to, packet });
    }
}
