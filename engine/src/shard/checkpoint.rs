//! What a group keeps of itself in the journal besides its entries: two kinds of record.
//!
//! ```text
//! Hard        term: the newest term │ value: vote 8 · cut 8 · commit 8 · forgot 8     0 is none
//! Checkpoint  version, term: the entry it stands behind
//!             value: members │ roster │ void indices │ state
//! members:    voters · outgoing · learners · demoted, each n 4 · ids 8n │ alone 1 │ ids used 8
//! roster:     n 4 · (replica 8 · node 8 · directory 16)n
//! void:       n 4 · index 8n
//! state:      the rest, as the state machine encodes itself
//! ```
//! A *cut* voids every entry of the group from that index on that lies before it in the journal.
//! *forgot* is a term: up to there the replica may have promised what it does not know of
//! (`raft/faulty.rs`).
//!
//! Not here: entries (`command`), when these are written (`write.rs`, `settle.rs`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use bytes::BytesMut;

use super::{group::Group, members::Seat, write::Load};
use crate::{
    codec::{Reader, Truncated},
    journal::{Origin, Record, RecordKind},
    limits::{RAFT_LEARNERS_MAX, RAFT_VOTERS_MAX},
    planted,
    raft::{EntryId, HardState, Membership, Parts},
    store::State,
    types::{GroupId, Index, ReplicaId, Term, Version},
};

/// What a checkpoint says.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub(super) at: EntryId,
    pub(super) membership: Membership,
    pub(super) roster: BTreeMap<ReplicaId, Seat>,
    pub(super) void: BTreeSet<Index>,
    pub(super) state: State,
}

/// Why bytes are no checkpoint or no hard state. They were verified, so this is a bug or a newer
/// version's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

impl From<Truncated> for Unreadable {
    fn from(_: Truncated) -> Self {
        Self("a record of a group's state ends too early")
    }
}

fn hard_value(hard: HardState, cut: Option<Index>) -> [u8; 32] {
    let mut value = [0; 32];
    value[..8].copy_from_slice(&hard.vote.map_or(0, |vote| vote.0).to_le_bytes());
    value[8..16].copy_from_slice(&cut.map_or(0, |cut| cut.0).to_le_bytes());
    value[16..24].copy_from_slice(&hard.commit.0.to_le_bytes());
    if !planted!("shard_scar_is_settled") {
        value[24..].copy_from_slice(&hard.forgot.map_or(0, |until| until.0).to_le_bytes());
    }
    value
}

/// The hard state that a record is, and its cut.
pub(super) fn read_hard(record: &Record<'_>) -> Result<(HardState, Option<Index>), Unreadable> {
    let mut reader = Reader::new(record.value);
    let (vote, cut, commit) = (reader.u64()?, reader.u64()?, Index(reader.u64()?));
    let forgot = reader.u64()?;
    let vote = (vote > 0).then_some(ReplicaId(vote));
    let forgot = (forgot > 0).then_some(Term(forgot));
    let hard = HardState { term: record.term, vote, commit, forgot };
    Ok((hard, (cut > 0).then_some(Index(cut))))
}

/// A group as it is now.
pub(super) fn of(group: &Group) -> Checkpoint {
    let index = group.state.applied();
    Checkpoint {
        at: EntryId { term: group.state.applied_term(), index },
        membership: group.raft.membership().clone(),
        roster: group.roster.clone(),
        void: group.void.keys().chain(group.void_again.keys()).copied().collect(),
        state: group.state.clone(),
    }
}

/// Writes a group's hard state and a checkpoint into a frame. All of the log that the hard state
/// speaks of must be in this frame or durable.
pub(super) fn push_both(frame: &mut Load, id: GroupId, hard: HardState, checkpoint: &Checkpoint) {
    push_hard(frame, id, hard, None);
    push_checkpoint(frame, id, checkpoint);
}

/// A group's term and vote, and from where on its log is void.
pub(super) fn push_hard(frame: &mut Load, id: GroupId, hard: HardState, cut: Option<Index>) {
    let value = hard_value(hard, cut);
    let record = Record {
        group: id,
        kind: RecordKind::Hard,
        version: Version(0),
        term: hard.term,
        expires_ms: None,
        origin: Origin::State,
        key: &[],
        value: &value,
    };
    frame.push(&record);
    frame.has_hard(id, hard);
}

pub(super) fn push_checkpoint(frame: &mut Load, id: GroupId, checkpoint: &Checkpoint) {
    let value = encode(checkpoint);
    let record = Record {
        group: id,
        kind: RecordKind::Checkpoint,
        version: Version(checkpoint.at.index.0),
        term: checkpoint.at.term,
        expires_ms: None,
        origin: Origin::State,
        key: &[],
        value: &value,
    };
    frame.push(&record);
}

/// The bytes of a checkpoint.
pub(super) fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = Vec::new();
    let parts = checkpoint.membership.parts();
    for list in [&parts.voters, &parts.outgoing, &parts.learners, &parts.demoted] {
        out.extend_from_slice(&(list.len() as u32).to_le_bytes());
        list.iter().for_each(|id| out.extend_from_slice(&id.0.to_le_bytes()));
    }
    out.push(u8::from(parts.leaves_alone));
    out.extend_from_slice(&parts.ids_used.0.to_le_bytes());
    out.extend_from_slice(&(checkpoint.roster.len() as u32).to_le_bytes());
    for (replica, seat) in &checkpoint.roster {
        out.extend_from_slice(&replica.0.to_le_bytes());
        seat.encode(&mut out);
    }
    out.extend_from_slice(&(checkpoint.void.len() as u32).to_le_bytes());
    checkpoint.void.iter().for_each(|index| out.extend_from_slice(&index.0.to_le_bytes()));
    let mut state = BytesMut::new();
    checkpoint.state.encode(&mut state);
    out.extend_from_slice(&state);
    out
}

/// The checkpoint that a record is.
pub(super) fn read(record: &Record<'_>) -> Result<Checkpoint, Unreadable> {
    let at = EntryId { term: record.term, index: Index(record.version.0) };
    decode(at, record.value)
}

/// The checkpoint at `at` that the bytes are.
pub(super) fn decode(at: EntryId, bytes: &[u8]) -> Result<Checkpoint, Unreadable> {
    let mut reader = Reader::new(bytes);
    let most = RAFT_VOTERS_MAX + RAFT_LEARNERS_MAX;
    let list = |reader: &mut Reader<'_>| -> Result<Vec<ReplicaId>, Unreadable> {
        let count = reader.u32()? as usize;
        if count > most {
            return Err(Unreadable("a membership is larger than one can be"));
        }
        (0..count).map(|_| Ok(ReplicaId(reader.u64()?))).collect()
    };
    let parts = Parts {
        voters: list(&mut reader)?,
        outgoing: list(&mut reader)?,
        learners: list(&mut reader)?,
        demoted: list(&mut reader)?,
        leaves_alone: reader.u8()? == 1,
        ids_used: ReplicaId(reader.u64()?),
    };
    let membership =
        Membership::of_parts(parts).ok_or(Unreadable("a membership contradicts itself"))?;
    let mut roster = BTreeMap::new();
    for _ in 0..reader.u32()? {
        roster.insert(ReplicaId(reader.u64()?), Seat::take(&mut reader)?);
    }
    let mut void = BTreeSet::new();
    for _ in 0..reader.u32()? {
        void.insert(Index(reader.u64()?));
    }
    let state = State::decode(reader.rest()).map_err(|_why| Unreadable("a state is unreadable"))?;
    if (state.applied(), state.applied_term()) != (at.index, at.term) {
        return Err(Unreadable("a state is of another entry than its checkpoint"));
    }
    Ok(Checkpoint { at, membership, roster, void, state })
}
