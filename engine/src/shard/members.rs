//! Who holds a group: changes of the membership, with the nodes that new replicas are on.
//!
//! ```text
//! change   alone 1 │ steps 4 · (kind 1 · replica 8)… │ nodes 4 · (replica 8 · node 8)…
//! ```
//! The core knows replicas and no nodes; which node holds which replica is the *roster*, part of
//! the group's state like everything else that entries say.
//!
//! Not here: whether a change fits (`raft`).

use alloc::vec::Vec;
use bytes::Bytes;

use super::{Outbox, Shard, group::Offered};
use crate::{
    codec::{Reader, Truncated},
    command::{Body, Place, encode, encoded_bytes},
    limits::{RAFT_LEARNERS_MAX, RAFT_VOTERS_MAX},
    raft::{Change, Input, Step},
    runtime::Runtime,
    types::{GroupId, NodeId, ReplicaId},
};

/// A change of a group's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeOfMembers {
    /// What happens to which replicas.
    pub change: Change,
    /// Where the new ones are.
    pub nodes: Vec<(ReplicaId, NodeId)>,
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
        out.extend_from_slice(&(self.nodes.len() as u32).to_le_bytes());
        for (replica, node) in &self.nodes {
            out.extend_from_slice(&replica.0.to_le_bytes());
            out.extend_from_slice(&node.0.to_le_bytes());
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
        let mut nodes = Vec::new();
        let places = reader.u32()? as usize;
        for _ in 0..places.min(most) {
            nodes.push((ReplicaId(reader.u64()?), NodeId(reader.u64()?)));
        }
        let fits = count <= most && places <= most;
        Ok(fits.then_some(Self { change: Change { steps, leaves_alone }, nodes }))
    }
}

impl<R: Runtime, O: Outbox> Shard<R, O> {
    /// Proposes a change of the members; what comes of it shows in the membership.
    pub(super) fn propose_change(&mut self, id: GroupId, change: &ChangeOfMembers) {
        let wall_ms = self.wall_ms();
        let body: Body = Body::Change(change.encode());
        let bytes = encoded_bytes(&body);
        let input = Input::ProposeChange { change: &change.change, bytes: bytes as u32 };
        let mut fx = self.step_core(id, input);
        let Some(group) = self.groups.get_mut(&id) else { return };
        match fx.proposed.take() {
            Some(proposed) if proposed.taken > 0 => {
                let (term, index) = (proposed.first.term, proposed.first.index);
                group.stamp = group.stamp.after(wall_ms);
                let mut buffer = bytes::BytesMut::with_capacity(bytes);
                encode(&mut buffer, Place { group: id, term, index, stamp: group.stamp }, &body);
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
