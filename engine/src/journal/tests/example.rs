//! The worked example of `docs/format.md`: a small store, written by the code and shown byte by
//! byte with the names of the page's tables, and read again from the page.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use bytes::BytesMut;

use super::{
    NODE,
    page::{PAGE, layout},
};
use crate::{
    journal::{
        edits::{Change, FooterRef, ManifestState, Sealed},
        footer::{self, SegmentHints},
        format::*,
        frame::{FrameBuilder, Place},
        identity::{CurrentFile, NodeFile},
        manifest::{edit_frame, replay},
        seed_log,
        walk::{FrameAt, Start, walk},
    },
    types::{GroupId, Lsn, SegmentId, Term, Uuid, Version},
};

const UUID: Uuid = Uuid([0x33; 16]);

/// A part of a file: where it is, how long, and its layout or, without one, what it is.
pub(super) struct Part {
    at: usize,
    len: usize,
    mark: Result<&'static str, &'static str>,
}

const MANIFEST_UUID: Uuid = Uuid([0x44; 16]);

/// The files of a small store: name, bytes up to the last that is not zero, and parts.
pub(super) fn files() -> Vec<(&'static str, Vec<u8>, Vec<Part>)> {
    let manifest = SegmentId(1);
    let current = CurrentFile { manifest, uuid: MANIFEST_UUID, bytes: 8192 };
    let (segment, segment_parts, sealed) = example_segment();
    let (edits, edit_parts) = example_manifest(sealed);
    let (replicated, replicated_parts) = example_replica();
    let whole = |mark| vec![Part { at: 0, len: 64, mark: Ok(mark) }];
    vec![
        ("NODE", NodeFile { node: NODE, owner: None }.encode().to_vec(), whole("NODE")),
        ("CURRENT", current.encode().to_vec(), whole("CURRENT")),
        ("MANIFEST-00000001", edits, edit_parts),
        ("j/00000001.seg", segment, segment_parts),
        ("a replica's j/00000001.seg", replicated, replicated_parts),
    ]
}

/// What a replica of group 9 writes first: its vote, an entry that sets a key, one that takes two
/// things at once, and the state behind both.
fn example_replica() -> (Vec<u8>, Vec<Part>) {
    let one = |kind, version, origin, key, value| Record {
        group: GroupId(9),
        kind,
        version: Version(version),
        term: Term(2),
        expires_ms: None,
        origin,
        key,
        value,
    };
    let mut bytes = example_header(SegmentKind::Journal, UUID);
    let mut frame = FrameBuilder::new(Lsn(1), BytesMut::new());
    let records = [
        one(RecordKind::Hard, 0, Origin::State, b"", &[5, 0, 0, 0, 0, 0, 0, 0]),
        one(RecordKind::Put, 1, Origin::Entry(b"who, when"), b"moon", b"one"),
        one(RecordKind::Command, 2, Origin::Entry(b"who, when"), b"", b"what"),
        one(RecordKind::Put, 2, Origin::Part, b"sun", b"two"),
        one(RecordKind::Tombstone, 2, Origin::Part, b"moon", b""),
        one(RecordKind::Checkpoint, 2, Origin::State, b"", b"state"),
    ];
    for record in records {
        frame.push(&record).expect("it fits");
    }
    let mut frames = Vec::new();
    example_frame(frame, (SegmentId(1), UUID), 0, &mut bytes, &mut frames);
    let mut parts = vec![Part { at: 0, len: 128, mark: Ok("segment") }];
    parts.extend(frames.iter().flat_map(|frame| parts_of(frame, &bytes)));
    (bytes, parts)
}

/// The parts of a frame.
fn parts_of(frame: &FrameAt, bytes: &[u8]) -> Vec<Part> {
    let at = frame.offset as usize;
    let layout = frame.header.layout(frame.offset);
    let mut parts = vec![Part { at, len: 64, mark: Ok("frame") }];
    for record in records(frame.body(bytes)) {
        let (start, record) = record.expect("a whole record");
        parts.push(Part { at: at + 64 + start, len: record.encoded_bytes(), mark: Ok("record") });
    }
    for line in 0..usize::from(frame.header.groups) {
        let at = at + layout.directory_at + line * 32;
        parts.push(Part { at, len: 32, mark: Ok("directory") });
    }
    let len = layout.map_end - layout.map_at;
    parts.push(Part { at: at + layout.map_at, len, mark: Err("sector map") });
    parts.retain(|part| part.len > 0);
    parts
}

fn example_frame(
    builder: FrameBuilder,
    (id, uuid): (SegmentId, Uuid),
    durable_lsn: u64,
    bytes: &mut Vec<u8>,
    frames: &mut Vec<FrameAt>,
) {
    let offset = bytes.len() as u64;
    // The edit that lists the segment; the manifest's own frames name none.
    let edit = match uuid {
        UUID => EditId { manifest: SegmentId(1), lsn: Lsn(3) },
        _ => EditId::default(),
    };
    let built = builder.finish(Place {
        segment: id,
        seed: Seed::of(uuid),
        offset,
        durable_lsn: Lsn(durable_lsn),
        previous_crc: frames.last().map_or(0, |frame| frame.header.crc),
        edit,
    });
    bytes.extend_from_slice(&built.bytes);
    frames.push(FrameAt { offset, end: bytes.len() as u64, header: built.header });
}

fn example_header(kind: SegmentKind, uuid: Uuid) -> Vec<u8> {
    let header = SegmentHeader {
        kind,
        id: SegmentId(1),
        uuid,
        node: NODE,
        base_lsn: Lsn(1),
        previous: Uuid::default(),
        previous_crc: 0,
    };
    let mut bytes = header.encode().to_vec();
    bytes.resize(SEGMENT_HEADER_BYTES, 0);
    bytes
}

fn example_segment() -> (Vec<u8>, Vec<Part>, Sealed) {
    let id = SegmentId(1);
    let one = |kind, lsn, expires_ms, key, value| Record {
        group: GroupId(1),
        kind,
        version: Version(lsn),
        term: Term(0),
        expires_ms,
        origin: Origin::State,
        key,
        value,
    };
    let mut bytes = example_header(SegmentKind::Journal, UUID);
    let mut frames = Vec::new();
    let mut batch = FrameBuilder::new(Lsn(1), BytesMut::new());
    let moon = one(RecordKind::Put, 1, None, b"moon", b"one");
    let tide = one(RecordKind::Put, 2, Some(1_700_000_000_000), b"tide", b"low");
    batch.push(&moon).and_then(|_| batch.push(&tide)).expect("they fit");
    example_frame(batch, (id, UUID), 0, &mut bytes, &mut frames);
    let mut delete = FrameBuilder::new(Lsn(3), BytesMut::new());
    delete.push(&one(RecordKind::Tombstone, 3, None, b"tide", b"")).expect("it fits");
    example_frame(delete, (id, UUID), 2, &mut bytes, &mut frames);
    let seal = FrameBuilder::new(Lsn(4), BytesMut::new());
    example_frame(seal, (id, UUID), 3, &mut bytes, &mut frames);
    let mut parts = vec![Part { at: 0, len: 128, mark: Ok("segment") }];
    parts.extend(frames.iter().flat_map(|frame| parts_of(frame, &bytes)));
    let frames_end = bytes.len() as u64;
    let at = footer::footer_offset(frames_end);
    let footer = footer::build(id, &bytes, &frames).finish(id, Seed::of(UUID), at);
    let sealed = Sealed {
        base_lsn: Lsn(1),
        last_lsn: Lsn(3),
        frames_end,
        last_crc: frames[2].header.crc,
        footer: Some(FooterRef { offset: at, bytes: footer.len() as u64 }),
        lost: Vec::new(),
    };
    let at = at as usize;
    bytes.resize(at, 0);
    bytes.extend_from_slice(&footer);
    let marks = [("footer", 64), ("footer group", 56), ("block", 16), ("entry", 28), ("entry", 28)];
    let mut start = at;
    for (mark, len) in marks {
        parts.push(Part { at: start, len, mark: Ok(mark) });
        start += len;
    }
    assert_eq!(start, bytes.len(), "the footer is all of it");
    (bytes, parts, sealed)
}

fn example_manifest(sealed: Sealed) -> (Vec<u8>, Vec<Part>) {
    let id = SegmentId(1);
    let mut bytes = example_header(SegmentKind::Manifest, MANIFEST_UUID);
    let mut frames = Vec::new();
    let state: [Change; 3] = [
        Change::Floor { next_segment: SegmentId(2), lsn: Lsn(0) },
        Change::Prepare { id, uuid: UUID, bytes: 8192 },
        Change::AddGroup { group: GroupId(1) },
    ];
    let seal = [Change::Seal { id, bytes: 8192, sealed }];
    let name = (id, MANIFEST_UUID);
    example_frame(edit_frame(&state, Lsn(1)), name, 0, &mut bytes, &mut frames);
    example_frame(edit_frame(&seal, Lsn(4)), name, 3, &mut bytes, &mut frames);
    let mut parts = vec![Part { at: 0, len: 128, mark: Ok("segment") }];
    parts.extend(frames.iter().flat_map(|frame| parts_of(frame, &bytes)));
    (bytes, parts)
}

/// A file of the example as the page shows it: offset, bytes, field.
/// Fields that are zero are left out.
fn shown(bytes: &[u8], parts: &[Part]) -> String {
    let mut out = String::new();
    let mut line = |at: usize, bytes: &[u8], name: &str| {
        for (index, row) in bytes.chunks(16).enumerate() {
            let row: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let name = if index == 0 { name } else { "" };
            let at = at + 16 * index;
            let shown = format!("{at:04x}  {:<49}{name}", row.join(" "));
            out.push_str(shown.trim_end());
            out.push('\n');
        }
    };
    for part in parts {
        let whole = &bytes[part.at..part.at + part.len];
        let Ok(mark) = part.mark else {
            line(part.at, whole, part.mark.unwrap_or_else(|name| name));
            continue;
        };
        let has = |field: &str| match field {
            "expires_ms" => mark == "record" && whole[11] & 1 != 0,
            "section_len" | "section" => mark == "record" && whole[11] & 2 != 0,
            _ => true,
        };
        let section_len = if has("section") {
            usize::from(whole[if has("expires_ms") { 40 } else { 32 }])
        } else {
            0
        };
        let key_len = match mark {
            "record" => usize::from(u16::from_le_bytes([whole[8], whole[9]])),
            "entry" => usize::from(u16::from_le_bytes([whole[20], whole[21]])),
            _ => 0,
        };
        let mut at = 0;
        for row in layout(mark) {
            if !has(&row.name) {
                continue;
            }
            let size = match (row.size, row.name.as_str()) {
                (Some(size), "section_len") => size,
                (None, "section") => section_len,
                (Some(size), _) => {
                    at = row.at.unwrap_or(at);
                    size
                }
                (None, "key") => key_len,
                (None, _) => part.len - at,
            };
            let text = match (row.size, core::str::from_utf8(&whole[at..at + size])) {
                (None, Ok(text)) if is_shown(text) && whole[10] != 16 => {
                    format!("{} \"{text}\"", row.name)
                }
                _ => row.name,
            };
            if !is_zero(&whole[at..at + size]) {
                line(part.at + at, &whole[at..at + size], &format!("{mark}.{text}"));
            }
            at += size;
        }
    }
    out
}

/// Whether a text can stand on the page.
fn is_shown(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The blocks of the page: name and text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let blocks = PAGE.split("\n```hex ").skip(1);
    blocks.filter_map(|block| block.split("\n```").next()?.split_once('\n')).collect()
}

/// The bytes of such a block.
fn read_back(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let at = usize::from_str_radix(&line[..4], 16).expect("an offset");
        bytes.resize(at.max(bytes.len()), 0);
        let shown = line[6..].get(..48).unwrap_or(&line[6..]);
        let row = shown.split_whitespace().map(|byte| u8::from_str_radix(byte, 16));
        bytes.extend(row.map(|byte| byte.expect("a byte")));
    }
    bytes
}

#[test]
fn the_worked_example_is_what_the_code_writes() {
    let blocks = blocks();
    let mut stale = String::new();
    for (name, bytes, parts) in files() {
        let shown = shown(&bytes, &parts);
        let found = blocks.iter().find(|(block, _)| *block == name).map(|(_, text)| *text);
        if found != Some(shown.trim_end()) {
            stale.push_str(&format!("```hex {name}\n{shown}```\n"));
        }
        let mut read = read_back(shown.trim_end());
        read.resize(bytes.len(), 0);
        assert_eq!(read, bytes, "{name}: nothing that is not zero is left out");
    }
    assert!(stale.is_empty(), "these blocks of the page should be:\n{stale}");
}

#[test]
fn the_worked_example_reads_as_it_should() {
    let blocks = blocks();
    let file = |name: &str| {
        let (_, text) = blocks.iter().find(|(block, _)| *block == name).expect("a block");
        let mut bytes = read_back(text);
        bytes.resize(if bytes.len() > 64 { 8192 } else { 64 }, 0);
        bytes
    };
    let node = NodeFile::decode(&file("NODE")).expect("a node").node;
    let current = CurrentFile::decode(&file("CURRENT")).expect("a manifest's name");
    let (manifest, frames) = walked(&file("MANIFEST-00000001"));
    let header = SegmentHeader::decode(&manifest).expect("a header");
    assert_eq!((header.node, header.uuid, header.id), (node, current.uuid, current.manifest));
    let state: ManifestState = replay(&manifest, &frames).expect("edits");
    let listed = &state.segments[&SegmentId(1)];
    let sealed = listed.sealed.clone().expect("it is sealed");
    let (segment, frames) = walked(&file("j/00000001.seg"));
    let header = SegmentHeader::decode(&segment).expect("a header");
    assert_eq!((header.uuid, header.kind), (listed.uuid, SegmentKind::Journal));
    let said: Vec<String> = frames
        .iter()
        .flat_map(|frame| records(frame.body(&segment)).flatten())
        .map(|(_, record)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_string();
            format!("{:?} {} {}", record.kind, text(record.key), text(record.value))
        })
        .collect();
    assert_eq!(said, ["Put moon one", "Put tide low", "Tombstone tide "]);
    assert_eq!(frames.last().map(|frame| frame.header.durable_lsn), Some(Lsn(3)));
    let footer = sealed.footer.expect("a footer");
    let bytes = segment[footer.offset as usize..(footer.offset + footer.bytes) as usize].to_vec();
    let hints = SegmentHints::decode(bytes, SegmentId(1), Seed::of(header.uuid), footer.offset);
    let hints = hints.expect("a footer");
    assert!(hints.iter().eq(SegmentHints::of_frames(SegmentId(1), &segment, &frames).iter()));
    let keys: Vec<_> = hints.iter().map(|hint| (hint.key, hint.kind, hint.version.0)).collect();
    assert_eq!(
        keys,
        [(&b"moon"[..], RecordKind::Put, 1), (&b"tide"[..], RecordKind::Tombstone, 3)]
    );
    let (segment, frames) = walked(&file("a replica's j/00000001.seg"));
    let said = frames.iter().flat_map(|frame| records(frame.body(&segment)).flatten());
    let said: Vec<_> =
        said.map(|(_, record)| (record.kind, record.version.0, record.origin)).collect();
    let section = Origin::Entry(b"who, when");
    assert_eq!(
        said,
        [
            (RecordKind::Hard, 0, Origin::State),
            (RecordKind::Put, 1, section),
            (RecordKind::Command, 2, section),
            (RecordKind::Put, 2, Origin::Part),
            (RecordKind::Tombstone, 2, Origin::Part),
            (RecordKind::Checkpoint, 2, Origin::State),
        ]
    );
    let hints = SegmentHints::of_frames(SegmentId(1), &segment, &frames);
    let keys: Vec<_> = hints.iter().map(|hint| (hint.key, hint.kind, hint.version.0)).collect();
    assert_eq!(keys, [(&b"moon"[..], RecordKind::Tombstone, 2), (&b"sun"[..], RecordKind::Put, 2)]);
    let first_format = read_back(blocks.last().expect("the last block").1);
    let entries: Vec<_> = seed_log::read(&first_format).collect();
    assert_eq!(entries, [Ok(seed_log::Entry { offset: 0, key: b"a", value: Some(b"1") })]);
}

/// A segment and its frames, all of them whole, up to a footer.
fn walked(bytes: &[u8]) -> (Vec<u8>, Vec<FrameAt>) {
    let header = SegmentHeader::decode(bytes).expect("a header");
    let footer = bytes
        .chunks(SECTOR_BYTES)
        .position(|sector| sector.starts_with(&footer::FOOTER_MAGIC.to_le_bytes()));
    let start = Start {
        id: header.id,
        uuid: header.uuid,
        first_lsn: Some(header.base_lsn),
        previous_crc: Some(header.previous_crc),
        end: footer.map(|sector| (sector * SECTOR_BYTES) as u64),
    };
    let walk = walk(bytes, &start);
    assert_eq!(walk.holes().count(), 0);
    (bytes.to_vec(), walk.frames().copied().collect())
}
