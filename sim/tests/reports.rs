//! What a journal that its owner settles says of a damaged disk: it opens, names what is lost, says
//! so again at every opening, and serves nothing that it cannot tell from what is dead.
//!
//! Not here: crashes (`exhaust`), journals that refuse (`refusals`).

use trilith_engine::{
    journal::{
        Installed, Journal, JournalOptions, OnDamage, OpenReport, Origin, Persisted, Record,
        RecordKind, Recovered, Sync, TailSegment, Verdict, format::FRAME_MAGIC,
    },
    types::{GroupId, SegmentId, Term, Version},
    value::Indexed,
};
use trilith_sim::{exhaust::journal::tiny, platter::Platter, still::Still};

const VALUE: usize = 700;

fn options() -> JournalOptions {
    JournalOptions { settled_by_owner: true, damage: OnDamage::Report, ..tiny() }
}

fn open(still: &Still) -> (Journal<Still>, Recovered) {
    still.block_on(Journal::open(still, options())).expect("damage is reported, not refused")
}

fn put(still: &Still, journal: &mut Journal<Still>, group: u32, version: u64) -> Persisted {
    let mut frame = journal.frame();
    let (key, value) = (version.to_be_bytes(), vec![version as u8 | 1; VALUE]);
    let record = Record {
        group: GroupId(group),
        kind: RecordKind::Put,
        version: Version(version),
        term: Term(1),
        expires_ms: None,
        origin: Origin::Entry(b"who"),
        key: &key,
        value: &value,
    };
    frame.push(&record).expect("it fits");
    still.block_on(journal.append(frame, Sync::Now)).expect("a whole disk")
}

/// Entries 1 to 8, in turns of groups 1 and 2, each a frame of its own.
fn killed() -> Platter {
    let still = Still::with_seed(Platter::default(), 1);
    let (mut journal, _) = open(&still);
    for version in 1..=8 {
        let _durable = put(&still, &mut journal, 1 + (version % 2) as u32, version);
    }
    drop(journal);
    still.after_death(2).platter().clone()
}

/// Changes a byte of an entry's value, wherever it lies.
fn rot(disk: &mut Platter, version: u64) {
    let needle = [&version.to_be_bytes()[..], &[version as u8 | 1; 16]].concat();
    for name in disk.file_names() {
        let bytes = disk.peek(&name).expect("it is there");
        if let Some(at) = bytes.windows(needle.len()).rposition(|window| window == needle) {
            assert!(disk.rot(&name, at as u64 + 100, 3));
            return;
        }
    }
    panic!("entry {version} is nowhere");
}

/// Changes a byte of the front of an entry's frame.
fn rot_header(disk: &mut Platter, version: u64) {
    let needle = [&version.to_be_bytes()[..], &[version as u8 | 1; 16]].concat();
    let magic = FRAME_MAGIC.to_le_bytes();
    for name in disk.file_names() {
        let bytes = disk.peek(&name).expect("it is there");
        let at = bytes.windows(needle.len()).rposition(|window| window == needle);
        let front = at.and_then(|at| bytes[..at].windows(4).rposition(|window| window == magic));
        if let Some(front) = front {
            assert!(disk.rot(&name, front as u64 + 20, 3));
            return;
        }
    }
    panic!("entry {version} is nowhere");
}

/// Groups and terms of what the ends of earlier lives may have promised.
fn scars(recovered: &Recovered) -> Vec<Vec<(u32, u64)>> {
    let scars = recovered.tail.iter().filter_map(TailSegment::scar);
    scars.map(|lines| lines.iter().map(|line| (line.group.0, line.term.0)).collect()).collect()
}

fn versions(recovered: &Recovered) -> Vec<u64> {
    let records = recovered.tail.iter().flat_map(|segment| segment.records());
    records.map(|(_, _, record)| record.version.0).collect()
}

/// Whose records a report says are lost: group, lowest and highest version.
fn named(report: &OpenReport) -> Vec<(u32, u64, u64)> {
    let lines = report.damages.iter().flat_map(|damage| &damage.groups);
    lines.map(|line| (line.group.0, line.version_min.0, line.version_max.0)).collect()
}

/// Opens a disk three times, looks at what each life finds, and writes one more in each.
fn through_lives(disk: Platter, look: impl Fn(u64, &Recovered)) {
    let mut still = Still::with_seed(disk, 3);
    for life in 0..3 {
        let (mut journal, recovered) = open(&still);
        look(life, &recovered);
        // No LSN is given out twice, also when nobody can read what had it.
        assert_eq!(journal.next_lsn().0, 9 + life, "life {life}");
        let _durable = put(&still, &mut journal, 1, 9 + life);
        drop(journal);
        still = still.after_death(4 + life);
    }
}

#[test]
fn rot_in_the_tail_is_named_at_every_opening() {
    let mut disk = killed();
    rot(&mut disk, 3);
    through_lives(disk, |life, recovered| {
        let report = &recovered.report;
        let expect: Vec<u64> = (1..=8 + life).filter(|version| *version != 3).collect();
        assert_eq!(versions(recovered), expect, "life {life}");
        assert_eq!(named(report), [(2, 3, 3)], "life {life}: {report:?}");
        assert!(report.damages.iter().all(|damage| damage.verdict == Verdict::Rot));
        assert!(report.tail_is_certain, "life {life}: {report:?}");
    });
}

/// Nobody knows whether the last write was acknowledged, and a second opening does not know either.
#[test]
fn an_uncertain_end_stays_uncertain() {
    let mut disk = killed();
    rot(&mut disk, 8);
    through_lives(disk, |life, recovered| {
        let report = &recovered.report;
        let expect: Vec<u64> = (1..=7).chain(9..9 + life).collect();
        assert_eq!(versions(recovered), expect, "life {life}");
        assert!(!report.tail_is_certain, "life {life}: {report:?}");
        assert_eq!(report.damages.len(), 1, "life {life}: {report:?}");
        assert_eq!(report.damages[0].verdict, Verdict::Ambiguous, "life {life}");
        assert_eq!(scars(recovered), [vec![(1, 1)]], "life {life}");
        if life == 0 {
            assert_eq!(named(report), [(1, 8, 8)]);
        }
    });
}

/// What nobody can read may have been anybody's, and what comes before it is kept once.
#[test]
fn an_end_without_a_name_is_anybodys() {
    let mut disk = killed();
    rot_header(&mut disk, 8);
    through_lives(disk, |life, recovered| {
        let report = &recovered.report;
        let expect: Vec<u64> = (1..=7).chain(9..9 + life).collect();
        assert_eq!(versions(recovered), expect, "life {life}");
        assert_eq!(report.damages[0].verdict, Verdict::Ambiguous, "life {life}: {report:?}");
        assert_eq!(scars(recovered), [vec![]], "life {life}");
    });
}

/// A frame that says whose it is does not speak for one that may have come behind it.
#[test]
fn a_name_does_not_stand_for_what_lies_behind_it() {
    let mut disk = killed();
    rot(&mut disk, 7);
    rot_header(&mut disk, 8);
    let (_, recovered) = open(&Still::with_seed(disk, 3));
    assert_eq!(versions(&recovered), [1, 2, 3, 4, 5, 6]);
    assert_eq!(scars(&recovered), [vec![]], "{:?}", recovered.report);
}

/// All full segments settled, entry 2 as dead.
fn settled() -> (Platter, Vec<SegmentId>) {
    let still = Still::with_seed(killed(), 3);
    let (mut journal, recovered) = open(&still);
    let ids = journal.unsettled();
    assert!(ids.len() > 1, "several segments: {ids:?}");
    for segment in &recovered.tail {
        let records = segment.records().filter(|(_, _, record)| record.version.0 == 2);
        journal.settle(segment.id, records.map(|(_, loc, _)| loc.offset_words).collect());
    }
    assert_eq!(journal.unsettled(), []);
    while let Some(chore) = journal.plan() {
        let done = still.block_on(chore.run());
        let installed = still.block_on(journal.install(done)).expect("a whole disk");
        assert!(!matches!(installed, Installed::NotSealed(_)), "{installed:?}");
    }
    drop(journal);
    (still.after_death(4).platter().clone(), ids)
}

fn hinted(recovered: &Recovered) -> Vec<u64> {
    let mut found: Vec<u64> = recovered
        .segments
        .iter()
        .flat_map(|hints| hints.iter())
        .map(|hint| hint.version.0)
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn a_settled_segment_says_nothing_of_its_dead_records() {
    let (disk, _) = settled();
    let (journal, recovered) = open(&Still::with_seed(disk, 5));
    assert_eq!((hinted(&recovered), versions(&recovered)), (vec![1, 3, 4, 5, 6, 7, 8], vec![]));
    assert!(journal.unsettled().is_empty());
    assert!(recovered.report.damages.is_empty() && recovered.report.tail_is_certain);
}

/// The tail is kept, not looked for: it is right at once, whatever made a segment full.
#[test]
fn a_segment_is_in_the_tail_as_soon_as_it_is_full() {
    let still = Still::with_seed(Platter::default(), 1);
    let (mut journal, _) = open(&still);
    for full in 1..=2 {
        let written = put(&still, &mut journal, 1, full).loc(0).segment;
        still.block_on(journal.rotate()).expect("a whole disk");
        assert_eq!(journal.unsettled().last(), Some(&written));
        assert_eq!((journal.unsettled().len() as u64, journal.invariants()), (full, Ok(())));
    }
}

/// Whoever goes on from an older checkpoint must not see what its own future wrote.
#[test]
fn an_index_is_loaded_up_to_a_checkpoint() {
    let (disk, _) = settled();
    let (journal, recovered) = open(&Still::with_seed(disk, 5));
    let mut engine = Indexed::new(journal.files());
    recovered.segments.iter().for_each(|hints| engine.ledger_mut().enter(hints));
    let lists = recovered.segments.iter().map(|hints| hints.iter()).collect();
    engine.load_until(lists, 0, |group| Version(if group == GroupId(1) { 4 } else { 5 }));
    // 4 of group 1, whose 2 is dead, and 1, 3 and 5 of group 2.
    assert_eq!(engine.keys(), 4);
    assert_eq!(engine.invariants(), Ok(()));
}

/// Read from the frames, entry 2 would be back.
#[test]
fn a_damaged_footer_of_a_settled_segment_is_no_hint_and_is_not_made_again() {
    let (mut disk, ids) = settled();
    let name = trilith_engine::journal::files::segment_name(
        trilith_engine::journal::SegmentKind::Journal,
        ids[0],
    );
    let bytes = disk.peek(&name).expect("it is there");
    let magic = trilith_engine::journal::footer::FOOTER_MAGIC.to_le_bytes();
    let sectors = bytes.chunks(512).position(|sector| sector.starts_with(&magic));
    let footer = sectors.expect("a footer") as u64 * 512;
    assert!(disk.rot(&name, footer + 150, 0));
    let mut still = Still::with_seed(disk.clone(), 5);
    for life in 0..2 {
        let (journal, recovered) = open(&still);
        let report = &recovered.report;
        assert!(!hinted(&recovered).contains(&2), "life {life}");
        assert!(recovered.segments.iter().all(|hints| hints.segment != ids[0]), "life {life}");
        assert_eq!(report.distrusted, [(ids[0], vec![GroupId(1), GroupId(2)])], "life {life}");
        assert_eq!(report.damages.len(), 1, "life {life}: {report:?}");
        let source = journal.hint_source(ids[0]).expect("it is settled");
        assert!(still.block_on(source.load()).is_err(), "compaction must not take it either");
        drop((journal, source));
        still = still.after_death(6 + life);
    }
    let refuse = JournalOptions { damage: OnDamage::Refuse, ..options() };
    let still = Still::with_seed(disk, 7);
    assert!(still.block_on(Journal::open(&still, refuse)).is_err());
}
