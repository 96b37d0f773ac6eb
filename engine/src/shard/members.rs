//! Who holds a group: changes of the membership, and where the new replicas sit.
//!
//! ```text
//! change   alone 1 │ steps 4 · (kind 1 · replica 8)… │ seats 4 · (replica 8 · node 8 · directory 16)…
//! ```
//! The core knows replicas and no nodes; where which replica sits is the *roster*, part of the
//! group's state like everything else that entries say. A seat is a directory on a node, because a
//! replica's promises are in its directory: another directory at the same place is somebody else.
//!
//! # Replacing a replica
//! A directory that is lost is replaced by an empty one, in three steps that whoever leads takes
//! when an operator asks, again and again, until nothing is left to do ([`Replace`]):
//!
//! ```text
//!   new id, learner, in the new directory ──► caught up ──► votes in the place of the old one
//! ```
//! The node there makes the group, blank, when the leader names the seat (`Packet::Seat`), which
//! says which directory it means. If that has a replica of the group already, it goes on under the
//! new id: its promises are in the directory, and one disk keeps them whatever it is called. Until it has a snapshot the replica knows nothing, and is asked
//! for nothing.
//!
//! Not here: whether a change fits (`raft`), which directories may speak (`peers.rs`).

use alloc::vec::Vec;
use bytes::Bytes;

use super::{
    Outbox, Shard,
    group::{Group, Offered},
    owed::Asked,
};
use crate::{
    codec::{Reader, Truncated},
    command::{
        Body, Led, Outcome, Place, Replace, Replacing, Reply, Shown, Stage, Told, encode,
        encoded_bytes,
    },
    limits::{RAFT_LEARNERS_MAX, RAFT_VOTERS_MAX},
    mark,
    raft::{Change, Flow, Input, Progress, Role, Step},
    runtime::Runtime,
    types::{GroupId, NodeId, ReplicaId, Uuid},
};

/// Where a replica sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The node.
    pub node: NodeId,
    /// The directory; zeros for the one in which the node founded the group.
    pub directory: Uuid,
}

/// A change of a group's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeOfMembers {
    /// What happens to which replicas.
    pub change: Change,
    /// Where the new ones are.
    pub seats: Vec<(ReplicaId, Seat)>,
}

impl ChangeOfMembers {
    fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.push(u8::from(self.change.leaves_alone));
        out.extend_from_slice(&(self.change.steps.len() as u32).to_le_bytes());
        for step in &self.change.steps {
            let (kind, replica) = match step {
                Step::AddLearner(id) => (1, id),
                Step::Promote(id) => (2, id),
                Step::Demote(id) => (3, id),
                Step::Remove(id) => (4, id),
            };
            out.push(kind);
            out.extend_from_slice(&replica.0.to_le_bytes());
        }
        out.extend_from_slice(&(self.seats.len() as u32).to_le_bytes());
        for (replica, seat) in &self.seats {
            out.extend_from_slice(&replica.0.to_le_bytes());
            seat.encode(&mut out);
        }
        Bytes::from(out)
    }

    /// The change that an entry says; `None` when it says none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let change = Self::take(&mut reader).ok().flatten()?;
        reader.rest().is_empty().then_some(change)
    }

    fn take(reader: &mut Reader<'_>) -> Result<Option<Self>, Truncated> {
        let most = 2 * (RAFT_VOTERS_MAX + RAFT_LEARNERS_MAX);
        let leaves_alone = reader.u8()? == 1;
        let count = reader.u32()? as usize;
        let mut steps = Vec::new();
        for _ in 0..count.min(most) {
            let (kind, id) = (reader.u8()?, ReplicaId(reader.u64()?));
            steps.push(match kind {
                1 => Step::AddLearner(id),
                2 => Step::Promote(id),
                3 => Step::Demote(id),
                4 => Step::Remove(id),
                _ => return Ok(None),
            });
        }
        let mut seats = Vec::new();
        let places = reader.u32()? as usize;
        for _ in 0..places.min(most) {
            seats.push((ReplicaId(reader.u64()?), Seat::take(reader)?));
        }
        let fits = count <= most && places <= most;
        Ok(fits.then_some(Self { change: Change { steps, leaves_alone }, seats }))
    }
}

impl Seat {
    /// The node's own directory, in which it founds the group.
    pub(super) const fn of_founder(node: NodeId) -> Self {
        Self { node, directory: Uuid([0; 16]) }
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.node.0.to_le_bytes());
        out.extend_from_slice(&self.directory.0);
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        Ok(Self { node: NodeId(reader.u64()?), directory: Uuid(reader.array()?) })
    }
}

impl Group {
    /// What is left to do until a new replica in that seat has taken the place of whatever the
    /// group had on that node; `None` when nothing is, or the time has not come.
    fn replacement(&self, seat: Seat) -> Option<ChangeOfMembers> {
        let membership = self.raft.membership();
        if self.raft.role() != Role::Leader || membership.is_joint() {
            return None;
        }
        let (new, old): (Vec<_>, Vec<_>) =
            self.sitting_on(seat.node).partition(|id| self.roster.get(id) == Some(&seat));
        let mut steps: Vec<Step> = old.into_iter().map(Step::Remove).collect();
        let Some(new) = new.first() else {
            mark!("shard_replacement_begins");
            let id = membership.parts().ids_used.next();
            // A new one that was lost before it could vote is in the way of nothing but itself.
            steps.retain(|step| matches!(step, Step::Remove(old) if !membership.is_voter(*old)));
            steps.push(Step::AddLearner(id));
            let change = Change { steps, leaves_alone: true };
            return Some(ChangeOfMembers { change, seats: alloc::vec![(id, seat)] });
        };
        if !membership.is_voter(*new) {
            let is_level = |peer: &Progress| {
                let has = peer.matched() >= self.raft.commit();
                peer.id() == *new && peer.flow() == Flow::Stream && has
            };
            if !self.raft.peers().iter().any(is_level) {
                return None;
            }
            steps.push(Step::Promote(*new));
        }
        if steps.is_empty() {
            return None;
        }
        mark!("shard_replacement_votes");
        let change = Change { steps, leaves_alone: true };
        Some(ChangeOfMembers { change, seats: Vec::new() })
    }
}

impl Group {
    /// The group's replicas that sit on a node.
    fn sitting_on(&self, node: NodeId) -> impl Iterator<Item = ReplicaId> {
        let sits_there =
            move |id: &ReplicaId| self.roster.get(id).is_some_and(|at| at.node == node);
        self.raft.membership().members().into_iter().filter(sits_there)
    }

    /// What the group has on a node, if it is led here.
    fn led(&self, group: GroupId, node: NodeId) -> Option<Led> {
        if self.raft.role() != Role::Leader {
            return None;
        }
        let membership = self.raft.membership();
        let Some(newest) = self.sitting_on(node).max() else {
            return Some(Led { group, seat: Uuid::default(), stage: Stage::Absent });
        };
        let seat = self.roster.get(&newest).map(|seat| seat.directory).unwrap_or_default();
        let is_alone = self.sitting_on(node).count() == 1 && !membership.is_joint();
        let stage = match membership.is_voter(newest) {
            false => Stage::Learns,
            true if is_alone => Stage::Settled,
            true => Stage::Changes,
        };
        Some(Led { group, seat, stage })
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// An operator asks how the replacement of a node is, and may want its next steps taken.
    pub(super) fn take_replace(&mut self, asked: Asked, wish: Replace) {
        let Replace { node, directory } = wish;
        let is_own = node == self.node;
        if let Some(directory) = directory {
            // This node would take itself out; and who asks may have heard of another directory
            // before this one came.
            let serves_elsewhere = self.peers.serves_elsewhere(node, directory);
            if !is_own && !serves_elsewhere {
                self.replace(Seat { node, directory });
            }
        }
        let led: Vec<Led> =
            self.groups.iter().filter_map(|(id, group)| group.led(*id, node)).collect();
        let holds = |group: &Group| group.sitting_on(node).next().is_some();
        let is_member = is_own || self.peers.founds_with(node) || self.groups.values().any(holds);
        let (is_up, shown) = if is_own {
            let is_known = !self.groups.is_empty() && self.peers.leaves_at().is_none();
            (true, Some(Shown { directory: self.peers.directory, is_known }))
        } else {
            (self.peers.is_up(node), self.peers.shown(node))
        };
        let groups = self.slotted.len() as u32;
        let replacing = Replacing { groups, is_member, is_up, shown, led };
        self.answer(asked, Told::default(), Outcome::Ok(Reply::Replacing(replacing)));
    }

    /// Takes the next step of a replacement in each group that is led here and has one.
    fn replace(&mut self, seat: Seat) {
        let step = |(id, group): (&GroupId, &Group)| Some((*id, group.replacement(seat)?));
        let steps: Vec<(GroupId, ChangeOfMembers)> = self.groups.iter().filter_map(step).collect();
        for (id, change) in steps {
            tracing::info!(group = %id, node = %seat.node, ?change, "replacing a replica");
            self.propose_change(id, &change);
        }
    }

    /// Proposes a change of the members; what comes of it shows in the membership.
    pub(super) fn propose_change(&mut self, id: GroupId, change: &ChangeOfMembers) {
        let (time_ms, now) = (self.time_ms(id), self.now());
        let body: Body = Body::Change(change.encode());
        let bytes = encoded_bytes(&body);
        let input = Input::ProposeChange { change: &change.change, bytes: bytes as u32 };
        let mut fx = self.step_core(id, input);
        let Some(group) = self.groups.get_mut(&id) else { return };
        match fx.proposed.take() {
            Some(proposed) if proposed.taken > 0 => {
                let (term, index) = (proposed.first.term, proposed.first.index);
                let stamp = group.next_stamp(time_ms, now);
                let mut buffer = bytes::BytesMut::with_capacity(bytes);
                encode(&mut buffer, Place { group: id, term, index, stamp }, &body);
                let payloads = alloc::vec![buffer.freeze()];
                self.offered = Offered { first: index, payloads };
            }
            refused => tracing::info!(group = %id, ?refused, "a change of members was refused"),
        }
        self.carry_out(id, &mut fx);
        self.fx = fx;
        self.offered = Offered::default();
    }
}
