//! Lies whose checksums are right.
//!
//! Damaged bytes end at the first checksum. What lies behind it is read as if our own writer had
//! made it, so here one number of a frame, a record, an edit, a footer or a small file is changed,
//! and every checksum above it is made right again: the record's, the directory's, the sector
//! map's, the frame's, and the links of the frames that follow.
//!
//! ```text
//! number ─▶ record ─▶ sector map ─▶ frame header ─▶ next frame's link ─▶ …
//!           entry  ─▶ block ─▶ footer header
//! ```
//! Invariant: what is not on the way from the number to the top stays as it was.
//!
//! Not here: damage that a checksum finds (`super::damage`), what may follow (`recovery`).

use std::ops::Range;

use trilith_engine::{
    codec,
    journal::{
        footer::{
            BLOCK_HEADER_BYTES, FOOTER_GROUP_BYTES, FOOTER_HEADER_BYTES, FOOTER_MAGIC, FooterHeader,
        },
        format::{
            FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, Record, SECTOR_BYTES,
            SEGMENT_HEADER_BYTES, Seed, SegmentHeader, covered_sectors, records, sector_entry,
        },
        identity::IDENTITY_BYTES,
    },
    runtime::Rng as _,
    types::{Lsn, SegmentId, Uuid},
};

use crate::luck::Luck;

/// A number that is off by a little, or by everything.
pub(super) fn lie(number: u64, luck: &mut Luck) -> u64 {
    match luck.range(0..6) {
        0 => number.wrapping_add(1),
        1 => number.wrapping_sub(1),
        2 => u64::MAX,
        3 => 0,
        4 => number ^ 1 << luck.range(0..64),
        _ => luck.next_u64() >> luck.range(0..64),
    }
}

/// Changes one little-endian number somewhere in these bytes.
fn lie_within(bytes: &mut [u8], luck: &mut Luck) {
    if bytes.is_empty() {
        return;
    }
    let at = luck.index(bytes.len());
    // Most numbers of ours lie on multiples of four.
    let at = if luck.chance(3, 4) { at / 4 * 4 } else { at };
    let width = (*luck.pick(&[1, 2, 4, 8])).min(bytes.len() - at);
    let mut number = [0; 8];
    number[..width].copy_from_slice(&bytes[at..at + width]);
    let lied = lie(u64::from_le_bytes(number), luck).to_le_bytes();
    bytes[at..at + width].copy_from_slice(&lied[..width]);
}

/// Changes something of a file, whatever it is, and makes its checksums right again.
pub(super) fn forge(bytes: &mut [u8], luck: &mut Luck) {
    let Ok(header) = SegmentHeader::decode(bytes) else {
        if bytes.len() == IDENTITY_BYTES {
            lie_within(&mut bytes[8..], luck);
            seal(bytes, 0, 0..IDENTITY_BYTES);
        }
        return;
    };
    match luck.range(0..8) {
        0 => forge_front(bytes, luck),
        1 => forge_frame(bytes, &header, luck),
        2..5 => forge_contents(bytes, &header, luck),
        _ => forge_footer(bytes, &header, luck),
    }
}

/// Writes the checksum of a header whose bytes are these: it stands at 4 and covers what follows.
fn seal(bytes: &mut [u8], seed: u32, header: Range<usize>) {
    let header = &mut bytes[header];
    let crc = codec::crc(seed, &header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Changes one field of a segment's header.
pub(super) fn forge_front(bytes: &mut [u8], luck: &mut Luck) {
    let Ok(mut header) = SegmentHeader::decode(bytes) else { return };
    match luck.range(0..5) {
        0 => header.id = SegmentId(lie(u64::from(header.id.0), luck) as u32),
        1 => header.uuid = Uuid::from_draws(luck.next_u64(), luck.next_u64()),
        2 => header.node = Uuid::from_draws(luck.next_u64(), luck.next_u64()),
        3 => header.base_lsn = Lsn(lie(header.base_lsn.0, luck)),
        _ => header.previous_crc = luck.next_u64() as u32,
    }
    let front = header.encode();
    bytes[..front.len()].copy_from_slice(&front);
}

/// The frames of a segment.
fn frames(bytes: &[u8], header: &SegmentHeader) -> Vec<(usize, FrameHeader)> {
    let seed = Seed::of(header.uuid);
    let places = (SEGMENT_HEADER_BYTES..bytes.len()).step_by(FRAME_ALIGN);
    let whole = |at: usize| {
        let frame = FrameHeader::decode(&bytes[at..], seed, at as u64).ok()?;
        (at + frame.layout(at as u64).end <= bytes.len()).then_some((at, frame))
    };
    places.filter_map(whole).collect()
}

/// Changes one field of a frame's header.
pub(super) fn forge_frame(bytes: &mut [u8], header: &SegmentHeader, luck: &mut Luck) {
    let frames = frames(bytes, header);
    if frames.is_empty() {
        return;
    }
    let (at, before) = *luck.pick(&frames);
    let mut frame = before;
    match luck.range(0..9) {
        0 => frame.body_bytes = lie(u64::from(frame.body_bytes), luck) as u32,
        1 => frame.records = lie(u64::from(frame.records), luck) as u32,
        2 => frame.groups = lie(u64::from(frame.groups), luck) as u16,
        3 => frame.first_lsn = Lsn(lie(frame.first_lsn.0, luck)),
        4 => frame.durable_lsn = Lsn(lie(frame.durable_lsn.0, luck)),
        5 => frame.previous_crc = luck.next_u64() as u32,
        6 => frame.directory_crc = luck.next_u64() as u32,
        7 => frame.map_crc = luck.next_u64() as u32,
        _ => frame.segment = SegmentId(lie(u64::from(frame.segment.0), luck) as u32),
    }
    write_header(bytes, Seed::of(header.uuid), at, frame);
    if luck.coin() {
        relink(bytes, Seed::of(header.uuid), at, &before);
    }
}

fn write_header(bytes: &mut [u8], seed: Seed, at: usize, frame: FrameHeader) {
    bytes[at..at + FRAME_HEADER_BYTES].copy_from_slice(&frame.encode(seed, at as u64));
}

/// The frames behind the changed one name its new checksum.
fn relink(bytes: &mut [u8], seed: Seed, at: usize, before: &FrameHeader) {
    let (mut at, mut before) = (at, *before);
    loop {
        let crc = bytes[at + 4..].first_chunk::<4>().map_or(0, |crc| u32::from_le_bytes(*crc));
        at += before.layout(at as u64).end;
        let Some(rest) = bytes.get(at..) else { return };
        let Ok(next) = FrameHeader::decode(rest, seed, at as u64) else { return };
        if next.previous_crc != before.crc {
            return;
        }
        write_header(bytes, seed, at, FrameHeader { previous_crc: crc, ..next });
        before = next;
    }
}

/// Changes a number of a record or of the directory.
fn forge_contents(bytes: &mut [u8], header: &SegmentHeader, luck: &mut Luck) {
    let mut frames = frames(bytes, header);
    frames.retain(|(_, frame)| frame.records > 0);
    if frames.is_empty() {
        return;
    }
    let (at, before) = *luck.pick(&frames);
    let layout = before.layout(at as u64);
    let frame = &mut bytes[at..at + layout.end];
    if luck.chance(1, 8) {
        lie_within(&mut frame[layout.directory_at..layout.map_at], luck);
    } else {
        let body = &mut frame[FRAME_HEADER_BYTES..layout.directory_at];
        let places: Vec<_> = records(body)
            .flatten()
            .map(|(start, record)| (start, record.encoded_bytes(), record.value.len()))
            .collect();
        if places.is_empty() {
            return;
        }
        let (start, len, value) = *luck.pick(&places);
        // An edit is a record's value, and its fields begin behind one byte.
        let from = if luck.coin() && value > 1 { start + len - value + 1 } else { start + 4 };
        lie_within(&mut body[from..start + len], luck);
        let len = Record::parse(&body[start..]).map_or(len, |(_, len)| len);
        let crc = codec::crc(0, &body[start + 4..start + len]);
        body[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
    let directory_crc = codec::crc(0, &frame[layout.directory_at..layout.map_at]);
    for (nth, (from, to)) in covered_sectors(at as u64, layout.map_at).enumerate() {
        let entry = sector_entry(&frame[from..to]).to_le_bytes();
        frame[layout.map_at + 4 * nth..][..4].copy_from_slice(&entry);
    }
    let map_crc = codec::crc(0, &frame[layout.map_at..layout.map_end]);
    let seed = Seed::of(header.uuid);
    write_header(bytes, seed, at, FrameHeader { directory_crc, map_crc, ..before });
    relink(bytes, seed, at, &before);
}

/// Where a segment's footer begins.
fn footer_at(bytes: &[u8], header: &SegmentHeader) -> Option<(usize, FooterHeader)> {
    let magic = FOOTER_MAGIC.to_le_bytes();
    let mut places = (SEGMENT_HEADER_BYTES..bytes.len()).step_by(SECTOR_BYTES);
    places.find_map(|at| {
        let rest = bytes[at..].strip_prefix(&magic).map(|_| &bytes[at..])?;
        let found = FooterHeader::decode(rest, header.id, Seed::of(header.uuid), at as u64).ok()?;
        Some((at, found))
    })
}

/// Changes a number of the footer: of its header, a group's line, a block or an entry.
pub(super) fn forge_footer(bytes: &mut [u8], header: &SegmentHeader, luck: &mut Luck) {
    let Some((at, footer)) = footer_at(bytes, header) else { return };
    let seed = Seed::of(header.uuid);
    let front = at..at + FOOTER_HEADER_BYTES;
    let stats = front.end..front.end + footer.groups as usize * FOOTER_GROUP_BYTES;
    // It may have been lied about before.
    if stats.end > bytes.len() {
        return;
    }
    let mut blocks = Vec::new();
    let mut from = stats.end;
    for _ in 0..footer.blocks {
        let Some(len) = bytes.get(from + 4..).and_then(|rest| rest.first_chunk::<4>()) else {
            return;
        };
        let end = from + BLOCK_HEADER_BYTES + u32::from_le_bytes(*len) as usize;
        if end > bytes.len() {
            return;
        }
        blocks.push(from..end);
        from = end;
    }
    match luck.range(0..6) {
        0 => lie_within(&mut bytes[at + 8..front.end], luck),
        1 => lie_within(&mut bytes[stats.clone()], luck),
        2 if !blocks.is_empty() => {
            let block = luck.pick(&blocks);
            lie_within(&mut bytes[block.start + 4..block.start + BLOCK_HEADER_BYTES], luck);
        }
        _ if blocks.is_empty() => return,
        _ => {
            let block = luck.pick(&blocks);
            lie_within(&mut bytes[block.start + BLOCK_HEADER_BYTES..block.end], luck);
        }
    }
    for block in blocks {
        let crc = codec::crc(seed.at(block.start as u64), &bytes[block.start + 4..block.end]);
        bytes[block.start..block.start + 4].copy_from_slice(&crc.to_le_bytes());
    }
    let stats_crc = codec::crc(0, &bytes[stats]);
    bytes[at + 40..at + 44].copy_from_slice(&stats_crc.to_le_bytes());
    seal(bytes, seed.at(at as u64), front);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fuzz::recovery::images, luck::Domain};
    use trilith_engine::journal::{
        edits::{Change, ManifestState},
        footer::SegmentHints,
        format::FormatError,
        identity::{CurrentFile, NodeFile},
        walk::{Start, walk},
    };

    /// Whether no reader complains of a checksum, whatever else it says.
    fn is_sealed(bytes: &[u8]) -> bool {
        let Ok(header) = SegmentHeader::decode(bytes) else {
            return match (NodeFile::decode(bytes), CurrentFile::decode(bytes)) {
                (Ok(_), _) | (_, Ok(_)) => true,
                (Err(node), Err(current)) => ![node, current].contains(&FormatError::Checksum),
            };
        };
        let seed = Seed::of(header.uuid);
        let start = Start {
            id: header.id,
            uuid: header.uuid,
            first_lsn: None,
            previous_crc: None,
            end: footer_at(bytes, &header).map(|(at, _)| at as u64),
        };
        let hints = footer_at(bytes, &header).map(|(at, footer)| {
            let end = (at + footer.bytes as usize).min(bytes.len());
            SegmentHints::decode(bytes[at..end].to_vec(), header.id, seed, at as u64)
        });
        let walked = walk(bytes, &start);
        let mut complaints = walked.holes().map(|hole| hole.why).chain(hints.and_then(Result::err));
        !complaints.any(|why| why == FormatError::Checksum)
    }

    /// Many of them get past every checksum with something that is not what was written; edits
    /// too, up to the state that they lead to.
    #[test]
    fn forged_bytes_are_read_as_if_they_were_ours() {
        let (mut luck, mut past, mut all) = (Luck::new(1, Domain::Named("forge")), 0, 0);
        let mut misfits = 0;
        for image in images() {
            for name in image.disk.file_names() {
                let before = image.disk.peek(&name).unwrap_or_default();
                let mut bytes = before.clone();
                forge(&mut bytes, &mut luck);
                if bytes == before || !is_sealed(&before) {
                    continue;
                }
                all += 1;
                past += u32::from(is_sealed(&bytes));
                let mut state = ManifestState::default();
                let Ok(header) = SegmentHeader::decode(&bytes) else { continue };
                for (at, frame) in frames(&bytes, &header) {
                    let body = &bytes[at + FRAME_HEADER_BYTES..][..frame.body_bytes as usize];
                    let changes = records(body).flatten().map(|(_, it)| Change::decode(it.value));
                    let applied = changes.flatten().any(|change| state.apply(&change).is_err());
                    misfits += u32::from(applied && name.starts_with("MANIFEST"));
                }
            }
        }
        // The rest are lies about lengths: a reader looks for the checksum elsewhere.
        assert!(past * 10 > all * 9 && all > 200, "{past} of {all}");
        assert!(misfits > 0, "some edit got as far as contradicting another");
    }
}
