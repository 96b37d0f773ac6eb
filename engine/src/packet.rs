//! What nodes say to each other, before anybody thinks of bytes.
//!
//! Most of it is Raft's: a message of a few numbers and, for the two that carry entries, the
//! entries as the journal has them. The rest moves snapshots, which are too long for one packet, and
//! single values that somebody's disk has damaged.
//!
//! Any packet may be lost, repeated and overtaken: whoever sends one knows what to do when nothing
//! comes of it.
//!
//! Not here: the bytes on the wire and the links that carry them (`trilith-net`).

use crate::{
    raft::{EntryId, Message},
    types::{GroupId, Index, NodeId, ReplicaId, Uuid, Version},
};
use alloc::vec::Vec;
use bytes::Bytes;

/// A packet and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The node.
    pub to: NodeId,
    /// The packet.
    pub packet: Packet,
}

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A message of a group's replicas.
    Raft {
        /// The group.
        group: GroupId,
        /// The message.
        message: Message,
        /// The entries that [`Append`](crate::raft::Body::Append) and
        /// [`Repair`](crate::raft::Body::Repair) name: whole records, one after the other, however
        /// they are cut into pieces.
        entries: Vec<Bytes>,
    },
    /// Signs of life of many groups. Of each group only the newest counts, so whoever keeps packets
    /// back may let newer ones replace it.
    Beats(Vec<Beat>),
    /// A piece of a snapshot.
    Chunk(Chunk),
    /// How far a snapshot has arrived: to who sends it, and to the leader.
    ChunkAck(ChunkAck),
    /// A leader wants another replica to send a snapshot. Whoever is asked and cannot says
    /// [`ChunkState::Refused`].
    SnapshotAsk(SnapshotAsk),
    /// That replica sits in that directory of the receiver, as far as the sender has applied. Said
    /// before other things as long as the replica has shown nothing of the log, or nothing lately.
    Seat {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
        /// The directory.
        directory: Uuid,
    },
    /// What the digest of a replica's state was behind an entry, so that others compare theirs.
    Digest {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
        /// The entry.
        at: Index,
        /// The digest.
        digest: u64,
    },
    /// How long writes take at the sender and what its clocks say: said with signs of life, with an
    /// asking for a vote, and with what is answered to that.
    Pace {
        /// So many microseconds; the highest number is for ever.
        micros: u32,
        /// Milliseconds since 1970.
        wall_ms: u64,
        /// The sender's monotonic clock, in milliseconds that wrap: whoever hears it says it back.
        mark_ms: u32,
        /// The mark that the sender heard last from whom this is for; 0 when none. It says how old
        /// this is at most.
        heard_ms: u32,
    },
    /// The sender cannot read this value on its own disk. Whoever has it at that version sends it.
    ValueAsk {
        /// The group.
        group: GroupId,
        /// The version.
        version: Version,
        /// The key.
        key: Bytes,
    },
    /// A value that was asked for.
    Value {
        /// The group.
        group: GroupId,
        /// One record, as the sender would write it down.
        record: Bytes,
    },
}

/// A group's sign of life: a heartbeat or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The group.
    pub group: GroupId,
    /// [`Heartbeat`](crate::raft::Body::Heartbeat) or
    /// [`HeartbeatAck`](crate::raft::Body::HeartbeatAck).
    pub message: Message,
}

/// Which sending of which snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The group.
    pub group: GroupId,
    /// The replica that sends.
    pub from: ReplicaId,
    /// The replica that receives.
    pub to: ReplicaId,
    /// The last entry that the snapshot covers.
    pub at: EntryId,
    /// Drawn anew for each sending: two snapshots at one entry need not have the same bytes.
    pub sending: u64,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Of which.
    pub id: SnapshotId,
    /// How many bytes came before.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// The checksum of all bytes up to the end of this piece.
    pub crc: u32,
    /// Whether nothing follows.
    pub is_last: bool,
}

/// How far a snapshot has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkAck {
    /// Which.
    pub id: SnapshotId,
    /// How many bytes are there; the sender goes on from here.
    pub offset: u64,
    /// What became of it.
    pub state: ChunkState,
}

/// A snapshot that a leader wants sent by another replica than itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotAsk {
    /// The group.
    pub group: GroupId,
    /// The replica that is to send.
    pub from: ReplicaId,
    /// The replica that needs it.
    pub to: ReplicaId,
    /// It must cover this entry.
    pub at_least: Index,
}

/// What became of a snapshot that is being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkState {
    /// More is wanted.
    Going,
    /// It is whole and verified.
    Whole,
    /// It is not wanted, or could not be taken: the sender gives up.
    Refused,
}
