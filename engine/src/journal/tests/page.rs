//! `docs/format.md` is executable: its tables build every structure and are compared with what the
//! code writes, its constants with the code's, its worked example is written again and read with
//! the code's readers, and its fingerprint is that of everything that is written.
//!
//! A row of a table is `| at | size | `field` | … |`. A specimen is a structure whose fields all
//! have values of their own: what the page says it is, and what the code writes.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use bytes::BytesMut;

use super::{NODE, example::files};
use crate::{
    codec,
    journal::{
        edits::{Change, FooterRef, Peer, Sealed},
        footer,
        format::*,
        frame::{FrameBuilder, Place},
        identity::{CurrentFile, NodeFile, Owner},
        walk::FrameAt,
    },
    limits,
    types::{GroupId, Index, Lsn, NodeId, SegmentId, Term, Uuid, Version},
};

pub(super) const PAGE: &str = include_str!("../../../docs/format.md");

/// A row of a layout: where, how long (`None`: as long as it is), what.
pub(super) struct Row {
    pub(super) at: Option<usize>,
    pub(super) size: Option<usize>,
    pub(super) name: String,
}

/// The table behind a mark; its rows without the heading.
fn table(mark: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let marked = format!("<!-- layout: {mark} -->\n");
    let (_, rest) = PAGE.split_once(&marked).unwrap_or_else(|| panic!("no table `{mark}`"));
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
}

pub(super) fn layout(mark: &str) -> Vec<Row> {
    let rows = table(mark).map(|cells| Row {
        at: cells[0].parse().ok(),
        size: cells[1].parse().ok(),
        name: cells[2].trim_matches('`').to_string(),
    });
    rows.collect()
}

/// What a structure's bytes are checked with: the initial value, and where what is covered begins.
type Crc = Option<(u32, usize)>;

/// Fields by name, and their values; a field that is optional may be missing.
type Fields = Vec<(&'static str, Vec<u8>)>;

struct Specimen {
    mark: &'static str,
    fields: Fields,
    crc: Crc,
    written: Vec<u8>,
}

/// Fields that only a flag makes be there.
pub(super) const OPTIONAL: [&str; 3] = ["expires_ms", "section_len", "section"];

/// The bytes of a structure as the page describes it.
fn described(specimen: &Specimen) -> Vec<u8> {
    let mut out = Vec::new();
    let mut used = 0;
    for row in layout(specimen.mark) {
        let value = match specimen.fields.iter().find(|(name, _)| *name == row.name) {
            Some((_, value)) => {
                used += 1;
                value.clone()
            }
            None if row.name == "crc" => vec![0; 4],
            None if OPTIONAL.contains(&row.name.as_str()) => continue,
            None => panic!("{}: nothing is known of `{}`", specimen.mark, row.name),
        };
        // Behind an optional field that is missing, fields move up.
        let moves = specimen.mark == "record" && row.name.starts_with("section");
        if moves {
            assert!(row.size.is_none_or(|size| size == value.len()), "record.{}", row.name);
            out.extend_from_slice(&value);
            continue;
        }
        if let Some(size) = row.size {
            assert_eq!(value.len(), size, "{}.{}", specimen.mark, row.name);
            let at = row.at.expect("a field of a fixed size has a place");
            assert!(at >= out.len(), "{}.{} overlaps", specimen.mark, row.name);
            out.resize(at, 0);
        }
        out.extend_from_slice(&value);
    }
    assert_eq!(used, specimen.fields.len(), "{}: the page lacks a field", specimen.mark);
    out.resize(specimen.written.len().max(out.len()), 0);
    if let Some((initial, from)) = specimen.crc {
        let at = layout(specimen.mark).iter().find(|row| row.name == "crc").and_then(|row| row.at);
        let at = at.expect("a place for the checksum");
        let crc = codec::crc(initial, &out[from..]);
        out[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }
    out
}

fn le(value: u64, size: usize) -> Vec<u8> {
    value.to_le_bytes()[..size].to_vec()
}

const UUID: Uuid = Uuid(*b"0123456789abcdef");
const AT: u64 = 0x1_2340;

fn specimens() -> Vec<Specimen> {
    let mut all = vec![node(), current(), segment(), frame(), directory()];
    all.extend([record(false), record(true), sealed()]);
    all.extend([RecordKind::Put, RecordKind::Tombstone, RecordKind::Command].map(head));
    all.extend([part(), beside(RecordKind::Hard), beside(RecordKind::Checkpoint)]);
    all.extend(footer_parts());
    all
}

fn node() -> Specimen {
    let owner = Owner { cluster: UUID, name: 0x0102_0304, number: NodeId(0x33) };
    let file = NodeFile { node: NODE, owner: Some(owner) };
    Specimen {
        mark: "NODE",
        fields: vec![
            ("magic", vec![0x89, 0x4b, 0x56, 0x4e]),
            ("format", le(1, 2)),
            ("node", NODE.0.to_vec()),
            ("cluster", UUID.0.to_vec()),
            ("number", le(0x33, 8)),
            ("name", le(0x0102_0304, 8)),
        ],
        crc: Some((0, 8)),
        written: file.encode().to_vec(),
    }
}

fn current() -> Specimen {
    let file = CurrentFile { manifest: SegmentId(0x0102_0304), uuid: UUID, bytes: 0x11_2233 };
    Specimen {
        mark: "CURRENT",
        fields: vec![
            ("magic", vec![0x89, 0x4b, 0x56, 0x43]),
            ("format", le(1, 2)),
            ("manifest", le(0x0102_0304, 4)),
            ("uuid", UUID.0.to_vec()),
            ("bytes", le(0x11_2233, 8)),
        ],
        crc: Some((0, 8)),
        written: file.encode().to_vec(),
    }
}

fn segment() -> Specimen {
    let header = SegmentHeader {
        kind: SegmentKind::Data,
        id: SegmentId(0x0102_0304),
        uuid: UUID,
        node: NODE,
        base_lsn: Lsn(0x1122_3344_5566),
        previous: Uuid([0x77; 16]),
        previous_crc: 0x8899_aabb,
    };
    Specimen {
        mark: "segment",
        fields: vec![
            ("magic", vec![0x89, 0x4b, 0x56, 0x53]),
            ("format", le(1, 2)),
            ("kind", b"D".to_vec()),
            ("number", le(0x0102_0304, 4)),
            ("uuid", UUID.0.to_vec()),
            ("node", NODE.0.to_vec()),
            ("base_lsn", le(0x1122_3344_5566, 8)),
            ("previous", vec![0x77; 16]),
            ("previous_crc", le(0x8899_aabb, 4)),
        ],
        crc: Some((0, 8)),
        written: header.encode().to_vec(),
    }
}

/// The seed as the page puts it.
fn seed_at(at: u64) -> u32 {
    codec::crc(codec::crc(0, &UUID.0), &at.to_le_bytes())
}

fn frame() -> Specimen {
    let header = FrameHeader {
        kind: FrameKind::Data,
        body_bytes: 0x01_0208,
        records: 0x0304,
        groups: 0x0506,
        first_lsn: Lsn(0x1122_3344_5566),
        durable_lsn: Lsn(0x1122_3344_5500),
        previous_crc: 0x0708_090a,
        directory_crc: 0x0b0c_0d0e,
        map_crc: 0x0f10_1112,
        segment: SegmentId(0x1314_1516),
        edit: EditId { manifest: SegmentId(0x1718_191a), lsn: Lsn(0x1b1c_1d1e_1f20) },
        crc: 0,
    };
    Specimen {
        mark: "frame",
        fields: vec![
            ("magic", vec![0x89, 0x4b, 0x56, 0x4a]),
            ("body_bytes", le(0x01_0208, 4)),
            ("records", le(0x0304, 4)),
            ("first_lsn", le(0x1122_3344_5566, 8)),
            ("durable_lsn", le(0x1122_3344_5500, 8)),
            ("previous_crc", le(0x0708_090a, 4)),
            ("directory_crc", le(0x0b0c_0d0e, 4)),
            ("map_crc", le(0x0f10_1112, 4)),
            ("segment", le(0x1314_1516, 4)),
            ("groups", le(0x0506, 2)),
            ("kind", vec![1]),
            ("manifest", le(0x1718_191a, 4)),
            ("edit", le(0x1b1c_1d1e_1f20, 8)),
        ],
        crc: Some((seed_at(AT), 8)),
        written: header.encode(Seed::of(UUID), AT).to_vec(),
    }
}

fn directory() -> Specimen {
    let entry = DirectoryEntry {
        group: GroupId(1),
        records: 2,
        version_min: Version(3),
        version_max: Version(4),
        term: Term(5),
    };
    Specimen {
        mark: "directory",
        fields: vec![
            ("group", le(1, 4)),
            ("records", le(2, 4)),
            ("version_min", le(3, 8)),
            ("version_max", le(4, 8)),
            ("term", le(5, 8)),
        ],
        crc: None,
        written: entry.encode().to_vec(),
    }
}

fn record(expires: bool) -> Specimen {
    let record = Record {
        group: GroupId(0x0102_0304),
        kind: if expires { RecordKind::Put } else { RecordKind::Tombstone },
        version: Version(0x1122_3344_5566),
        term: Term(0x77_8899),
        expires_ms: expires.then_some(0xaabb_ccdd_eeff),
        origin: Origin::State,
        key: b"a key",
        value: if expires { b"a value" } else { b"" },
    };
    let mut fields = vec![
        ("value_len", le(record.value.len() as u64, 4)),
        ("key_len", le(5, 2)),
        ("kind", vec![if expires { 1 } else { 2 }]),
        ("flags", vec![u8::from(expires)]),
        ("group", le(0x0102_0304, 4)),
        ("version", le(0x1122_3344_5566, 8)),
        ("term", le(0x77_8899, 8)),
        ("key", record.key.to_vec()),
        ("value", record.value.to_vec()),
    ];
    if expires {
        fields.push(("expires_ms", le(0xaabb_ccdd_eeff, 8)));
    }
    Specimen { mark: "record", fields, crc: Some((0, 4)), written: bytes_of(&record) }
}

/// A record without its padding.
fn bytes_of(record: &Record<'_>) -> Vec<u8> {
    let mut written = BytesMut::new();
    record.encode(&mut written);
    assert!(written.len().is_multiple_of(8));
    assert!(is_zero(&written[record.encoded_bytes()..]));
    written[..record.encoded_bytes()].to_vec()
}

/// A record of a replicated group, and what the page must know of it.
fn of_a_group(kind: RecordKind, origin: Origin<'_>, expires_ms: Option<u64>) -> Specimen {
    let record = Record {
        group: GroupId(9),
        kind,
        version: Version(0x55),
        term: Term(3),
        expires_ms,
        origin,
        key: b"k",
        value: b"a value",
    };
    let number = match kind {
        RecordKind::Put => 1,
        RecordKind::Tombstone => 2,
        RecordKind::Command => 3,
        RecordKind::Hard => 4,
        RecordKind::Checkpoint => 5,
        RecordKind::Edit => 16,
    };
    let (flag, section) = match origin {
        Origin::State => (0, None),
        Origin::Entry(section) => (2, Some(section)),
        Origin::Part => (4, None),
    };
    let mut fields = vec![
        ("value_len", le(7, 4)),
        ("key_len", le(1, 2)),
        ("kind", vec![number]),
        ("flags", vec![flag + u8::from(expires_ms.is_some())]),
        ("group", le(9, 4)),
        ("version", le(0x55, 8)),
        ("term", le(3, 8)),
        ("key", b"k".to_vec()),
        ("value", b"a value".to_vec()),
    ];
    fields.extend(expires_ms.map(|expires_ms| ("expires_ms", le(expires_ms, 8))));
    if let Some(section) = section {
        fields.push(("section_len", le(section.len() as u64, 1)));
        fields.push(("section", section.to_vec()));
    }
    Specimen { mark: "record", fields, crc: Some((0, 4)), written: bytes_of(&record) }
}

/// The head of an entry; of a put, with an expiry too.
fn head(kind: RecordKind) -> Specimen {
    let expires_ms = (kind == RecordKind::Put).then_some(0xaabb_ccdd);
    let section: &[u8] = if kind == RecordKind::Tombstone { b"" } else { b"who and when" };
    of_a_group(kind, Origin::Entry(section), expires_ms)
}

fn part() -> Specimen {
    of_a_group(RecordKind::Tombstone, Origin::Part, None)
}

fn beside(kind: RecordKind) -> Specimen {
    of_a_group(kind, Origin::State, None)
}

fn known() -> Sealed {
    Sealed {
        base_lsn: Lsn(0x1122_3344),
        last_lsn: Lsn(0x1122_3399),
        frames_end: 0x5_6780,
        last_crc: 0x0102_0304,
        footer: Some(FooterRef { offset: 0x5_6a00, bytes: 0x789 }),
        lost: vec![(Lsn(1), Lsn(2)), (Lsn(3), Lsn(4))],
    }
}

fn sealed() -> Specimen {
    let seal = Change::Seal { id: SegmentId(1), bytes: 8192, sealed: known() }.encode();
    Specimen {
        mark: "sealed",
        fields: vec![
            ("base_lsn", le(0x1122_3344, 8)),
            ("last_lsn", le(0x1122_3399, 8)),
            ("frames_end", le(0x5_6780, 8)),
            ("last_crc", le(0x0102_0304, 4)),
            ("footer_offset", le(0x5_6a00, 8)),
            ("footer_bytes", le(0x789, 8)),
            ("losses", le(2, 4)),
            ("lost", [1_u64, 2, 3, 4].iter().flat_map(|lsn| le(*lsn, 8)).collect()),
        ],
        crc: None,
        written: seal[1 + 4 + 8..].to_vec(),
    }
}

const FOOTER_GROUP: GroupId = GroupId(0x0a0b_0c0d);
const FOOTER_VERSION: u64 = 0x1122_3344;

/// A footer of two keys, one of which expires.
fn footer() -> Vec<u8> {
    let keys: [(&[u8], RecordKind, Option<u64>); 2] =
        [(b"hi", RecordKind::Put, Some(0x5566)), (b"ho", RecordKind::Tombstone, None)];
    let mut builder = FrameBuilder::new(Lsn(1), BytesMut::new());
    for (index, (key, kind, expires_ms)) in keys.into_iter().enumerate() {
        let (group, version) = (FOOTER_GROUP, Version(FOOTER_VERSION + index as u64));
        let (term, origin) = (Term(0), Origin::State);
        let one = Record { group, kind, version, term, expires_ms, origin, key, value: b"" };
        builder.push(&one).expect("it fits");
    }
    let built = builder.finish(Place {
        segment: SegmentId(9),
        seed: Seed::of(UUID),
        offset: 4096,
        durable_lsn: Lsn(0),
        previous_crc: 0,
        edit: EditId::default(),
    });
    let mut bytes = vec![0; 4096];
    bytes.extend_from_slice(&built.bytes);
    let frames = [FrameAt { offset: 4096, end: bytes.len() as u64, header: built.header }];
    footer::build(SegmentId(9), &bytes, &frames).finish(SegmentId(9), Seed::of(UUID), AT)
}

/// That footer, taken apart.
fn footer_parts() -> Vec<Specimen> {
    let footer = footer();
    let (head, rest) = footer.split_at(64);
    let (line, block) = rest.split_at(56);
    let header = Specimen {
        mark: "footer",
        fields: vec![
            ("magic", vec![0x89, 0x4b, 0x56, 0x46]),
            ("format", le(1, 2)),
            ("segment", le(9, 4)),
            ("groups", le(1, 4)),
            ("blocks", le(1, 4)),
            ("keys", le(2, 8)),
            ("bytes", le(footer.len() as u64, 8)),
            ("groups_crc", le(codec::crc(0, line).into(), 4)),
        ],
        crc: Some((seed_at(AT), 8)),
        written: head.to_vec(),
    };
    let group_line = Specimen {
        mark: "footer group",
        fields: vec![
            ("group", le(FOOTER_GROUP.0.into(), 4)),
            ("records", le(2, 8)),
            ("bytes", le(48 + 40, 8)),
            ("tombstones", le(1, 8)),
            ("version_min", le(FOOTER_VERSION, 8)),
            ("version_max", le(FOOTER_VERSION + 1, 8)),
            ("keys", le(2, 8)),
        ],
        crc: None,
        written: line.to_vec(),
    };
    // The checksum of a block covers the entries behind its header too.
    let crc = codec::crc(seed_at(AT + 64 + 56), &block[4..]);
    let block_header = Specimen {
        mark: "block",
        fields: vec![
            ("crc", le(crc.into(), 4)),
            ("len", le(block.len() as u64 - 16, 4)),
            ("entries", le(2, 4)),
        ],
        crc: None,
        written: block[..16].to_vec(),
    };
    let (put, tombstone) = block[16..].split_at(24 + 8 + 2);
    vec![
        header,
        group_line,
        block_header,
        entry((4096 + 64) / 8, 42, b"hi", Some(0x5566), put),
        entry((4096 + 64 + 48) / 8, 34, b"ho", None, tombstone),
    ]
}

/// An entry of that footer: the first is a put that expires, the second a tombstone.
fn entry(words: u64, len: u64, key: &[u8], expires_ms: Option<u64>, written: &[u8]) -> Specimen {
    let is_second = expires_ms.is_none();
    let mut fields = vec![
        ("offset_words", le(words, 4)),
        ("len", le(len, 4)),
        ("version", le(FOOTER_VERSION + u64::from(is_second), 8)),
        ("group", le(FOOTER_GROUP.0.into(), 4)),
        ("key_len", le(2, 2)),
        ("kind", vec![1 + u8::from(is_second)]),
        ("flags", vec![u8::from(!is_second)]),
        ("key", key.to_vec()),
    ];
    fields.extend(expires_ms.map(|expires_ms| ("expires_ms", le(expires_ms, 8))));
    Specimen { mark: "entry", fields, crc: None, written: written.to_vec() }
}

/// Every change, and the values of its fields.
fn changes() -> Vec<(Change, Fields)> {
    let (id, uuid, bytes) = (SegmentId(7), UUID, 0x1_0000);
    let sealed = sealed().written;
    let (number, length) = (("number", le(7, 4)), ("bytes", le(bytes, 8)));
    let name = ("uuid", UUID.0.to_vec());
    let group = ("group", le(5, 4));
    let floor = vec![("next_segment", le(7, 4)), ("lsn", le(0x1122, 8))];
    let known_of = ("sealed", sealed);
    vec![
        (Change::Prepare { id, uuid, bytes }, vec![number.clone(), name.clone(), length.clone()]),
        (
            Change::Seal { id, bytes, sealed: known() },
            vec![number.clone(), length.clone(), known_of.clone()],
        ),
        (
            Change::AddData { id, uuid, bytes, sealed: known() },
            vec![number.clone(), name, length, known_of],
        ),
        (Change::Drop { id }, vec![number]),
        (Change::AddGroup { group: GroupId(5) }, vec![group.clone()]),
        (Change::DropGroup { group: GroupId(5) }, vec![group]),
        (Change::Floor { next_segment: id, lsn: Lsn(0x1122) }, floor),
        (Change::Closed, Vec::new()),
        (
            Change::Peer { node: NodeId(0x33), peer: Peer { directory: UUID, is_seated: true } },
            vec![("node", le(0x33, 8)), ("directory", UUID.0.to_vec()), ("seated", le(1, 1))],
        ),
        (
            Change::GiveUp { group: GroupId(5), at: Index(0x4455) },
            vec![("group", le(5, 4)), ("index", le(0x4455, 8))],
        ),
    ]
}

#[test]
fn the_tables_place_every_byte() {
    let mut marks: BTreeSet<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("<!-- layout: ")?.strip_suffix(" -->"))
        .collect();
    for specimen in specimens() {
        assert_eq!(described(&specimen), specimen.written, "{}", specimen.mark);
        marks.remove(specimen.mark);
    }
    assert_eq!(marks.into_iter().collect::<Vec<_>>(), ["changes"], "tables that nothing checks");
}

#[test]
fn the_table_of_changes_places_every_byte() {
    let rows: Vec<_> = table("changes").collect();
    let changes = changes();
    assert_eq!(rows.len(), changes.len());
    for (cells, (change, values)) in rows.iter().zip(changes) {
        let tag: u8 = cells[0].parse().expect("a tag");
        let mut described = vec![tag];
        let words: Vec<&str> = cells[2].split_whitespace().collect();
        for (pair, (name, value)) in words.chunks(2).zip(&values) {
            assert_eq!(pair[0].trim_matches('`'), *name, "{change:?}");
            let size = pair[1].parse().unwrap_or(value.len());
            assert_eq!(size, value.len(), "{change:?}.{name}");
            described.extend_from_slice(value);
        }
        assert_eq!(words.len(), 2 * values.len(), "{change:?}");
        assert_eq!(described, change.encode(), "{change:?}");
    }
}

#[test]
fn the_constants_are_these() {
    let constants = [
        ("FORMAT_VERSION", u64::from(FORMAT_VERSION)),
        ("SECTOR_BYTES", SECTOR_BYTES as u64),
        ("SEGMENT_HEADER_BYTES", SEGMENT_HEADER_BYTES as u64),
        ("FRAME_ALIGN", FRAME_ALIGN as u64),
        ("RECORD_ALIGN", RECORD_ALIGN as u64),
        ("KEY_BYTES_MAX", limits::KEY_BYTES_MAX as u64),
        ("ENTRY_SECTION_BYTES_MAX", limits::ENTRY_SECTION_BYTES_MAX as u64),
        ("RECORD_VALUE_BYTES_MAX", limits::RECORD_VALUE_BYTES_MAX as u64),
        ("FRAME_BYTES_MAX", limits::FRAME_BYTES_MAX as u64),
        ("SEGMENT_FILE_BYTES_MAX", limits::SEGMENT_FILE_BYTES_MAX),
        ("FOOTER_BLOCK_BYTES", limits::FOOTER_BLOCK_BYTES as u64),
    ];
    for (name, value) in constants {
        let row = format!("| `{name}` | {value} |");
        assert!(PAGE.contains(&row), "the page has no row {row}");
    }
}

/// Whatever changes a byte of what is written changes this, and brings its author to the page.
#[test]
fn the_page_was_read_again_after_the_format_changed() {
    let mut crc = 0;
    let mut take =
        |bytes: &[u8]| crc = codec::crc(codec::crc(crc, &le(bytes.len() as u64, 8)), bytes);
    specimens().iter().for_each(|specimen| take(&specimen.written));
    changes().iter().for_each(|(change, _)| take(&change.encode()));
    files().iter().for_each(|(_, bytes, _)| take(bytes));
    let expected = format!("Format version {FORMAT_VERSION}, fingerprint `{crc:08x}`.");
    assert!(
        PAGE.contains(&expected),
        "the format changed: read engine/docs/format.md from its beginning to its end, mend it, \
         and write there: {expected}"
    );
}
