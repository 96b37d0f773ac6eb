//! Walking a segment's bytes: which frames are whole, where the holes are, and what a hole looks
//! like. Pure.
//!
//! ```text
//! │ frame 1 │ frame 2 │ ???????? │ frame 4 │ zeros
//!    whole     whole     hole       whole     end
//! ```
//!
//! The walk goes from frame to frame while each is whole: its header's seeded checksum, every
//! sector of its map, its directory, its link to the frame before, its LSN. Where one is not, the
//! walk searches on at every multiple of 64 for the next header that verifies, because a later
//! frame may prove that the damaged one had been durable. What a hole means (torn, rot, ambiguous)
//! is not decided here: it depends on the other segments (`verdict.rs`). But the evidence is
//! collected here, sector by sector:
//! - *old*: the sector is zero although the frame's map says it is not: it was never written;
//! - *strange*: the sector is neither what the map says nor zero: it was written, and changed;
//! - a sector whose map entry is lost tells nothing.
//!
//! A header never crosses a sector, so a header that is all zero was never written.
//!
//! Invariants: every step moves at least 64 bytes forward, so any input ends; memory is bounded by
//! one entry per 64 bytes of input.
//!
//! Not here: reading the bytes (`recovery.rs`), concluding (`verdict.rs`).

use alloc::vec::Vec;

use super::format::{
    DIRECTORY_ENTRY_BYTES, DirectoryEntry, EditId, FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC,
    FormatError, FrameHeader, FrameKind, FrameLayout, RECORD_ALIGN, Record, SECTOR_BYTES,
    SEGMENT_HEADER_BYTES, Seed, covered_sectors, decode_directory, is_zero, records, sector_entry,
};
use crate::{
    codec, planted,
    types::{Loc, Lsn, SegmentId, Uuid},
};

/// A whole frame and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAt {
    /// Where it begins in the segment.
    pub offset: u64,
    /// Where it ends.
    pub end: u64,
    /// Its header.
    pub header: FrameHeader,
}

impl FrameAt {
    /// The bytes of its records, in the segment's.
    #[must_use]
    pub fn body<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        let start = self.offset as usize + FRAME_HEADER_BYTES;
        segment.get(start..start + self.header.body_bytes as usize).unwrap_or(&[])
    }

    /// Of a scar, whose records are lost: the groups and their highest terms, or nobody knows.
    #[must_use]
    pub fn scar(&self, segment: &[u8]) -> Option<Vec<DirectoryEntry>> {
        let header = &self.header;
        let start = self.offset as usize + FRAME_HEADER_BYTES;
        let lines =
            segment.get(start..start + usize::from(header.groups) * DIRECTORY_ENTRY_BYTES)?;
        let is_scar = header.kind == FrameKind::Scar;
        is_scar.then(|| decode_directory(lines, header.directory_crc).unwrap_or_default())
    }

    /// Its records, and where each lies.
    pub fn records<'a>(
        &self,
        id: SegmentId,
        segment: &'a [u8],
    ) -> impl Iterator<Item = (Loc, Record<'a>)> + use<'a> {
        let body_at = self.offset as usize + FRAME_HEADER_BYTES;
        records(self.body(segment)).flatten().map(move |(at, record)| {
            let offset_words = ((body_at + at) / RECORD_ALIGN) as u32;
            let loc = Loc { segment: id, offset_words, len: record.encoded_bytes() as u32 };
            (loc, record)
        })
    }
}

/// What the sectors of a hole say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Some sector was never written, and every sector that can be judged is either right or
    /// never written.
    Old,
    /// Some sector was written and is not what was written.
    Strange,
}

/// Bytes where a frame should be and is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where it begins.
    pub offset: u64,
    /// Where the next whole header was found, or the segment's end.
    pub end: u64,
    /// The LSN that the missing frame would begin with.
    pub expected_lsn: Lsn,
    /// What its sectors say.
    pub evidence: Evidence,
    /// Why the frame is not whole.
    pub why: FormatError,
    /// Its header, when at least that verifies.
    pub header: Option<FrameHeader>,
    /// Its directory, when that verifies: who is damaged.
    pub groups: Vec<DirectoryEntry>,
    /// Whether nothing was ever written behind its frame.
    pub is_last: bool,
}

/// A piece of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole frame.
    Frame(FrameAt),
    /// Something else.
    Hole(Hole),
}

impl Piece {
    /// The frame, if it is one.
    #[must_use]
    pub const fn frame(&self) -> Option<&FrameAt> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::Hole(_) => None,
        }
    }
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Frames and holes, in the order of their offsets.
    pub pieces: Vec<Piece>,
    /// Where the last frame ends, or the walk began.
    pub end: u64,
    /// The LSN after the last frame.
    pub next_lsn: Lsn,
    /// The checksum of the last frame's header, or what the walk began with.
    pub last_crc: u32,
    /// The highest LSN that some frame's header says was durable.
    pub proven: Lsn,
    /// The newest edit of a manifest that some frame's header says was durable.
    pub edit: EditId,
}

impl Walk {
    /// The whole frames.
    pub fn frames(&self) -> impl Iterator<Item = &FrameAt> {
        self.pieces.iter().filter_map(Piece::frame)
    }

    /// The holes.
    pub fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Frame(_) => None,
            Piece::Hole(hole) => Some(hole),
        })
    }
}

/// Where a walk begins and what it expects there.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The segment.
    pub id: SegmentId,
    /// Its incarnation.
    pub uuid: Uuid,
    /// The first LSN, when known.
    pub first_lsn: Option<Lsn>,
    /// The checksum that the first frame must name, when known.
    pub previous_crc: Option<u32>,
    /// Frames end before this offset: what lies behind is a footer, or was cut.
    pub end: Option<u64>,
}

/// Walks the frames of a segment; `bytes` are the whole segment with its header.
#[must_use]
pub fn walk(bytes: &[u8], start: &Start) -> Walk {
    let end = start.end.and_then(|end| usize::try_from(end).ok()).unwrap_or(usize::MAX);
    let bytes = &bytes[..bytes.len().min(end)];
    let mut walker = Walker {
        bytes,
        id: start.id,
        seed: Seed::of(start.uuid),
        first_lsn: start.first_lsn,
        previous_crc: start.previous_crc,
        walk: Walk {
            end: SEGMENT_HEADER_BYTES as u64,
            next_lsn: start.first_lsn.unwrap_or(Lsn(0)),
            last_crc: start.previous_crc.unwrap_or(0),
            ..Walk::default()
        },
    };
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(next) = walker.step(at) {
        assert!(next > at, "a walk moves forward");
        at = next;
    }
    walker.walk
}

struct Walker<'a> {
    bytes: &'a [u8],
    id: SegmentId,
    seed: Seed,
    first_lsn: Option<Lsn>,
    previous_crc: Option<u32>,
    walk: Walk,
}

impl Walker<'_> {
    /// Looks at one place; answers the next, or that there is nothing more.
    fn step(&mut self, at: usize) -> Option<usize> {
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let why = match self.whole_frame(at) {
            Ok(frame) => {
                self.accept(frame);
                return usize::try_from(frame.end).ok();
            }
            Err(why) => why,
        };
        if planted!("torn_tail_kept")
            && let Ok((header, layout)) = self.header(at)
        {
            let end = (at + layout.end) as u64;
            self.accept(FrameAt { offset: at as u64, end, header });
            return usize::try_from(end).ok();
        }
        let next = self.resync(at);
        if next.is_none() && is_zero(rest) {
            return None;
        }
        let (evidence, header, groups) = self.examine(at);
        let is_last = header.is_some_and(|header| {
            let end = at + header.layout(at as u64).end;
            self.bytes.get(end..).is_some_and(is_zero)
        });
        // Whatever became of the rest, this much was true when the header was made.
        if let Some(header) = &header {
            self.believe(header);
        }
        self.walk.pieces.push(Piece::Hole(Hole {
            offset: at as u64,
            end: next.unwrap_or(self.bytes.len()) as u64,
            expected_lsn: self.first_lsn.unwrap_or(Lsn(0)),
            evidence,
            why,
            header,
            groups,
            is_last,
        }));
        // Behind a hole the chain is unknown: the next header that verifies begins it anew.
        self.previous_crc = None;
        self.first_lsn = None;
        next
    }

    fn accept(&mut self, frame: FrameAt) {
        self.first_lsn = Some(frame.header.next_lsn());
        self.previous_crc = Some(frame.header.crc);
        self.walk.end = frame.end;
        self.walk.next_lsn = frame.header.next_lsn();
        self.walk.last_crc = frame.header.crc;
        self.believe(&frame.header);
        self.walk.pieces.push(Piece::Frame(frame));
    }

    fn believe(&mut self, header: &FrameHeader) {
        self.walk.proven = self.walk.proven.max(header.durable_lsn);
        self.walk.edit = self.walk.edit.max(header.edit);
    }

    /// The frame at this place, when all of it is right.
    fn whole_frame(&self, at: usize) -> Result<FrameAt, FormatError> {
        let (header, layout) = self.header(at)?;
        let goes_on = |expected| match header.kind {
            FrameKind::Data | FrameKind::Seal => header.first_lsn == expected,
            FrameKind::Scar => header.first_lsn > expected,
        };
        if !self.first_lsn.is_none_or(goes_on) {
            return Err(FormatError::Field("first_lsn"));
        }
        let linked = self.previous_crc.is_none_or(|expected| expected == header.previous_crc);
        if !linked && !planted!("chain_not_checked") {
            return Err(FormatError::Field("previous_crc"));
        }
        let frame = &self.bytes[at..at + layout.end];
        let map = &frame[layout.map_at..layout.map_end];
        if codec::crc(0, map) != header.map_crc {
            return Err(FormatError::Checksum);
        }
        let covered = covered_sectors(at as u64, layout.map_at);
        for ((start, end), entry) in covered.zip(map.as_chunks::<4>().0) {
            if sector_entry(&frame[start..end]) != u32::from_le_bytes(*entry)
                && !planted!("frame_body_not_checked")
            {
                return Err(FormatError::Checksum);
            }
        }
        check_contents(frame, &header, layout)?;
        Ok(FrameAt { offset: at as u64, end: (at + layout.end) as u64, header })
    }

    /// The header at this place, when it verifies and its frame ends within the segment.
    fn header(&self, at: usize) -> Result<(FrameHeader, FrameLayout), FormatError> {
        let rest = self.bytes.get(at..).unwrap_or(&[]);
        let header = FrameHeader::decode(rest, self.seed, at as u64)?;
        let layout = header.layout(at as u64);
        if header.segment != self.id {
            return Err(FormatError::Field("segment"));
        }
        if layout.end > rest.len() {
            return Err(FormatError::Truncated);
        }
        Ok((header, layout))
    }

    /// The next place behind `at` where a header verifies. The magic bytes are compared first, so
    /// the search runs at memory speed.
    fn resync(&self, at: usize) -> Option<usize> {
        if planted!("no_resync") {
            return None;
        }
        let first = (at + FRAME_ALIGN).next_multiple_of(FRAME_ALIGN);
        let magic = FRAME_MAGIC.to_le_bytes();
        (first..self.bytes.len())
            .step_by(FRAME_ALIGN)
            .filter(|place| self.bytes[*place..].starts_with(&magic))
            .find(|place| self.header(*place).is_ok())
    }

    /// What the sectors of the hole at this place say, and who is damaged.
    fn examine(&self, at: usize) -> (Evidence, Option<FrameHeader>, Vec<DirectoryEntry>) {
        let (header, layout) = match self.header(at) {
            Ok(found) => found,
            Err(_) => return (self.examine_unknown(at), None, Vec::new()),
        };
        let frame = &self.bytes[at..at + layout.end];
        let directory = &frame[layout.directory_at..layout.map_at];
        let groups = decode_directory(directory, header.directory_crc).unwrap_or_default();
        (examine_sectors(frame, at as u64, &header, layout), Some(header), groups)
    }

    /// Without a header only two places can be judged: the rest of its own sector, and the bytes
    /// behind it, where the first record of a whole frame is never zero. (A seal has no record;
    /// taking a damaged one for torn loses nothing.)
    fn examine_unknown(&self, at: usize) -> Evidence {
        let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let rest_of_sector = &self.bytes[at..sector_end.min(self.bytes.len())];
        let behind = at + FRAME_HEADER_BYTES;
        let first_record = self.bytes.get(behind..behind + FRAME_ALIGN);
        let never_written = is_zero(rest_of_sector) || first_record.is_some_and(is_zero);
        if never_written { Evidence::Old } else { Evidence::Strange }
    }
}

/// The directory and the records' outlines: what a checksum cannot say.
fn check_contents(
    frame: &[u8],
    header: &FrameHeader,
    layout: FrameLayout,
) -> Result<(), FormatError> {
    let directory = &frame[layout.directory_at..layout.map_at];
    let groups = decode_directory(directory, header.directory_crc)?;
    let counted: u64 = groups.iter().map(|entry| u64::from(entry.records)).sum();
    if counted != u64::from(header.records) {
        return Err(FormatError::Field("directory"));
    }
    let mut found = 0_u32;
    for record in records(&frame[FRAME_HEADER_BYTES..layout.directory_at]) {
        record?;
        found += 1;
    }
    if found == header.records { Ok(()) } else { Err(FormatError::Field("records")) }
}

/// Compares every sector of a frame with its map.
fn examine_sectors(
    frame: &[u8],
    offset: u64,
    header: &FrameHeader,
    layout: FrameLayout,
) -> Evidence {
    let map = &frame[layout.map_at..layout.map_end];
    let map_whole = codec::crc(0, map) == header.map_crc;
    let in_sector = (offset % SECTOR_BYTES as u64) as usize;
    // The part of the map that shares a sector with byte `position` of the frame.
    let map_in_sector_of = |position: usize| {
        let sector = (in_sector + position) / SECTOR_BYTES;
        let start = (sector * SECTOR_BYTES).saturating_sub(in_sector).max(layout.map_at);
        let end = ((sector + 1) * SECTOR_BYTES - in_sector).min(layout.map_end);
        &frame[start..end]
    };
    // Entries never end in a zero byte: a map that does was cut short, within an entry perhaps.
    let written = map.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let written_end = if written < map.len() { layout.map_at + written } else { usize::MAX };
    let (mut old, mut strange, mut map_torn) = (false, false, false);
    for (index, (start, end)) in covered_sectors(offset, layout.map_at).enumerate() {
        let at = layout.map_at + 4 * index;
        // Entries are 4 bytes on multiples of 4: none crosses a sector.
        let lost = !map_whole && (at + 4 >= written_end || is_zero(map_in_sector_of(at)));
        if lost {
            map_torn = true;
            continue;
        }
        let Some(entry) = frame[at..].first_chunk::<4>() else { continue };
        let data = &frame[start..end];
        if sector_entry(data) == u32::from_le_bytes(*entry) {
            continue;
        }
        if is_zero(data) {
            old = true;
        } else {
            strange = true;
        }
    }
    // A map that was written to its end and does not fit its checksum was changed. Its entries are
    // no evidence then: the sector of zeros that one of them denies may be what was written.
    strange |= !map_whole && !map_torn;
    if (old || map_torn) && !strange { Evidence::Old } else { Evidence::Strange }
}
