//! What is over gives its room back, whether or not anybody asks for it.
//!
//! Not here: what an entry behind a checkpoint still sees of it (`expiry.rs`).

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Condition, Expiry, Op, Outcome, Reply},
    types::GroupId,
};

use crate::{
    full::planted,
    stage::{SECOND, Stage, set, small},
};

const KIB: usize = 1 << 10;

/// A key that is over after so many seconds.
fn brief(name: &str, nth: usize, seconds: u64) -> Op {
    let (key, value) = (format!("{name}{nth}").into(), Bytes::from(vec![b'x'; KIB]));
    let (expiry, condition) = (Expiry::After(seconds * 1000), Condition::Always);
    Op::Write(Command::Set { key, value, expiry, condition, want_old: false })
}

fn is_done(answer: &Option<Outcome>) -> bool {
    matches!(answer, Some(Outcome::Ok(_)))
}

fn count(stage: &mut Stage, nodes: &[u32]) -> u64 {
    match stage.ask(nodes, vec![Op::Count(GroupId(1))], 10 * SECOND).remove(0) {
        Some(Outcome::Ok(Reply::Count(keys))) => keys,
        other => panic!("{other:?}"),
    }
}

/// Keys that nobody asks for fill the disks of a cluster, and are over. Whether there is room again.
fn a_disk_is_full_of_what_is_over(nodes: u32, bugs: &[&str]) -> bool {
    let mut stage = Stage::with(nodes, &small(), planted(bugs));
    let all: Vec<u32> = (0..nodes).collect();
    stage.fill(&all, 600 << 10);
    let mut nth = 0;
    while !stage.has_met("shard_write_refused_for_want_of_room") {
        let writes = (nth..nth + 40).map(|nth| brief("brief", nth, 20)).collect();
        stage.ask(&all, writes, 2 * SECOND);
        nth += 40;
        assert!(nth < 4000, "the disk never fills up");
    }
    stage.world.run_for(120 * SECOND);
    let lasting = |nth| set(format!("lasting{nth}"), Bytes::from(vec![b'x'; KIB]));
    let answers = stage.ask(&all, (0..100).map(lasting).collect(), 20 * SECOND);
    stage.assert_no_panic();
    answers.iter().all(is_done) && count(&mut stage, &all) == 100
}

#[test]
fn what_is_over_gives_a_full_disk_its_room_back() {
    assert!(a_disk_is_full_of_what_is_over(1, &[]));
    assert!(a_disk_is_full_of_what_is_over(3, &[]));
}

#[cfg(feature = "mutants")]
#[test]
fn what_is_over_and_stays_is_noticed() {
    assert!(!a_disk_is_full_of_what_is_over(1, &["shard_over_stays"]));
}

/// In a cluster that nobody writes to any more, keys are over that once were not to be. How many keys
/// each node's index has after a while, the sleeping ones' too.
fn nobody_writes(bugs: &[&str]) -> Vec<u64> {
    let mut shard = small();
    shard.raft.quiet_after = Some(SECOND);
    let mut stage = Stage::with(3, &shard, planted(bugs));
    let all = [0, 1, 2];
    let lasting = |nth| set(format!("key{nth}"), Bytes::from_static(b"value"));
    let is_brief = |nth: &usize| !nth.is_multiple_of(10);
    let over = (0..1000).filter(is_brief).map(|nth| brief("key", nth, 30)).collect();
    for writes in [(0..1000).map(lasting).collect(), over] {
        assert!(stage.ask(&all, writes, 20 * SECOND).iter().all(is_done));
    }
    stage.world.run_for(120 * SECOND);
    stage.assert_no_panic();
    all.map(|node| stage.shown(node).sizes.keys.now).to_vec()
}

#[test]
fn what_is_over_leaves_every_index_by_itself() {
    assert_eq!(nobody_writes(&[]), [100; 3]);
}

#[cfg(feature = "mutants")]
#[test]
fn what_is_over_and_waits_for_others_is_noticed() {
    for bug in ["shard_over_waits_for_a_write", "shard_over_waits_for_a_checkpoint"] {
        assert_eq!(nobody_writes(&[bug]), [1000; 3], "{bug}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn what_is_over_and_not_said_is_noticed() {
    assert_ne!(nobody_writes(&["index_does_not_say_what_is_over_first"]), [100; 3]);
}

/// Keys are counted when some have just been over.
fn count_what_is_there(bugs: &[&str]) -> [u64; 2] {
    let mut stage = Stage::with(3, &small(), planted(bugs));
    let all = [0, 1, 2];
    let writes = (0..10).map(|nth| brief("brief", nth, if nth < 7 { 5 } else { 500 }));
    assert!(stage.ask(&all, writes.collect(), 2 * SECOND).iter().all(is_done));
    let before = count(&mut stage, &all);
    stage.world.run_for(5 * SECOND);
    let counts = [before, count(&mut stage, &all)];
    stage.assert_no_panic();
    counts
}

#[test]
fn what_is_over_is_not_counted() {
    assert_eq!(count_what_is_there(&[]), [10, 3]);
}

#[cfg(feature = "mutants")]
#[test]
fn what_is_over_and_counted_is_noticed() {
    assert_eq!(count_what_is_there(&["shard_counts_what_is_over"]), [10, 10]);
}
