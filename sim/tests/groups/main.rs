//! Stories of replicated groups that no random load tells: too large, too many, or too quiet.
//!
//! Whole nodes and the SDK in the simulated world. Each story once brought nodes down or kept them
//! busy for ever; what it is about stands above it.
//!
//! Not here: histories and faults at random (`scenarios/`), one journal or store (`refusals.rs`).

mod backups;
mod bounds;
mod counts;
mod crowds;
mod cuts;
mod expiry;
mod full;
mod guests;
mod hangups;
mod installs;
mod over;
mod patience;
mod promises;
mod secrets;
mod settings;
mod shares;
mod snapshots;
mod stage;
mod stops;
mod unknown;

use bytes::Bytes;
use stage::{SECOND, Stage, append, delete, set, small};
use trilith_engine::{
    command::{
        Command, Condition, Expiry, Op, Outcome, Replace, Replacing, Reply, Scan, Stage as Step,
        Transaction, Write,
    },
    raft::Config,
    shard::ShardOptions,
    types::{GroupId, Uuid},
};
use trilith_sim::{
    subject::cluster::number,
    world::{NodeId, Status, WorldOptions},
};

/// An entry of a few bytes computes a value of a megabyte. A batch of applies was bounded by its
/// entries, so a hundred and more such values went into one frame, which cannot be that large: every
/// node ended, and ended again at each start, because what is committed comes again.
#[test]
fn many_large_values_are_computed_at_once() {
    const MIB: usize = 1 << 20;
    let mut stage = Stage::new(1, &ShardOptions::default());
    let large = set("log".into(), Bytes::from(vec![b'x'; MIB]));
    assert!(matches!(stage.ask(&[0], vec![large], 10 * SECOND)[..], [Some(Outcome::Ok(_))]));
    let many = (0..160).map(|_| append("log", "y")).collect();
    let answers = stage.ask(&[0], many, 60 * SECOND);
    stage.assert_no_panic();
    let done = |answer: &Option<Outcome>| matches!(answer, Some(Outcome::Ok(_)));
    assert!(answers.iter().all(done), "{:?}", answers.iter().find(|answer| !done(answer)));
    stage.world.power_loss(NodeId(0));
    stage.world.start(NodeId(0));
    stage.world.run_for(5 * SECOND);
    assert_eq!(stage.length("log"), MIB + 160);
    stage.assert_no_panic();
}

/// A leader that is cut off appends what nobody commits. Its group goes on elsewhere and stays below
/// those indices, which the segment nevertheless wanted a checkpoint for: one was written and synced
/// in every turn, and no segment settled any more.
#[test]
fn what_was_cut_wants_no_checkpoint() {
    let shard = ShardOptions {
        raft: Config { quiet_after: Some(SECOND), ..Config::default() },
        ..ShardOptions::default()
    };
    let mut stage = Stage::new(3, &shard);
    let all: Vec<u32> = (0..3).collect();
    let first = (0..20).map(|nth| set(format!("a{nth}"), Bytes::from_static(b"1"))).collect();
    assert!(stage.ask(&all, first, 10 * SECOND).iter().all(Option::is_some));
    let old = stage.leader();
    for other in all.iter().filter(|node| **node != old) {
        stage.world.cut_both(NodeId(old), NodeId(*other));
    }
    let lost = (0..200).map(|nth| set(format!("b{nth}"), Bytes::from_static(b"2"))).collect();
    stage.ask(&[old], lost, SECOND / 2);
    stage.world.run_for(5 * SECOND);
    assert_ne!(stage.leader(), old, "the others have a leader of their own");
    for other in all.iter().filter(|node| **node != old) {
        stage.world.heal_both(NodeId(old), NodeId(*other));
    }
    stage.world.run_for(3 * SECOND);
    stage.world.power_loss(NodeId(old));
    stage.world.start(NodeId(old));
    stage.world.run_for(10 * SECOND);
    let before = stage.world.disk_ops(NodeId(old));
    stage.world.run_for(5 * SECOND);
    let busy = stage.world.disk_ops(NodeId(old)) - before;
    assert!(busy < 50, "{busy} calls of the disk in five idle seconds");
    assert_eq!(stage.length("a0"), 1);
    stage.assert_no_panic();
}

/// A node loses the end of its journal, with or without its name, and begins several lives alone and
/// several with the others. Whether it knows alone what it does not know, is told better, knows that
/// in the next life, and gives the vote that is missing in the end; and whether the others write down
/// the far term that it begins with before they promise anything in it.
fn lose_end_and_live(with_name: bool, options: WorldOptions) -> [bool; 5] {
    let mut stage = Stage::with(3, &ShardOptions::default(), options);
    let all: Vec<u32> = (0..3).collect();
    let some = |name: &'static str, count: u32| -> Vec<Op> {
        let set = |nth| set(format!("{name}{nth}"), Bytes::from_static(b"1"));
        (0..count).map(set).collect()
    };
    assert!(stage.ask(&all, some("a", 20), 10 * SECOND).iter().all(Option::is_some));
    let leader = stage.leader();
    let (hurt, third) = ((leader + 1) % 3, (leader + 2) % 3);
    // A life that begins settles what is behind it: only the last write waits for anything.
    stage.blink(hurt, 5 * SECOND);
    assert!(stage.ask(&all, some("b", 1), 10 * SECOND)[0].is_some());
    stage.lose_end(hurt, with_name);
    for other in [leader, third] {
        stage.world.cut_both(NodeId(hurt), NodeId(other));
    }
    let alone = (0..3).all(|_| {
        stage.blink(hurt, 5 * SECOND);
        stage.forgets(hurt)
    });
    for other in [leader, third] {
        stage.world.heal_both(NodeId(hurt), NodeId(other));
    }
    stage.world.run_for(10 * SECOND);
    let told = !stage.forgets(hurt);
    stage.blink(hurt, 5 * SECOND);
    let still = !stage.forgets(hurt);
    stage.world.power_loss(NodeId(stage.leader()));
    stage.world.run_for(5 * SECOND);
    let is_there = |node: &u32| stage.world.status(NodeId(*node)) == Status::Running;
    let left: Vec<u32> = all.into_iter().filter(is_there).collect();
    let answers = stage.ask(&left, some("c", 20), 20 * SECOND);
    let serves = answers.iter().all(|answer| matches!(answer, Some(Outcome::Ok(_))));
    let first = stage.world.ledger().marks().contains_key("shard_far_term_goes_first");
    let whole = stage.world.panics().is_empty();
    [alone, told, still, serves && whole, with_name || first]
}

/// The end of a journal is lost with a frame that may have been acknowledged. The directory opened
/// once and was refused from then on, though nothing was in the way that the others do not have. Now
/// each life is told again what it may have forgotten, until its log shows that it does not matter.
#[test]
fn a_lost_end_is_lived_with_through_many_lives() {
    for with_name in [true, false] {
        assert_eq!(lose_end_and_live(with_name, WorldOptions::default()), [true; 5]);
    }
}

#[cfg(feature = "mutants")]
#[test]
fn a_lost_end_that_is_forgotten_is_noticed() {
    for bug in ["journal_doubt_is_forgotten", "shard_scar_is_settled"] {
        let planted = vec![bug.to_string()];
        let options = WorldOptions { planted, ..WorldOptions::default() };
        assert_ne!(lose_end_and_live(true, options), [true; 5], "{bug}");
    }
    let planted = vec!["shard_far_term_comes_with_its_promises".to_string()];
    let options = WorldOptions { planted, ..WorldOptions::default() };
    assert_ne!(lose_end_and_live(false, options), [true; 5]);
}

/// What a node knows of another one's replacement, which takes a step by that.
fn replace(stage: &mut Stage, asked: u32, node: u32, directory: Option<Uuid>) -> Replacing {
    let replace = Op::Replace(Replace { node: number(node), directory });
    match stage.ask(&[asked], vec![replace], SECOND).remove(0) {
        Some(Outcome::Ok(Reply::Replacing(replacing))) => replacing,
        other => panic!("{other:?}"),
    }
}

/// Seats a founder's own directory once more, and takes the third node away. Whether the others go
/// on, also after the one that was seated had to open what it has.
fn seat_again(options: WorldOptions) -> [bool; 3] {
    let mut stage = Stage::with(3, &ShardOptions::default(), options);
    let put = |nth: u32| vec![set(format!("a{nth}"), Bytes::from_static(b"1"))];
    assert!(stage.ask(&[0, 1, 2], put(0), 10 * SECOND)[0].is_some());
    let leader = stage.leader();
    let (other, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let shown = replace(&mut stage, leader, other, None).shown.expect("it came");
    let is_done = (0..20).any(|_| {
        stage.world.run_for(SECOND / 2);
        let led = replace(&mut stage, leader, other, Some(shown.directory)).led;
        led.iter().any(|led| led.seat == shown.directory && led.stage == Step::Settled)
    });
    stage.world.power_loss(NodeId(third));
    let goes_on = |stage: &mut Stage, nth| {
        matches!(stage.ask(&[leader, other], put(nth), 10 * SECOND)[..], [Some(Outcome::Ok(_))])
    };
    let before = goes_on(&mut stage, 1);
    stage.world.power_loss(NodeId(other));
    stage.world.start(NodeId(other));
    let after = goes_on(&mut stage, 2);
    stage.assert_no_panic();
    [is_done, before, after]
}

/// A replica was seated in the directory that it has, under a newer number, and its node knew only
/// the older one: it dropped every message, and never counted again. An operator does this who was
/// told of the directory a moment too late.
#[test]
fn a_directory_is_seated_once_more() {
    assert_eq!(seat_again(WorldOptions::default()), [true; 3]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_directory_that_keeps_its_older_number_is_noticed() {
    let planted = vec!["shard_older_number_kept".to_string()];
    assert_ne!(seat_again(WorldOptions { planted, ..WorldOptions::default() }), [true; 3]);
}

/// Disks without any room, and manifests that come to their end here and there. How often one of
/// them found no room, and how often a deletion was not taken meanwhile.
fn delete_beside_full_manifests(options: &WorldOptions) -> (u32, u32) {
    let (mut met, mut refused) = (0, 0);
    for writes in (70..110).step_by(5) {
        let mut stage = Stage::with(1, &small(), options.clone());
        let put = |nth: u32| set(format!("key{}", nth % 5), Bytes::from(vec![1; 1000]));
        stage.ask(&[0], (0..writes).map(put).collect(), 20 * SECOND);
        stage.fill(&[0], 0);
        for nth in 0..60 {
            stage.ask(&[0], vec![put(nth)], SECOND / 2);
            stage.fill(&[0], 0);
        }
        let answer = stage.ask(&[0], vec![delete("key1".into())], 10 * SECOND).remove(0);
        if stage.has_met("shard_edit_found_no_room") {
            met += 1;
            refused += u32::from(!matches!(answer, Some(Outcome::Ok(_))));
        }
        stage.assert_no_panic();
    }
    (met, refused)
}

/// A compaction tells the manifest what goes, and the manifest needs another file for that. While
/// that found no room, nothing was written at all, though the segment in use had room, and what
/// would have been written gives some back.
#[test]
fn a_manifest_without_room_keeps_nothing_else_from_its_own() {
    let (met, refused) = delete_beside_full_manifests(&WorldOptions::default());
    assert!(met > 0 && refused == 0, "{refused} of {met}");
}

#[cfg(feature = "mutants")]
#[test]
fn frames_that_wait_for_the_manifest_are_noticed() {
    let planted = vec!["shard_refused_edit_stops_frames".to_string()];
    let options = WorldOptions { planted, ..WorldOptions::default() };
    assert_ne!(delete_beside_full_manifests(&options).1, 0);
}

/// A key is over, and no disk has room for the entry that would say so. What a read of it is told.
fn read_what_is_over(options: WorldOptions) -> Option<Outcome> {
    let all = [0, 1, 2];
    let mut stage = Stage::with(3, &small(), options);
    let (key, value) = (Bytes::from_static(b"brief"), Bytes::from_static(b"1"));
    let (expiry, condition) = (Expiry::After(20_000), Condition::Always);
    let brief = Command::Set { key, value, expiry, condition, want_old: false };
    stage.ask_each(&all, vec![Op::Write(brief)]);
    stage.fill(&all, 0);
    let put = |nth: u32| set(format!("key{nth}"), Bytes::from(vec![1; 1000]));
    stage.ask(&all, (0..100).map(put).collect(), 5 * SECOND);
    stage.ask(&all, (0..600).map(|nth| delete(format!("no{nth}"))).collect(), 5 * SECOND);
    stage.world.run_for(20 * SECOND);
    let get = Op::Get(Bytes::from_static(b"brief"));
    let answer = stage.ask(&all, vec![get], 5 * SECOND).remove(0);
    assert!(stage.has_met("shard_frame_found_no_room"));
    stage.assert_no_panic();
    answer
}

/// A read that came upon a key that is over waited for its group to agree on the time, by an entry
/// that no disk had room for. It is served now by what the group has agreed on.
#[test]
fn a_key_that_is_over_is_read_on_full_disks() {
    let answer = read_what_is_over(WorldOptions::default());
    assert!(matches!(answer, Some(Outcome::Ok(Reply::Value(_)))), "{answer:?}");
}

#[cfg(feature = "mutants")]
#[test]
fn reads_that_wait_for_room_are_noticed() {
    let planted = vec!["shard_read_waits_for_room".to_string()];
    let answer = read_what_is_over(WorldOptions { planted, ..WorldOptions::default() });
    assert!(!matches!(answer, Some(Outcome::Ok(_))), "{answer:?}");
}

/// The leader's disk damages a transaction that sets one key and deletes another. Meanwhile the one
/// that it had set is deleted too, and then somebody needs the entry. What the leader has of both
/// keys in its next life.
fn damage_a_transaction(options: WorldOptions) -> [Option<usize>; 2] {
    let all = [0, 1, 2];
    let mut stage = Stage::with(3, &small(), options);
    let one = Bytes::from_static(b"1");
    stage.ask_each(&all, vec![set("gone".into(), one.clone())]);
    let leader = stage.leader();
    let (behind, third) = ((leader + 1) % 3, (leader + 2) % 3);
    stage.world.power_loss(NodeId(behind));
    let write = |key: &'static str| Bytes::from_static(key.as_bytes());
    let expiry = Expiry::None;
    let writes = vec![
        Write::Set { key: write("set"), value: one, expiry },
        Write::Delete { key: write("gone") },
    ];
    let both = Transaction::new(Vec::new(), writes).expect("a small one");
    let connected = [leader, third];
    stage.ask_each(&connected, vec![Op::Write(Command::Transaction(both))]);
    assert_eq!(stage.leader(), leader);
    stage.hurt_last_entry(leader);
    stage.ask_each(&connected, vec![delete("set".into())]);
    stage.world.start(NodeId(behind));
    stage.world.run_for(5 * SECOND);
    assert!(stage.has_met("shard_entry_written_again"));
    stage.blink(leader, 5 * SECOND);
    stage.assert_no_panic();
    ["set", "gone"].map(|key| stage.glance(leader, key))
}

/// A damaged entry is written again, and must not bring back what was deleted since: so none of it
/// counted, and what it had deleted itself came back with the next life.
#[test]
fn what_a_damaged_transaction_deleted_stays_deleted() {
    assert_eq!(damage_a_transaction(WorldOptions::default()), [None; 2]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_deletion_that_is_lost_with_its_transaction_is_noticed() {
    let planted = vec!["shard_void_copy_loses_deletions".to_string()];
    let options = WorldOptions { planted, ..WorldOptions::default() };
    assert_eq!(damage_a_transaction(options), [None, Some(1)]);
}

/// An intake had numbers for 256 segments and no more, so a group above 16 GiB could not be sent:
/// whoever needed its snapshot began to take it in again and again, and left what it had of it on
/// its disk each time.
#[test]
fn a_snapshot_may_become_any_number_of_segments() {
    const KEYS: usize = 300;
    let mut shard = ShardOptions { retain_bytes: 16 << 10, ..ShardOptions::default() };
    (shard.journal.first_segment_bytes, shard.journal.segment_bytes_max) = (16 << 10, 16 << 10);
    let mut stage = Stage::new(3, &shard);
    let leader = stage.leader();
    let (behind, other) = ((leader + 1) % 3, (leader + 2) % 3);
    stage.world.power_loss(NodeId(behind));
    let all: Vec<u32> = (0..3).collect();
    for round in 0..3 {
        let value = Bytes::from(vec![round; 17 << 10]);
        let writes = (0..KEYS).map(|key| set(format!("key{key}"), value.clone())).collect();
        let answers = stage.ask(&all, writes, 20 * SECOND);
        assert!(answers.iter().all(|one| matches!(one, Some(Outcome::Ok(_)))), "round {round}");
    }
    stage.world.run_for(5 * SECOND);
    stage.world.start(NodeId(behind));
    stage.world.run_for(20 * SECOND);
    assert!(stage.world.ledger().marks().contains_key("shard_snapshot_installed"));
    // Now nothing is committed without it.
    stage.world.power_loss(NodeId(other));
    let answers = stage.ask(&all, vec![set("last".into(), Bytes::new())], 20 * SECOND);
    assert!(matches!(answers[0], Some(Outcome::Ok(_))), "{answers:?}");
    stage.assert_no_panic();
}

/// What is asked of keys without their values is right, and asks no disk: this one answers nothing
/// that lies in it any more.
#[test]
fn keys_are_looked_at_on_a_disk_that_cannot_be_read() {
    let mut stage = Stage::new(1, &small());
    let value = Bytes::from(vec![1; 1000]);
    let first = (0..40).map(|nth| set(format!("key{nth:02}"), value.clone())).collect();
    assert!(stage.ask(&[0], first, 10 * SECOND).iter().all(Option::is_some));
    let (key, condition) = (Bytes::from_static(b"brief"), Condition::Always);
    let (value, expiry) = (Bytes::new(), Expiry::After(2000));
    let brief = Command::Set { key, value, expiry, condition, want_old: false };
    stage.ask_each(&[0], vec![Op::Write(brief), delete("key07".into())]);
    stage.world.run_for(3 * SECOND);
    stage.world.with_platter(NodeId(0), |disk| {
        for file in disk.file_names().iter().filter(|name| name.starts_with("j/")) {
            for offset in (4096..64 << 10).step_by(512) {
                disk.rot(file, offset, 3);
            }
        }
    });
    let keys = ["key00", "key07", "brief", "none"];
    let look = Op::Look(keys.map(|key| Bytes::from_static(key.as_bytes())).to_vec());
    let there: Vec<bool> = match stage.ask(&[0], vec![look], SECOND).remove(0) {
        Some(Outcome::Ok(Reply::Values(found))) => found.iter().map(Option::is_some).collect(),
        other => panic!("{other:?}"),
    };
    assert_eq!(there, vec![true, false, false, false]);
    let all = Scan::of_prefix(GroupId(1), &Bytes::from_static(b"key"), 30, 1 << 20);
    let mut scan = Scan { has_values: false, ..all };
    let mut names = Vec::new();
    loop {
        let page = stage.ask(&[0], vec![Op::Scan(scan.clone())], SECOND).remove(0);
        let Some(Outcome::Ok(Reply::Page { items, next })) = page else { panic!("{page:?}") };
        names.extend(items.into_iter().map(|(key, _)| key));
        let Some(next) = next else { break };
        scan = scan.behind(next);
    }
    let expected = (0..40).filter(|nth| *nth != 7).map(|nth| format!("key{nth:02}"));
    assert!(names.iter().eq(expected.collect::<Vec<_>>().iter()));
    let count = stage.ask(&[0], vec![Op::Count(GroupId(1))], SECOND).remove(0);
    assert!(matches!(count, Some(Outcome::Ok(Reply::Count(39 | 40)))), "{count:?}");
    let get = Op::Get(Bytes::from_static(b"key00"));
    let value = stage.ask(&[0], vec![get], SECOND).remove(0);
    assert!(!matches!(value, Some(Outcome::Ok(_))), "the disk is not as bad as was meant");
    stage.assert_no_panic();
}
