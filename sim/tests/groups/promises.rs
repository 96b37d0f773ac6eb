//! Stories of promises that random loads seldom come close to breaking. Each is told once as it is,
//! and once with the planted bug that breaks it.
//!
//! Not here: full disks (`full.rs`), times (`expiry.rs`).

use std::time::Duration;

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Condition, Expiry, Op, Outcome},
    shard::ShardOptions,
};
use trilith_sim::world::{NodeId, WorldOptions};

use crate::stage::{SECOND, Stage, delete, set, small};

const KIB: usize = 1 << 10;
const ALL: [u32; 3] = [0, 1, 2];

fn begin(bugs: &[&str]) -> Stage {
    begin_with(&small(), bugs)
}

fn begin_with(shard: &ShardOptions, bugs: &[&str]) -> Stage {
    let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
    Stage::with(3, shard, WorldOptions { planted, ..WorldOptions::default() })
}

/// So many values of a KiB, under as many keys as there are digits.
fn values(name: &str, count: usize) -> Vec<Op> {
    let value = Bytes::from(vec![b'x'; KIB]);
    (0..count).map(|nth| set(format!("{name}{}", nth % 10), value.clone())).collect()
}

fn is_done(answer: &Option<Outcome>) -> bool {
    matches!(answer, Some(Outcome::Ok(_)))
}

/// A leader is heard and hears nothing: what it is asked for is committed without it. Whether it
/// calls that refused to somebody who is patient for so long.
fn a_deaf_leader_refuses(within: Duration, bugs: &[&str]) -> bool {
    let mut stage = begin(bugs);
    stage.client.attempt_within = within;
    let old = stage.leader();
    for other in ALL.into_iter().filter(|node| *node != old) {
        stage.world.cut(NodeId(other), NodeId(old));
    }
    let answer = stage.ask(&[old], values("deaf", 1), within).remove(0);
    stage.assert_no_panic();
    matches!(answer, Some(Outcome::Refused(_)))
}

fn deaf_leaders_refuse(bugs: &[&str]) -> bool {
    (2..6).any(|seconds| a_deaf_leader_refuses(seconds * SECOND, bugs))
}

#[test]
fn what_may_have_happened_is_not_refused() {
    assert!(!deaf_leaders_refuse(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_refusal_of_what_happened_is_noticed() {
    assert!(deaf_leaders_refuse(&["shard_unknown_told_as_refused"]));
}

/// A replica is cut off while a key is deleted, and is sent the state. Whether its next life has the
/// key.
fn a_deleted_key_outlives_a_snapshot(bugs: &[&str]) -> bool {
    let mut stage = begin(bugs);
    stage.ask_each(&ALL, vec![set("gone".into(), Bytes::new())]);
    let leader = stage.leader();
    let (behind, third) = ((leader + 1) % 3, (leader + 2) % 3);
    stage.world.run_for(SECOND);
    assert!(stage.glance(behind, "gone").is_some());
    stage.part(behind);
    stage.ask_each(&[leader, third], vec![delete("gone".into())]);
    for _ in 0..4 {
        assert!(stage.ask(&[leader, third], values("key", 100), 20 * SECOND).iter().all(is_done));
        stage.world.run_for(2 * SECOND);
    }
    stage.join(behind);
    stage.world.run_for(20 * SECOND);
    assert!(stage.has_met("shard_snapshot_installed"));
    stage.blink(behind, 5 * SECOND);
    stage.assert_no_panic();
    stage.glance(behind, "gone").is_some()
}

#[test]
fn a_snapshot_takes_away_what_it_has_not() {
    assert!(!a_deleted_key_outlives_a_snapshot(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_snapshot_that_only_adds_is_noticed() {
    assert!(a_deleted_key_outlives_a_snapshot(&["shard_snapshot_keeps_deleted_keys"]));
}

/// Keys are set anew, each if it is there; what they had goes in a compaction; and a life begins from
/// a checkpoint that is older than all that. How many of them it has.
fn what_was_set_anew_is_there(bugs: &[&str]) -> usize {
    const KEYS: usize = 40;
    let mut shard = small();
    shard.compaction.dead_percent = 10;
    let mut stage = begin_with(&shard, bugs);
    let old = Bytes::from(vec![b'x'; KIB]);
    let first = (0..KEYS).map(|nth| set(format!("key{nth}"), old.clone())).collect();
    assert!(stage.ask(&ALL, first, 20 * SECOND).iter().all(is_done));
    let rest = (0..80).map(|nth| set(format!("rest{}", nth), old.clone())).collect();
    assert!(stage.ask(&ALL, rest, 20 * SECOND).iter().all(is_done));
    stage.world.run_for(5 * SECOND);
    let anew = (0..KEYS).map(|nth| {
        let (expiry, condition) = (Expiry::None, Condition::Present);
        let (key, value) = (format!("key{nth}").into(), Bytes::from_static(b"1"));
        Op::Write(Command::Set { key, value, expiry, condition, want_old: false })
    });
    assert!(stage.ask(&ALL, anew.collect(), 20 * SECOND).iter().all(is_done));
    stage.world.run_for(SECOND);
    let node = stage.leader();
    stage.blink(node, 5 * SECOND);
    stage.assert_no_panic();
    (0..KEYS).filter(|nth| stage.glance(node, &format!("key{nth}")) == Some(1)).count()
}

#[test]
fn what_was_set_anew_survives_a_compaction() {
    assert_eq!(what_was_set_anew_is_there(&[]), 40);
}

#[cfg(feature = "mutants")]
#[test]
fn a_compaction_beyond_the_checkpoint_is_noticed() {
    assert_ne!(what_was_set_anew_is_there(&["shard_victims_dropped_uncovered"]), 40);
}
