//! Stories of what is asked or sent faster than anybody can take it: what a node holds has bounds.
//!
//! Not here: bounds of one group's parts (`trilith_engine`, `shard/tests.rs`), what stays behind after
//! quiet (the judge `resources`).

use super::{
    full::planted,
    stage::{SECOND, Stage, set},
};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};
use trilith_engine::{
    command::{Level, Op, Request, Session},
    packet::{Chunk, Packet, SnapshotId},
    raft::EntryId,
    shard::{Caller, Inbound, ShardOptions},
    types::{GroupId, NodeId, ReplicaId, Sequence},
};

const MIB: usize = 1 << 20;

fn request(nth: u64, op: Op) -> Inbound {
    let session = Session { sequence: Sequence(nth), ..Session::NOBODY };
    let request =
        Request { session, level: Level::Strong, staleness_ms: 0, patience_ms: 10_000, op };
    Inbound::Request { caller: Caller(999), request }
}

/// A hundred megabytes are to be written while the journal is busy. All of that was taken in, and so
/// would a hundred gigabytes have been.
fn much_is_asked_at_once(bugs: &[&str]) -> (bool, BTreeMap<&'static str, u64>) {
    let mut stage = Stage::with(1, &ShardOptions::default(), planted(bugs));
    let value = Bytes::from(vec![b'x'; 7 * MIB]);
    let ask = |nth| request(nth, set(format!("key{nth}"), value.clone()));
    // The first one is written, and the others come meanwhile.
    stage.tell(0, vec![ask(1)]);
    stage.world.run_for(Duration::from_micros(1));
    stage.tell(0, (2..16).map(ask).collect());
    stage.world.run_for(10 * SECOND);
    stage.assert_no_panic();
    (stage.has_met("shard_too_much_is_asked"), stage.beyond())
}

#[test]
fn more_is_asked_than_a_node_holds() {
    assert_eq!(much_is_asked_at_once(&[]), (true, BTreeMap::new()));
}

#[cfg(feature = "mutants")]
#[test]
fn requests_without_end_are_noticed() {
    let (_, beyond) = much_is_asked_at_once(&["shard_requests_have_no_end"]);
    let all = ["request bytes", "request bytes of a group"];
    assert_eq!(beyond.into_keys().collect::<Vec<_>>(), all);
}

/// Somebody begins to send a snapshot of each of a hundred groups, and none of them goes on.
fn many_snapshots_begin(bugs: &[&str]) -> (bool, BTreeMap<&'static str, u64>) {
    let mut stage = Stage::of_groups(100, 1, &ShardOptions::default(), planted(bugs));
    let begins = |group| {
        let id = SnapshotId {
            group: GroupId(group),
            from: ReplicaId(2),
            to: ReplicaId(1),
            at: EntryId::new(9, 999),
            sending: 1,
        };
        let chunk = Chunk { id, offset: 0, bytes: Bytes::new(), crc: 0, is_last: false };
        Inbound::Packet { from: NodeId(2), packet: Packet::Chunk(chunk) }
    };
    stage.tell(0, (1..=100).map(begins).collect());
    stage.world.run_for(SECOND);
    stage.assert_no_panic();
    (stage.has_met("shard_intake_put_off"), stage.beyond())
}

#[test]
fn more_snapshots_begin_than_a_node_takes_in() {
    assert_eq!(many_snapshots_begin(&[]), (true, BTreeMap::new()));
}

#[cfg(feature = "mutants")]
#[test]
fn snapshots_without_end_are_noticed() {
    let (_, beyond) = many_snapshots_begin(&["shard_intakes_have_no_end"]);
    assert_eq!(beyond.into_keys().collect::<Vec<_>>(), ["snapshots in"]);
}
