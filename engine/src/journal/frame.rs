//! Building one frame: records stream into one buffer, everything else is added at the end.
//!
//! A builder is where a group commit gathers. Records are encoded once, straight into the bytes
//! that go to the device; directory, sector map and header follow when the place of the frame is
//! known. The buffer comes back after the write and is used again, so a steady stream of commits
//! allocates only the list of places that it answers.
//!
//! An entry of a replicated log comes encoded: the leader's bytes are what every replica writes, so
//! they are taken in whole, and only their headers are looked at.
//!
//! Invariants: LSNs are given out without gaps from the builder's first; the buffer always begins
//! with room for the header and ends on a multiple of 8; a refused push leaves the builder as it
//! was.
//!
//! Not here: where the frame goes and when it is synced (`write.rs`).

use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use core::fmt;

use super::{
    format::{
        DIRECTORY_ENTRY_BYTES, DirectoryEntry, EditId, FRAME_ALIGN, FRAME_HEADER_BYTES,
        FormatError, FrameHeader, FrameKind, FrameLayout, Origin, RECORD_ALIGN, Record, RecordKind,
        Seed, covered_sectors, is_zero, sector_entry,
    },
    room::Claim,
};
use crate::{
    codec,
    limits::{
        ENTRY_SECTION_BYTES_MAX, FRAME_BYTES_MAX, FRAME_GROUPS_MAX, KEY_BYTES_MAX,
        RECORD_VALUE_BYTES_MAX,
    },
    planted,
    types::{GroupId, Lsn, SegmentId},
};

/// Why a record cannot be part of this frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The key is longer than the format can hold: the caller's mistake, for good.
    KeyTooLong,
    /// The value is longer than the format can hold: the caller's mistake, for good.
    ValueTooLong,
    /// The entry's section is longer than the format can hold: the caller's mistake, for good.
    SectionTooLong,
    /// The encoded bytes are not whole records of one group: the caller's mistake, for good.
    Encoded(FormatError),
    /// This frame is full; the next one may take it.
    Full,
}

impl PushError {
    /// Whether another frame may take the record.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Full)
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooLong => write!(f, "the key is longer than {KEY_BYTES_MAX} bytes"),
            Self::ValueTooLong => {
                write!(f, "the value is longer than {RECORD_VALUE_BYTES_MAX} bytes")
            }
            Self::SectionTooLong => {
                write!(f, "the entry's section is longer than {ENTRY_SECTION_BYTES_MAX} bytes")
            }
            Self::Encoded(why) => write!(f, "bytes that are not whole records of one group: {why}"),
            Self::Full => write!(f, "the frame is full ({FRAME_BYTES_MAX} bytes)"),
        }
    }
}

impl core::error::Error for PushError {}

/// Where a record lies in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// From the frame's beginning, in units of 8 bytes.
    pub(super) words: u32,
    /// Its length without padding.
    pub(super) len: u32,
}

/// Gathers the records of one frame.
#[derive(Debug)]
pub struct FrameBuilder {
    buffer: BytesMut,
    first_lsn: Lsn,
    spots: Vec<Spot>,
    groups: Vec<DirectoryEntry>,
    last_group: usize,
    hint_bytes: usize,
    only_deletes: bool,
    is_scar: bool,
    is_promised: bool,
    is_relief: bool,
}

/// A frame's place and what it must say about its surroundings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: SegmentId,
    pub(super) seed: Seed,
    pub(super) offset: u64,
    pub(super) durable_lsn: Lsn,
    pub(super) previous_crc: u32,
    pub(super) edit: EditId,
}

/// A finished frame.
pub(super) struct BuiltFrame {
    pub(super) bytes: Bytes,
    pub(super) header: FrameHeader,
    pub(super) spots: Vec<Spot>,
}

impl FrameBuilder {
    /// An empty frame whose first record gets `first_lsn`. `buffer` is used for its memory.
    #[must_use]
    pub fn new(first_lsn: Lsn, mut buffer: BytesMut) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        Self {
            buffer,
            first_lsn,
            spots: Vec::new(),
            groups: Vec::new(),
            last_group: 0,
            hint_bytes: 0,
            only_deletes: true,
            is_scar: false,
            is_promised: false,
            is_relief: false,
        }
    }

    /// What stands for records that are lost: those up to `next_lsn`, of these groups.
    pub(super) fn scar(next_lsn: Lsn, lost: &[DirectoryEntry]) -> Self {
        let line = |entry: &DirectoryEntry| DirectoryEntry { records: 0, ..*entry };
        let groups = lost.iter().map(line).collect();
        Self { groups, is_scar: true, ..Self::new(next_lsn, BytesMut::new()) }
    }

    /// Adds a record and answers its LSN.
    ///
    /// # Errors
    /// [`PushError`]; the frame is as it was.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>) -> Result<Lsn, PushError> {
        if record.key.len() > KEY_BYTES_MAX {
            return Err(PushError::KeyTooLong);
        }
        if record.value.len() > RECORD_VALUE_BYTES_MAX {
            return Err(PushError::ValueTooLong);
        }
        if let Origin::Entry(section) = record.origin
            && section.len() > ENTRY_SECTION_BYTES_MAX
        {
            return Err(PushError::SectionTooLong);
        }
        let (start, len) = (self.buffer.len(), record.encoded_bytes());
        let line = self.room_for(record.group, len)?;
        record.encode(&mut self.buffer);
        let lsn = self.next_lsn();
        self.count(line, record);
        self.spots.push(Spot { words: (start / RECORD_ALIGN) as u32, len: len as u32 });
        debug_assert!(self.buffer.len().is_multiple_of(RECORD_ALIGN));
        Ok(lsn)
    }

    /// Adds records as they were encoded elsewhere, with their padding: an entry with its parts, or
    /// several entries, all of one group. The caller has verified their checksums; only headers are
    /// looked at here.
    ///
    /// # Errors
    /// [`PushError`]; the frame is as it was.
    pub fn push_encoded(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        self.push_encoded_with(bytes, |_| {})
    }

    /// The same, and shows each record.
    ///
    /// # Errors
    /// [`PushError`]; the frame is as it was, and nothing was shown.
    pub fn push_encoded_with(
        &mut self,
        bytes: &[u8],
        mut show: impl FnMut(&Record<'_>),
    ) -> Result<(), PushError> {
        let (group, records) = outline(bytes).map_err(PushError::Encoded)?;
        let line = self.room_for(group, bytes.len())?;
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        for (at, record) in super::format::records(bytes).flatten() {
            if !planted!("encoded_records_not_in_the_directory") || self.groups[line].records == 0 {
                self.count(line, &record);
            }
            let (words, len) = ((start + at) / RECORD_ALIGN, record.encoded_bytes());
            self.spots.push(Spot { words: words as u32, len: len as u32 });
            show(&record);
        }
        assert!(self.spots.len() >= records, "every record has its place");
        Ok(())
    }

    /// The group's line in the directory, when so many more bytes fit. Neighbouring records are
    /// mostly of one group, so the last line is tried first.
    #[inline]
    fn room_for(&mut self, group: GroupId, len: usize) -> Result<usize, PushError> {
        // The bound leaves room for directory and map, so that a frame's length fits in 32 bits.
        if self.buffer.len() + len + RECORD_ALIGN > FRAME_BYTES_MAX {
            return Err(PushError::Full);
        }
        let known = match self.groups.get(self.last_group) {
            Some(entry) if entry.group == group => Some(self.last_group),
            _ => self.groups.iter().position(|entry| entry.group == group),
        };
        let line = match known {
            Some(line) => line,
            None if self.groups.len() >= FRAME_GROUPS_MAX => return Err(PushError::Full),
            None => {
                self.groups.push(DirectoryEntry::of(group));
                self.groups.len() - 1
            }
        };
        self.last_group = line;
        Ok(line)
    }

    /// Counts a record in its group's line and in what the frame will need elsewhere.
    #[inline]
    fn count(&mut self, line: usize, record: &Record<'_>) {
        self.groups[line].count(record);
        if record.kind.is_of_a_key() {
            self.hint_bytes +=
                super::footer::entry_bytes(record.key.len(), record.expires_ms.is_some());
        }
        // Terms and checkpoints are part of taking away: without them no segment is done with.
        self.only_deletes &= match record.kind {
            RecordKind::Tombstone | RecordKind::Hard | RecordKind::Checkpoint => true,
            RecordKind::Put | RecordKind::Command | RecordKind::Edit => false,
        };
    }

    /// The LSN of its first record.
    #[must_use]
    pub const fn first_lsn(&self) -> Lsn {
        self.first_lsn
    }

    /// The LSN that the next pushed record gets.
    #[must_use]
    pub const fn next_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + self.spots.len() as u64)
    }

    /// How many records it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.spots.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    /// How many bytes of records it has: what a caller compares with its own idea of a full frame.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len() - FRAME_HEADER_BYTES
    }

    /// Whether every record takes something away.
    #[must_use]
    pub const fn only_deletes(&self) -> bool {
        self.only_deletes
    }

    /// What it holds was taken, and cannot be refused any more.
    pub const fn promise(&mut self) {
        self.is_promised = true;
    }

    /// More goes for what it holds than that takes.
    pub const fn relieve(&mut self) {
        self.is_relief = true;
    }

    /// What room it may ask for.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        match (self.only_deletes || self.is_relief, self.is_promised) {
            (true, _) => Claim::Relief,
            (false, true) => Claim::Promised,
            (false, false) => Claim::New,
        }
    }

    /// The groups its records belong to.
    pub(super) fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.iter().map(|entry| entry.group)
    }

    /// The most that its records can add to a footer.
    pub(super) const fn hint_bytes(&self) -> usize {
        self.hint_bytes
    }

    /// How long the frame will be at `offset`.
    pub(super) fn frame_bytes(&self, offset: u64) -> u64 {
        FrameLayout::of(offset, self.bytes(), self.groups.len()).end as u64
    }

    /// Adds directory, map and header.
    ///
    /// # Panics
    /// When the place is not one for frames: that would be a bug of the writer.
    pub(super) fn finish(self, place: Place) -> BuiltFrame {
        assert!(place.offset.is_multiple_of(FRAME_ALIGN as u64), "frames are aligned");
        assert!(
            place.durable_lsn < self.first_lsn,
            "I1: durable ends before what is being written"
        );
        let Self { mut buffer, first_lsn, spots, groups, is_scar, .. } = self;
        let body_bytes = buffer.len() - FRAME_HEADER_BYTES;
        let layout = FrameLayout::of(place.offset, body_bytes, groups.len());
        buffer.reserve(layout.end - buffer.len());
        let mut directory_crc = codec::crc(0, &[]);
        for entry in &groups {
            let line: [u8; DIRECTORY_ENTRY_BYTES] = entry.encode();
            directory_crc = codec::crc(directory_crc, &line);
            buffer.extend_from_slice(&line);
        }
        for (start, end) in covered_sectors(place.offset, layout.map_at) {
            let entry = sector_entry(&buffer[start..end]);
            buffer.extend_from_slice(&entry.to_le_bytes());
        }
        assert!(buffer.len() == layout.map_end, "the layout is what was written");
        let mut header = FrameHeader {
            kind: match spots.is_empty() {
                true if is_scar => FrameKind::Scar,
                true => FrameKind::Seal,
                false => FrameKind::Data,
            },
            body_bytes: body_bytes as u32,
            records: spots.len() as u32,
            groups: groups.len() as u16,
            first_lsn,
            durable_lsn: place.durable_lsn,
            previous_crc: place.previous_crc,
            directory_crc,
            map_crc: codec::crc(0, &buffer[layout.map_at..layout.map_end]),
            segment: place.segment,
            edit: place.edit,
            crc: 0,
        };
        let front = header.encode(place.seed, place.offset);
        header.crc = u32::from_le_bytes([front[4], front[5], front[6], front[7]]);
        buffer[..FRAME_HEADER_BYTES].copy_from_slice(&front);
        buffer.resize(layout.end, 0);
        BuiltFrame { bytes: buffer.freeze(), header, spots }
    }
}

/// Whose records these bytes are, and how many: looks at everything that a push refuses, so that a
/// push that has begun succeeds.
fn outline(bytes: &[u8]) -> Result<(GroupId, usize), FormatError> {
    let (mut at, mut count, mut group) = (0, 0, None);
    while at < bytes.len() || count == 0 {
        let (record, len) = Record::parse(&bytes[at..])?;
        let end = at + len.next_multiple_of(RECORD_ALIGN);
        let padding = bytes.get(at + len..end).ok_or(FormatError::Truncated)?;
        if !is_zero(padding) {
            return Err(FormatError::Field("padding"));
        }
        if *group.get_or_insert(record.group) != record.group {
            return Err(FormatError::Field("group"));
        }
        (at, count) = (end, count + 1);
    }
    group.map(|group| (group, count)).ok_or(FormatError::Truncated)
}
