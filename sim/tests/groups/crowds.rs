//! Stories of a crowd that asks for what nobody can answer: others are served beside it, and what it
//! leaves behind when its patience is over takes no room from who comes next.
//!
//! Not here: crowds that are answered (`bounds.rs`).

use super::{
    full::planted,
    stage::{SECOND, Stage, set},
};
use bytes::Bytes;
use std::collections::BTreeMap;
use trilith_engine::{
    command::{Level, Op, Outcome, Request, Session},
    raft::{Change, Step},
    shard::{Caller, ChangeOfMembers, Inbound, ShardOptions},
    store::slots,
    types::{GroupId, ReplicaId, Sequence},
};
use trilith_sim::fault::FaultKind;

const MIB: usize = 1 << 20;

/// More than a node takes in.
const MANY: u64 = 80;

/// A key of the first group or of the second one, of so many bytes.
fn key_of(group: u16, bytes: usize) -> Bytes {
    let is_there = |tag: &String| slots::group_of(slots::slot_of(tag.as_bytes()), 2) == group;
    let tag = (0..).map(|nth| format!("{{{nth}}}")).find(is_there).expect("slots are split");
    let mut key = tag.into_bytes();
    key.resize(bytes.max(key.len()), b'x');
    key.into()
}

/// A megabyte of one key.
fn read(key: &Bytes) -> Op {
    Op::GetMany(vec![key.clone(); MIB / key.len()])
}

/// Each of them asks for a megabyte of keys.
fn readers(key: &Bytes, patience_ms: u32) -> Vec<Inbound> {
    crowd(Level::Quorum, patience_ms, || read(key))
}

fn crowd(level: Level, patience_ms: u32, op: impl Fn() -> Op) -> Vec<Inbound> {
    let one = |nth| {
        let session = Session { sequence: Sequence(nth), ..Session::NOBODY };
        let request = Request { session, level, staleness_ms: 0, patience_ms, op: op() };
        Inbound::Request { caller: Caller(999), request }
    };
    (1..=MANY).map(one).collect()
}

/// Two groups on three nodes. The first node has the second group for itself, and is cut off: there
/// it leads that one, and of the other one nobody.
fn beside_a_group_without_a_leader(bugs: &[&str]) -> Stage {
    let mut stage = Stage::of_groups(2, 3, &ShardOptions::default(), planted(bugs));
    for node in 0..3 {
        stage.tell(node, vec![Inbound::Transfer(GroupId(2), ReplicaId(1))]);
    }
    stage.world.run_for(2 * SECOND);
    let steps = [2, 3].map(|replica| Step::Remove(ReplicaId(replica))).to_vec();
    let change = Change { steps, leaves_alone: true };
    let change = ChangeOfMembers { change, seats: Vec::new() };
    stage.tell(0, vec![Inbound::Change(GroupId(2), change)]);
    stage.world.run_for(2 * SECOND);
    stage.part(0);
    stage.world.run_for(5 * SECOND);
    stage
}

/// What a write to the group that is well comes to, while a crowd of readers waits for the other.
fn write_beside_a_crowd(bugs: &[&str]) -> (Option<Outcome>, BTreeMap<&'static str, u64>) {
    let mut stage = beside_a_group_without_a_leader(bugs);
    stage.tell(0, readers(&key_of(0, 60_000), 60_000));
    stage.world.run_for(SECOND);
    let key = String::from_utf8(key_of(1, 0).to_vec()).expect("digits");
    let put = set(key, Bytes::from(vec![b'x'; MIB]));
    let answer = stage.ask(&[0], vec![put], 5 * SECOND).remove(0);
    stage.assert_no_panic();
    (answer, stage.beyond())
}

/// A group without a leader had taken all the room that there is for requests, and every other group
/// refused whatever was asked of it.
#[test]
fn a_group_without_a_leader_leaves_room_for_the_others() {
    let (answer, beyond) = write_beside_a_crowd(&[]);
    assert!(matches!(answer, Some(Outcome::Ok(_))), "{answer:?}");
    assert_eq!(beyond, BTreeMap::new());
}

#[cfg(feature = "mutants")]
#[test]
fn a_group_that_takes_all_room_is_noticed() {
    let (answer, beyond) = write_beside_a_crowd(&["shard_group_takes_all_room"]);
    assert!(!matches!(answer, Some(Outcome::Ok(_))), "{answer:?}");
    assert_eq!(beyond.into_keys().collect::<Vec<_>>(), ["request bytes of a group"]);
}

/// What a crowd waits for.
#[derive(Clone, Copy, Debug)]
enum Waits {
    /// A leader: there is none.
    Leader,
    /// The state: it does not take what the leader named.
    State,
    /// The journal: its disk answers nothing.
    Journal,
}

/// What a look at a node comes to when the patience of a crowd is over that waited there in vain.
fn look_behind_a_crowd(waits: Waits, bugs: &[&str]) -> Option<Outcome> {
    // Somebody else would lead instead of one whose disk hangs.
    let nodes = if matches!(waits, Waits::Journal) { 1 } else { 3 };
    let all: Vec<u32> = (0..nodes).collect();
    let mut stage = Stage::with(nodes, &ShardOptions::default(), planted(bugs));
    stage.ask_each(&all, vec![set("a".into(), Bytes::new())]);
    let leader = stage.leader();
    let node = match waits {
        Waits::Leader => {
            stage.part((leader + 1) % 3);
            stage.world.run_for(5 * SECOND);
            (leader + 1) % 3
        }
        Waits::State => (leader + 1) % 3,
        Waits::Journal => leader,
    };
    if !matches!(waits, Waits::Leader) {
        stage.world.strike(&FaultKind::Stall { node, for_ms: 60_000 });
        stage.ask(&all, vec![set("b".into(), Bytes::new())], SECOND);
    }
    let crowd = match waits {
        Waits::Leader | Waits::State => readers(&Bytes::from(vec![b'x'; 60_000]), 200),
        Waits::Journal => {
            let value = Bytes::from(vec![b'x'; 1_000_000]);
            crowd(Level::Strong, 200, || set("c".into(), value.clone()))
        }
    };
    stage.tell(node, crowd);
    stage.world.run_for(5 * SECOND);
    let look = read(&Bytes::from(vec![b'x'; 60_000]));
    let answer = stage.ask_at(Level::Eventual, &[node], vec![look], 2 * SECOND).remove(0);
    assert!(stage.has_met("shard_too_much_is_asked"), "{waits:?}: the crowd is too small");
    stage.assert_no_panic();
    answer
}

/// Reads that waited for a leader, or for the state, stayed as long as that did not come, though
/// nobody waited for them any more. A node that was full of them refused everybody.
#[test]
fn whom_nobody_waits_for_takes_no_room() {
    for waits in [Waits::Leader, Waits::State, Waits::Journal] {
        let answer = look_behind_a_crowd(waits, &[]);
        assert!(matches!(answer, Some(Outcome::Ok(_))), "{waits:?}: {answer:?}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn late_requests_that_stay_are_noticed() {
    let planted = [
        (Waits::Leader, "shard_late_questions_stay"),
        (Waits::State, "shard_late_reads_stay"),
        (Waits::Journal, "shard_late_writes_stay"),
    ];
    for (waits, bug) in planted {
        let answer = look_behind_a_crowd(waits, &[bug]);
        assert!(!matches!(answer, Some(Outcome::Ok(_))), "{bug}: {answer:?}");
    }
}

/// A client that knows of no leader asks everybody for writes, thousands at once. How many of them it
/// does not know to be done after a while.
fn left_in_doubt(asked: &[u32], bugs: &[&str]) -> usize {
    let mut stage = Stage::with(3, &ShardOptions::default(), planted(bugs));
    stage.leader();
    let writes = (0..6000).map(|nth| set(format!("key{nth}"), Bytes::from_static(b"v"))).collect();
    let told = stage.ask(asked, writes, 10 * SECOND);
    stage.assert_no_panic();
    told.iter().filter(|outcome| !matches!(outcome, Some(Outcome::Ok(_)))).count()
}

/// Some of the first had to be asked again, and thousands of others were done meanwhile: the group
/// kept no room for them any more, and nobody could say what had become of them.
#[test]
fn no_write_is_left_behind_by_those_that_came_later() {
    let each = [[0, 1, 2], [1, 2, 0], [2, 0, 1]].map(|asked| left_in_doubt(&asked, &[]));
    assert_eq!(each, [0; 3]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_write_that_is_left_behind_is_noticed() {
    let bugs = ["client_leaves_a_write_behind"];
    let each = [[0, 1, 2], [1, 2, 0], [2, 0, 1]].map(|asked| left_in_doubt(&asked, &bugs));
    assert!(each.iter().any(|left| *left > 0), "{each:?}");
}
