//! The open segments, and reading one record through its location.
//!
//! [`Files`] is a value: a map from segment to handle that never changes. The journal replaces it
//! when a segment comes or goes; whoever holds an old one keeps its handles, and thereby the files:
//! a clone of the `Arc` is the pin of a snapshot, at no cost. A dropped segment's file is unlinked
//! or used again only when nobody but the journal holds its handle (I3).
//!
//! A record does not know its place, so a read compares what it found with what it was sent for:
//! group, key and version. A recycled, stale or misdirected record is refused, not returned.
//!
//! Not here: which location a key has (the index), when a segment may go (`chores.rs`).

use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec, vec::Vec};
use core::{fmt, ops::Range};

use super::{
    format::{FormatError, Record, SegmentKind},
    report::ReadError,
};
use crate::{
    limits, mark, planted,
    runtime::{Disk, DiskResult, File, ReadMode, Runtime},
    types::{GroupId, Loc, SegmentId, Uuid, Version},
};

/// The file type of a runtime.
pub type FileOf<R> = <<R as Runtime>::Disk as Disk>::File;

/// Where journal segments lie.
pub const JOURNAL_DIR: &str = "j";
/// Where data segments lie.
pub const DATA_DIR: &str = "d";

/// The longest piece that is read at once: the longest record.
const SPAN_BYTES_MAX: usize = limits::RECORD_VALUE_BYTES_MAX + limits::KEY_BYTES_MAX + 64;

/// A segment's file name.
#[must_use]
pub fn segment_name(kind: SegmentKind, id: SegmentId) -> String {
    match kind {
        SegmentKind::Journal => format!("{JOURNAL_DIR}/{:08x}.seg", id.0),
        SegmentKind::Data => format!("{DATA_DIR}/{:08x}.seg", id.0),
        SegmentKind::Manifest => format!("MANIFEST-{:08x}", id.0),
    }
}

/// Whether this is how a number stands in a name of ours.
pub(super) fn is_number(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a name in one of the two directories is one that this room makes: a segment's, or that
/// of a file which is made blank to be used again.
pub(super) fn is_segment_name(name: &str) -> bool {
    let number = name.strip_suffix(".seg").or_else(|| name.strip_suffix(".tmp"));
    number.is_some_and(is_number)
}

/// An open segment. Holding it is a pin: its bytes stay.
pub struct SegmentFile<R: Runtime> {
    /// Its number.
    pub id: SegmentId,
    /// Its incarnation.
    pub uuid: Uuid,
    /// What it holds.
    pub kind: SegmentKind,
    /// The handle.
    pub file: FileOf<R>,
}

impl<R: Runtime> fmt::Debug for SegmentFile<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentFile({} {:08x})", self.kind, self.id.0)
    }
}

/// The open segments of one moment.
pub struct Files<R: Runtime> {
    open: BTreeMap<SegmentId, Arc<SegmentFile<R>>>,
}

impl<R: Runtime> fmt::Debug for Files<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.open.values()).finish()
    }
}

impl<R: Runtime> Default for Files<R> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

/// What a location should lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect<'a> {
    /// The group.
    pub group: GroupId,
    /// The key.
    pub key: &'a [u8],
    /// The version.
    pub version: Version,
}

/// A record with its own bytes, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBuf {
    bytes: Vec<u8>,
    value_at: usize,
}

impl RecordBuf {
    /// Takes bytes that are exactly one record.
    ///
    /// # Errors
    /// When they are not.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, FormatError> {
        let (record, len) = Record::decode(&bytes)?;
        if len != bytes.len() {
            return Err(FormatError::Field("record length"));
        }
        let value_at = len - record.value.len();
        Ok(Self { bytes, value_at })
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.value_at..]
    }

    /// The value, without copying it elsewhere.
    #[must_use]
    pub fn into_value(mut self) -> Vec<u8> {
        self.bytes.drain(..self.value_at);
        self.bytes
    }

    /// The record.
    ///
    /// # Errors
    /// Never: it was verified when it was made.
    pub fn record(&self) -> Result<Record<'_>, FormatError> {
        Record::parse(&self.bytes).map(|(record, _)| record)
    }
}

impl<R: Runtime> Files<R> {
    /// A segment's handle.
    #[must_use]
    pub fn get(&self, id: SegmentId) -> Option<&Arc<SegmentFile<R>>> {
        self.open.get(&id)
    }

    /// The segments, in order.
    pub fn ids(&self) -> impl Iterator<Item = SegmentId> {
        self.open.keys().copied()
    }

    /// Reads the record at `loc` and checks that it is the expected one.
    ///
    /// # Errors
    /// [`ReadError`]; none of them is fatal to the store.
    pub async fn read(&self, loc: Loc, expect: Expect<'_>) -> Result<RecordBuf, ReadError> {
        let bytes = self.read_span(loc.segment, loc.offset()..end_of(loc), Vec::new()).await?;
        let value_at = bytes.len() - verify(&bytes, loc, expect)?.value.len();
        Ok(RecordBuf { bytes, value_at })
    }

    /// Whether the device still has the record at `loc`, whatever the cache has.
    ///
    /// # Errors
    /// [`ReadError`]; none of them is fatal to the store.
    pub async fn check(&self, loc: Loc, expect: Expect<'_>) -> Result<(), ReadError> {
        let segment = self.open.get(&loc.segment).ok_or(ReadError::Unknown(loc.segment))?;
        let read = read_range(&segment.file, loc.offset(), end_of(loc), ReadMode::Uncached).await;
        verify(&read.map_err(ReadError::Disk)?, loc, expect).map(|_| ())
    }

    /// Reads the record at `loc`, whichever it is: compaction takes it as it stands.
    ///
    /// # Errors
    /// [`ReadError`]; none of them is fatal to the store.
    pub async fn read_any(&self, loc: Loc) -> Result<RecordBuf, ReadError> {
        let bytes = self.read_span(loc.segment, loc.offset()..end_of(loc), Vec::new()).await?;
        RecordBuf::decode(bytes).map_err(|why| damaged(loc, why))
    }

    /// Reads a piece of a segment, into the memory of `buffer`: nothing of it is verified. For
    /// records that lie side by side; [`verify`] each of them.
    ///
    /// # Errors
    /// [`ReadError`]; none of them is fatal to the store.
    pub async fn read_span(
        &self,
        id: SegmentId,
        span: Range<u64>,
        mut buffer: Vec<u8>,
    ) -> Result<Vec<u8>, ReadError> {
        let segment = self.open.get(&id).ok_or(ReadError::Unknown(id))?;
        let wanted = span.end.saturating_sub(span.start);
        let why = |why| ReadError::Damaged { segment: id, offset: span.start, why };
        let len = usize::try_from(wanted).ok().filter(|len| *len <= SPAN_BYTES_MAX);
        let len = len.ok_or(why(FormatError::Field("len")))?;
        buffer.clear();
        buffer.resize(len, 0);
        let read = segment.file.read_at(span.start, buffer, ReadMode::Cached).await;
        let bytes = read.map_err(ReadError::Disk)?;
        if bytes.len() == len { Ok(bytes) } else { Err(why(FormatError::Truncated)) }
    }

    /// The same files and one more.
    pub(super) fn with(&self, segment: Arc<SegmentFile<R>>) -> Self {
        let mut open = self.open.clone();
        open.insert(segment.id, segment);
        Self { open }
    }

    /// The same files without one; and that one.
    pub(super) fn without(&self, id: SegmentId) -> (Self, Option<Arc<SegmentFile<R>>>) {
        let mut open = self.open.clone();
        let gone = open.remove(&id);
        (Self { open }, gone)
    }
}

/// Where the record at `loc` ends in its segment.
const fn end_of(loc: Loc) -> u64 {
    loc.offset() + loc.len as u64
}

const fn damaged(loc: Loc, why: FormatError) -> ReadError {
    ReadError::Damaged { segment: loc.segment, offset: loc.offset(), why }
}

/// The record that `bytes` are, which were read at `loc`, if it is the expected one.
///
/// # Errors
/// When they are not exactly one record, or another one.
pub fn verify<'b>(bytes: &'b [u8], loc: Loc, expect: Expect<'_>) -> Result<Record<'b>, ReadError> {
    let (record, len) = Record::decode(bytes).map_err(|why| damaged(loc, why))?;
    if len != bytes.len() {
        return Err(damaged(loc, FormatError::Field("record length")));
    }
    let right = record.group == expect.group
        && record.version == expect.version
        && record.key == expect.key;
    if right || planted!("record_identity_not_checked") {
        return Ok(record);
    }
    mark!("journal_misplaced_record");
    Err(ReadError::Misplaced {
        segment: loc.segment,
        offset: loc.offset(),
        group: record.group,
        version: record.version,
    })
}

/// Reads a file's bytes from `start` to `end`; shorter when the file is. The caller's bounds may be
/// any that some damaged byte says: the memory asked for is no more than there is to read.
pub(super) async fn read_range<F: File>(
    file: &F,
    start: u64,
    end: u64,
    mode: ReadMode,
) -> DiskResult<Vec<u8>> {
    let end = end.min(file.len().await?);
    let wanted = end.saturating_sub(start).min(limits::SEGMENT_FILE_BYTES_MAX);
    file.read_at(start, vec![0; usize::try_from(wanted).unwrap_or(0)], mode).await
}
