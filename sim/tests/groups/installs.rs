//! Stories of a snapshot that is whole and does not count yet: what else goes on meanwhile, and what
//! is left of it when the power goes.
//!
//! Each is told once as it is, and once with the planted bug that breaks it.
//!
//! Not here: how a snapshot comes (`snapshots.rs`), disks without room for one (`full.rs`).

use bytes::Bytes;
use trilith_engine::{
    command::{Level, Op, Outcome, Reply, Stage as Step},
    shard::ShardOptions,
};
use trilith_sim::world::{NodeId, WorldOptions};

use crate::{
    replace,
    stage::{SECOND, Stage, delete, set, small},
};

const KIB: usize = 1 << 10;
const KEYS: usize = 3000;

fn key(nth: usize) -> String {
    format!("key{nth:04}")
}

fn is_done(answer: &Option<Outcome>) -> bool {
    matches!(answer, Some(Outcome::Ok(_)))
}

/// A replica gets a snapshot without what it has, and so much goes that it takes many frames, over
/// several segments, which a compaction is eager to take. Then it loses its power. How many keys
/// are back.
fn deletions_take_many_frames(bugs: &[&str]) -> usize {
    let mut shard = ShardOptions { retain_bytes: 0, ..small() };
    shard.compaction.tombstone_percent = 1;
    shard.compaction.dead_bytes_min = 1 << 10;
    let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
    let options = WorldOptions { planted, ..WorldOptions::default() };
    let mut stage = Stage::with(3, &shard, options);
    let leader = stage.leader();
    let behind = (leader + 1) % 3;
    let all = (0..KEYS).map(|nth| set(key(nth), Bytes::from_static(b"v"))).collect();
    assert!(stage.ask(&[0, 1, 2], all, 30 * SECOND).iter().all(is_done));
    stage.part(behind);
    let others: Vec<u32> = (0..3).filter(|node| *node != behind).collect();
    let all = (0..KEYS).map(|nth| delete(key(nth))).collect();
    assert!(stage.ask(&others, all, 30 * SECOND).iter().all(is_done));
    for _ in 0..2 {
        let value = Bytes::from(vec![b'x'; 16 * KIB]);
        let writes = (0..100).map(|nth| set(format!("other{nth}"), value.clone())).collect();
        assert!(stage.ask(&others, writes, 30 * SECOND).iter().all(is_done));
    }
    stage.world.run_for(2 * SECOND);
    stage.join(behind);
    for _ in 0..40_000 {
        if stage.has_met("shard_snapshot_installed") {
            break;
        }
        stage.world.run_for(SECOND / 2000);
    }
    for met in ["shard_snapshot_deletes_in_several_frames", "shard_snapshot_installed"] {
        assert!(stage.has_met(met), "{met}");
    }
    stage.part(behind);
    stage.blink(behind, SECOND);
    let gets = (0..KEYS).map(|nth| Op::Get(key(nth).into())).collect();
    let found = stage.ask_at(Level::Eventual, &[behind], gets, 30 * SECOND);
    stage.assert_no_panic();
    let is_back = |answer: &Option<Outcome>| match answer {
        Some(Outcome::Ok(Reply::Value(found))) => found.is_some(),
        other => panic!("{other:?}"),
    };
    found.iter().filter(|answer| is_back(answer)).count()
}

#[test]
fn what_is_deleted_in_many_frames_stays_deleted() {
    assert_eq!(deletions_take_many_frames(&[]), 0);
}

#[cfg(feature = "mutants")]
#[test]
fn a_compaction_that_takes_what_hides_nothing_yet_is_noticed() {
    assert_ne!(deletions_take_many_frames(&["shard_compaction_takes_what_is_swept"]), 0);
}

/// A member gets a new disk while another one is away. That one gets a snapshot, whose checkpoint
/// covers the new seat, and loses its power in the moment in which it counts. Whether it knows the
/// new directory. A power loss may keep what was not synced: the story is told of several worlds.
fn a_seat_comes_with_a_snapshot(writes: usize, bugs: &[&str]) -> bool {
    let shard = ShardOptions { retain_bytes: 32 << 10, ..small() };
    let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
    let options = WorldOptions { planted, ..WorldOptions::default() };
    let mut stage = Stage::with(5, &shard, options);
    let leader = stage.leader();
    let (behind, renewed) = ((leader + 1) % 5, (leader + 2) % 5);
    stage.ask_each(&[0, 1, 2, 3, 4], vec![set("a".into(), Bytes::new())]);
    stage.part(behind);
    stage.world.wipe(NodeId(renewed));
    stage.world.start(NodeId(renewed));
    let mut directory = None;
    let is_settled = (0..60).any(|_| {
        stage.world.run_for(SECOND / 2);
        let replacing = replace(&mut stage, leader, renewed, directory);
        // It leaves when nobody knows it, and whoever watches it starts it again.
        stage.world.start(NodeId(renewed));
        directory = replacing
            .shown
            .filter(|shown| !shown.is_known)
            .map(|shown| shown.directory)
            .or(directory);
        replacing.led.iter().any(|led| Some(led.seat) == directory && led.stage == Step::Settled)
    });
    assert!(is_settled, "it was seated");
    let others: Vec<u32> = (0..5).filter(|node| *node != behind).collect();
    for _ in 0..2 {
        let value = Bytes::from(vec![b'x'; 16 * KIB]);
        let writes = (0..writes).map(|nth| set(format!("other{nth}"), value.clone())).collect();
        assert!(stage.ask(&others, writes, 30 * SECOND).iter().all(is_done));
    }
    stage.world.run_for(2 * SECOND);
    let installed = |stage: &Stage| {
        stage.world.ledger().marks().get("shard_snapshot_installed").copied().unwrap_or_default()
    };
    // The renewed one has got one too.
    let before = installed(&stage);
    stage.join(behind);
    let met = (0..2_000_000).any(|_| {
        stage.world.run_for(SECOND / 200_000);
        installed(&stage) > before
    });
    assert!(met, "a snapshot came");
    stage.blink(behind, 3 * SECOND);
    stage.assert_no_panic();
    let shown = replace(&mut stage, behind, renewed, None).shown.expect("it came");
    assert_eq!(Some(shown.directory), directory);
    shown.is_known
}

#[test]
fn a_seat_is_written_down_before_a_snapshot_covers_it() {
    assert!((100..108).all(|writes| a_seat_comes_with_a_snapshot(writes, &[])));
}

#[cfg(feature = "mutants")]
#[test]
fn a_seat_that_only_a_lost_moment_knew_is_noticed() {
    let bugs = ["shard_install_covers_unwritten_seats"];
    assert!((100..108).any(|writes| !a_seat_comes_with_a_snapshot(writes, &bugs)));
}
