//! Compaction: what of some segments is still needed moves into new ones, sorted by key.
//!
//! ```text
//!   plan (owner, at once)     victims, a snapshot of the index, what is older than they are
//!   run  (nobody's)           merge the victims' hints by key, copy what is needed, sync
//!   install (owner)           1. the manifest lists the new segments
//!                             2. the index points there, some thousand keys at a time
//!                             3. the journal is durable up to the snapshot
//!                             4. the manifest drops the victims, all in one edit
//! ```
//! A crash before 4 leaves both copies listed. They are the same records with the same versions,
//! so it does not matter which the index is loaded from. Commits go on between all steps.
//!
//! What is needed ([`Fate`]):
//! - a record that the index points at, unless it has expired;
//! - a deletion (or an expired value, which becomes one) as long as some segment outside the
//!   victims may hold something older of its key: a record that outlives the deletion that hides
//!   it would come back to life.
//!
//! Victims are settled: their hints say which of their records count (`journal/settle.rs`).
//!
//! Step 3 is there because the snapshot may hold writes that no sync has reached yet. What they
//! replaced is durable, and would be gone with the victims if the power failed then.
//!
//! Invariants: an install changes a key only if it is still at the version that was copied (I4); a
//! victim goes only when no index points into it (I5); a victim with a damaged live record is not
//! a victim.
//!
//! Not here: which segments are victims (`ledger.rs`), how segments are written (`journal`).

use alloc::{
    collections::BTreeMap,
    string::ToString,
    sync::Arc,
    vec::{self, Vec},
};
use core::{fmt, time::Duration};

use super::{
    leaf::Place,
    ledger::Line,
    merge::Merge,
    tree::{Builder, Tree},
};
use crate::{
    journal::{
        DataSegment, DataWriter, Expect, Files, HintRef, HintSource, Origin, ReadError, Record,
        RecordKind, data::DataError,
    },
    mark, planted,
    runtime::{Clock, Instant, Runtime, Task},
    types::{GroupId, Loc, Lsn, SegmentId, Version},
};

/// What becomes of the newest record that the victims hold of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing needs it.
    Drop,
    /// The index points at this place: its record is copied as it is.
    Copy(Place),
    /// It is a deletion that may still hide something: it is copied as it is.
    Keep,
    /// It has expired but may still hide something: a deletion of its version takes its place.
    Entomb,
}

/// Judges a record by what the index says of its key, and by the lowest version outside the
/// victims.
fn fate(
    hint: &HintRef<'_>,
    indexed: Option<Place>,
    oldest_outside: Option<Version>,
    now_ms: u64,
) -> Fate {
    let may_hide = oldest_outside.is_some_and(|oldest| oldest <= hint.version);
    let may_hide = may_hide && !planted!("tombstone_dropped_early");
    let is_put = hint.kind == RecordKind::Put;
    match indexed {
        Some(place) if place.version > hint.version => Fate::Drop,
        Some(place) if place.version == hint.version && is_put => {
            match (place.is_expired(now_ms), may_hide) {
                (false, _) => Fate::Copy(place),
                (true, true) => Fate::Entomb,
                (true, false) => Fate::Drop,
            }
        }
        Some(_) | None if !may_hide => Fate::Drop,
        Some(_) | None if !is_put => Fate::Keep,
        Some(_) | None if hint.expires_ms.is_some_and(|at| at <= now_ms) => Fate::Entomb,
        // A value that no index knows, though nothing newer is among the victims: the deletion
        // that took it away lies outside.
        Some(_) | None => Fate::Drop,
    }
}

/// Where the record of a key went.
#[derive(Clone, Copy, Debug)]
pub struct Moved<'a> {
    /// Whose it is.
    pub group: GroupId,
    /// The key.
    pub key: &'a [u8],
    /// The version that was copied.
    pub version: Version,
    /// Where the copy lies; `None` when the value had expired.
    pub to: Option<Loc>,
}

/// A compaction, planned: all it needs to run without its owner.
pub struct Job<R: Runtime> {
    pub(super) rt: R,
    pub(super) files: Arc<Files<R>>,
    pub(super) trees: BTreeMap<GroupId, Tree>,
    pub(super) victims: Vec<SegmentId>,
    pub(super) sources: Vec<HintSource<R>>,
    pub(super) writers: Vec<DataWriter<R>>,
    pub(super) oldest_outside: Option<Version>,
    pub(super) seen: Vec<(GroupId, Version)>,
    pub(super) horizon: Lsn,
    pub(super) now_ms: BTreeMap<GroupId, u64>,
    pub(super) segment_bytes: u64,
    pub(super) bytes_per_second: u64,
}

/// What an owner must say to plan a compaction.
pub struct JobParts<R: Runtime> {
    /// Its runtime.
    pub rt: R,
    /// The segments to move.
    pub victims: Vec<SegmentId>,
    /// Their hints.
    pub sources: Vec<HintSource<R>>,
    /// Writers for new segments: enough of them for all that is live.
    pub writers: Vec<DataWriter<R>>,
    /// The journal must be durable up to here before a victim goes.
    pub horizon: Lsn,
    /// What time it is for each group; for one that is not here nothing has expired yet. Where
    /// recovery executes again, it is the time of the group's last durable checkpoint: an entry
    /// behind it may still see what expires later.
    pub now_ms: BTreeMap<GroupId, u64>,
    /// How long a new segment may become.
    pub segment_bytes: u64,
    /// How fast to go; 0 for no limit.
    pub bytes_per_second: u64,
}

impl<R: Runtime> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compact {:?}", self.victims)
    }
}

/// Why a compaction gave up. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompactError {
    /// A segment's hints could not be read.
    Read(ReadError),
    /// The value that the index has of a key could not be read.
    Value {
        /// Whose it is.
        group: GroupId,
        /// The key.
        key: Vec<u8>,
        /// Why.
        why: ReadError,
    },
    /// A new segment could not be written.
    Write(DataError),
}

impl CompactError {
    /// The damaged segment, if that is why.
    #[must_use]
    pub const fn faulty(&self) -> Option<SegmentId> {
        match self {
            Self::Read(why) | Self::Value { why, .. } => match why {
                ReadError::Damaged { segment, .. } | ReadError::Misplaced { segment, .. } => {
                    Some(*segment)
                }
                ReadError::Disk(_) | ReadError::Unknown(_) => None,
            },
            Self::Write(_) => None,
        }
    }
}

impl CompactError {
    /// Whether it found no room.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Write(DataError::NoSpace))
    }
}

impl fmt::Display for CompactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) | Self::Value { why: error, .. } => error.fmt(f),
            Self::Write(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CompactError {}

impl From<ReadError> for CompactError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<DataError> for CompactError {
    fn from(error: DataError) -> Self {
        Self::Write(error)
    }
}

/// What a compaction wrote: durable, and part of nothing yet.
pub struct Compacted<R: Runtime> {
    /// The new segments.
    pub segments: Vec<DataSegment<R>>,
    /// What each of them holds.
    pub lines: Vec<(SegmentId, Line)>,
    /// The segments that are done with once everything is installed.
    pub victims: Vec<SegmentId>,
    /// The journal must be durable up to here before they go.
    pub horizon: Lsn,
    /// The versions of the groups from which it was planned. Where recovery executes again what is
    /// behind a group's last checkpoint, a checkpoint at or above this must be durable before the
    /// victims go: they hold what an entry below it still has to see.
    pub seen: Vec<(GroupId, Version)>,
    /// Bytes of records written.
    pub bytes: u64,
    copied: Vec<(GroupId, Tree)>,
    expired: Vec<(GroupId, Vec<u8>, Version)>,
}

impl<R: Runtime> fmt::Debug for Compacted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compacted({:?} into {:?})", self.victims, self.segments)
    }
}

/// Where installing a compaction has come to.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    group: usize,
    after: Option<Vec<u8>>,
    expired: usize,
}

impl<R: Runtime> Compacted<R> {
    /// Hands the next moves to `each`, at most `most`; answers whether there are more.
    pub fn next_moves(
        &self,
        progress: &mut Progress,
        most: usize,
        mut each: impl FnMut(&Moved<'_>),
    ) -> bool {
        use core::ops::Bound;
        let mut left = most;
        while let Some((group, tree)) = self.copied.get(progress.group) {
            let after = progress.after.take();
            let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut cursor = tree.range(start, Bound::Unbounded);
            while let Some((key, place)) = cursor.next() {
                let (version, to) = (place.version, Some(place.loc));
                each(&Moved { group: *group, key, version, to });
                left -= 1;
                if left == 0 {
                    progress.after = Some(key.to_vec());
                    return true;
                }
            }
            progress.group += 1;
        }
        while let Some((group, key, version)) = self.expired.get(progress.expired) {
            progress.expired += 1;
            each(&Moved { group: *group, key, version: *version, to: None });
            left -= 1;
            if left == 0 {
                return progress.expired < self.expired.len();
            }
        }
        false
    }
}

/// Bytes between two looks at the clock, and chances for others.
const BREATH_BYTES: u64 = 256 << 10;
/// Keys between two chances for others: most of them are only looked up, and copy nothing.
const BREATH_KEYS: usize = 1 << 10;

/// What is being written.
struct Output<R: Runtime> {
    rt: R,
    spare: vec::IntoIter<DataWriter<R>>,
    writer: Option<DataWriter<R>>,
    line: Line,
    segments: Vec<DataSegment<R>>,
    lines: Vec<(SegmentId, Line)>,
    segment_bytes: u64,
    bytes: u64,
    bytes_per_second: u64,
    since: Instant,
    breath: u64,
}

impl<R: Runtime> Output<R> {
    async fn push(&mut self, record: &Record<'_>) -> Result<Loc, DataError> {
        let room = |writer: &DataWriter<R>| writer.bytes() < self.segment_bytes;
        if self.writer.as_ref().is_some_and(|writer| !room(writer)) && self.spare.len() > 0 {
            self.finish().await?;
        }
        if self.writer.is_none() {
            self.writer = self.spare.next();
        }
        let Some(writer) = &mut self.writer else { return Err(DataError::NoSpace) };
        let loc = writer.push(record).await?;
        self.line.bytes += loc.padded_len();
        if record.kind == RecordKind::Tombstone {
            self.line.tombstone_bytes += loc.padded_len();
        }
        self.line.hold(record.kind, record.version);
        self.bytes += loc.padded_len();
        if self.bytes - self.breath >= BREATH_BYTES {
            self.breathe().await;
        }
        Ok(loc)
    }

    /// Lets others go first, and keeps to the pace.
    async fn breathe(&mut self) {
        self.breath = self.bytes;
        self.rt.task().yield_now().await;
        if let Some(nanos) = (self.bytes * 1_000_000_000).checked_div(self.bytes_per_second) {
            self.rt.clock().sleep_until(self.since + Duration::from_nanos(nanos)).await;
        }
    }

    async fn finish(&mut self) -> Result<(), DataError> {
        if let Some(writer) = self.writer.take() {
            let segment = writer.finish().await?;
            let line = Line { is_settled: true, ..core::mem::take(&mut self.line) };
            self.lines.push((segment.id(), line));
            self.segments.push(segment);
        }
        Ok(())
    }

    /// Removes what was written.
    async fn discard(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abort().await;
        }
        for segment in self.segments {
            segment.discard(&self.rt).await;
        }
    }
}

impl<R: Runtime> Job<R> {
    /// Moves what is needed into new segments.
    ///
    /// # Errors
    /// [`CompactError`]; what was written is removed again.
    pub async fn run(self) -> Result<Compacted<R>, CompactError> {
        let mut out = Output {
            rt: self.rt.clone(),
            spare: self.writers.into_iter(),
            writer: None,
            line: Line::default(),
            segments: Vec::new(),
            lines: Vec::new(),
            segment_bytes: self.segment_bytes,
            bytes: 0,
            bytes_per_second: self.bytes_per_second,
            since: self.rt.clock().now(),
            breath: 0,
        };
        let work = Work {
            files: self.files,
            trees: self.trees,
            victims: self.victims,
            oldest_outside: self.oldest_outside,
            seen: self.seen.iter().copied().collect(),
            now_ms: self.now_ms,
        };
        match work.run(&self.sources, &mut out).await {
            Ok((copied, expired)) => Ok(Compacted {
                segments: out.segments,
                lines: out.lines,
                victims: work.victims,
                horizon: self.horizon,
                seen: self.seen,
                bytes: out.bytes,
                copied,
                expired,
            }),
            Err(error) => {
                tracing::warn!(error = %error.to_string(), "a compaction gave up");
                out.discard().await;
                Err(error)
            }
        }
    }
}

type Copied = Vec<(GroupId, Tree)>;
type Expired = Vec<(GroupId, Vec<u8>, Version)>;

/// What a running compaction looks at.
struct Work<R: Runtime> {
    files: Arc<Files<R>>,
    trees: BTreeMap<GroupId, Tree>,
    victims: Vec<SegmentId>,
    oldest_outside: Option<Version>,
    seen: BTreeMap<GroupId, Version>,
    now_ms: BTreeMap<GroupId, u64>,
}

impl<R: Runtime> Work<R> {
    /// Whether the index has seen what a record says. One that it has not does not count: a life
    /// that ended before its snapshot did has left it. It must not hide the record that does.
    fn counts(&self, hint: &HintRef<'_>) -> bool {
        let counts = self.seen.get(&hint.group).is_none_or(|seen| hint.version <= *seen);
        if !counts {
            mark!("value: a record from ahead of the index");
        }
        counts || planted!("compaction_believes_what_never_counted")
    }

    async fn run(
        &self,
        sources: &[HintSource<R>],
        out: &mut Output<R>,
    ) -> Result<(Copied, Expired), CompactError> {
        let mut hints = Vec::with_capacity(sources.len());
        for source in sources {
            hints.push(source.load().await?);
        }
        if planted!("compaction_forgets_a_victim") {
            hints.pop();
        }
        let (mut copied, mut expired) = (Copied::new(), Expired::new());
        let mut builder: Option<(GroupId, Builder)> = None;
        let lists = hints.iter().map(|list| list.iter().filter(|hint| self.counts(hint)));
        for (nth, hint) in Merge::new(lists.collect()).enumerate() {
            if nth % BREATH_KEYS == BREATH_KEYS - 1 {
                out.rt.task().yield_now().await;
            }
            let indexed = self.trees.get(&hint.group).and_then(|tree| tree.get(hint.key));
            let now_ms = self.now_ms.get(&hint.group).copied().unwrap_or(0);
            let fate = fate(&hint, indexed, self.oldest_outside, now_ms);
            let was_indexed = indexed.is_some_and(|place| place.version == hint.version);
            match fate {
                Fate::Copy(place) if self.victims.contains(&place.loc.segment) => {
                    let loc = self.copy(&hint, place.loc, out).await?;
                    let (_, builder) = next_builder(&mut builder, hint.group, &mut copied);
                    builder.push(hint.key, Place { loc, ..place });
                }
                // An earlier compaction moved it already, and stopped before its victims went.
                Fate::Copy(_) => mark!("value: a record moved before"),
                // All that a deletion says is in its hint.
                Fate::Keep => _ = out.push(&tombstone(&hint)).await?,
                Fate::Entomb => {
                    mark!("value: an expired value became a deletion");
                    out.push(&tombstone(&hint)).await?;
                    expired.push((hint.group, hint.key.to_vec(), hint.version));
                }
                Fate::Drop if was_indexed => {
                    expired.push((hint.group, hint.key.to_vec(), hint.version));
                }
                Fate::Drop => {}
            }
        }
        out.finish().await?;
        copied.extend(builder.map(|(group, builder)| (group, builder.finish())));
        Ok((copied, expired))
    }

    /// Copies a record as it stands, if it is the one that it should be.
    async fn copy(
        &self,
        hint: &HintRef<'_>,
        from: Loc,
        out: &mut Output<R>,
    ) -> Result<Loc, CompactError> {
        let expect = Expect { group: hint.group, key: hint.key, version: hint.version };
        let read = self.files.read(from, expect).await;
        let read = read.map_err(|why| CompactError::Value {
            group: hint.group,
            key: hint.key.to_vec(),
            why,
        })?;
        let record = read.record().map_err(DataError::Format)?;
        Ok(out.push(&record).await?)
    }
}

/// The builder of this group; the one before it is done with.
fn next_builder<'b>(
    builder: &'b mut Option<(GroupId, Builder)>,
    group: GroupId,
    copied: &mut Copied,
) -> &'b mut (GroupId, Builder) {
    if let Some((before, done)) = builder.take_if(|(before, _)| *before != group) {
        copied.push((before, done.finish()));
    }
    builder.get_or_insert_with(|| (group, Builder::default()))
}

const fn tombstone<'a>(hint: &HintRef<'a>) -> Record<'a> {
    Record {
        group: hint.group,
        kind: RecordKind::Tombstone,
        version: hint.version,
        term: crate::types::Term(0),
        expires_ms: None,
        origin: Origin::State,
        key: hint.key,
        value: &[],
    }
}
