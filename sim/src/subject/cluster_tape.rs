//! What a cluster shows on a tape: packets in a few words, and what replicas believe.
//!
//! Not here: the tape (`tape.rs`), what the judges see (`cluster`).

use trilith_engine::{
    packet::Packet,
    raft::{Body, Message, Raft, Role},
    types::GroupId,
};

use crate::tape::Belief;

/// What a replica is now.
pub(super) fn belief(at_ns: u64, node: u32, group: GroupId, raft: &Raft) -> Belief {
    let role = match raft.role() {
        Role::Follower(Some(_)) => "follower",
        Role::Follower(None) => "lost",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    let (term, commit) = (raft.term().0, raft.commit().0);
    Belief { at_ns, node, group: group.0, role, term, commit }
}

/// A packet.
pub(super) fn packet(packet: &Packet) -> String {
    match packet {
        Packet::Raft { group, message, .. } => format!("group {group}: {}", said(message)),
        Packet::Beats(beats) => {
            let each = beats.iter().map(|beat| format!("{}: {}", beat.group, said(&beat.message)));
            format!("groups {}", each.collect::<Vec<_>>().join("; "))
        }
        Packet::Chunk(chunk) => {
            let (id, len) = (chunk.id, chunk.bytes.len());
            let end = if chunk.is_last { ", the last" } else { "" };
            format!(
                "group {}: snapshot at {}, {len} bytes from {}{end}",
                id.group, id.at, chunk.offset
            )
        }
        Packet::ChunkAck(ack) => {
            format!(
                "group {}: snapshot at {}: {:?} at {}",
                ack.id.group, ack.id.at, ack.state, ack.offset
            )
        }
        Packet::SnapshotAsk(ask) => {
            format!("group {}: send a snapshot to replica {}", ask.group, ask.to)
        }
        Packet::Seat { group, replica, .. } => {
            format!("group {group}: replica {replica} sits there")
        }
        Packet::Digest { group, at, digest, .. } => {
            format!("group {group}: digest {digest:x} at {at}")
        }
        Packet::Pace { micros, .. } => format!("writes take {micros} us"),
        Packet::ValueAsk { group, version, .. } => {
            format!("group {group}: who has a value at {version}?")
        }
        Packet::Value { group, record } => {
            format!("group {group}: a value, {} bytes", record.len())
        }
    }
}

fn said(message: &Message) -> String {
    let what = match message.body {
        Body::Append { prev, last, commit } => {
            format!("append ({prev}..{last}], committed {commit}")
        }
        Body::AppendAck { matched } => format!("has up to {matched}"),
        Body::AppendReject { at, hint, damaged: false } => {
            format!("does not fit at {at}, try {hint}")
        }
        Body::AppendReject { at, hint, damaged: true } => {
            format!("is damaged at {at}, try {hint}")
        }
        Body::Heartbeat { commit, .. } => format!("heartbeat, committed {commit}"),
        Body::HeartbeatAck { .. } => "follows".into(),
        Body::Commit { commit } => format!("committed {commit}"),
        Body::PreVote { last } => format!("would you vote for me? log ends at {last}"),
        Body::PreVoteReply { granted: true, .. } => "would".into(),
        Body::PreVoteReply { granted: false, .. } => "would not".into(),
        Body::Vote { last, .. } => format!("vote for me! log ends at {last}"),
        Body::VoteReply { granted: true } => "votes yes".into(),
        Body::VoteReply { granted: false } => "votes no".into(),
        Body::Deposed => "your time is over".into(),
        Body::TimeoutNow { .. } => "take over".into(),
        Body::ReadAsk { .. } => "how far must I be to be read?".into(),
        Body::ReadAnswer { index, .. } => format!("can be read at {index}"),
        Body::RepairAsk { id } => format!("who has {id}? mine is damaged"),
        Body::Repair { id } => format!("has {id}, and sends it"),
        Body::Committed { id } => format!("up to {id} all is committed"),
        Body::NeverHad { id } => format!("never had {id}"),
    };
    format!("{what}, term {}", message.term)
}
