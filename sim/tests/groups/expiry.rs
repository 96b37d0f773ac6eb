//! What expires between a checkpoint and a compaction.
//!
//! A life that begins from the checkpoint applies again what comes behind it, and must see what was
//! seen then. A compaction that goes by the newest time buries a value which an entry behind the
//! checkpoint still saw; and until another checkpoint covers the compaction, a crash brings that
//! entry back.
//!
//! What has left the index before the checkpoint knew of it is taken for something that a later entry
//! deleted: no deletion takes its place, and what it had replaced comes back.
//!
//! Not here: keys that expire under load (`scenarios/random/clocks_of_a_minority_are_ahead.toml`).

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Condition, Expiry, Op},
    shard::ShardOptions,
    value::Policy,
};
use trilith_sim::{
    platter::Platter,
    world::{NodeId, WorldOptions},
};

use crate::stage::{SECOND, Stage, set, small};

/// Small segments, and one compaction for all that `new` keys are worth.
fn options() -> ShardOptions {
    let compaction = Policy {
        dead_percent: 1,
        segment_dead_percent: 1,
        dead_bytes_min: 8 << 10,
        ..Policy::default()
    };
    let (retain_bytes, scrub_bytes_per_second) = (0, 0);
    let mut shard = ShardOptions { retain_bytes, scrub_bytes_per_second, compaction, ..small() };
    shard.journal.segment_bytes_max = 16 << 10;
    shard
}

fn mortal(expiry: Expiry, condition: Condition) -> Op {
    let (key, value) = (Bytes::from_static(b"mortal"), Bytes::from_static(b"value"));
    Op::Write(Command::Set { key, value, expiry, condition, want_old: false })
}

/// How often it is written what only takes room: how entries lie in segments decides which of them a
/// checkpoint has to cover.
const FILLS: [usize; 3] = [44, 46, 48];

/// A lone node refuses to set a key because it is there; then the key is over, and a compaction
/// becomes due that takes it along. The power goes in that operation of the disk from then on.
/// Answers what the node has of the key in its next life, and how many operations there were.
fn expire_and_compact(fill: usize, at: Option<u64>, world: WorldOptions) -> (Option<usize>, u64) {
    let mut stage = Stage::with(1, &options(), world);
    let many = |name: &str, count: u32| -> Vec<Op> {
        let value = || Bytes::from(vec![b'x'; 1 << 10]);
        (0..count).map(|nth| set(format!("{name}{nth}"), value())).collect()
    };
    let again = || many("again", 1).into_iter().cycle().take(fill).collect::<Vec<Op>>();
    // Older values, which are live and lie apart from the others: what a deletion may hide.
    stage.ask(&[0], many("old", 10), 10 * SECOND);
    stage.ask_each(&[0], again());
    stage.world.run_for(5 * SECOND);
    stage.ask_each(&[0], vec![mortal(Expiry::After(60_000), Condition::Always)]);
    stage.ask(&[0], many("new", 10), 10 * SECOND);
    stage.ask_each(&[0], again());
    stage.world.run_for(25 * SECOND);
    // No checkpoint covers this one.
    stage.ask(&[0], vec![mortal(Expiry::None, Condition::Absent)], 10 * SECOND);
    stage.world.run_for(90 * SECOND);
    let count = |disk: &mut Platter| disk.op_count();
    let began = stage.world.with_platter(NodeId(0), count);
    if let Some(at) = at {
        stage.world.with_platter(NodeId(0), |disk| disk.crash_at(began + at));
    }
    let short = (0..10).map(|nth| set(format!("new{nth}"), Bytes::from_static(b"1")));
    stage.ask(&[0], short.collect(), SECOND);
    stage.world.run_for(2 * SECOND);
    let ended = stage.world.with_platter(NodeId(0), count);
    assert!(at.is_some() || stage.has_met("value: an expired value became a deletion"));
    stage.blink(0, 5 * SECOND);
    stage.assert_no_panic();
    (stage.glance(0, "mortal"), ended - began)
}

#[test]
fn what_has_expired_since_the_checkpoint_is_seen_again() {
    for fill in FILLS {
        let (found, operations) = expire_and_compact(fill, None, WorldOptions::default());
        assert_eq!(found, None);
        for at in 0..operations {
            let (found, _) = expire_and_compact(fill, Some(at), WorldOptions::default());
            assert_eq!(found, None, "the power goes in operation {at} of {operations}, {fill}");
        }
    }
}

#[cfg(feature = "mutants")]
#[test]
fn a_compaction_by_the_newest_time_is_noticed() {
    let planted = vec!["shard_compaction_by_the_newest_time".to_string()];
    let world = || WorldOptions { planted: planted.clone(), ..WorldOptions::default() };
    let comes_back = FILLS.iter().any(|fill| {
        let (_, operations) = expire_and_compact(*fill, None, world());
        let mut crashes = 0..operations;
        crashes.any(|at| expire_and_compact(*fill, Some(at), world()).0.is_some())
    });
    assert!(comes_back);
}

/// A value that is over hides one that is not. The group knows that it is over, its checkpoint does
/// not, and a compaction takes along what was over and leaves what it hides. What the node has of the
/// key in its next life.
fn hides_another(fill: usize, world: WorldOptions) -> Option<usize> {
    let mut stage = Stage::with(1, &options(), world);
    let many = |name: &str, bytes: usize| -> Vec<Op> {
        let value = || Bytes::from(vec![b'x'; bytes]);
        (0..10).map(|nth| set(format!("{name}{nth}"), value())).collect()
    };
    let again = || many("again", 1 << 10).into_iter().take(1).cycle().take(fill).collect();
    stage.ask_each(&[0], vec![mortal(Expiry::None, Condition::Always)]);
    stage.ask(&[0], many("old", 1 << 10), 10 * SECOND);
    stage.ask_each(&[0], again());
    stage.ask_each(&[0], vec![mortal(Expiry::After(60_000), Condition::Always)]);
    stage.ask(&[0], many("new", 1 << 10), 10 * SECOND);
    stage.ask_each(&[0], again());
    stage.world.run_for(65 * SECOND);
    // Who asks for it makes the group agree on the time.
    stage.ask_each(&[0], vec![Op::Get(Bytes::from_static(b"mortal"))]);
    stage.world.run_for(5 * SECOND);
    let begun = stage.shown(0).counts.compactions_begun;
    stage.ask(&[0], many("new", 1), 10 * SECOND);
    stage.world.run_for(30 * SECOND);
    assert!(stage.shown(0).counts.compactions_begun > begun);
    stage.blink(0, 5 * SECOND);
    stage.assert_no_panic();
    stage.glance(0, "mortal")
}

#[test]
fn what_was_over_hides_what_it_replaced() {
    assert_eq!(FILLS.map(|fill| hides_another(fill, WorldOptions::default())), [None; 3]);
}

#[cfg(feature = "mutants")]
#[test]
fn what_leaves_the_index_by_the_newest_time_is_noticed() {
    let planted = vec!["shard_over_by_the_newest_time".to_string()];
    let world = || WorldOptions { planted: planted.clone(), ..WorldOptions::default() };
    assert!(FILLS.iter().any(|fill| hides_another(*fill, world()).is_some()));
}
