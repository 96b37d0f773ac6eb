//! Hints: what startup needs of a sealed segment, without its values. Pure.
//!
//! ```text
//! │ header 64 │ groups n×56 │ block │ block │ …         at a multiple of 512 behind the frames
//!                             block: header 16 │ entries, sorted by (group, key)
//! entry: offset 4 │ len 4 │ version 8 │ group 4 │ key_len 2 │ kind 1 │ flags 1 │ [expiry 8] │ key
//! ```
//!
//! One entry per key: the newest record of that key in this segment, tombstones too; records that
//! say nothing of a key are only counted. Every block
//! has a checksum seeded with its place, like a frame. A footer is only ever a hint: when a byte of
//! it is wrong, that one segment is walked instead and gives the same entries.
//!
//! Invariants: entries are sorted and unique by (group, key), lie among the frames, and add up to
//! the lines of their groups; a footer that decodes yields exactly the entries it counts.
//!
//! Not here: who writes footers and when (`chores.rs`, `data.rs`).

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    format::{
        FORMAT_VERSION, FRAME_ALIGN, FRAME_HEADER_BYTES, FormatError, RECORD_ALIGN,
        RECORD_HEADER_BYTES, Record, RecordKind, SECTOR_BYTES, SEGMENT_HEADER_BYTES, Seed, is_zero,
    },
    walk::FrameAt,
};
use crate::{
    codec::{self, Reader},
    limits::FOOTER_BLOCK_BYTES,
    planted,
    types::{GroupId, Loc, SegmentId, Version},
};

/// `89 4B 56 46`.
pub const FOOTER_MAGIC: u32 = 0x4656_4b89;
/// A footer's header.
pub const FOOTER_HEADER_BYTES: usize = 64;
/// One group's line.
pub const FOOTER_GROUP_BYTES: usize = 56;
/// A block's header.
pub const BLOCK_HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 24;
const FLAG_EXPIRES: u8 = 1;

/// How long an entry is.
#[inline]
pub(super) const fn entry_bytes(key_bytes: usize, expires: bool) -> usize {
    ENTRY_BYTES + key_bytes + if expires { 8 } else { 0 }
}

/// The most that a footer with so many bytes of entries can take, alignment included.
pub(super) const fn footer_bytes_max(entry_bytes: u64, groups: u64) -> u64 {
    let blocks = 2 * (entry_bytes / FOOTER_BLOCK_BYTES as u64) + 2;
    FOOTER_HEADER_BYTES as u64
        + groups * FOOTER_GROUP_BYTES as u64
        + entry_bytes
        + blocks * BLOCK_HEADER_BYTES as u64
        + (FRAME_ALIGN + SECTOR_BYTES) as u64
}

/// Where the footer of frames that end here begins. The gap of a frame header stays zero, so that
/// a footer whose writing was cut is never taken for a frame that was written and changed.
#[must_use]
pub const fn footer_offset(frames_end: u64) -> u64 {
    (frames_end + FRAME_ALIGN as u64).next_multiple_of(SECTOR_BYTES as u64)
}

/// One key of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintRef<'a> {
    /// Whose it is.
    pub group: GroupId,
    /// The key.
    pub key: &'a [u8],
    /// The version of the record.
    pub version: Version,
    /// Whether there is a value.
    pub kind: RecordKind,
    /// When it stops being there.
    pub expires_ms: Option<u64>,
    /// Where the record lies.
    pub loc: Loc,
}

/// What one segment holds of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentStats {
    /// The group.
    pub group: GroupId,
    /// How many records.
    pub records: u64,
    /// How many bytes they take, headers and padding included.
    pub bytes: u64,
    /// How many of the entries are tombstones.
    pub tombstones: u64,
    /// The lowest version of a record that says something of a key; 0 when there is none.
    pub version_min: Version,
    /// The highest version of such a record; 0 when there is none.
    pub version_max: Version,
    /// How many keys, tombstones included.
    pub keys: u64,
}

/// The hints of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentHints {
    /// The segment.
    pub segment: SegmentId,
    /// What it holds, by group.
    pub stats: Vec<SegmentStats>,
    bytes: Vec<u8>,
    /// Where the entries lie in `bytes`.
    blocks: Vec<(usize, usize)>,
    keys: u64,
}

impl SegmentHints {
    /// How many keys.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.keys
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// The entries, sorted by (group, key).
    pub fn iter(&self) -> impl Iterator<Item = HintRef<'_>> {
        self.blocks.iter().flat_map(|(start, end)| Entries {
            segment: self.segment,
            reader: Reader::new(self.bytes.get(*start..*end).unwrap_or(&[])),
        })
    }

    /// The hints of a segment whose frames were walked: `frames` of `segment_bytes`.
    #[must_use]
    pub fn of_frames(segment: SegmentId, segment_bytes: &[u8], frames: &[FrameAt]) -> Self {
        Self::of_kept(segment, segment_bytes, frames, |_, _| true)
    }

    /// The same without the records that are not to be kept.
    #[must_use]
    pub(super) fn of_kept(
        segment: SegmentId,
        segment_bytes: &[u8],
        frames: &[FrameAt],
        keep: impl FnMut(Loc, &Record<'_>) -> bool,
    ) -> Self {
        Self::decode_built(build_kept(segment, segment_bytes, frames, keep), segment)
    }

    fn decode_built(builder: FooterBuilder, segment: SegmentId) -> Self {
        let stats = builder.stats.values().copied().collect();
        let keys = builder.keys;
        let mut blocks = Vec::with_capacity(builder.blocks.len());
        for (index, start) in builder.blocks.iter().enumerate() {
            let end = builder.blocks.get(index + 1).copied().unwrap_or(builder.entries.len());
            blocks.push((start + BLOCK_HEADER_BYTES, end));
        }
        Self { segment, stats, bytes: builder.entries, blocks, keys }
    }

    /// Reads the footer that lies at `offset`; `bytes` are exactly it.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(
        bytes: Vec<u8>,
        segment: SegmentId,
        seed: Seed,
        offset: u64,
    ) -> Result<Self, FormatError> {
        let header = FooterHeader::decode(&bytes, segment, seed, offset)?;
        if header.bytes != bytes.len() as u64 {
            return Err(FormatError::Field("bytes"));
        }
        let stats_end = FOOTER_HEADER_BYTES + header.groups as usize * FOOTER_GROUP_BYTES;
        let stats_bytes =
            bytes.get(FOOTER_HEADER_BYTES..stats_end).ok_or(FormatError::Truncated)?;
        if codec::crc(0, stats_bytes) != header.stats_crc {
            return Err(FormatError::Checksum);
        }
        let stats = decode_stats(stats_bytes)?;
        let mut blocks = Vec::new();
        let (mut at, mut keys) = (stats_end, 0);
        let mut tally = Tally::new(&stats, offset);
        for _ in 0..header.blocks {
            let (end, entries) = check_block(&bytes, at, seed, offset, &mut tally)?;
            blocks.push((at + BLOCK_HEADER_BYTES, end));
            keys += entries;
            at = end;
        }
        tally.finish()?;
        if keys != header.keys || at != bytes.len() {
            return Err(FormatError::Field("keys"));
        }
        Ok(Self { segment, stats, bytes, blocks, keys })
    }
}

/// The front of a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterHeader {
    /// How many groups.
    pub groups: u32,
    /// How many blocks.
    pub blocks: u32,
    /// How many keys.
    pub keys: u64,
    /// The whole footer's length.
    pub bytes: u64,
    stats_crc: u32,
}

impl FooterHeader {
    fn encode(&self, segment: SegmentId, seed: Seed, offset: u64) -> [u8; FOOTER_HEADER_BYTES] {
        let mut out = [0; FOOTER_HEADER_BYTES];
        out[0..4].copy_from_slice(&FOOTER_MAGIC.to_le_bytes());
        out[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&segment.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.groups.to_le_bytes());
        out[20..24].copy_from_slice(&self.blocks.to_le_bytes());
        out[24..32].copy_from_slice(&self.keys.to_le_bytes());
        out[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        out[40..44].copy_from_slice(&self.stats_crc.to_le_bytes());
        let crc = codec::crc(seed.at(offset), &out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the front of the footer at `offset`.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn decode(
        bytes: &[u8],
        segment: SegmentId,
        seed: Seed,
        offset: u64,
    ) -> Result<Self, FormatError> {
        let front = bytes.get(..FOOTER_HEADER_BYTES).ok_or(FormatError::Truncated)?;
        let mut reader = Reader::new(front);
        if reader.u32()? != FOOTER_MAGIC {
            return Err(FormatError::NotOurs);
        }
        if reader.u32()? != codec::crc(seed.at(offset), &front[8..]) && !planted!("hint_unchecked")
        {
            return Err(FormatError::Checksum);
        }
        let format = reader.u16()?;
        if format > FORMAT_VERSION {
            return Err(FormatError::Newer { found: format });
        }
        if format == 0 || reader.u16()? != 0 || reader.u32()? != segment.0 {
            return Err(FormatError::Field("segment"));
        }
        let (groups, blocks) = (reader.u32()?, reader.u32()?);
        let (keys, bytes, stats_crc) = (reader.u64()?, reader.u64()?, reader.u32()?);
        if !is_zero(reader.rest()) {
            return Err(FormatError::Field("reserved"));
        }
        Ok(Self { groups, blocks, keys, bytes, stats_crc })
    }
}

fn decode_stats(bytes: &[u8]) -> Result<Vec<SegmentStats>, FormatError> {
    let mut reader = Reader::new(bytes);
    let mut stats = Vec::with_capacity(bytes.len() / FOOTER_GROUP_BYTES);
    while !reader.rest().is_empty() {
        let group = GroupId(reader.u32()?);
        if reader.u32()? != 0 {
            return Err(FormatError::Field("reserved"));
        }
        stats.push(SegmentStats {
            group,
            records: reader.u64()?,
            bytes: reader.u64()?,
            tombstones: reader.u64()?,
            version_min: Version(reader.u64()?),
            version_max: Version(reader.u64()?),
            keys: reader.u64()?,
        });
    }
    Ok(stats)
}

/// What a checksum cannot say of entries: that they are in order, lie among the frames, and add up
/// to the lines of their groups. Whoever loads them builds on that.
struct Tally<'a> {
    lines: core::slice::Iter<'a, SegmentStats>,
    line: Option<&'a SegmentStats>,
    frames_end: u64,
    last_key: &'a [u8],
    bytes: u64,
    tombstones: u64,
    keys: u64,
}

impl<'a> Tally<'a> {
    fn new(stats: &'a [SegmentStats], frames_end: u64) -> Self {
        let lines = stats.iter();
        Self { lines, line: None, frames_end, last_key: &[], bytes: 0, tombstones: 0, keys: 0 }
    }

    fn take(&mut self, hint: &HintRef<'a>) -> Result<(), FormatError> {
        if self.line.is_some_and(|line| line.group == hint.group) {
            if hint.key <= self.last_key {
                return Err(FormatError::Field("key order"));
            }
        } else {
            self.next_group(hint.group)?;
        }
        let Some(line) = self.line else { return Err(FormatError::Field("groups")) };
        if !(line.version_min..=line.version_max).contains(&hint.version) {
            return Err(FormatError::Field("version"));
        }
        let least = RECORD_HEADER_BYTES + entry_bytes(hint.key.len(), hint.expires_ms.is_some())
            - ENTRY_BYTES;
        let (start, len) = (hint.loc.offset(), u64::from(hint.loc.len));
        let first = (SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES) as u64;
        if start < first || start + len > self.frames_end || len < least as u64 {
            return Err(FormatError::Field("place"));
        }
        self.last_key = hint.key;
        self.bytes += hint.loc.padded_len();
        self.tombstones += u64::from(hint.kind == RecordKind::Tombstone);
        self.keys += 1;
        Ok(())
    }

    fn next_group(&mut self, group: GroupId) -> Result<(), FormatError> {
        let before = self.line.map(|line| line.group);
        self.close()?;
        // A group of which the segment holds no key has a line too.
        self.line = self.lines.find(|line| line.keys > 0);
        let is_next = self.line.is_some_and(|line| line.group == group);
        if !is_next || before.is_some_and(|before| before >= group) {
            return Err(FormatError::Field("groups"));
        }
        Ok(())
    }

    /// The group's entries are complete.
    fn close(&mut self) -> Result<(), FormatError> {
        let Some(line) = self.line.take() else { return Ok(()) };
        let right = self.keys == line.keys
            && self.tombstones == line.tombstones
            && self.bytes <= line.bytes
            && line.bytes <= self.frames_end
            && line.records >= line.keys;
        (self.bytes, self.tombstones, self.keys) = (0, 0, 0);
        if right { Ok(()) } else { Err(FormatError::Field("statistics")) }
    }

    fn finish(mut self) -> Result<(), FormatError> {
        self.close()?;
        let all = self.lines.all(|line| line.keys == 0) || planted!("hint_unchecked");
        if all { Ok(()) } else { Err(FormatError::Field("groups")) }
    }
}

/// Checks the block at `at`; answers where it ends and how many entries it has.
fn check_block<'a>(
    bytes: &'a [u8],
    at: usize,
    seed: Seed,
    footer_offset: u64,
    tally: &mut Tally<'a>,
) -> Result<(usize, u64), FormatError> {
    let mut reader = Reader::new(bytes.get(at..).ok_or(FormatError::Truncated)?);
    let (crc, len, count) = (reader.u32()?, reader.u32()? as usize, reader.u32()?);
    if reader.u32()? != 0 {
        return Err(FormatError::Field("reserved"));
    }
    let entries = reader.take(len)?;
    let end = at + BLOCK_HEADER_BYTES + len;
    let place = footer_offset + at as u64;
    if codec::crc(seed.at(place), &bytes[at + 4..end]) != crc && !planted!("hint_unchecked") {
        return Err(FormatError::Checksum);
    }
    let mut reader = Reader::new(entries);
    let mut found = 0;
    while !reader.rest().is_empty() {
        let hint = decode_entry(&mut reader, SegmentId(0))?;
        if !planted!("hint_unchecked") {
            tally.take(&hint)?;
        }
        found += 1;
    }
    if found == u64::from(count) { Ok((end, found)) } else { Err(FormatError::Field("entries")) }
}

fn decode_entry<'a>(
    reader: &mut Reader<'a>,
    segment: SegmentId,
) -> Result<HintRef<'a>, FormatError> {
    let (offset_words, len) = (reader.u32()?, reader.u32()?);
    let (version, group) = (Version(reader.u64()?), GroupId(reader.u32()?));
    let key_len = usize::from(reader.u16()?);
    let kind = RecordKind::from_byte(reader.u8()?).filter(|kind| kind.is_of_a_key());
    let kind = kind.ok_or(FormatError::Field("kind"))?;
    let flags = reader.u8()?;
    if flags & !FLAG_EXPIRES != 0 {
        return Err(FormatError::Field("flags"));
    }
    let expires_ms = if flags & FLAG_EXPIRES == 0 { None } else { Some(reader.u64()?) };
    let key = reader.take(key_len)?;
    let loc = Loc { segment, offset_words, len };
    Ok(HintRef { group, key, version, kind, expires_ms, loc })
}

struct Entries<'a> {
    segment: SegmentId,
    reader: Reader<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = HintRef<'a>;

    fn next(&mut self) -> Option<HintRef<'a>> {
        if self.reader.rest().is_empty() {
            return None;
        }
        decode_entry(&mut self.reader, self.segment).ok()
    }
}

/// Builds a footer from entries that come in order.
#[derive(Debug, Default)]
pub struct FooterBuilder {
    stats: BTreeMap<GroupId, SegmentStats>,
    /// Blocks with room for their headers.
    entries: Vec<u8>,
    /// Where each block begins in `entries`, and how many entries it has.
    blocks: Vec<usize>,
    counts: Vec<u32>,
    keys: u64,
}

impl FooterBuilder {
    /// Counts a record, whether or not it is the newest of its key; `counts` says whether it says
    /// anything of a key at all.
    pub fn count(&mut self, record: &Record<'_>, counts: bool) {
        let stats = self.stats.entry(record.group).or_default();
        stats.group = record.group;
        stats.records += 1;
        stats.bytes += record.encoded_bytes().next_multiple_of(RECORD_ALIGN) as u64;
        if counts {
            let is_first = stats.version_max == Version(0);
            let lowest = if is_first { record.version } else { stats.version_min };
            stats.version_min = lowest.min(record.version);
            stats.version_max = stats.version_max.max(record.version);
        }
    }

    /// Adds an entry; the caller keeps the order of (group, key).
    pub fn push(&mut self, hint: &HintRef<'_>) {
        let bytes = entry_bytes(hint.key.len(), hint.expires_ms.is_some());
        let in_block = self.blocks.last().map(|start| self.entries.len() - start);
        if in_block.is_none_or(|len| len + bytes > FOOTER_BLOCK_BYTES) {
            self.blocks.push(self.entries.len());
            self.counts.push(0);
            self.entries.extend_from_slice(&[0; BLOCK_HEADER_BYTES]);
        }
        if let Some(count) = self.counts.last_mut() {
            *count += 1;
        }
        self.keys += 1;
        if let Some(stats) = self.stats.get_mut(&hint.group) {
            stats.keys += 1;
            stats.tombstones += u64::from(hint.kind == RecordKind::Tombstone);
        }
        let out = &mut self.entries;
        out.extend_from_slice(&hint.loc.offset_words.to_le_bytes());
        out.extend_from_slice(&hint.loc.len.to_le_bytes());
        out.extend_from_slice(&hint.version.0.to_le_bytes());
        out.extend_from_slice(&hint.group.0.to_le_bytes());
        out.extend_from_slice(&(hint.key.len() as u16).to_le_bytes());
        out.push(hint.kind.to_byte());
        out.push(if hint.expires_ms.is_some() { FLAG_EXPIRES } else { 0 });
        if let Some(expires_ms) = hint.expires_ms {
            out.extend_from_slice(&expires_ms.to_le_bytes());
        }
        out.extend_from_slice(hint.key);
    }

    /// What was counted, by group.
    #[must_use]
    pub fn stats(&self) -> Vec<SegmentStats> {
        self.stats.values().copied().collect()
    }

    /// The footer's bytes, for one place.
    #[must_use]
    pub fn finish(mut self, segment: SegmentId, seed: Seed, offset: u64) -> Vec<u8> {
        let blocks_at = FOOTER_HEADER_BYTES + self.stats.len() * FOOTER_GROUP_BYTES;
        for (index, start) in self.blocks.iter().enumerate() {
            let end = self.blocks.get(index + 1).copied().unwrap_or(self.entries.len());
            let block = &mut self.entries[*start..end];
            let len = (block.len() - BLOCK_HEADER_BYTES) as u32;
            block[4..8].copy_from_slice(&len.to_le_bytes());
            block[8..12].copy_from_slice(&self.counts[index].to_le_bytes());
            let crc = codec::crc(seed.at(offset + (blocks_at + start) as u64), &block[4..]);
            block[0..4].copy_from_slice(&crc.to_le_bytes());
        }
        let mut stats = Vec::with_capacity(self.stats.len() * FOOTER_GROUP_BYTES);
        for line in self.stats.values() {
            stats.extend_from_slice(&line.group.0.to_le_bytes());
            stats.extend_from_slice(&[0; 4]);
            let SegmentStats { records, bytes, tombstones, version_min, version_max, keys, .. } =
                line;
            for number in [*records, *bytes, *tombstones, version_min.0, version_max.0, *keys] {
                stats.extend_from_slice(&number.to_le_bytes());
            }
        }
        let header = FooterHeader {
            groups: self.stats.len() as u32,
            blocks: self.blocks.len() as u32,
            keys: self.keys,
            bytes: (blocks_at + self.entries.len()) as u64,
            stats_crc: codec::crc(0, &stats),
        };
        let mut out = Vec::with_capacity(blocks_at + self.entries.len());
        out.extend_from_slice(&header.encode(segment, seed, offset));
        out.extend_from_slice(&stats);
        out.extend_from_slice(&self.entries);
        out
    }
}

/// Collects the hints of walked frames: the newest record of each key.
#[must_use]
pub fn build(segment: SegmentId, segment_bytes: &[u8], frames: &[FrameAt]) -> FooterBuilder {
    build_kept(segment, segment_bytes, frames, |_, _| true)
}

/// The same without the records that are not to be kept: they are only counted.
#[must_use]
pub(super) fn build_kept(
    segment: SegmentId,
    segment_bytes: &[u8],
    frames: &[FrameAt],
    mut keep: impl FnMut(Loc, &Record<'_>) -> bool,
) -> FooterBuilder {
    let mut builder = FooterBuilder::default();
    let mut hints = Vec::new();
    for frame in frames {
        for (loc, record) in frame.records(segment, segment_bytes) {
            let counts = record.kind.is_of_a_key() && keep(loc, &record);
            builder.count(&record, counts);
            if !counts {
                continue;
            }
            hints.push(HintRef {
                group: record.group,
                key: record.key,
                version: record.version,
                kind: record.kind,
                expires_ms: record.expires_ms,
                loc,
            });
        }
    }
    // The newest first among equals; of the same version, the one written later.
    hints.sort_unstable_by(|left, right| {
        (left.group, left.key, right.version, right.loc.offset_words).cmp(&(
            right.group,
            right.key,
            left.version,
            left.loc.offset_words,
        ))
    });
    hints.dedup_by(|next, first| next.group == first.group && next.key == first.key);
    for hint in &hints {
        builder.push(hint);
    }
    builder
}
