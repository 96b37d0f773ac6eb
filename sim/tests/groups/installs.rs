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

/// A replica that was away while all that it has was deleted, and that needs a snapshot. So much
/// goes that it takes many frames, over several segments.
struct Swept {
    stage: Stage,
    behind: u32,
    others: Vec<u32>,
}

impl Swept {
    fn new(shard: &ShardOptions, keys: usize, bugs: &[&str]) -> Self {
        let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
        let options = WorldOptions { planted, ..WorldOptions::default() };
        let mut stage = Stage::with(3, shard, options);
        let leader = stage.leader();
        let behind = (leader + 1) % 3;
        let all = (0..KEYS).map(|nth| set(key(nth), Bytes::from_static(b"v"))).collect();
        assert!(stage.ask(&[0, 1, 2], all, 30 * SECOND).iter().all(is_done));
        stage.part(behind);
        let others = (0..3).filter(|node| *node != behind).collect();
        let mut swept = Self { stage, behind, others };
        let all = (0..KEYS).map(|nth| delete(key(nth))).collect();
        assert!(swept.stage.ask(&swept.others, all, 30 * SECOND).iter().all(is_done));
        swept.compact(keys);
        swept
    }

    /// The others let go of the log that is needed.
    fn compact(&mut self, keys: usize) {
        for _ in 0..2 {
            let value = Bytes::from(vec![b'x'; 16 * KIB]);
            let writes = (0..100).map(|nth| set(format!("other{}", nth % keys), value.clone()));
            let writes = writes.collect();
            assert!(self.stage.ask(&self.others, writes, 30 * SECOND).iter().all(is_done));
        }
        self.stage.world.run_for(2 * SECOND);
    }

    fn run_until(&mut self, met: &str) {
        let is_met = (0..40_000).any(|_| {
            self.stage.world.run_for(SECOND / 2000);
            self.stage.has_met(met)
        });
        assert!(is_met, "{met}");
    }

    /// It loses its power. How many of these keys it has then.
    fn has_after_power_loss(&mut self, keys: impl Iterator<Item = String>) -> usize {
        self.stage.part(self.behind);
        self.stage.blink(self.behind, SECOND);
        let gets = keys.map(|key| Op::Get(key.into())).collect();
        let found = self.stage.ask_at(Level::Eventual, &[self.behind], gets, 30 * SECOND);
        self.stage.assert_no_panic();
        let is_there = |answer: &Option<Outcome>| match answer {
            Some(Outcome::Ok(Reply::Value(found))) => found.is_some(),
            other => panic!("{other:?}"),
        };
        found.iter().filter(|answer| is_there(answer)).count()
    }
}

/// When a compaction begins decides whether it meets a snapshot that does not count yet.
const EAGER_KIB: [u64; 4] = [1, 2, 3, 4];

/// What is deleted lies where a compaction is eager to take it. How many keys are back.
fn deletions_take_many_frames(eager_kib: u64, bugs: &[&str]) -> usize {
    let mut shard = ShardOptions { retain_bytes: 0, ..small() };
    shard.compaction.tombstone_percent = 1;
    shard.compaction.dead_bytes_min = eager_kib << 10;
    let mut swept = Swept::new(&shard, 100, bugs);
    swept.stage.join(swept.behind);
    swept.run_until("shard_snapshot_installed");
    assert!(swept.stage.has_met("shard_snapshot_deletes_in_several_frames"));
    swept.has_after_power_loss((0..KEYS).map(key))
}

#[test]
fn what_is_deleted_in_many_frames_stays_deleted() {
    assert_eq!(EAGER_KIB.map(|kib| deletions_take_many_frames(kib, &[])), [0; EAGER_KIB.len()]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_compaction_that_takes_what_hides_nothing_yet_is_noticed() {
    let bugs = ["shard_compaction_takes_what_is_swept"];
    let each = EAGER_KIB.map(|kib| deletions_take_many_frames(kib, &bugs));
    assert!(each.iter().any(|back| *back > 0), "{each:?}");
}

/// A replica loses its power when its snapshot is listed and does not count yet, and a key of that
/// snapshot is deleted before the next one comes. Whether the key is back.
fn a_snapshot_never_counts(bugs: &[&str]) -> bool {
    let mut shard = ShardOptions { retain_bytes: 0, ..small() };
    // More than a snapshot here, so that what is left of one stays listed.
    shard.compaction.dead_bytes_min = 1 << 20;
    let mut swept = Swept::new(&shard, 10, bugs);
    let gone = vec![set("gone".into(), Bytes::from_static(b"v"))];
    assert!(swept.stage.ask(&swept.others, gone, 30 * SECOND).iter().all(is_done));
    swept.compact(10);
    swept.stage.join(swept.behind);
    swept.run_until("shard_snapshot_deletes_in_several_frames");
    assert!(!swept.stage.has_met("shard_snapshot_installed"), "it counts");
    swept.stage.world.power_loss(NodeId(swept.behind));
    let gone = vec![delete("gone".into())];
    assert!(swept.stage.ask(&swept.others, gone, 30 * SECOND).iter().all(is_done));
    swept.compact(10);
    // Whoever sends it gives up, and begins again with what is there then.
    swept.stage.world.run_for(15 * SECOND);
    swept.stage.world.start(NodeId(swept.behind));
    swept.run_until("shard_snapshot_installed");
    swept.stage.world.run_for(2 * SECOND);
    swept.has_after_power_loss(["gone".to_string()].into_iter()) > 0
}

#[test]
fn a_snapshot_that_never_counted_brings_nothing_back() {
    assert!(!a_snapshot_never_counts(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_value_of_a_snapshot_that_never_counted_is_noticed() {
    assert!(a_snapshot_never_counts(&["shard_uncounted_values_come_back"]));
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
