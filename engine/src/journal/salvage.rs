//! What is left of a frame of which some bytes are damaged. Pure.
//!
//! ```text
//!   │ header │ record │ ??record │ record │ directory │ map │
//!     right    right     claim      right     right
//! ```
//! The header says where the frame is and how long, the directory how many records of which group
//! and of which versions it has, and each record has a checksum of its own. So when header and
//! directory are right, the records that verify are what they say, and of the others there is their
//! header, which may be damaged too. Such a *claim* is believed only if everything else agrees: the
//! lengths lead from record to record exactly to the end, and with the claims every group has as
//! many records, from the lowest version to the highest and up to the highest term, as the directory
//! says. If not, nobody knows what was in the frame, and nothing is answered.
//!
//! A claim that passes may still be wrong in what nothing counts: a version or a term between the
//! group's others. Whoever believes it compares it with the log on both sides.
//!
//! Not here: which frames are damaged (`walk.rs`, `verdict.rs`), what the loss means (whoever keeps
//! groups in a journal).

use alloc::vec::Vec;

use super::{
    format::{
        DirectoryEntry, FRAME_HEADER_BYTES, FrameHeader, RECORD_ALIGN, Record, RecordKind, Seed,
        decode_directory,
    },
    verdict::{Damage, Verdict},
    walk::FrameAt,
};
use crate::{
    mark,
    types::{Loc, Lsn, SegmentId, Uuid, Version},
};

/// A frame of which something is damaged, and all of whose records can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DamagedFrame {
    pub(super) frame: FrameAt,
    /// Where its records lie, and whether each of them verifies.
    records: Vec<(Loc, bool)>,
}

/// One record of the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relic<'a> {
    /// It and its frame are whole.
    Whole(Loc, Record<'a>),
    /// It is whole and its frame is not: it is there as long as its segment is not settled.
    Spared(Loc, Record<'a>),
    /// It is damaged. Its header says this, and all else agrees; key, value and section say nothing.
    Damaged(Loc, Record<'a>),
}

/// What the damaged frame at a damage still says.
pub(super) fn salvage(
    id: SegmentId,
    seed: Seed,
    bytes: &[u8],
    damage: &Damage,
) -> Option<DamagedFrame> {
    let at = usize::try_from(damage.offset).ok()?;
    let header = FrameHeader::decode(bytes.get(at..)?, seed, damage.offset).ok()?;
    let layout = header.layout(damage.offset);
    let frame = FrameAt { offset: damage.offset, end: damage.offset + layout.end as u64, header };
    let last = Lsn(header.next_lsn().0.saturating_sub(1));
    // The damage is this frame and nothing else.
    let is_all = damage.verdict == Verdict::Rot
        && (damage.first_lsn, damage.last_lsn) == (header.first_lsn, Some(last))
        && header.segment == id;
    if !is_all || frame.end > bytes.len() as u64 {
        return None;
    }
    let directory = &bytes[at + layout.directory_at..at + layout.map_at];
    let directory = decode_directory(directory, header.directory_crc).ok()?;
    let records = chain(id, bytes, &frame)?;
    let found = DamagedFrame { frame, records };
    if found.tally(bytes).as_ref() != Some(&directory) {
        mark!("journal_claims_do_not_add_up");
        return None;
    }
    mark!("journal_damaged_frame_is_named");
    Some(found)
}

/// What the damaged frames of a segment still say.
pub(super) fn salvage_all<'a>(
    id: SegmentId,
    uuid: Uuid,
    bytes: &[u8],
    damages: impl IntoIterator<Item = &'a Damage>,
) -> Vec<DamagedFrame> {
    let damages = damages.into_iter();
    damages.filter_map(|damage| salvage(id, Seed::of(uuid), bytes, damage)).collect()
}

/// From record to record, whether they verify or not.
fn chain(id: SegmentId, bytes: &[u8], frame: &FrameAt) -> Option<Vec<(Loc, bool)>> {
    let body_at = frame.offset as usize + FRAME_HEADER_BYTES;
    let body = frame.body(bytes);
    let (mut records, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let (_, len) = Record::parse(&body[at..]).ok()?;
        let offset_words = u32::try_from((body_at + at) / RECORD_ALIGN).ok()?;
        let loc = Loc { segment: id, offset_words, len: u32::try_from(len).ok()? };
        records.push((loc, Record::decode(&body[at..]).is_ok()));
        at += len.next_multiple_of(RECORD_ALIGN);
    }
    (at == body.len() && records.len() as u64 == u64::from(frame.header.records)).then_some(records)
}

impl DamagedFrame {
    /// Its records, in order.
    pub(super) fn relics<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Relic<'a>> {
        self.records.iter().filter_map(move |(loc, is_whole)| {
            let at = usize::try_from(loc.offset()).ok()?;
            let (record, _) = Record::parse(bytes.get(at..)?).ok()?;
            Some(if *is_whole { Relic::Spared(*loc, record) } else { Relic::Damaged(*loc, record) })
        })
    }

    /// The directory that a frame of these records has; `None` when one of them cannot be what it
    /// says.
    fn tally(&self, bytes: &[u8]) -> Option<Vec<DirectoryEntry>> {
        let mut lines: Vec<DirectoryEntry> = Vec::new();
        for relic in self.relics(bytes) {
            let record = relic.record();
            if matches!(relic, Relic::Damaged(..)) && !is_plausible(&record) {
                return None;
            }
            let nth = lines.iter().position(|line| line.group == record.group);
            let nth = nth.unwrap_or_else(|| {
                lines.push(DirectoryEntry::of(record.group));
                lines.len() - 1
            });
            lines[nth].count(&record);
        }
        Some(lines)
    }
}

impl<'a> Relic<'a> {
    /// Where it lies.
    #[must_use]
    pub const fn loc(&self) -> Loc {
        match *self {
            Self::Whole(loc, _) | Self::Spared(loc, _) | Self::Damaged(loc, _) => loc,
        }
    }

    /// The record, or what is known of it.
    #[must_use]
    pub const fn record(&self) -> Record<'a> {
        match *self {
            Self::Whole(_, record) | Self::Spared(_, record) | Self::Damaged(_, record) => record,
        }
    }
}

/// Whether a header can be one of ours: a flipped bit of it is rarely another such.
fn is_plausible(record: &Record<'_>) -> bool {
    let has_key = !record.key.is_empty();
    match (record.kind, record.origin) {
        (RecordKind::Put | RecordKind::Tombstone, _) => has_key && record.version > Version(0),
        (RecordKind::Command, _) => !has_key && record.version > Version(0),
        (RecordKind::Hard, _) => !has_key && record.version == Version(0),
        (RecordKind::Checkpoint, _) => !has_key,
        (RecordKind::Edit, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::{
            format::{EditId, Origin, SEGMENT_HEADER_BYTES},
            frame::{FrameBuilder, Place},
        },
        types::{GroupId, Term, Uuid},
    };
    use bytes::BytesMut;

    fn put(group: u32, version: u64, key: &'static [u8]) -> Record<'static> {
        Record {
            group: GroupId(group),
            kind: RecordKind::Put,
            version: Version(version),
            term: Term(3),
            expires_ms: None,
            origin: Origin::Entry(b"section"),
            key,
            value: b"a value of some length",
        }
    }

    /// A segment with one frame of these records, and the damage that the whole of it is.
    fn segment(records: &[Record<'_>]) -> (Vec<u8>, Damage) {
        let mut frame = FrameBuilder::new(Lsn(7), BytesMut::new());
        for record in records {
            frame.push(record).unwrap();
        }
        let (offset, edit) = (SEGMENT_HEADER_BYTES as u64, EditId::default());
        let seed = Seed::of(Uuid([5; 16]));
        let place = Place {
            segment: SegmentId(2),
            seed,
            offset,
            durable_lsn: Lsn(6),
            previous_crc: 0,
            edit,
        };
        let built = frame.finish(place);
        let mut bytes = alloc::vec![0; SEGMENT_HEADER_BYTES];
        bytes.extend_from_slice(&built.bytes);
        let damage = Damage {
            segment: SegmentId(2),
            offset,
            bytes: built.bytes.len() as u64,
            verdict: Verdict::Rot,
            first_lsn: Lsn(7),
            last_lsn: Some(Lsn(6 + records.len() as u64)),
            why: crate::journal::format::FormatError::Checksum,
            groups: Vec::new(),
        };
        (bytes, damage)
    }

    /// Flips each bit of a frame's records alone: whatever is answered names the damaged record
    /// rightly, and everything else in the frame.
    #[test]
    fn no_flipped_bit_gives_a_record_another_name_unnoticed() {
        let written = [put(1, 4, b"one"), put(1, 5, b"two"), put(2, 9, b"three")];
        let (bytes, damage) = segment(&written);
        let body = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES;
        let end =
            body + written.iter().map(|r| r.encoded_bytes().next_multiple_of(8)).sum::<usize>();
        let (mut named, mut refused) = (0, 0);
        for bit in body * 8..end * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let seed = Seed::of(Uuid([5; 16]));
            let Some(found) = salvage(SegmentId(2), seed, &bytes, &damage) else {
                refused += 1;
                continue;
            };
            named += 1;
            let relics: Vec<_> = found.relics(&bytes).collect();
            assert_eq!(relics.len(), written.len());
            for (relic, wrote) in relics.iter().zip(&written) {
                let record = relic.record();
                assert_eq!(
                    (record.group, record.version, record.kind.is_a_write()),
                    (wrote.group, wrote.version, true),
                    "bit {bit}"
                );
            }
        }
        assert!(named > refused, "{named} named, {refused} refused");
    }

    #[test]
    fn what_is_missing_is_not_named() {
        let (mut bytes, damage) = segment(&[put(1, 4, b"one"), put(1, 5, b"two")]);
        bytes[SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES..].fill(0);
        assert_eq!(salvage(SegmentId(2), Seed::of(Uuid([5; 16])), &bytes, &damage), None);
    }
}
