//! The journal alone, under every crash.
//!
//! Each record's key is its LSN, so the hints of an opened journal name every record that is left.
//! Three questions: is everything there that was acknowledged, is there nothing that was never
//! written, and does no frame stand half there?
//!
//! Not here: keys with several versions, compaction (`store`).

use std::{collections::BTreeMap, fmt};

use trilith_engine::{
    journal::{
        Expect, Installed, Journal, JournalError, JournalOptions, ManifestEdit, Origin, Record,
        RecordKind, SegmentHints, Sync,
    },
    types::{GroupId, Lsn, Term, Version},
};

use super::{Subject, play};
use crate::{
    luck::{Domain, Luck},
    still::Still,
};

const GROUP: GroupId = GroupId(1);

/// Segments so small that every other append goes on to the next.
#[must_use]
pub fn tiny() -> JournalOptions {
    JournalOptions {
        first_segment_bytes: 8 << 10,
        segment_bytes_max: 16 << 10,
        manifest_bytes: 8 << 10,
        reserve_bytes: 0,
        ..JournalOptions::default()
    }
}

/// What a journal is told to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A frame with records whose values have these lengths.
    Append(&'static [usize], Sync),
    /// Everything becomes durable.
    Sync,
    /// Nothing was written for a while.
    Idle,
    /// The active segment ends.
    Rotate,
    /// Background work until there is none.
    Chores,
    /// The oldest sealed segment is dropped: its records are gone for good.
    DropOldest,
    /// Closed in order, and opened again.
    Reopen,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append(lens, Sync::Now) => write!(f, "append {lens:?} now"),
            Self::Append(lens, Sync::Later) => write!(f, "append {lens:?} later"),
            Self::Sync => f.write_str("sync"),
            Self::Idle => f.write_str("idle"),
            Self::Rotate => f.write_str("rotate"),
            Self::Chores => f.write_str("chores"),
            Self::DropOldest => f.write_str("drop oldest"),
            Self::Reopen => f.write_str("reopen"),
        }
    }
}

/// The letters of all short histories: a frame within a sector, one over several that is not
/// waited for, one that does not fit behind another, and everything else.
pub const ALPHABET: &[Step] = &[
    Step::Append(&[40], Sync::Now),
    Step::Append(&[700, 10], Sync::Later),
    Step::Append(&[2500], Sync::Now),
    Step::Sync,
    Step::Idle,
    Step::Rotate,
    Step::Chores,
    Step::DropOldest,
    Step::Reopen,
];

/// What a run knows when it ends.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The highest LSN that was acknowledged as durable.
    pub durable: u64,
    /// The last LSN of every frame handed over.
    frame_ends: Vec<u64>,
    /// Value lengths by LSN.
    lens: BTreeMap<u64, usize>,
    /// LSNs that an acknowledged edit dropped, and those of one that may have happened.
    dropped: Vec<u64>,
    maybe_dropped: Vec<u64>,
}

/// What is left: values by LSN, and how far the log goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    values: BTreeMap<u64, Vec<u8>>,
    last: u64,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} up to {}", self.values.keys().collect::<Vec<_>>(), self.last)
    }
}

/// The value of a record: most of it zeros, so that a sector of zeros proves nothing by itself.
fn value(lsn: u64, len: usize) -> Vec<u8> {
    let byte = |index: usize| (lsn as u8) ^ (index as u8) | 1;
    (0..len).map(|index| if index % 1024 < 300 { byte(index) } else { 0 }).collect()
}

async fn append(
    journal: &mut Journal<Still>,
    known: &mut Known,
    lens: &[usize],
    sync: Sync,
) -> Result<(), JournalError> {
    let mut frame = journal.frame();
    for len in lens {
        let lsn = frame.next_lsn().0;
        let (key, value) = (lsn.to_be_bytes(), value(lsn, *len));
        let record = Record {
            group: GROUP,
            kind: RecordKind::Put,
            version: Version(lsn),
            term: Term(0),
            expires_ms: None,
            origin: Origin::State,
            key: &key,
            value: &value,
        };
        known.lens.insert(lsn, *len);
        assert_eq!(frame.push(&record), Ok(Lsn(lsn)));
    }
    known.frame_ends.push(frame.next_lsn().0 - 1);
    let persisted = journal.append(frame, sync).await?;
    if sync == Sync::Now {
        assert!(persisted.is_durable);
        known.durable = persisted.last.0;
    }
    Ok(())
}

async fn chores(journal: &mut Journal<Still>) -> Result<(), JournalError> {
    while let Some(chore) = journal.plan() {
        let done = chore.run().await;
        if let Installed::NotPrepared(_) = journal.install(done).await? {
            break;
        }
    }
    Ok(())
}

async fn drop_oldest(journal: &mut Journal<Still>, known: &mut Known) -> Result<(), JournalError> {
    let oldest = journal.segments().find(|info| info.is_sealed);
    let source = oldest.and_then(|info| journal.hint_source(info.id));
    let Some(source) = source else { return Ok(()) };
    let Ok(hints) = source.load().await else { return Ok(()) };
    known.maybe_dropped = hints.iter().map(|hint| hint.version.0).collect();
    let drop = vec![source.id()];
    std::mem::drop(source);
    journal.edit(ManifestEdit { drop, ..ManifestEdit::default() }).await?;
    known.dropped.append(&mut known.maybe_dropped);
    Ok(())
}

async fn step(
    still: &Still,
    mut journal: Journal<Still>,
    known: &mut Known,
    step: Step,
) -> Result<Journal<Still>, ()> {
    let done = match step {
        Step::Append(lens, sync) => append(&mut journal, known, lens, sync).await,
        Step::Sync => journal.sync().await.map(|lsn| known.durable = lsn.0),
        Step::Idle => journal.seal_idle().await,
        Step::Rotate => {
            let rotated = journal.rotate().await;
            known.durable = known.durable.max(journal.durable_lsn().0);
            rotated
        }
        Step::Chores => chores(&mut journal).await,
        Step::DropOldest => drop_oldest(&mut journal, known).await,
        Step::Reopen => {
            let last = journal.next_lsn().0 - 1;
            journal.close().await.map_err(drop)?;
            known.durable = last;
            journal = Journal::open(still, tiny()).await.map_err(drop)?.0;
            Ok(())
        }
    };
    done.map_err(drop)?;
    assert_eq!(journal.invariants(), Ok(()));
    Ok(journal)
}

async fn read_all(
    journal: &Journal<Still>,
    segments: &[SegmentHints],
) -> Result<BTreeMap<u64, Vec<u8>>, String> {
    let files = journal.files();
    let mut found = BTreeMap::new();
    for hints in segments {
        for hint in hints.iter() {
            let expect = Expect { group: GROUP, key: hint.key, version: hint.version };
            let record = files.read(hint.loc, expect).await;
            let record = record.map_err(|why| format!("a hinted record cannot be read: {why}"))?;
            found.insert(hint.version.0, record.value().to_vec());
        }
    }
    Ok(found)
}

async fn open(still: &Still) -> Result<(Journal<Still>, Found), String> {
    let opened = Journal::open(still, tiny()).await;
    let (journal, recovered) = opened.map_err(|why| format!("refused: {why}"))?;
    journal.invariants()?;
    let values = read_all(&journal, &recovered.segments).await?;
    Ok((journal, Found { values, last: recovered.report.last_lsn.0 }))
}

/// The subject.
#[derive(Debug)]
pub struct Journals;

impl Subject for Journals {
    type Step = Step;
    type Known = Known;
    type Found = Found;

    fn run(still: &Still, steps: &[Step], ops: &mut Vec<u64>) -> Known {
        let mut known = Known::default();
        let open = Journal::open(still, tiny());
        let step = async |journal, one| step(still, journal, &mut known, one).await;
        play(still, open, step, steps, ops);
        known
    }

    fn recover(still: &Still) -> Result<Found, String> {
        still.block_on(async { open(still).await.map(|(_, found)| found) })
    }

    fn judge(known: &Known, found: &Found) -> Result<(), String> {
        let last = found.last;
        if last < known.durable {
            return Err(format!("{} was acknowledged, {last} is the last", known.durable));
        }
        if last != 0 && last != known.durable && !known.frame_ends.contains(&last) {
            return Err(format!("half a frame: {last} of {:?}", known.frame_ends));
        }
        for lsn in 1..=last {
            let is_there = found.values.contains_key(&lsn);
            let is_dropped = known.dropped.contains(&lsn);
            if !is_there && !is_dropped && !known.maybe_dropped.contains(&lsn) {
                return Err(format!("LSN {lsn} is gone"));
            }
            if is_there && is_dropped {
                return Err(format!("LSN {lsn} is back"));
            }
        }
        for (lsn, bytes) in &found.values {
            let len = known.lens.get(lsn).ok_or_else(|| format!("nobody wrote LSN {lsn}"))?;
            if *lsn > last || *bytes != value(*lsn, *len) {
                return Err(format!("LSN {lsn} has another value"));
            }
        }
        Ok(())
    }

    fn live_on(still: &Still, found: &Found) -> Result<(), String> {
        let mut after = found.clone();
        still.block_on(async {
            let (mut journal, _) = open(still).await?;
            let mut known = Known::default();
            let appended = append(&mut journal, &mut known, &[100, 900], Sync::Now).await;
            appended.map_err(|why| format!("it does not go on: {why}"))?;
            for (lsn, len) in known.lens {
                after.values.insert(lsn, value(lsn, len));
                after.last = lsn;
            }
            Ok::<(), String>(())
        })?;
        let mut luck = Luck::new(found.last, Domain::Disk(1));
        let last = Self::recover(&still.after_power_loss(&mut luck, 4))?;
        if last == after { Ok(()) } else { Err(format!("{after:?} became {last:?}")) }
    }
}
