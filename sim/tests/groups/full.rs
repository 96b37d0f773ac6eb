//! Stories of full disks: each ends with everything done, or refused by name.
//!
//! Not here: disks that fill up at random (`scenarios/random`).

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Op, Outcome, Transaction, Write},
    shard::ShardOptions,
};
use trilith_sim::world::{NodeId, WorldOptions};

use crate::stage::{SECOND, Stage, delete, set, small};

const KIB: usize = 1 << 10;

/// So many writes to four keys, each but the last dead soon.
fn churn(count: usize, bytes: usize) -> Vec<Op> {
    let value = Bytes::from(vec![b'x'; bytes]);
    (0..count).map(|nth| set(format!("key{}", nth % 4), value.clone())).collect()
}

fn is_done(answer: &Option<Outcome>) -> bool {
    matches!(answer, Some(Outcome::Ok(_)))
}

pub(crate) fn planted(bugs: &[&str]) -> WorldOptions {
    let planted = bugs.iter().map(|bug| (*bug).to_string()).collect();
    WorldOptions { planted, ..WorldOptions::default() }
}

/// More is under way than the disk has room for when it is found to be full, so a frame is refused,
/// and behind it waits everything. Nearly all of it is dead by then: checkpoints say so.
fn more_under_way_than_room(left_kib: u64, bugs: &[&str]) -> bool {
    let mut shard = small();
    // More than what is proposed may have of the reserve.
    shard.raft.uncommitted_bytes_max = 56 << 10;
    let mut stage = Stage::with(1, &shard, planted(bugs));
    stage.fill(&[0], left_kib << 10);
    for _ in 0..4 {
        stage.ask(&[0], churn(200, KIB), 2 * SECOND);
    }
    stage.world.run_for(10 * SECOND);
    let answers = stage.ask(&[0], churn(4, KIB), 10 * SECOND);
    stage.assert_no_panic();
    answers.iter().all(is_done)
}

/// Sizes of disks on which there is room enough once what is dead has gone.
const ENOUGH_KIB: [u64; 3] = [152, 168, 184];

/// It also needs the segments to go in the order that they were written in: one that was too small
/// for a frame is used behind others with higher numbers, and nothing was dropped any more.
#[test]
fn what_is_dead_makes_room_for_what_waits() {
    assert!(ENOUGH_KIB.iter().all(|left_kib| more_under_way_than_room(*left_kib, &[])));
}

#[cfg(feature = "mutants")]
#[test]
fn a_full_disk_that_keeps_everything_back_is_noticed() {
    let bugs = ["shard_full_disk_keeps_everything_back"];
    assert!(!ENOUGH_KIB.iter().any(|left_kib| more_under_way_than_room(*left_kib, &bugs)));
}

/// Keys fill the disk, and are deleted many at a time. Whether there is room again.
fn deletions_together(bugs: &[&str]) -> bool {
    let mut stage = Stage::with(1, &small(), planted(bugs));
    stage.fill(&[0], 600 << 10);
    let (mut keys, value) = (Vec::new(), Bytes::from(vec![b'x'; KIB]));
    let mut takes_any = true;
    while takes_any {
        let more: Vec<String> = (0..40).map(|nth| format!("key{}", keys.len() + nth)).collect();
        let sets = more.iter().map(|key| set(key.clone(), value.clone())).collect();
        takes_any = stage.ask(&[0], sets, 2 * SECOND).iter().any(is_done);
        keys.extend(more);
        assert!(keys.len() < 4000, "the disk never fills up");
    }
    for keys in keys.chunks(20) {
        let delete = |key: &String| Write::Delete { key: key.clone().into() };
        let all = Transaction::new(Vec::new(), keys.iter().map(delete).collect()).expect("it fits");
        let all = vec![Op::Write(Command::Transaction(all))];
        if !is_done(&stage.ask(&[0], all, 2 * SECOND)[0]) {
            return false;
        }
    }
    stage.world.run_for(10 * SECOND);
    let answers = stage.ask(&[0], churn(40, KIB), 10 * SECOND);
    stage.assert_no_panic();
    answers.iter().all(is_done)
}

#[test]
fn a_full_disk_takes_deletions_together() {
    assert!(deletions_together(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn deletions_together_that_are_refused_are_noticed() {
    assert!(!deletions_together(&["command_deletions_together_are_none"]));
}

/// The leader's disk is full, those of the others are not.
fn a_leader_without_room(bugs: &[&str]) -> bool {
    let mut stage = Stage::with(3, &small(), planted(bugs));
    let leader = stage.leader();
    stage.fill(&[leader], 0);
    stage.ask(&[0, 1, 2], churn(100, KIB), 10 * SECOND);
    stage.world.run_for(20 * SECOND);
    let answers = stage.ask(&[0, 1, 2], churn(4, KIB), 20 * SECOND);
    stage.assert_no_panic();
    stage.leader() != leader && answers.iter().all(is_done)
}

#[test]
fn who_has_no_room_does_not_lead() {
    assert!(a_leader_without_room(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_full_node_that_leads_on_is_noticed() {
    assert!(!a_leader_without_room(&["shard_full_node_leads_on"]));
}

/// A snapshot that is too large for a replica's disk is taken in again and again, until most of it
/// is deleted. What an attempt wrote must not be what the next one lacks.
fn a_snapshot_that_has_no_room(left_kib: u64, bugs: &[&str]) -> bool {
    let mut stage = Stage::with(3, &small(), planted(bugs));
    let leader = stage.leader();
    let (behind, other) = ((leader + 1) % 3, (leader + 2) % 3);
    stage.world.power_loss(NodeId(behind));
    let all: Vec<u32> = (0..3).collect();
    let key = |nth: usize| format!("large{nth}");
    let value = Bytes::from(vec![b'x'; 16 * KIB]);
    let writes = (0..20).map(|nth| set(key(nth), value.clone())).collect();
    assert!(stage.ask(&all, writes, 20 * SECOND).iter().all(is_done));
    for _ in 0..3 {
        assert!(stage.ask(&all, churn(100, KIB), 20 * SECOND).iter().all(is_done));
    }
    stage.fill(&[behind], left_kib << 10);
    let used = |stage: &mut Stage| stage.world.with_platter(NodeId(behind), |disk| disk.used());
    let before = used(&mut stage);
    stage.world.start(NodeId(behind));
    let mut is_clean = true;
    for _ in 0..5000 {
        stage.world.run_for(SECOND / 1000);
        // A quarter of the reserve is left to what gives room back.
        is_clean &= used(&mut stage) <= before + ((left_kib - 16) << 10);
    }
    stage.world.run_for(20 * SECOND);
    is_clean &= used(&mut stage) < before + (80 << 10);
    let deletes = (0..20).map(|nth| delete(key(nth))).collect();
    assert!(stage.ask(&all, deletes, 20 * SECOND).iter().all(is_done));
    stage.world.run_for(30 * SECOND);
    // Now nothing is committed without it.
    stage.world.power_loss(NodeId(other));
    let answers = stage.ask(&all, churn(4, KIB), 30 * SECOND);
    stage.assert_no_panic();
    is_clean && answers.iter().all(is_done)
}

#[test]
fn a_snapshot_without_room_leaves_nothing_behind() {
    assert!(a_snapshot_that_has_no_room(96, &[]) && a_snapshot_that_has_no_room(200, &[]));
}

#[cfg(feature = "mutants")]
#[test]
fn intakes_that_leave_too_much_or_too_little_are_noticed() {
    assert!(!a_snapshot_that_has_no_room(200, &["shard_failed_intake_keeps_its_files"]));
    assert!(!a_snapshot_that_has_no_room(96, &["journal_copies_take_the_reserve"]));
}

/// A leader that is cut off has entries that nobody commits. Others replace them while its disk is
/// full: what replaces them waits, with the cut before it, and checkpoints go ahead. What they say is
/// committed must be what is on the disk: in the next life the old entries are there again.
fn what_waits_replaces_what_is_there(bugs: &[&str]) -> bool {
    let shard = ShardOptions { retain_bytes: 1 << 20, ..small() };
    let mut stage = Stage::with(3, &shard, planted(bugs));
    let old = stage.leader();
    let others: Vec<u32> = (0..3).filter(|node| *node != old).collect();
    assert!(stage.ask(&[0, 1, 2], churn(50, KIB), 10 * SECOND).iter().all(is_done));
    for other in &others {
        stage.world.cut_both(NodeId(old), NodeId(*other));
    }
    stage.ask(&[old], churn(40, 2 * KIB), SECOND / 2);
    stage.world.run_for(5 * SECOND);
    let value = Bytes::from(vec![b'y'; 16 * KIB]);
    let large = (0..12).map(|nth| set(format!("key{}", nth % 4), value.clone())).collect();
    assert!(stage.ask(&others, large, 20 * SECOND).iter().all(is_done));
    stage.fill(&[old], 0);
    for other in &others {
        stage.world.heal_both(NodeId(old), NodeId(*other));
    }
    for _ in 0..8 {
        stage.world.run_for(SECOND / 4);
        stage.ask(&others, churn(4, KIB), 2 * SECOND);
    }
    for other in &others {
        stage.world.cut_both(NodeId(old), NodeId(*other));
    }
    // A life on a disk without any room cannot begin.
    stage.world.power_loss(NodeId(old));
    stage.fill(&[old], 1 << 30);
    stage.world.start(NodeId(old));
    stage.world.run_for(SECOND);
    let has_what_nobody_committed = stage.glance(old, "key0") == Some(2 * KIB);
    for other in &others {
        stage.world.heal_both(NodeId(old), NodeId(*other));
    }
    stage.world.run_for(10 * SECOND);
    let is_well = stage.world.panics().is_empty() && !has_what_nobody_committed;
    is_well && stage.has_met("shard_checkpoint_of_a_group_that_waits")
}

#[test]
fn a_checkpoint_speaks_of_what_is_on_the_disk() {
    assert!(what_waits_replaces_what_is_there(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_checkpoint_that_speaks_of_what_waits_is_noticed() {
    assert!(!what_waits_replaces_what_is_there(&["shard_checkpoint_speaks_of_what_waits"]));
}

/// Sizes of what is left of a disk.
const LEFT_KIB: [u64; 4] = [400, 500, 600, 700];

/// A shard whose segments are as large against its reserve as they may be.
fn with_large_segments() -> ShardOptions {
    let mut shard = small();
    shard.journal.segment_bytes_max = 256 << 10;
    shard
}

/// What was written first lives for ever, in segments that no room is left to copy, and all behind it
/// is dead.
fn what_is_cold_lies_before_what_is_dead(left_kib: u64, bugs: &[&str]) -> bool {
    let mut stage = Stage::with(1, &with_large_segments(), planted(bugs));
    let value = Bytes::from(vec![b'x'; 16 * KIB]);
    for nth in 0..20 {
        let cold = (0..8).map(|key| set(format!("cold{nth}-{key}"), value.clone())).collect();
        assert!(stage.ask(&[0], cold, 10 * SECOND).iter().all(is_done));
    }
    stage.fill(&[0], left_kib << 10);
    for _ in 0..8 {
        stage.ask(&[0], churn(200, KIB), 2 * SECOND);
    }
    assert!(stage.has_met("shard_disk_full"));
    stage.world.run_for(10 * SECOND);
    let answers = stage.ask(&[0], churn(400, KIB), 20 * SECOND);
    stage.assert_no_panic();
    answers.iter().all(is_done)
}

#[test]
fn what_is_cold_does_not_keep_a_disk_full() {
    let each = LEFT_KIB.map(|left_kib| what_is_cold_lies_before_what_is_dead(left_kib, &[]));
    assert_eq!(each, [true; 4]);
}

#[cfg(feature = "mutants")]
#[test]
fn cold_segments_that_keep_dead_ones_are_noticed() {
    let bugs = ["compact_cold_keeps_dead"];
    let each = LEFT_KIB.map(|left_kib| what_is_cold_lies_before_what_is_dead(left_kib, &bugs));
    assert_eq!(each, [false; 4]);
}

/// A shard of small segments, half of what it has written dead: as much as makes a compaction begin
/// on a disk with so much room left. It copies so much in a second.
fn half_dead(left_kib: u64, copies_kib: u64, bugs: &[&str]) -> Stage {
    let mut shard = small();
    shard.journal.segment_bytes_max = 32 << 10;
    shard.compaction_bytes_per_second = copies_kib << 10;
    shard.raft.quiet_after = Some(SECOND);
    let mut stage = Stage::with(1, &shard, planted(bugs));
    let value = Bytes::from(vec![b'x'; KIB]);
    let write = |stage: &mut Stage, keys: &[usize]| {
        let sets = keys.iter().map(|key| set(format!("key{key}"), value.clone())).collect();
        assert!(stage.ask(&[0], sets, 10 * SECOND).iter().all(is_done));
    };
    let all: Vec<usize> = (0..900).collect();
    let most: Vec<usize> = (0..900).filter(|key| key % 3 > 0).collect();
    all.chunks(50).for_each(|keys| write(&mut stage, keys));
    let begun = |stage: &Stage| {
        ["shard_compaction", "shard_compaction_lacks_room"].iter().any(|mark| stage.has_met(mark))
    };
    stage.fill(&[0], left_kib << 10);
    for keys in most.chunks(10).chain(most.chunks(10)) {
        if !begun(&stage) {
            write(&mut stage, keys);
        }
    }
    stage
}

fn used(stage: &mut Stage) -> u64 {
    stage.world.with_platter(NodeId(0), |disk| disk.used())
}

/// So much is left of the disk, from too little for all copies to enough.
fn left() -> impl Iterator<Item = u64> {
    (1150..1700).step_by(50)
}

/// What is left of the disk has room for copies of a part of what is live. Whether some of the rest
/// went.
fn more_to_move_than_room(left_kib: u64, bugs: &[&str]) -> bool {
    let mut stage = half_dead(left_kib, 128 << 10, bugs);
    let before = used(&mut stage);
    stage.world.run_for(60 * SECOND);
    stage.assert_no_panic();
    assert!(!stage.has_met("shard_disk_full"), "{left_kib}");
    used(&mut stage) + (64 << 10) < before
}

#[test]
fn a_compaction_begins_with_what_has_room() {
    let each: Vec<bool> = left().map(|left_kib| more_to_move_than_room(left_kib, &[])).collect();
    assert_eq!(each, vec![true; each.len()]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_compaction_that_takes_no_look_is_noticed() {
    let bugs = ["shard_compaction_takes_no_look"];
    let each = left().map(|left_kib| more_to_move_than_room(left_kib, &bugs));
    assert!(each.filter(|is_less| !is_less).count() > 2);
}

/// Where free space is between what the look at the disk finds enough and what the copies take, the
/// same compaction was begun again and again, in vain.
#[cfg(feature = "mutants")]
#[test]
fn a_compaction_that_gives_up_the_same_again_is_noticed() {
    let bugs = ["shard_compaction_gives_up_the_same_again"];
    assert!(left().any(|left_kib| !more_to_move_than_room(left_kib, &bugs)));
}

/// Somebody else fills the disk amid a compaction, which gives up. Whether what is dead goes later,
/// while nobody asks the node for anything.
fn a_compaction_gives_up(bugs: &[&str]) -> bool {
    let mut stage = half_dead(64 << 10, 16, bugs);
    stage.fill(&[0], 0);
    for _ in 0..20 {
        if !stage.has_met("journal_copies_leave_the_reserve") {
            stage.world.run_for(SECOND);
        }
    }
    assert!(stage.has_met("journal_copies_leave_the_reserve"));
    let before = used(&mut stage);
    stage.world.run_for(30 * SECOND);
    stage.assert_no_panic();
    used(&mut stage) + (64 << 10) < before
}

/// A compaction that had given up was begun again when something else woke the node, and when its
/// groups sleep nothing does.
#[test]
fn a_compaction_that_gave_up_begins_again_by_itself() {
    assert!(a_compaction_gives_up(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_compaction_that_waits_to_be_woken_is_noticed() {
    assert!(!a_compaction_gives_up(&["shard_held_compaction_sleeps"]));
}

/// A leader that is cut off has a log that nobody can commit, in two segments, and its disk becomes
/// full. What is open moves forward, so that the first of them may go, and then the power goes.
/// Whether the node came back with its log.
fn open_entries_move(committed: usize, bugs: &[&str]) -> bool {
    let mut stage = Stage::with(3, &small(), planted(bugs));
    let leader = stage.leader();
    let others: Vec<u32> = (0..3).filter(|node| *node != leader).collect();
    assert!(stage.ask(&[leader], churn(committed, KIB / 2), 10 * SECOND).iter().all(is_done));
    stage.part(leader);
    // What is left is kept for what makes room.
    stage.fill(&[leader], 60 << 10);
    let open = (0..10).map(|nth| set(format!("open{nth}"), Bytes::from(vec![b'x'; KIB / 2])));
    assert!(!stage.ask(&[leader], open.collect(), SECOND).iter().any(is_done));
    stage.world.run_for(5 * SECOND);
    stage.blink(leader, SECOND);
    stage.join(leader);
    let written = stage.ask(&others, churn(4, KIB), 20 * SECOND);
    stage.world.run_for(5 * SECOND);
    let is_back = stage.world.panics().is_empty() && stage.glance(leader, "key0") == Some(KIB);
    is_back && written.iter().all(is_done)
}

#[test]
fn what_is_open_moves_forward_on_a_full_disk() {
    assert!((30..50).all(|committed| open_entries_move(committed, &[])));
}

#[cfg(feature = "mutants")]
#[test]
fn open_entries_that_move_one_by_one_are_noticed() {
    let bugs = ["shard_moved_entries_void_nothing"];
    assert!(!(30..50).all(|committed| open_entries_move(committed, &bugs)));
}

/// The same as with more under way than there is room for, but each other write adds to a number: a
/// batch is held for the sums when the frame is refused.
fn sums_under_way(left_kib: u64, bugs: &[&str]) -> bool {
    let mut shard = small();
    shard.raft.uncommitted_bytes_max = 56 << 10;
    // Checkpoints hold the answers to all that one client asks for, some 20 KiB.
    shard.journal.reserve_bytes = 160 << 10;
    let mut stage = Stage::with(1, &shard, planted(bugs));
    stage.fill(&[0], left_kib << 10);
    let sum = || Op::Write(Command::Increment { key: Bytes::from_static(b"sum"), by: 1 });
    for _ in 0..4 {
        let writes = churn(200, KIB).into_iter().flat_map(|write| [write, sum()]).collect();
        stage.ask(&[0], writes, 2 * SECOND);
    }
    stage.world.run_for(10 * SECOND);
    let answers = stage.ask(&[0], churn(4, KIB), 10 * SECOND);
    stage.assert_no_panic();
    answers.iter().all(is_done)
}

/// Sizes of disks on which there is room enough for what makes room.
const SUMS_KIB: [u64; 6] = [224, 260, 296, 332, 368, 404];

#[test]
fn what_checkpoints_wait_for_is_written_on_a_full_disk() {
    assert!(SUMS_KIB.iter().all(|left_kib| sums_under_way(*left_kib, &[])));
}

#[cfg(feature = "mutants")]
#[test]
fn a_full_disk_that_keeps_sums_back_is_noticed() {
    let bugs = ["shard_full_disk_keeps_derived_back"];
    assert!(!SUMS_KIB.iter().any(|left_kib| sums_under_way(*left_kib, &bugs)));
}
