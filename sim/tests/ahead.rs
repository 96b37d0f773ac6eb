//! Compaction beside records that are ahead of the index: a life that ended after a snapshot was
//! listed and before it counted has left them, and the next one counts none of them.
//!
//! Not here: what becomes of them at the next snapshot (`scenarios/found`).

use std::collections::BTreeMap;

use trilith_engine::{
    journal::{
        Claim, Journal, ManifestEdit, Origin, Record, RecordKind, SegmentHints, SegmentInfo, Sync,
    },
    types::{GroupId, Lsn, SegmentId, Term, Version},
    value::{Indexed, JobParts, Progress},
};
use trilith_sim::{exhaust::journal::tiny, platter::Platter, still::Still};

const GROUP: GroupId = GroupId(1);
const KEY: &[u8] = b"key";
/// What counts, and what never did.
const COUNTS: Version = Version(5);
const AHEAD: Version = Version(9);

const fn record(version: Version) -> Record<'static> {
    Record {
        group: GROUP,
        kind: RecordKind::Put,
        version,
        term: Term(1),
        expires_ms: None,
        origin: Origin::State,
        key: KEY,
        value: b"value",
    }
}

/// A journal that has the key at one version in a full segment, and at a later one in a data segment
/// that is listed. Answers both segments.
async fn left_behind(still: &Still) -> (Journal<Still>, Vec<SegmentId>) {
    let (mut journal, _) = Journal::open(still, tiny()).await.expect("an empty disk");
    let mut frame = journal.frame();
    frame.push(&record(COUNTS)).expect("it fits");
    assert!(journal.append(frame, Sync::Now).await.expect("a whole disk").is_durable);
    journal.rotate().await.expect("a whole disk");
    while let Some(chore) = journal.plan() {
        let done = chore.run().await;
        journal.install(done).await.expect("a whole disk");
    }
    let mut snapshot = journal.data_writer(Claim::Moving);
    snapshot.push(&record(AHEAD)).await.expect("it fits");
    let add = vec![snapshot.finish().await.expect("a whole disk")];
    journal.edit(ManifestEdit { add, ..ManifestEdit::default() }).await.expect("a whole disk");
    let full = |info: &SegmentInfo| info.is_settled;
    let segments: Vec<SegmentId> = journal.segments().filter(full).map(|info| info.id).collect();
    assert_eq!(segments.len(), 2);
    (journal, segments)
}

/// Compacts both segments. Whether the key's place is among the copies then.
fn compacts() -> bool {
    let still = Still::with_seed(Platter::default(), 1);
    still.block_on(async {
        let (mut journal, victims) = left_behind(&still).await;
        let source = |id: &SegmentId| journal.hint_source(*id).expect("it is settled");
        let sources: Vec<_> = victims.iter().map(source).collect();
        let mut hints = Vec::new();
        for source in &sources {
            hints.push(source.load().await.expect("a whole disk"));
        }
        let mut engine = Indexed::new(journal.files());
        hints.iter().for_each(|hints| engine.ledger_mut().enter(hints));
        engine.load_until(hints.iter().map(SegmentHints::iter).collect(), 0, |_| COUNTS);
        let place = |engine: &Indexed<Still>| engine.tree(GROUP).and_then(|tree| tree.get(KEY));
        assert_eq!(place(&engine).map(|place| place.version), Some(COUNTS));
        let job = engine.plan(JobParts {
            rt: still.clone(),
            victims: victims.clone(),
            sources,
            writers: vec![journal.data_writer(Claim::Moving)],
            horizon: Lsn(0),
            now_ms: BTreeMap::new(),
            segment_bytes: 1 << 20,
            bytes_per_second: 0,
        });
        let mut compacted = job.run().await.expect("a whole disk");
        let add = std::mem::take(&mut compacted.segments);
        journal.edit(ManifestEdit { add, ..ManifestEdit::default() }).await.expect("a whole disk");
        compacted.next_moves(&mut Progress::default(), usize::MAX, |moved| {
            engine.relocate(moved, &victims);
        });
        let moved = place(&engine).filter(|place| place.version == COUNTS);
        moved.is_some_and(|place| !victims.contains(&place.loc.segment))
    })
}

/// The compaction took the newer record for the newest of its key, saw that the index points at
/// another one, and dropped the one that counts.
#[test]
fn a_record_from_ahead_of_the_index_hides_nothing() {
    assert!(compacts(), "the victims go, and what counts with them");
}

#[cfg(feature = "mutants")]
#[test]
fn a_compaction_that_believes_what_never_counted_is_noticed() {
    let ledger = trilith_sim::ledger::Ledger::new(["compaction_believes_what_never_counted"]);
    let _entered = ledger.enter();
    assert!(!compacts());
}
