//! A journal that its owner settles, under every crash: entries of two logs, terms, checkpoints,
//! what was computed from entries, and segments that come to count one after the other.
//!
//! The owner here is as simple as one can be: an entry overwrites those behind it, a *put* sets a
//! key unless its section says that its condition failed, and an *increment* is a command whose
//! outcome is computed when it is applied, from what the key holds then, and written beside the
//! entries. The model is a fold over everything ever written, without segments. What is settled
//! when must make no difference to what recovery shows: per group its term, the state as of its
//! last checkpoint, and the entries behind it.
//!
//! Not here: agreeing (`raft`), what commands really do (`store`).

use std::{collections::BTreeMap, fmt};

use bytes::BytesMut;
use trilith_engine::{
    journal::{
        FrameBuilder, Installed, Journal, JournalError, JournalOptions, OnDamage, Origin, Record,
        RecordKind, Recovered, Sync,
    },
    types::{GroupId, Loc, SegmentId, Term, Version},
    value::{Engine as _, Indexed, Scan, View as _},
};

use super::{Subject, journal::tiny, play};
use crate::{
    luck::{Domain, Luck},
    still::Still,
};

const GROUPS: [GroupId; 2] = [GroupId(1), GroupId(7)];

fn options() -> JournalOptions {
    JournalOptions { settled_by_owner: true, damage: OnDamage::Report, ..tiny() }
}

/// What the owner is told to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An entry in each group that sets a key to a value of this length.
    Put(usize, Sync),
    /// An entry that sets two keys at once, as the leader encoded it; in the first group.
    Both(Sync),
    /// An entry without effect: its condition failed; in the second group.
    Fails(Sync),
    /// An entry whose outcome is computed when it is applied; in the first group.
    Increment(Sync),
    /// The last entry of the first group is overwritten by one of a new term, unless it is applied.
    Overwrite(Sync),
    /// All entries are applied; terms and checkpoints are written.
    Checkpoint(Sync),
    /// The active segment ends.
    Rotate,
    /// A durable checkpoint, and every full segment is settled.
    Settle,
    /// Background work until there is none.
    Chores,
    /// Closed in order, and opened again.
    Reopen,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = |sync| if sync == Sync::Now { "" } else { ", unsynced" };
        match *self {
            Self::Put(len, sync) => write!(f, "put {len} bytes{}", how(sync)),
            Self::Both(sync) => write!(f, "set two keys{}", how(sync)),
            Self::Fails(sync) => write!(f, "fail{}", how(sync)),
            Self::Increment(sync) => write!(f, "increment{}", how(sync)),
            Self::Overwrite(sync) => write!(f, "overwrite{}", how(sync)),
            Self::Checkpoint(sync) => write!(f, "checkpoint{}", how(sync)),
            Self::Rotate => f.write_str("rotate"),
            Self::Settle => f.write_str("settle"),
            Self::Chores => f.write_str("chores"),
            Self::Reopen => f.write_str("reopen"),
        }
    }
}

/// The steps that short histories are made of.
pub const ALPHABET: &[Step] = &[
    Step::Put(10, Sync::Now),
    Step::Put(1900, Sync::Later),
    Step::Both(Sync::Now),
    Step::Fails(Sync::Later),
    Step::Increment(Sync::Now),
    Step::Overwrite(Sync::Now),
    Step::Checkpoint(Sync::Later),
    Step::Rotate,
    Step::Settle,
    Step::Chores,
    Step::Reopen,
];

/// A record as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    group: GroupId,
    kind: RecordKind,
    version: u64,
    term: u64,
    section: Option<Vec<u8>>,
    is_part: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Written {
    fn of(record: &Record<'_>) -> Self {
        let section = match record.origin {
            Origin::Entry(section) => Some(section.to_vec()),
            Origin::State | Origin::Part => None,
        };
        Self {
            group: record.group,
            kind: record.kind,
            version: record.version.0,
            term: record.term.0,
            section,
            is_part: record.origin == Origin::Part,
            key: record.key.to_vec(),
            value: record.value.to_vec(),
        }
    }

    fn record(&self) -> Record<'_> {
        Record {
            group: self.group,
            kind: self.kind,
            version: Version(self.version),
            term: Term(self.term),
            expires_ms: None,
            origin: match &self.section {
                Some(section) => Origin::Entry(section),
                None if self.is_part => Origin::Part,
                None => Origin::State,
            },
            key: &self.key,
            value: &self.value,
        }
    }

    fn is_head(&self) -> bool {
        self.section.is_some()
    }

    fn is_entry(&self) -> bool {
        self.is_head() || self.is_part
    }

    /// Whether it sets a key when it counts.
    fn sets(&self) -> bool {
        self.kind == RecordKind::Put && self.section.as_deref() != Some(FAILED)
    }
}

const FAILED: &[u8] = b"failed";

/// For each of these records, whether a later one overwrites it.
fn overwritten(records: &[Written]) -> Vec<bool> {
    let mut dead = vec![false; records.len()];
    let mut lowest: BTreeMap<GroupId, u64> = BTreeMap::new();
    for (at, record) in records.iter().enumerate().rev() {
        if !record.is_entry() {
            continue;
        }
        let behind = lowest.entry(record.group).or_insert(u64::MAX);
        dead[at] = record.version >= *behind;
        if record.is_head() {
            *behind = (*behind).min(record.version);
        }
    }
    dead
}

/// What is known of one group.
#[derive(Clone, PartialEq, Eq, Default)]
struct Shown {
    term: u64,
    applied: u64,
    /// Keys with versions and values, as of the checkpoint.
    keys: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    /// The entries behind the checkpoint: all their records.
    log: Vec<Written>,
}

/// What recovery shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Found(BTreeMap<GroupId, Shown>);

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (group, shown) in &self.0 {
            let keys: Vec<_> = shown
                .keys
                .iter()
                .map(|(key, (version, _))| format!("{}@{version}", String::from_utf8_lossy(key)))
                .collect();
            let log: Vec<_> = shown.log.iter().map(|one| (one.version, one.term)).collect();
            let (term, applied) = (shown.term, shown.applied);
            write!(f, "[group {group}: term {term}, applied {applied}, {keys:?}, log {log:?}]")?;
        }
        Ok(())
    }
}

/// The fold over everything ever written.
fn folded(records: &[Written]) -> Found {
    let dead = overwritten(records);
    let mut all = BTreeMap::new();
    for group in GROUPS {
        let mut shown = Shown::default();
        let of_group = || records.iter().zip(&dead).filter(move |(one, _)| one.group == group);
        for (one, _) in of_group() {
            match one.kind {
                RecordKind::Hard => shown.term = one.term,
                RecordKind::Checkpoint => shown.applied = one.version,
                _ => {}
            }
        }
        for (one, dead) in of_group().filter(|(one, _)| one.kind.is_a_write()) {
            if one.is_entry() && !dead && one.version > shown.applied {
                shown.log.push(one.clone());
            }
            let counts = !dead && one.version <= shown.applied && one.sets();
            let newest = shown.keys.get(&one.key).map_or(0, |(version, _)| *version);
            if counts && one.version >= newest {
                shown.keys.insert(one.key.clone(), (one.version, one.value.clone()));
            }
        }
        all.insert(group, shown);
    }
    Found(all)
}

/// What its owner knows of a journal that has died.
#[derive(Default)]
pub struct Known {
    /// Everything ever written, and where each frame ends in it.
    records: Vec<Written>,
    frames: Vec<usize>,
    /// How many frames are durable.
    durable: usize,
    /// Where the records of segments that are not settled lie, by their number in `records`.
    places: BTreeMap<usize, Loc>,
    /// What is applied, checkpoint or not.
    applied: BTreeMap<GroupId, u64>,
    term: u64,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames, {} durable", self.frames.len(), self.durable)
    }
}

impl Known {
    fn last(&self, group: GroupId) -> u64 {
        let dead = overwritten(&self.records);
        let live = self
            .records
            .iter()
            .zip(dead)
            .filter(|(one, dead)| one.group == group && one.is_head() && !dead);
        live.map(|(one, _)| one.version).max().unwrap_or(0)
    }

    fn entry(&self, group: GroupId, version: u64, kind: RecordKind) -> Written {
        let number = self.records.len();
        Written {
            group,
            kind,
            version,
            term: self.term,
            section: Some((number as u64).to_le_bytes().to_vec()),
            is_part: false,
            key: format!("key {}", version % 3).into_bytes(),
            value: Vec::new(),
        }
    }

    /// The value of a record: most of it zeros, so that a sector of zeros proves nothing by itself.
    fn value(&self, len: usize) -> Vec<u8> {
        let byte = |at: usize| self.records.len() as u8 ^ at as u8 | 1;
        (0..len).map(|at| if at % 1024 < 200 { byte(at) } else { 0 }).collect()
    }

    /// The keys of a group with everything applied that there is.
    fn state(&self, group: GroupId) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
        let mut records = self.records.clone();
        let mut checkpoint = self.entry(
            group,
            self.applied.get(&group).copied().unwrap_or(0),
            RecordKind::Checkpoint,
        );
        checkpoint.section = None;
        records.push(checkpoint);
        folded(&records).0.remove(&group).unwrap_or_default().keys
    }

    /// Applies all entries: what increments come to, and then terms and checkpoints.
    fn applying(&mut self) -> Vec<Written> {
        let mut out = Vec::new();
        for group in GROUPS {
            let dead = overwritten(&self.records);
            let from = self.applied.get(&group).copied().unwrap_or(0);
            let heads: Vec<Written> = self
                .records
                .iter()
                .zip(dead)
                .filter(|(one, dead)| {
                    one.group == group && one.is_head() && !dead && one.version > from
                })
                .map(|(one, _)| one.clone())
                .collect();
            let mut outcomes: Vec<Written> = Vec::new();
            for head in heads {
                self.applied.insert(group, head.version);
                if head.kind == RecordKind::Command && head.value == b"increment" {
                    let mut now = self.state(group);
                    for one in &outcomes {
                        let newest = now.get(&one.key).map_or(0, |(version, _)| *version);
                        if one.version >= newest {
                            now.insert(one.key.clone(), (one.version, one.value.clone()));
                        }
                    }
                    let before = now.get(&head.key).map(|(_, value)| value.clone());
                    let mut value = before.unwrap_or_default();
                    value.truncate(40);
                    value.push(b'+');
                    outcomes.push(Written { kind: RecordKind::Put, section: None, value, ..head });
                }
            }
            out.append(&mut outcomes);
            let version = self.applied.get(&group).copied().unwrap_or(0);
            let beside = |kind, version, term| Written {
                group,
                kind,
                version,
                term,
                section: None,
                is_part: false,
                key: Vec::new(),
                value: vec![9; 8],
            };
            out.push(beside(RecordKind::Hard, 0, self.term));
            out.push(beside(RecordKind::Checkpoint, version, self.term));
        }
        out
    }
}

fn push(frame: &mut FrameBuilder, records: &[Written]) {
    let mut at = 0;
    while let Some(first) = records.get(at) {
        let parts = records[at + 1..].iter().take_while(|one| one.is_part).count();
        if first.is_head() {
            // As the leader's bytes arrive.
            let mut bytes = BytesMut::new();
            records[at..=at + parts].iter().for_each(|one| one.record().encode(&mut bytes));
            frame.push_encoded(&bytes).expect("it fits");
        } else {
            frame.push(&first.record()).expect("it fits");
        }
        at += 1 + parts;
    }
}

async fn append(
    journal: &mut Journal<Still>,
    known: &mut Known,
    records: Vec<Written>,
    sync: Sync,
) -> Result<(), JournalError> {
    let mut frame = journal.frame();
    push(&mut frame, &records);
    let first = known.records.len();
    known.records.extend(records);
    known.frames.push(known.records.len());
    let persisted = journal.append(frame, sync).await?;
    for nth in 0..persisted.len() {
        known.places.insert(first + nth, persisted.loc(nth));
    }
    if sync == Sync::Now {
        known.durable = known.frames.len();
    }
    Ok(())
}

/// The records of a step, for its one frame.
fn records_of(known: &mut Known, step: Step) -> Option<(Vec<Written>, Sync)> {
    let [first, second] = GROUPS;
    let next = |known: &Known, group| known.last(group) + 1;
    Some(match step {
        Step::Put(len, sync) => {
            let put = |group| Written {
                value: known.value(len),
                ..known.entry(group, next(known, group), RecordKind::Put)
            };
            (vec![put(first), put(second)], sync)
        }
        Step::Both(sync) => {
            let head = known.entry(first, next(known, first), RecordKind::Command);
            let part = |key: &[u8]| Written {
                kind: RecordKind::Put,
                section: None,
                is_part: true,
                key: key.to_vec(),
                value: known.value(30),
                ..head.clone()
            };
            (vec![head.clone(), part(b"key 0"), part(b"key 2")], sync)
        }
        Step::Fails(sync) => {
            let mut put = known.entry(second, next(known, second), RecordKind::Put);
            put.section = Some(FAILED.to_vec());
            put.value = known.value(50);
            (vec![put], sync)
        }
        Step::Increment(sync) => {
            let mut head = known.entry(first, next(known, first), RecordKind::Command);
            head.value = b"increment".to_vec();
            (vec![head], sync)
        }
        Step::Overwrite(sync) => {
            let version = known.last(first);
            if version == 0 || version <= known.applied.get(&first).copied().unwrap_or(0) {
                return None;
            }
            known.term += 1;
            let put =
                Written { value: known.value(70), ..known.entry(first, version, RecordKind::Put) };
            (vec![put], sync)
        }
        Step::Checkpoint(sync) => (known.applying(), sync),
        Step::Settle => (known.applying(), Sync::Now),
        Step::Rotate | Step::Chores | Step::Reopen => return None,
    })
}

/// Settles every full segment: everything in it is applied, and what says so lies behind it.
fn settle(journal: &mut Journal<Still>, known: &mut Known) {
    let dead = overwritten(&known.records);
    for id in journal.unsettled() {
        let in_it = |loc: &Loc| loc.segment == id;
        let is_dead = |number: usize| {
            let one = &known.records[number];
            one.kind == RecordKind::Put && (dead[number] || !one.sets())
        };
        let places = known.places.iter().filter(|(_, loc)| in_it(loc));
        let dead = places.filter(|(number, _)| is_dead(**number)).map(|(_, loc)| loc.offset_words);
        journal.settle(id, dead.collect());
    }
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

async fn step(
    still: &Still,
    mut journal: Journal<Still>,
    known: &mut Known,
    step: Step,
) -> Result<Journal<Still>, ()> {
    if let Some((records, sync)) = records_of(known, step) {
        append(&mut journal, known, records, sync).await.map_err(drop)?;
    }
    match step {
        Step::Rotate => {
            journal.rotate().await.map_err(drop)?;
            known.durable = known.frames.len();
        }
        Step::Settle => settle(&mut journal, known),
        Step::Chores => chores(&mut journal).await.map_err(drop)?,
        Step::Reopen => {
            journal.close().await.map_err(drop)?;
            known.durable = known.frames.len();
            let (opened, recovered) = Journal::open(still, options()).await.map_err(drop)?;
            // The tail lies elsewhere now; it holds the records that were written last.
            let tail: Vec<(Loc, Written)> = tail(&recovered);
            let from = known.records.len() - tail.len();
            known.places = (from..).zip(tail.iter().map(|(loc, _)| *loc)).collect();
            journal = opened;
        }
        _ => {}
    }
    assert_eq!(journal.invariants(), Ok(()));
    Ok(journal)
}

fn tail(recovered: &Recovered) -> Vec<(Loc, Written)> {
    let records = recovered.tail.iter().flat_map(|segment| segment.records());
    records.map(|(_, loc, record)| (loc, Written::of(&record))).collect()
}

/// What an owner makes of an opened journal.
async fn show(journal: &Journal<Still>, recovered: &Recovered) -> Result<Found, String> {
    let report = &recovered.report;
    if !report.damages.is_empty() || !report.tail_is_certain {
        return Err(format!("damage without a cause: {:?}", report.damages));
    }
    let unsettled: Vec<SegmentId> = recovered.tail.iter().map(|segment| segment.id).collect();
    if unsettled != journal.unsettled() {
        return Err(format!("the tail {unsettled:?} is not {:?}", journal.unsettled()));
    }
    let lsns = recovered.tail.iter().flat_map(|segment| segment.records()).map(|(lsn, ..)| lsn.0);
    let lsns: Vec<u64> = lsns.collect();
    let last = report.last_lsn.0;
    if !lsns.iter().copied().eq(last + 1 - lsns.len() as u64..=last) {
        return Err(format!("the tail is no end of the log up to {last}: {lsns:?}"));
    }
    let tail = tail(recovered);
    let records: Vec<Written> = tail.iter().map(|(_, record)| record.clone()).collect();
    let mut found = folded(&records);
    let dead = overwritten(&records);
    let dead: Vec<Loc> = (tail.iter().zip(&dead))
        .filter(|((_, record), dead)| **dead || !record.sets())
        .map(|((loc, _), _)| *loc)
        .collect();
    let effective =
        recovered.tail.iter().map(|segment| segment.hints(|loc, _| !dead.contains(&loc)));
    let effective: Vec<_> = effective.collect();
    let mut engine = Indexed::new(journal.files());
    for hints in recovered.segments.iter().chain(&effective) {
        engine.ledger_mut().enter(hints);
    }
    let lists = recovered.segments.iter().chain(&effective).map(|hints| hints.iter()).collect();
    let applied: BTreeMap<GroupId, u64> =
        found.0.iter().map(|(group, shown)| (*group, shown.applied)).collect();
    engine.load_until(lists, 0, |group| Version(applied.get(&group).copied().unwrap_or(0)));
    engine.invariants()?;
    for (group, shown) in &mut found.0 {
        use std::ops::Bound::Unbounded;
        let all = Scan { start: Unbounded, end: Unbounded, keys_max: 99, bytes_max: 1 << 20 };
        let page = engine.view(*group).scan(all, 0).await;
        let page = page.map_err(|why| format!("a value cannot be read: {why}"))?;
        let items = page.items.into_iter();
        shown.keys = items.map(|(key, found)| (key, (found.version.0, found.value))).collect();
    }
    Ok(found)
}

async fn open(still: &Still) -> Result<(Journal<Still>, Found), String> {
    let opened = Journal::open(still, options()).await;
    let (journal, recovered) = opened.map_err(|why| format!("refused: {why}"))?;
    journal.invariants()?;
    let found = show(&journal, &recovered).await?;
    Ok((journal, found))
}

/// The subject.
#[derive(Debug)]
pub struct Entries;

impl Subject for Entries {
    type Step = Step;
    type Known = Known;
    type Found = Found;

    fn run(still: &Still, steps: &[Step], ops: &mut Vec<u64>) -> Known {
        let mut known = Known { term: 1, ..Known::default() };
        let open = Journal::open(still, options());
        let step = async |journal, one| step(still, journal, &mut known, one).await;
        play(still, open, step, steps, ops);
        known
    }

    fn recover(still: &Still) -> Result<Found, String> {
        still.block_on(async { open(still).await.map(|(_, found)| found) })
    }

    fn judge(known: &Known, found: &Found) -> Result<(), String> {
        let ends = [0].into_iter().chain(known.frames.iter().copied());
        let possible: Vec<Found> =
            ends.skip(known.durable).map(|end| folded(&known.records[..end])).collect();
        if possible.contains(found) {
            return Ok(());
        }
        Err(format!("{found:?}, and not one of {possible:?}"))
    }

    fn live_on(still: &Still, found: &Found) -> Result<(), String> {
        let mut after = found.clone();
        still.block_on(async {
            let (mut journal, _) = open(still).await?;
            let mut known = Known { term: 99, ..Known::default() };
            let shown = after.0.entry(GROUPS[0]).or_default();
            let last = shown.log.last().map_or(shown.applied, |one| one.version);
            let mut put = known.entry(GROUPS[0], last + 1, RecordKind::Put);
            put.value = vec![3; 900];
            shown.log.push(put.clone());
            let appended = append(&mut journal, &mut known, vec![put], Sync::Now).await;
            appended.map_err(|why| format!("it does not go on: {why}"))
        })?;
        let mut luck = Luck::new(found.0.len() as u64, Domain::Disk(1));
        let last = Self::recover(&still.after_power_loss(&mut luck, 4))?;
        if last == after { Ok(()) } else { Err(format!("{after:?} became {last:?}")) }
    }
}
