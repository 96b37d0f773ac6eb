//! What is asked and said of a group that is nowhere: a refusal, or nothing, and nobody is harmed.
//!
//! A client may have an old idea of the groups, and a packet may be late by a whole life. Neither
//! may make a group, wake one, end a node, or be answered as if there were one.
//!
//! Not here: groups that a node shall have and has not yet (`seat_again`, and the scenarios of
//! replacement).

use std::{collections::BTreeSet, ops::Bound};

use bytes::{Bytes, BytesMut};
use trilith_engine::{
    command::{Level, Op, Outcome, Refusal, Scan},
    journal::{Origin, Record, RecordKind},
    packet::{Beat, Chunk, ChunkAck, ChunkState, Packet, SnapshotAsk, SnapshotId},
    raft::{Body, EntryId, Message, Position},
    shard::ShardOptions,
    types::{GroupId, Index, NodeId as Member, ReplicaId, Term, Uuid, Version},
};
#[cfg(feature = "mutants")]
use trilith_sim::world::WorldOptions;
use trilith_sim::{subject::cluster::number, world::NodeId};

use crate::stage::{SECOND, Stage, set};

const NOWHERE: GroupId = GroupId(999);
const ALL: [u32; 3] = [0, 1, 2];

/// A term that would unseat any leader who took it.
const FAR: Term = Term(1000);

fn messages() -> Vec<Message> {
    let last = EntryId { term: FAR, index: Index(1000) };
    let (commit, round) = (Index(1000), Position(1));
    let bodies = [
        Body::PreVote { last },
        Body::Vote { last, forced: true },
        Body::Append { prev: last, last: last.index, commit },
        Body::AppendAck { matched: last },
        Body::Heartbeat { commit, round, quiet: false },
        Body::Commit { commit },
        Body::TimeoutNow { is_free: true },
    ];
    let said = |body| Message { from: ReplicaId(2), to: ReplicaId(1), term: FAR, body };
    bodies.into_iter().map(said).collect()
}

/// A whole record of that group.
fn record(origin: Origin<'_>) -> Bytes {
    let record = Record {
        group: NOWHERE,
        kind: RecordKind::Put,
        version: Version(1),
        term: FAR,
        expires_ms: None,
        origin,
        key: b"a",
        value: b"harm",
    };
    let mut bytes = BytesMut::new();
    record.encode(&mut bytes);
    bytes.freeze()
}

/// One of each kind.
fn packets() -> Vec<Packet> {
    let (group, at) = (NOWHERE, EntryId { term: FAR, index: Index(1000) });
    let (from, to) = (ReplicaId(2), ReplicaId(1));
    let id = SnapshotId { group, from, to, at, sending: 1 };
    let bytes = Bytes::from_static(b"harm");
    let crc = trilith_engine::codec::crc(0, &bytes);
    let beats = messages().into_iter().map(|message| Beat { group, message }).collect();
    let raft = messages().into_iter().map(|message| {
        let entries = vec![record(Origin::Part)];
        Packet::Raft { group, message, entries }
    });
    let others = [
        Packet::Beats(beats),
        Packet::Chunk(Chunk { id, offset: 0, bytes, crc, is_last: true }),
        Packet::ChunkAck(ChunkAck { id, offset: 4, state: ChunkState::Going }),
        Packet::SnapshotAsk(SnapshotAsk { group, from, to, at_least: Index(1) }),
        Packet::Seat { group, replica: to, directory: Uuid([7; 16]) },
        Packet::Digest { group, replica: from, at: Index(1), digest: 7 },
        Packet::ValueAsk { group, version: Version(1), key: Bytes::from_static(b"a") },
        Packet::Value { group, record: record(Origin::State) },
    ];
    raft.chain(others).collect()
}

/// Whether a packet from nobody makes a group.
#[cfg(feature = "mutants")]
fn a_stranger_makes_a_group(bugs: &[&str]) -> bool {
    let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
    let options = WorldOptions { planted, ..WorldOptions::default() };
    let mut stage = Stage::with(3, &ShardOptions::default(), options);
    stage.ask_each(&ALL, vec![set("a".into(), Bytes::from_static(b"1"))]);
    for packet in packets() {
        ALL.iter().for_each(|to| stage.deliver(Member(77), *to, packet.clone()));
    }
    stage.world.run_for(5 * SECOND);
    stage.groups() != BTreeSet::from([GroupId(1)])
}

#[cfg(feature = "mutants")]
#[test]
fn a_group_that_anybody_may_make_is_noticed() {
    assert!(!a_stranger_makes_a_group(&[]));
    assert!(a_stranger_makes_a_group(&["shard_any_seat_taken"]));
}

#[test]
fn a_group_that_is_nowhere_is_refused_and_harms_nobody() {
    let mut stage = Stage::new(3, &ShardOptions::default());
    stage.ask_each(&ALL, vec![set("a".into(), Bytes::from_static(b"1"))]);
    let leader = stage.leader();
    stage.groups();
    for level in [Level::Eventual, Level::Quorum, Level::Strong] {
        let scan = Scan::of_prefix(NOWHERE, &Bytes::new(), 10, 1 << 10);
        let ranged = Scan { start: Bound::Unbounded, end: Bound::Unbounded, ..scan.clone() };
        let asked = vec![Op::Scan(scan), Op::Scan(ranged), Op::Count(NOWHERE)];
        let answers = stage.ask_at(level, &ALL, asked, SECOND);
        assert_eq!(answers, vec![Some(Outcome::Refused(Refusal::NoGroup)); 3], "{level:?}");
    }
    // From a member, and from nobody who is known.
    for from in [number(1), Member(77)] {
        for packet in packets() {
            ALL.iter().for_each(|to| stage.deliver(from, *to, packet.clone()));
        }
    }
    stage.world.run_for(5 * SECOND);
    assert!(stage.has_met("shard_message_for_an_unknown_group"));
    assert_eq!(stage.groups(), BTreeSet::from([GroupId(1)]), "somebody took it for a group");
    assert_eq!(stage.leader(), leader, "it unseated the leader of another group");
    stage.ask_each(&ALL, vec![set("b".into(), Bytes::from_static(b"12"))]);
    // Nothing of it is on any disk either.
    for node in ALL {
        stage.world.power_loss(NodeId(node));
        stage.world.start(NodeId(node));
    }
    stage.world.run_for(5 * SECOND);
    assert_eq!((stage.length("a"), stage.length("b")), (1, 2));
    assert_eq!(stage.groups(), BTreeSet::from([GroupId(1)]));
    stage.assert_no_panic();
}
