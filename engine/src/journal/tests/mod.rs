//! Tests of the journal's bytes: what the codecs write and refuse, what the page of the format
//! says, and what may be concluded from what a crash or a bad device leaves.
//!
//! A [`Sketch`] is one journal segment in memory, written frame by frame by the code that writes
//! real ones. It remembers what the file held before each frame, so that a test can leave sectors
//! unwritten, as a power loss does, beside changing bytes, as a bad device does.
//!
//! Not here: files, syncs and whole histories (`sim/tests/journal.rs`).

use alloc::{string::String, vec, vec::Vec};
use bytes::BytesMut;
use core::ops::Range;

use super::{
    footer,
    format::*,
    frame::{FrameBuilder, Place},
    recovery::was_never_begun,
    verdict::{Decision, Front, Scanned, decide},
    walk::{FrameAt, Start, walk},
};
use crate::types::{GroupId, Lsn, SegmentId, Term, Uuid, Version};

mod codecs;
mod entries;
mod example;
mod lives;
mod page;
mod tears;
mod verdicts;

const NODE: Uuid = Uuid([0x22; 16]);

/// How long the segments of these tests are, unless a test wants it otherwise.
const SEGMENT_BYTES: usize = 16 << 10;

fn record<'a>(lsn: u64, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record {
        group: GroupId(1),
        kind: RecordKind::Put,
        version: Version(lsn),
        term: Term(0),
        expires_ms: None,
        origin: Origin::State,
        key,
        value,
    }
}

/// One journal segment.
#[derive(Clone, Debug)]
struct Sketch {
    id: SegmentId,
    /// The incarnation that the manifest lists.
    uuid: Uuid,
    bytes: Vec<u8>,
    /// What the file held before each frame; the segment's header is written with the first.
    before: Vec<Vec<u8>>,
    frames: Vec<FrameAt>,
    base_lsn: Lsn,
    next_lsn: Lsn,
    last_crc: u32,
    previous: Uuid,
    previous_crc: u32,
    cut_short_bytes: u64,
}

impl Sketch {
    fn sized(id: u32, base_lsn: u64, bytes: usize) -> Self {
        Self {
            id: SegmentId(id),
            uuid: Uuid([id as u8; 16]),
            bytes: vec![0; bytes],
            before: Vec::new(),
            frames: Vec::new(),
            base_lsn: Lsn(base_lsn),
            next_lsn: Lsn(base_lsn),
            last_crc: 0,
            previous: Uuid::default(),
            previous_crc: 0,
            cut_short_bytes: 0,
        }
    }

    /// The first segment of a store.
    fn first() -> Self {
        Self::sized(1, 1, SEGMENT_BYTES)
    }

    /// The segment that is written after this one.
    fn following(&self) -> Self {
        Self {
            last_crc: self.last_crc,
            previous: self.uuid,
            previous_crc: self.last_crc,
            ..Self::sized(self.id.0 + 1, self.next_lsn.0, SEGMENT_BYTES)
        }
    }

    fn header(&self) -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Journal,
            id: self.id,
            uuid: self.uuid,
            node: NODE,
            base_lsn: self.base_lsn,
            previous: self.previous,
            previous_crc: self.previous_crc,
        }
    }

    fn end(&self) -> usize {
        self.frames.last().map_or(SEGMENT_HEADER_BYTES, |frame| frame.end as usize)
    }

    /// A frame of records with these values, each under its LSN as key; a seal when there is none.
    /// `durable` is what the frame says was durable when it was built.
    fn frame(mut self, durable: u64, values: &[&[u8]]) -> Self {
        self.before.push(self.bytes.clone());
        if self.frames.is_empty() {
            let header = self.header().encode();
            self.bytes[..header.len()].copy_from_slice(&header);
        }
        let offset = self.end();
        let mut builder = FrameBuilder::new(self.next_lsn, BytesMut::new());
        for value in values {
            let lsn = builder.next_lsn().0;
            builder.push(&record(lsn, &lsn.to_be_bytes(), value)).expect("it fits");
        }
        let built = builder.finish(Place {
            segment: self.id,
            seed: Seed::of(self.uuid),
            offset: offset as u64,
            durable_lsn: Lsn(durable),
            previous_crc: self.last_crc,
            edit: EditId::default(),
        });
        let end = offset + built.bytes.len();
        self.bytes[offset..end].copy_from_slice(&built.bytes);
        self.last_crc = built.header.crc;
        self.next_lsn = built.header.next_lsn();
        self.frames.push(FrameAt { offset: offset as u64, end: end as u64, header: built.header });
        self
    }

    fn seal(self, durable: u64) -> Self {
        self.frame(durable, &[])
    }

    /// The bytes of a footer for these frames, and where it belongs.
    fn footer(&self) -> (usize, Vec<u8>) {
        let offset = footer::footer_offset(self.end() as u64);
        let builder = footer::build(self.id, &self.bytes, &self.frames);
        (offset as usize, builder.finish(self.id, Seed::of(self.uuid), offset))
    }

    /// The sectors of the file that frame number `index` touches.
    fn sectors(&self, index: usize) -> Range<usize> {
        let frame = &self.frames[index];
        frame.offset as usize / SECTOR_BYTES..(frame.end as usize).div_ceil(SECTOR_BYTES)
    }

    /// A sector of the file that frame number `index` never reached.
    fn unwritten(mut self, index: usize, sector: usize) -> Self {
        let place = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        self.bytes[place.clone()].copy_from_slice(&self.before[index][place]);
        self
    }

    /// Frame number `index` never reached the device at all.
    fn unwritten_frame(self, index: usize) -> Self {
        self.sectors(index).fold(self, |sketch, sector| sketch.unwritten(index, sector))
    }

    /// The lowest bit of a byte of frame number `index`.
    fn flip(mut self, index: usize, byte: usize) -> Self {
        let at = self.frames[index].offset as usize + byte;
        self.bytes[at] ^= 1;
        self
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The segment as recovery scans it.
    fn scan(&self) -> Scanned {
        let front = match SegmentHeader::decode(&self.bytes) {
            Ok(header) if header.uuid == self.uuid => Front::Whole(header),
            _ if was_never_begun(&self.bytes) => Front::Old,
            Ok(_) => Front::Strange(FormatError::Field("uuid")),
            Err(why) => Front::Strange(why),
        };
        let (first_lsn, previous_crc) = match front {
            Front::Whole(header) => (Some(header.base_lsn), Some(header.previous_crc)),
            Front::Old | Front::Strange(_) => (None, None),
        };
        let start = Start { id: self.id, uuid: self.uuid, first_lsn, previous_crc, end: None };
        Scanned {
            id: self.id,
            front,
            walk: walk(&self.bytes, &start),
            blank: is_zero(&self.bytes),
            cut_short_bytes: self.cut_short_bytes,
        }
    }

    /// What recovery concludes when this is all there is.
    fn judged(&self) -> Decision {
        decide(&[self.scan()], Lsn(0))
    }
}

/// What a decision says, in words: which records it keeps, which of them nothing proves, and every
/// damage. A range without an end has none that anything vouches for.
fn told(decision: &Decision) -> String {
    let mut kept: Vec<(u64, u64)> = Vec::new();
    let mut unproven = Vec::new();
    for frame in decision.kept.iter().flat_map(|kept| &kept.frames) {
        let (first, next) = (frame.header.first_lsn.0, frame.header.next_lsn().0);
        match kept.last_mut() {
            Some((_, last)) if *last + 1 == first => *last = next - 1,
            _ if next > first => kept.push((first, next - 1)),
            _ => {}
        }
        if next - 1 > decision.proven.0 && next > first {
            unproven.push(first);
        }
    }
    let range = |(first, last): &(u64, u64)| std::format!(" {first}-{last}");
    let mut out = String::from("keeps");
    out.extend(kept.iter().map(range));
    if kept.is_empty() {
        out.push_str(" nothing");
    }
    if let Some(first) = unproven.first() {
        out.push_str(&std::format!(", unproven from {first}"));
    }
    for damage in decision.damages.iter().chain(&decision.torn) {
        let first = damage.first_lsn.0;
        let records = match damage.last_lsn {
            Some(last) if last < damage.first_lsn => String::from("no records"),
            Some(last) => std::format!("{first}-{last}"),
            None => std::format!("{first}-"),
        };
        out.push_str(&std::format!("; {:?} {records}", damage.verdict));
    }
    let next = kept.last().map_or(1, |(_, last)| last + 1);
    if decision.next_lsn.0 != next {
        out.push_str(&std::format!("; goes on at {}", decision.next_lsn.0));
    }
    out
}
