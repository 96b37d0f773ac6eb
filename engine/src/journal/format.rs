//! The bytes of a segment: header, frames, records. Pure, total in both directions.
//!
//! ```text
//! 0        4096                                                            size
//! ├────────┼──────────┬──────────┬─────────────┬───────────┬───────────────┤
//! │ header │ frame    │ frame    │ frame  …    │ footer    │ zeros         │
//! └────────┴──────────┴──────────┴─────────────┴───────────┴───────────────┘
//!          each on a multiple of 64             once sealed
//!
//! frame:   header 64 │ records, each on 8 │ directory n×32 │ sector map n×4 │ zeros to 64
//! record:  header 32 │ [expiry 8] │ [n 1 │ entry section n] │ key │ value │ zeros to 8
//! ```
//!
//! Three rules carry everything that recovery may conclude:
//! - *A frame knows its place.* Its header's checksum is seeded with the segment's uuid and the
//!   frame's offset, so stale, recycled and misdirected bytes never verify; it names the checksum
//!   of the frame before it, so a missing one shows.
//! - *A record does not.* It can be fetched, checked, moved and shipped by itself; who follows a
//!   location must therefore also compare group, key and version.
//! - *A frame knows its sectors.* The sector map holds a checksum for each 512-byte sector that
//!   the frame's body touches. After a crash it tells a sector that was never written (it is still
//!   zero, though it should not be) from one that was written and then changed, also when the
//!   value itself is full of zeros. Without it, torn and rotten look alike.
//!
//! A frame header lies on a multiple of 64 and is 64 bytes long, so it never crosses a sector.
//!
//! Invariant: a decoder answers `Err` on every input that its encoder cannot have made, and never
//! panics. All numbers are little-endian; bytes marked reserved are zero.
//!
//! Not here: the footer (`footer.rs`), manifest edits (`edits.rs`), walking frames (`walk.rs`).
//! The same, byte by byte and with a worked example: `docs/format.md`, which the tests hold against
//! this code (`tests/page.rs`).

use alloc::vec::Vec;
use bytes::BytesMut;
use core::fmt;

use crate::{
    codec::{self, Reader, Truncated},
    limits, planted,
    types::{GroupId, Lsn, SegmentId, Term, Uuid, Version},
};

/// The version of everything in this room. A reader refuses what is newer.
pub const FORMAT_VERSION: u16 = 1;
/// What a device writes as one piece. We rely on nothing larger.
pub const SECTOR_BYTES: usize = 512;
/// Where the first frame begins.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// Frames begin on multiples of this, so that a frame header never crosses a sector.
pub const FRAME_ALIGN: usize = 64;
/// A frame's header.
pub const FRAME_HEADER_BYTES: usize = 64;
/// A record's header.
pub const RECORD_HEADER_BYTES: usize = 32;
/// Records begin on multiples of this; a location counts in it.
pub const RECORD_ALIGN: usize = 8;
/// One group's line in a frame's directory.
pub const DIRECTORY_ENTRY_BYTES: usize = 32;

/// `89 4B 56 53`: no text, and a first byte that a 7-bit channel destroys.
pub const SEGMENT_MAGIC: u32 = 0x5356_4b89;
/// `89 4B 56 4A`.
pub const FRAME_MAGIC: u32 = 0x4a56_4b89;

/// How many bytes at the front of a segment header carry something.
pub(super) const SEGMENT_HEADER_USED: usize = 128;
const FLAG_EXPIRES: u8 = 1;
const FLAG_ENTRY: u8 = 2;
const FLAG_PART: u8 = 4;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// They end too early.
    Truncated,
    /// They do not begin with our magic bytes.
    NotOurs,
    /// The checksum does not fit: damaged, torn, stale, or from another place.
    Checksum,
    /// A later version of this program wrote them.
    Newer {
        /// Their version.
        found: u16,
    },
    /// A field holds what its encoder never writes.
    Field(&'static str),
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("ends too early"),
            Self::NotOurs => f.write_str("does not begin with our magic bytes"),
            Self::Checksum => f.write_str("its checksum does not fit"),
            Self::Newer { found } => {
                write!(f, "has format version {found}, this program knows {FORMAT_VERSION}")
            }
            Self::Field(field) => write!(f, "its field `{field}` is impossible"),
        }
    }
}

impl core::error::Error for FormatError {}

impl From<Truncated> for FormatError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentKind {
    /// Frames in the order of commits, of all groups.
    Journal,
    /// Records in the order of keys, written by compaction.
    Data,
    /// Edits of the manifest.
    Manifest,
}

impl SegmentKind {
    pub(super) const fn to_byte(self) -> u8 {
        match self {
            Self::Journal => b'J',
            Self::Data => b'D',
            Self::Manifest => b'M',
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'J' => Some(Self::Journal),
            b'D' => Some(Self::Data),
            b'M' => Some(Self::Manifest),
            _ => None,
        }
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Journal => "journal",
            Self::Data => "data",
            Self::Manifest => "manifest",
        })
    }
}

/// The front of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What it holds.
    pub kind: SegmentKind,
    /// Its number.
    pub id: SegmentId,
    /// Its incarnation.
    pub uuid: Uuid,
    /// Whose it is.
    pub node: Uuid,
    /// The LSN of its first record. Everything below it was durable when this was written.
    pub base_lsn: Lsn,
    /// The segment before it, in the order of writing; zero for none.
    pub previous: Uuid,
    /// The checksum of that segment's last frame header.
    pub previous_crc: u32,
}

impl SegmentHeader {
    /// Its bytes: the used part. The rest of the 4096 is zero.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_USED] {
        let mut out = [0; SEGMENT_HEADER_USED];
        out[0..4].copy_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        out[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[10] = self.kind.to_byte();
        out[12..16].copy_from_slice(&self.id.0.to_le_bytes());
        out[16..32].copy_from_slice(&self.uuid.0);
        out[32..48].copy_from_slice(&self.node.0);
        out[48..56].copy_from_slice(&self.base_lsn.0.to_le_bytes());
        out[56..72].copy_from_slice(&self.previous.0);
        out[72..76].copy_from_slice(&self.previous_crc.to_le_bytes());
        let crc = codec::crc(0, &out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the front of a segment.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = bytes.get(..SEGMENT_HEADER_USED).ok_or(FormatError::Truncated)?;
        let mut reader = Reader::new(bytes);
        if reader.u32()? != SEGMENT_MAGIC {
            return Err(FormatError::NotOurs);
        }
        if reader.u32()? != codec::crc(0, &bytes[8..]) && !planted!("header_not_checked") {
            return Err(FormatError::Checksum);
        }
        let format = reader.u16()?;
        if format > FORMAT_VERSION {
            return Err(FormatError::Newer { found: format });
        }
        if format == 0 {
            return Err(FormatError::Field("format"));
        }
        let kind = SegmentKind::from_byte(reader.u8()?).ok_or(FormatError::Field("kind"))?;
        if reader.u8()? != 0 {
            return Err(FormatError::Field("flags"));
        }
        let header = Self {
            kind,
            id: SegmentId(reader.u32()?),
            uuid: Uuid(reader.array()?),
            node: Uuid(reader.array()?),
            base_lsn: Lsn(reader.u64()?),
            previous: Uuid(reader.array()?),
            previous_crc: reader.u32()?,
        };
        if !is_zero(reader.rest()) {
            return Err(FormatError::Field("reserved"));
        }
        if header.base_lsn.0 > limits::LSN_MAX {
            return Err(FormatError::Field("base_lsn"));
        }
        Ok(header)
    }
}

/// What makes the frames of one segment incarnation verify nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The seed of a segment.
    #[must_use]
    pub fn of(uuid: Uuid) -> Self {
        Self(codec::crc(0, &uuid.0))
    }

    /// The seed at an offset of that segment.
    #[must_use]
    pub fn at(self, offset: u64) -> u32 {
        if planted!("frame_crc_without_position") {
            return 0;
        }
        codec::crc(self.0, &offset.to_le_bytes())
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// It carries records.
    Data,
    /// It carries none; it says what is durable.
    Seal,
    /// It carries none; those between the frame before and it are lost, and nobody knows whether
    /// they had been acknowledged. Its directory names the groups and their highest terms; an empty
    /// one says that nobody knows those either.
    Scar,
}

/// A place in the order of all edits of all manifests of a store; the lowest is no edit at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EditId {
    /// The manifest's number: a later manifest begins with all that the one before it says.
    pub manifest: SegmentId,
    /// The LSN of the edit's last record in it.
    pub lsn: Lsn,
}

/// The front of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it is for.
    pub kind: FrameKind,
    /// Bytes of records.
    pub body_bytes: u32,
    /// How many records.
    pub records: u32,
    /// How many groups they belong to.
    pub groups: u16,
    /// The LSN of its first record; of the next one when it has none.
    pub first_lsn: Lsn,
    /// The highest LSN known to be durable when it was built: always below `first_lsn`.
    pub durable_lsn: Lsn,
    /// The checksum of the frame header before it, or of the segment header.
    pub previous_crc: u32,
    /// The directory's checksum.
    pub directory_crc: u32,
    /// The sector map's checksum.
    pub map_crc: u32,
    /// The segment it belongs to.
    pub segment: SegmentId,
    /// The newest edit that was durable when it was built. Only frames that are appended to a journal
    /// name one.
    pub edit: EditId,
    /// Its own checksum: what the next frame names.
    pub crc: u32,
}

impl FrameHeader {
    /// Its bytes, for one place.
    #[must_use]
    pub fn encode(&self, seed: Seed, offset: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.records.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_lsn.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable_lsn.0.to_le_bytes());
        out[32..36].copy_from_slice(&self.previous_crc.to_le_bytes());
        out[36..40].copy_from_slice(&self.directory_crc.to_le_bytes());
        out[40..44].copy_from_slice(&self.map_crc.to_le_bytes());
        out[44..48].copy_from_slice(&self.segment.0.to_le_bytes());
        out[48..50].copy_from_slice(&self.groups.to_le_bytes());
        out[50] = match self.kind {
            FrameKind::Data => 1,
            FrameKind::Seal => 2,
            FrameKind::Scar => 3,
        };
        out[52..56].copy_from_slice(&self.edit.manifest.0.to_le_bytes());
        out[56..64].copy_from_slice(&self.edit.lsn.0.to_le_bytes());
        let crc = codec::crc(seed.at(offset), &out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the front of the frame at `offset`.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Result<Self, FormatError> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES).ok_or(FormatError::Truncated)?;
        let mut reader = Reader::new(bytes);
        if reader.u32()? != FRAME_MAGIC {
            return Err(FormatError::NotOurs);
        }
        let crc = reader.u32()?;
        if crc != codec::crc(seed.at(offset), &bytes[8..]) {
            return Err(FormatError::Checksum);
        }
        let (body_bytes, records) = (reader.u32()?, reader.u32()?);
        let (first_lsn, durable_lsn) = (Lsn(reader.u64()?), Lsn(reader.u64()?));
        let (previous_crc, directory_crc, map_crc) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (segment, groups) = (SegmentId(reader.u32()?), reader.u16()?);
        let kind = match reader.u8()? {
            1 => FrameKind::Data,
            2 => FrameKind::Seal,
            3 => FrameKind::Scar,
            _ => return Err(FormatError::Field("kind")),
        };
        if reader.u8()? != 0 {
            return Err(FormatError::Field("reserved"));
        }
        let edit = EditId { manifest: SegmentId(reader.u32()?), lsn: Lsn(reader.u64()?) };
        let header = Self {
            kind,
            body_bytes,
            records,
            groups,
            first_lsn,
            durable_lsn,
            previous_crc,
            directory_crc,
            map_crc,
            segment,
            edit,
            crc,
        };
        header.check_fields()?;
        Ok(header)
    }

    /// What a checksum cannot say: that the numbers make sense together.
    fn check_fields(&self) -> Result<(), FormatError> {
        let empty = self.body_bytes == 0 && self.records == 0;
        match self.kind {
            FrameKind::Scar if !empty => return Err(FormatError::Field("records")),
            FrameKind::Seal if !empty || self.groups > 0 => {
                return Err(FormatError::Field("records"));
            }
            FrameKind::Data if self.records == 0 || self.groups == 0 => {
                return Err(FormatError::Field("records"));
            }
            FrameKind::Data | FrameKind::Seal | FrameKind::Scar => {}
        }
        let body = self.body_bytes as usize;
        if !body.is_multiple_of(RECORD_ALIGN) || body > limits::FRAME_BYTES_MAX {
            return Err(FormatError::Field("body_bytes"));
        }
        if u64::from(self.records) * RECORD_HEADER_BYTES as u64 > u64::from(self.body_bytes) {
            return Err(FormatError::Field("records"));
        }
        if self.first_lsn.0 == 0 || self.first_lsn.0 > limits::LSN_MAX - u64::from(self.records) {
            return Err(FormatError::Field("first_lsn"));
        }
        if self.durable_lsn >= self.first_lsn {
            return Err(FormatError::Field("durable_lsn"));
        }
        let EditId { manifest, lsn } = self.edit;
        let is_known = manifest.0 <= limits::SEGMENT_ID_MAX && lsn.0 <= limits::LSN_MAX;
        // Manifests and their records count from 1.
        if !is_known || (manifest.0 == 0) != (lsn.0 == 0) {
            return Err(FormatError::Field("edit"));
        }
        Ok(())
    }

    /// The LSN of the record after its last.
    #[must_use]
    pub const fn next_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + self.records as u64)
    }

    /// Where its parts lie when it begins at `offset`.
    #[must_use]
    pub fn layout(&self, offset: u64) -> FrameLayout {
        FrameLayout::of(offset, self.body_bytes as usize, usize::from(self.groups))
    }
}

/// Where the parts of a frame lie, counted from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// The directory begins here; the records end here.
    pub directory_at: usize,
    /// The sector map begins here.
    pub map_at: usize,
    /// The sector map ends here.
    pub map_end: usize,
    /// The frame ends here: the next multiple of 64.
    pub end: usize,
}

impl FrameLayout {
    /// The layout of a frame at `offset`.
    #[must_use]
    pub fn of(offset: u64, body_bytes: usize, groups: usize) -> Self {
        let directory_at = FRAME_HEADER_BYTES + body_bytes;
        let map_at = directory_at + groups * DIRECTORY_ENTRY_BYTES;
        let map_end = map_at + 4 * sectors_touched(offset, map_at);
        Self { directory_at, map_at, map_end, end: map_end.next_multiple_of(FRAME_ALIGN) }
    }
}

/// How many sectors the covered part of a frame touches: what lies between header and map.
fn sectors_touched(offset: u64, map_at: usize) -> usize {
    if map_at == FRAME_HEADER_BYTES {
        return 0;
    }
    let in_sector = (offset % SECTOR_BYTES as u64) as usize;
    let first = (in_sector + FRAME_HEADER_BYTES) / SECTOR_BYTES;
    let last = (in_sector + map_at - 1) / SECTOR_BYTES;
    last - first + 1
}

/// The covered part of a frame, cut at sector boundaries: (start, end) from the frame's beginning.
pub fn covered_sectors(offset: u64, map_at: usize) -> impl Iterator<Item = (usize, usize)> {
    let in_sector = (offset % SECTOR_BYTES as u64) as usize;
    let mut at = FRAME_HEADER_BYTES;
    core::iter::from_fn(move || {
        if at >= map_at {
            return None;
        }
        let end = ((in_sector + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - in_sector;
        let piece = (at, end.min(map_at));
        at = piece.1;
        Some(piece)
    })
}

/// A sector map's entry: the checksum of the covered part of one sector. Two bits of its last byte
/// are always set, so a map that ends in a zero byte was never written to its end, and no single
/// flipped bit can make it look so.
#[must_use]
pub fn sector_entry(covered: &[u8]) -> u32 {
    codec::crc(0, covered) | 0x8100_0000
}

/// One group's line in a frame's directory: damage in the records still has an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The group.
    pub group: GroupId,
    /// How many of the frame's records are its.
    pub records: u32,
    /// The lowest version among the writes; 0 when there is none.
    pub version_min: Version,
    /// The highest version among the writes; 0 when there is none.
    pub version_max: Version,
    /// The highest term among them, the one that was voted in included.
    pub term: Term,
}

impl DirectoryEntry {
    /// Of a group that has no record yet.
    #[must_use]
    pub const fn of(group: GroupId) -> Self {
        Self { group, records: 0, version_min: Version(0), version_max: Version(0), term: Term(0) }
    }

    /// One more record of the group.
    #[inline]
    pub fn count(&mut self, record: &Record<'_>) {
        self.records += 1;
        if record.kind.is_a_write() {
            let is_first = self.version_max == Version(0);
            let lowest = if is_first { record.version } else { self.version_min };
            self.version_min = lowest.min(record.version);
            self.version_max = self.version_max.max(record.version);
        }
        self.term = self.term.max(record.term);
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; DIRECTORY_ENTRY_BYTES] {
        let mut out = [0; DIRECTORY_ENTRY_BYTES];
        out[0..4].copy_from_slice(&self.group.0.to_le_bytes());
        out[4..8].copy_from_slice(&self.records.to_le_bytes());
        out[8..16].copy_from_slice(&self.version_min.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.version_max.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.term.0.to_le_bytes());
        out
    }
}

/// Reads a frame's directory; `bytes` are exactly it.
///
/// # Errors
/// When the checksum is not that of the header.
pub fn decode_directory(bytes: &[u8], crc: u32) -> Result<Vec<DirectoryEntry>, FormatError> {
    if codec::crc(0, bytes) != crc {
        return Err(FormatError::Checksum);
    }
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::with_capacity(bytes.len() / DIRECTORY_ENTRY_BYTES);
    while !reader.rest().is_empty() {
        entries.push(DirectoryEntry {
            group: GroupId(reader.u32()?),
            records: reader.u32()?,
            version_min: Version(reader.u64()?),
            version_max: Version(reader.u64()?),
            term: Term(reader.u64()?),
        });
    }
    Ok(entries)
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The key has this value.
    Put,
    /// The key has no value.
    Tombstone,
    /// An entry of a replicated log that says no key's value by itself.
    Command,
    /// A group's term and vote.
    Hard,
    /// A group's state at the version of the record, beside its keys.
    Checkpoint,
    /// A change of the manifest; only in manifests.
    Edit,
}

impl RecordKind {
    pub(super) const fn to_byte(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Tombstone => 2,
            Self::Command => 3,
            Self::Hard => 4,
            Self::Checkpoint => 5,
            Self::Edit => 16,
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Put),
            2 => Some(Self::Tombstone),
            3 => Some(Self::Command),
            4 => Some(Self::Hard),
            5 => Some(Self::Checkpoint),
            16 => Some(Self::Edit),
            _ => None,
        }
    }

    /// Whether it says what a key is worth: only such records stand in hints.
    #[must_use]
    pub const fn is_of_a_key(self) -> bool {
        match self {
            Self::Put | Self::Tombstone => true,
            Self::Command | Self::Hard | Self::Checkpoint | Self::Edit => false,
        }
    }

    /// Whether its version is its own place in the order of the group's writes, and not that of
    /// something else.
    #[must_use]
    pub const fn is_a_write(self) -> bool {
        match self {
            Self::Put | Self::Tombstone | Self::Command | Self::Edit => true,
            Self::Hard | Self::Checkpoint => false,
        }
    }

    /// Whether a record of this kind can come from there.
    const fn comes_from(self, origin: Origin<'_>) -> bool {
        match (self, origin) {
            (Self::Put | Self::Tombstone, _) => true,
            (Self::Command, Origin::Entry(_)) => true,
            (Self::Command, Origin::State | Origin::Part) => false,
            (Self::Hard | Self::Checkpoint | Self::Edit, Origin::State) => true,
            (Self::Hard | Self::Checkpoint | Self::Edit, Origin::Entry(_) | Origin::Part) => false,
        }
    }
}

/// Where a record comes from. An entry of a replicated log is one record or several, as they are:
/// the first is its head, the others are its parts, all of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// From nobody's log: it counts from the moment in which it is durable.
    State,
    /// The head of an entry; what the log knows of the entry beside key and value.
    Entry(&'a [u8]),
    /// A further record of the entry whose head came before it.
    Part,
}

/// One record, borrowed from wherever its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Whose it is.
    pub group: GroupId,
    /// What it says.
    pub kind: RecordKind,
    /// Its place in the order of the group's writes.
    pub version: Version,
    /// The Raft term it was proposed in; 0 in a lone store.
    pub term: Term,
    /// When it stops being there, in milliseconds of the group's clock.
    pub expires_ms: Option<u64>,
    /// Where it comes from.
    pub origin: Origin<'a>,
    /// The key.
    pub key: &'a [u8],
    /// The value; empty for a tombstone.
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// How long its bytes are, without padding.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        let expiry = if self.expires_ms.is_some() { 8 } else { 0 };
        let section = match self.origin {
            Origin::Entry(section) => 1 + section.len(),
            Origin::State | Origin::Part => 0,
        };
        RECORD_HEADER_BYTES + expiry + section + self.key.len() + self.value.len()
    }

    /// Whether key, value and entry section are within the limits that the format can hold.
    #[must_use]
    pub const fn fits(&self) -> bool {
        let section = match self.origin {
            Origin::Entry(section) => section.len(),
            Origin::State | Origin::Part => 0,
        };
        self.key.len() <= limits::KEY_BYTES_MAX
            && self.value.len() <= limits::RECORD_VALUE_BYTES_MAX
            && section <= limits::ENTRY_SECTION_BYTES_MAX
    }

    /// The same, as what is known and no longer as what some entry said.
    #[must_use]
    pub const fn as_state(self) -> Self {
        Self { origin: Origin::State, ..self }
    }

    /// Appends its bytes and the padding.
    ///
    /// # Panics
    /// When it does not [fit](Self::fits), or when nothing of its kind comes from its origin.
    pub fn encode(&self, out: &mut BytesMut) {
        assert!(self.fits(), "a record within the limits");
        assert!(self.kind.comes_from(self.origin), "{:?} is no {:?}", self.kind, self.origin);
        let start = out.len();
        let mut header = [0; RECORD_HEADER_BYTES];
        header[4..8].copy_from_slice(&(self.value.len() as u32).to_le_bytes());
        header[8..10].copy_from_slice(&(self.key.len() as u16).to_le_bytes());
        header[10] = self.kind.to_byte();
        header[11] = if self.expires_ms.is_some() { FLAG_EXPIRES } else { 0 }
            | match self.origin {
                Origin::State => 0,
                Origin::Entry(_) => FLAG_ENTRY,
                Origin::Part => FLAG_PART,
            };
        header[12..16].copy_from_slice(&self.group.0.to_le_bytes());
        header[16..24].copy_from_slice(&self.version.0.to_le_bytes());
        header[24..32].copy_from_slice(&self.term.0.to_le_bytes());
        out.reserve(self.encoded_bytes() + RECORD_ALIGN);
        out.extend_from_slice(&header);
        if let Some(expires_ms) = self.expires_ms {
            out.extend_from_slice(&expires_ms.to_le_bytes());
        }
        if let Origin::Entry(section) = self.origin {
            out.extend_from_slice(&[section.len() as u8]);
            out.extend_from_slice(section);
        }
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
        let crc = codec::crc(0, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        let padding = (out.len() - start).next_multiple_of(RECORD_ALIGN) - (out.len() - start);
        out.extend_from_slice(&[0; RECORD_ALIGN][..padding]);
    }

    /// Reads the record at the front of `bytes`, with its checksum; answers its length without
    /// padding too.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), FormatError> {
        let (record, len) = Self::parse(bytes)?;
        let crc = Reader::new(bytes).u32()?;
        if crc != codec::crc(0, &bytes[4..len]) && !planted!("no_record_crc") {
            return Err(FormatError::Checksum);
        }
        Ok((record, len))
    }

    /// Reads the record at the front of `bytes` that were verified otherwise: the checksum is not
    /// looked at.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), FormatError> {
        let mut reader = Reader::new(bytes);
        reader.u32()?;
        let (value_len, key_len) = (reader.u32()? as usize, usize::from(reader.u16()?));
        let kind = RecordKind::from_byte(reader.u8()?).ok_or(FormatError::Field("kind"))?;
        let flags = reader.u8()?;
        if value_len > limits::RECORD_VALUE_BYTES_MAX {
            return Err(FormatError::Field("value_len"));
        }
        let (group, version) = (GroupId(reader.u32()?), Version(reader.u64()?));
        let term = Term(reader.u64()?);
        let expires_ms = if flags & FLAG_EXPIRES == 0 { None } else { Some(reader.u64()?) };
        let origin = match flags & !FLAG_EXPIRES {
            0 => Origin::State,
            FLAG_ENTRY => {
                let len = usize::from(reader.u8()?);
                Origin::Entry(reader.take(len)?)
            }
            FLAG_PART => Origin::Part,
            _ => return Err(FormatError::Field("flags")),
        };
        if !kind.comes_from(origin) {
            return Err(FormatError::Field("flags"));
        }
        let (key, value) = (reader.take(key_len)?, reader.take(value_len)?);
        let record = Self { group, kind, version, term, expires_ms, origin, key, value };
        Ok((record, record.encoded_bytes()))
    }
}

/// The records of a frame's body, which the caller has verified; with their offsets in it.
pub fn records(body: &[u8]) -> impl Iterator<Item = Result<(usize, Record<'_>), FormatError>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let rest = body.get(at..).filter(|rest| !rest.is_empty())?;
        let here = at;
        match Record::parse(rest) {
            Ok((record, len)) => {
                at += len.next_multiple_of(RECORD_ALIGN);
                Some(Ok((here, record)))
            }
            Err(error) => {
                at = usize::MAX;
                Some(Err(error))
            }
        }
    })
}

/// Whether all bytes are zero: a sector nobody has written yet.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}
