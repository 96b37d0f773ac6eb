//! Stories of cuts: a group that is held still for somebody who makes a backup.
//!
//! Each is told once as it is, and once with the planted bug that breaks it.
//!
//! Not here: backups of clusters under faults (`backups.rs`).

use bytes::Bytes;
use trilith_engine::{
    command::{Command, Condition, Cut, Expiry, Level, Op, Outcome, Refusal, Reply},
    limits::SHARD_CUTS_MAX,
    shard::ShardOptions,
    types::GroupId,
};
use trilith_sim::world::NodeId;

use crate::{
    full::planted,
    stage::{SECOND, Stage, delete, set, small},
};

const GROUP: GroupId = GroupId(1);
const KIB: usize = 1 << 10;

type Items = Vec<(String, Vec<u8>)>;

fn many(count: usize, byte: u8) -> Vec<Op> {
    let value = Bytes::from(vec![byte; KIB]);
    (0..count).map(|nth| set(format!("key{nth:02}"), value.clone())).collect()
}

fn open(stage: &mut Stage, node: u32, level: Level) -> Result<u64, Option<Outcome>> {
    let asked = vec![Op::Cut(Cut::Open(GROUP))];
    match stage.ask_at(level, &[node], asked, 3 * SECOND).remove(0) {
        Some(Outcome::Ok(Reply::Cut(opened))) => Ok(opened.cut),
        other => Err(other),
    }
}

/// Reads all of a cut, a few keys at a time.
fn read(stage: &mut Stage, node: u32, cut: u64) -> Result<Items, Option<Outcome>> {
    let (mut all, mut behind) = (Vec::new(), None);
    loop {
        let page = Cut::Page { group: GROUP, cut, behind, keys_max: 7, bytes_max: 1 << 20 };
        let answer = stage.ask(&[node], vec![Op::Cut(page)], 3 * SECOND).remove(0);
        let Some(Outcome::Ok(Reply::Page { items, next })) = answer else { return Err(answer) };
        let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        all.extend(items.iter().map(|(key, found)| (text(key), found.value.to_vec())));
        behind = next;
        if behind.is_none() {
            return Ok(all);
        }
    }
}

fn gone() -> Option<Outcome> {
    Some(Outcome::Refused(Refusal::NoCut))
}

/// Every node holds a cut while the keys are written again and again, some deleted and others added,
/// until what the cuts name was compacted away. Whether each has what was there.
fn hold_while_all_is_written(bugs: &[&str]) -> bool {
    let mut stage = Stage::with(3, &small(), planted(bugs));
    let all = [0, 1, 2];
    stage.ask(&all, many(40, b'a'), 10 * SECOND);
    let level = |node| if node == 0 { Level::Strong } else { Level::Quorum };
    let leader = stage.leader();
    let cuts = all
        .map(|node| open(&mut stage, (leader + node) % 3, level(node)).expect("everybody is well"));
    for byte in *b"bcdefgh" {
        let answers = stage.ask(&all, many(60, byte), 10 * SECOND);
        assert!(answers.iter().all(|one| matches!(one, Some(Outcome::Ok(_)))));
        stage.ask_each(&all, vec![delete("key07".into())]);
        stage.world.run_for(2 * SECOND);
    }
    assert!(stage.shown(leader).counts.segments_dropped > 0, "nothing was let go of");
    let found = [0, 1, 2].map(|nth| {
        let node = (leader + nth as u32) % 3;
        let found = read(&mut stage, node, cuts[nth]).expect("it is held");
        let close = Op::Cut(Cut::Close { group: GROUP, cut: cuts[nth] });
        stage.ask_each(&[node], vec![close]);
        assert_eq!(read(&mut stage, node, cuts[nth]), Err(gone()), "it was closed");
        found
    });
    stage.assert_no_panic();
    let expected = (0..40).map(|nth| (format!("key{nth:02}"), vec![b'a'; KIB]));
    let expected: Items = expected.collect();
    found.iter().all(|found| *found == expected)
}

#[test]
fn a_cut_is_one_moment_whatever_is_written() {
    assert!(hold_while_all_is_written(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_cut_that_goes_on_is_noticed() {
    assert!(!hold_while_all_is_written(&["shard_cut_reads_what_is_here"]));
}

/// Whether a replica that is cut off opens a cut of what it has.
fn open_where_nothing_arrives(bugs: &[&str]) -> bool {
    let mut stage = Stage::with(3, &ShardOptions::default(), planted(bugs));
    stage.ask(&[0, 1, 2], many(3, b'a'), 10 * SECOND);
    let behind = (stage.leader() + 1) % 3;
    stage.part(behind);
    let others: Vec<u32> = (0..3).filter(|node| *node != behind).collect();
    stage.ask(&others, many(3, b'b'), 10 * SECOND);
    let opened = open(&mut stage, behind, Level::Quorum);
    stage.assert_no_panic();
    opened.is_ok()
}

#[test]
fn a_cut_sees_what_was_acknowledged_before() {
    assert!(!open_where_nothing_arrives(&[]));
    let mut stage = Stage::new(1, &ShardOptions::default());
    let refused = Some(Outcome::Refused(Refusal::Level));
    assert_eq!(open(&mut stage, 0, Level::Eventual), Err(refused));
}

#[cfg(feature = "mutants")]
#[test]
fn a_cut_of_what_happens_to_be_here_is_noticed() {
    assert!(open_where_nothing_arrives(&["shard_cut_of_what_is_here"]));
}

/// More cuts are opened than there may be. Whether there were never more, and whether the first one
/// is gone half a minute later.
fn open_too_many(bugs: &[&str]) -> (bool, bool) {
    let mut stage = Stage::with(1, &ShardOptions::default(), planted(bugs));
    stage.ask(&[0], many(3, b'a'), 10 * SECOND);
    let asked = (0..=SHARD_CUTS_MAX).map(|_| Op::Cut(Cut::Open(GROUP))).collect();
    let answers = stage.ask(&[0], asked, SECOND / 10);
    let opened: Vec<u64> = answers
        .iter()
        .filter_map(|answer| match answer {
            Some(Outcome::Ok(Reply::Cut(opened))) => Some(opened.cut),
            _ => None,
        })
        .collect();
    assert!(opened.len() >= SHARD_CUTS_MAX);
    stage.world.run_for(25 * SECOND);
    assert!(read(&mut stage, 0, opened[0]).is_ok(), "somebody asks for it");
    stage.world.run_for(25 * SECOND);
    let kept = read(&mut stage, 0, opened[0]);
    assert!(kept.is_ok(), "somebody asked for it: {kept:?}");
    stage.world.run_for(31 * SECOND);
    let is_gone = read(&mut stage, 0, opened[0]) == Err(gone());
    assert!(!is_gone || open(&mut stage, 0, Level::Strong).is_ok());
    stage.assert_no_panic();
    (stage.beyond().is_empty(), is_gone)
}

#[test]
fn cuts_are_few_and_end() {
    assert_eq!(open_too_many(&[]), (true, true));
}

#[cfg(feature = "mutants")]
#[test]
fn cuts_without_end_are_noticed() {
    assert!(!open_too_many(&["shard_cuts_have_no_end"]).0);
    assert!(!open_too_many(&["shard_idle_cuts_stay"]).1);
}

/// The disk becomes full while a cut is held. Whether it is let go of.
fn fill_a_disk(bugs: &[&str]) -> bool {
    let mut stage = Stage::with(1, &small(), planted(bugs));
    stage.ask(&[0], many(20, b'a'), 10 * SECOND);
    let cut = open(&mut stage, 0, Level::Strong).expect("there is room");
    stage.fill(&[0], 0);
    for byte in *b"bcdefghi" {
        stage.ask(&[0], many(40, byte), 2 * SECOND);
    }
    stage.world.run_for(2 * SECOND);
    let is_gone = read(&mut stage, 0, cut) == Err(gone());
    stage.assert_no_panic();
    is_gone
}

#[test]
fn a_full_disk_lets_go_of_cuts() {
    assert!(fill_a_disk(&[]));
}

#[cfg(feature = "mutants")]
#[test]
fn a_full_disk_that_holds_cuts_is_noticed() {
    assert!(!fill_a_disk(&["shard_full_disk_keeps_cuts"]));
}

/// A replica's disk has damaged values. What a cut there has, and what another one has when the
/// others have sent theirs.
fn read_damaged(bugs: &[&str]) -> [Result<Items, Option<Outcome>>; 2] {
    let shard = ShardOptions { scrub_bytes_per_second: 0, ..small() };
    let mut stage = Stage::with(3, &shard, planted(bugs));
    let expected = 20;
    stage.ask(&[0, 1, 2], many(expected, b'a'), 10 * SECOND);
    let hurt = (stage.leader() + 1) % 3;
    stage.world.run_for(SECOND);
    let cut = open(&mut stage, hurt, Level::Quorum).expect("everybody is well");
    stage.world.with_platter(NodeId(hurt), |disk| {
        for file in disk.file_names().iter().filter(|name| name.starts_with("j/")) {
            // Some of what was written, and nothing of what is to come.
            for offset in (4096..12 << 10).step_by(512) {
                disk.rot(file, offset, 3);
            }
        }
    });
    let first = read(&mut stage, hurt, cut);
    let mut again = Err(None);
    for _ in 0..50 {
        stage.world.run_for(SECOND);
        let Ok(cut) = open(&mut stage, hurt, Level::Quorum) else { continue };
        again = read(&mut stage, hurt, cut);
        if again.is_ok() {
            break;
        }
    }
    stage.assert_no_panic();
    [first, again]
}

#[test]
fn a_damaged_value_ends_a_cut_and_is_mended() {
    let expected = (0..20).map(|nth| (format!("key{nth:02}"), vec![b'a'; KIB])).collect();
    assert_eq!(read_damaged(&[]), [Err(gone()), Ok(expected)]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_cut_that_passes_over_damage_is_noticed() {
    let [first, _] = read_damaged(&["shard_cut_passes_over_damage"]);
    assert!(first.is_ok_and(|items| items.iter().any(|(_, value)| value.is_empty())));
}

/// What is over by the group's time is in no cut, whatever the index still has.
#[test]
fn what_has_expired_is_in_no_cut() {
    let mut stage = Stage::new(1, &ShardOptions::default());
    let (key, condition) = (Bytes::from_static(b"mortal"), Condition::Always);
    let (value, expiry) = (Bytes::from_static(b"value"), Expiry::After(2000));
    let mortal = Op::Write(Command::Set { key, value, expiry, condition, want_old: false });
    stage.ask_each(&[0], vec![mortal]);
    let before = open(&mut stage, 0, Level::Strong).expect("it is well");
    stage.world.run_for(5 * SECOND);
    stage.ask_each(&[0], vec![set("last".into(), Bytes::new())]);
    let behind = open(&mut stage, 0, Level::Strong).expect("it is well");
    let keys = |items: Items| items.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(read(&mut stage, 0, before).map(keys), Ok(vec!["mortal".to_owned()]));
    assert_eq!(read(&mut stage, 0, behind).map(keys), Ok(vec!["last".to_owned()]));
    stage.assert_no_panic();
}
