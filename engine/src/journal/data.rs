//! Writing a data segment: what compaction keeps, sorted by key, in a file of its own.
//!
//! The file is written beside everything else and belongs to nothing until an edit adds it: a
//! crash before leaves an orphan that the next opening removes, a crash after leaves the whole
//! segment. Frames are cut at a comfortable size; their LSNs only number the segment's records.
//!
//! What was an entry of a log is written as state: the log has no business in these segments.
//!
//! Invariants: records come in the order of (group, key) and are of keys; a finished segment is durable, its name
//! included, before it can be given to an edit.
//!
//! Not here: which records survive (compaction), the edit (`write.rs`).

use alloc::{string::String, sync::Arc, vec::Vec};
use bytes::{Bytes, BytesMut};
use core::fmt;

use super::{
    edits::{Change, FooterRef, Sealed},
    files::{DATA_DIR, FileOf, RecordBuf, SegmentFile, segment_name},
    footer::{FooterBuilder, HintRef, SegmentStats, footer_offset},
    format::{
        EditId, FRAME_HEADER_BYTES, FormatError, RECORD_ALIGN, Record, SEGMENT_HEADER_BYTES, Seed,
        SegmentHeader, SegmentKind,
    },
    frame::{FrameBuilder, Place, PushError},
    manifest::{create_over, remove_quietly},
    room::{Claim, has_room},
    write::Journal,
};
use crate::{
    limits, mark, planted,
    runtime::{Disk, DiskError, DiskErrorKind, File, Runtime},
    types::{GroupId, Loc, Lsn, SegmentId, Uuid},
};

/// Why a data segment could not be written. Nothing of the store has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataError {
    /// The device has no room.
    NoSpace,
    /// The disk refused otherwise.
    Disk(DiskError),
    /// The records did not come in order: the caller's mistake.
    Order,
    /// The record cannot be written at all.
    Push(PushError),
    /// The bytes handed over are no record.
    Format(FormatError),
}

impl DataError {
    /// Whether the same work may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NoSpace | Self::Disk(_) => true,
            Self::Order | Self::Push(_) | Self::Format(_) => false,
        }
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace => f.write_str("the disk is full; compaction tries again later"),
            Self::Disk(error) => error.fmt(f),
            Self::Order => f.write_str("records of a data segment come in the order of keys"),
            Self::Push(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DataError {}

impl From<DiskError> for DataError {
    fn from(error: DiskError) -> Self {
        match error.kind {
            DiskErrorKind::NoSpace => Self::NoSpace,
            _ => Self::Disk(error),
        }
    }
}

/// Writes one data segment. Holds no part of the journal.
pub struct DataWriter<R: Runtime> {
    disk: R::Disk,
    id: SegmentId,
    uuid: Uuid,
    node: Uuid,
    name: String,
    file: Option<FileOf<R>>,
    frame: FrameBuilder,
    at: u64,
    last_crc: u32,
    footer: FooterBuilder,
    last_key: Option<(GroupId, Vec<u8>)>,
    /// How much of the device it leaves.
    leaves_bytes: u64,
}

impl<R: Runtime> fmt::Debug for DataWriter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataWriter({})", self.name)
    }
}

/// A finished data segment: durable, and not part of the store until an edit adds it.
pub struct DataSegment<R: Runtime> {
    pub(super) segment: Arc<SegmentFile<R>>,
    pub(super) bytes: u64,
    pub(super) sealed: Sealed,
    /// What it holds, by group.
    pub stats: Vec<SegmentStats>,
}

impl<R: Runtime> fmt::Debug for DataSegment<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataSegment({:?}, {} bytes)", self.segment, self.bytes)
    }
}

impl<R: Runtime> DataSegment<R> {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.segment.id
    }

    /// Its file's length.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn change(&self) -> Change {
        Change::AddData {
            id: self.segment.id,
            uuid: self.segment.uuid,
            bytes: self.bytes,
            sealed: self.sealed.clone(),
        }
    }
}

impl<R: Runtime> Journal<R> {
    /// A writer for a new data segment, which leaves of the reserve what its claim says. Touches
    /// nothing yet.
    #[must_use]
    pub fn data_writer(&mut self, claim: Claim) -> DataWriter<R> {
        let leaves_bytes = self.leaves(claim);
        let (id, uuid) = (self.new_segment_id(), self.new_uuid());
        DataWriter {
            disk: self.rt.disk().clone(),
            id,
            uuid,
            node: self.node,
            name: segment_name(SegmentKind::Data, id),
            file: None,
            frame: FrameBuilder::new(Lsn(1), BytesMut::new()),
            at: SEGMENT_HEADER_BYTES as u64,
            last_crc: 0,
            footer: FooterBuilder::default(),
            last_key: None,
            leaves_bytes,
        }
    }
}

impl<R: Runtime> DataWriter<R> {
    /// Its number.
    #[must_use]
    pub const fn id(&self) -> SegmentId {
        self.id
    }

    /// How many bytes of frames it has so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.at + self.frame.bytes() as u64
    }

    /// Adds a record and answers where it will lie.
    ///
    /// # Errors
    /// [`DataError`]; call [`DataWriter::abort`] then.
    pub async fn push(&mut self, record: &Record<'_>) -> Result<Loc, DataError> {
        let is_after = self
            .last_key
            .as_ref()
            .is_none_or(|(group, key)| (*group, key.as_slice()) < (record.group, record.key));
        if !is_after {
            return Err(DataError::Order);
        }
        assert!(record.kind.is_of_a_key(), "a data segment holds what is known of keys");
        let record = &record.as_state();
        let full = self.frame.bytes() + record.encoded_bytes() > limits::DATA_FRAME_BYTES;
        if full && !self.frame.is_empty() {
            self.flush().await?;
        }
        let words = self.at as usize + FRAME_HEADER_BYTES + self.frame.bytes();
        self.frame.push(record).map_err(DataError::Push)?;
        let loc = Loc {
            segment: self.id,
            offset_words: (words / RECORD_ALIGN) as u32,
            len: record.encoded_bytes() as u32,
        };
        self.footer.count(record, true);
        self.footer.push(&HintRef {
            group: record.group,
            key: record.key,
            version: record.version,
            kind: record.kind,
            expires_ms: record.expires_ms,
            loc,
        });
        match &mut self.last_key {
            Some((group, key)) => {
                *group = record.group;
                key.clear();
                key.extend_from_slice(record.key);
            }
            None => self.last_key = Some((record.group, record.key.to_vec())),
        }
        Ok(loc)
    }

    /// Adds a record as it was read elsewhere.
    ///
    /// # Errors
    /// [`DataError`]; call [`DataWriter::abort`] then.
    pub async fn push_raw(&mut self, record: &RecordBuf) -> Result<Loc, DataError> {
        let record = record.record().map_err(DataError::Format)?;
        self.push(&record).await
    }

    async fn file(&mut self) -> Result<FileOf<R>, DataError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let file = create_over(&self.disk, &self.name).await?;
        self.file = Some(file.clone());
        let header = SegmentHeader {
            kind: SegmentKind::Data,
            id: self.id,
            uuid: self.uuid,
            node: self.node,
            base_lsn: Lsn(1),
            previous: Uuid::default(),
            previous_crc: 0,
        };
        let mut page = header.encode().to_vec();
        page.resize(SEGMENT_HEADER_BYTES, 0);
        file.write_at(0, Bytes::from(page)).await?;
        Ok(file)
    }

    async fn flush(&mut self) -> Result<(), DataError> {
        let file = self.file().await?;
        let next = FrameBuilder::new(self.frame.next_lsn(), BytesMut::new());
        let built = core::mem::replace(&mut self.frame, next).finish(Place {
            segment: self.id,
            seed: Seed::of(self.uuid),
            offset: self.at,
            durable_lsn: Lsn(0),
            previous_crc: self.last_crc,
            edit: EditId::default(),
        });
        let end = self.at + built.bytes.len() as u64;
        self.check_room(built.bytes.len()).await?;
        file.write_at(self.at, built.bytes).await?;
        self.at = end;
        self.last_crc = built.header.crc;
        Ok(())
    }

    /// Whether so many bytes more leave what they must.
    async fn check_room(&self, bytes: usize) -> Result<(), DataError> {
        let asks = self.leaves_bytes > 0 && !planted!("journal_copies_take_the_reserve");
        if asks && !has_room(&self.disk, bytes as u64, self.leaves_bytes).await {
            mark!("journal_copies_leave_the_reserve");
            return Err(DataError::NoSpace);
        }
        Ok(())
    }

    /// Writes the footer and makes everything durable.
    ///
    /// # Errors
    /// [`DataError`]; the file is removed then.
    pub async fn finish(mut self) -> Result<DataSegment<R>, DataError> {
        match self.finish_file().await {
            Ok(segment) => Ok(segment),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn finish_file(&mut self) -> Result<DataSegment<R>, DataError> {
        if !self.frame.is_empty() {
            self.flush().await?;
        }
        let file = self.file().await?;
        let offset = footer_offset(self.at);
        let builder = core::mem::take(&mut self.footer);
        let stats = builder.stats();
        let footer = builder.finish(self.id, Seed::of(self.uuid), offset);
        let footer_ref = FooterRef { offset, bytes: footer.len() as u64 };
        let bytes = offset + footer.len() as u64;
        self.check_room(footer.len()).await?;
        file.write_at(offset, Bytes::from(footer)).await?;
        if !planted!("no_fsync_data_segment") {
            file.sync().await?;
        }
        if !planted!("no_dir_sync_data_segment") {
            self.disk.sync_dir(DATA_DIR).await?;
        }
        let sealed = Sealed {
            base_lsn: Lsn(1),
            last_lsn: Lsn(self.frame.first_lsn().0 - 1),
            frames_end: self.at,
            last_crc: self.last_crc,
            footer: Some(footer_ref),
            lost: Vec::new(),
        };
        let (id, uuid) = (self.id, self.uuid);
        let segment = Arc::new(SegmentFile { id, uuid, kind: SegmentKind::Data, file });
        Ok(DataSegment { segment, bytes, sealed, stats })
    }

    /// Gives up and removes the file.
    pub async fn abort(mut self) {
        if self.file.take().is_some() {
            remove_quietly(&self.disk, &self.name).await;
        }
    }
}

impl<R: Runtime> DataSegment<R> {
    /// Gives a finished segment up that no edit took, and removes its file.
    pub async fn discard(self, rt: &R) {
        remove_quietly(rt.disk(), &segment_name(SegmentKind::Data, self.segment.id)).await;
    }
}
