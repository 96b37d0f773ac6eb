//! The codecs alone: what is written reads back, what was changed or cut is refused, and whatever
//! is accepted is exactly what would be written again.

use alloc::{string::ToString, vec, vec::Vec};
use bytes::BytesMut;
use proptest::{collection, prelude::*};

use super::{NODE, SEGMENT_BYTES, Sketch, record};
use crate::{
    codec,
    journal::{
        edits::{Change, FooterRef, ManifestState, Peer, Sealed},
        footer::{self, HintRef, SegmentHints},
        format::*,
        frame::{FrameBuilder, Place},
        identity::{CurrentFile, NodeFile, Owner},
        manifest::{conclude, edit_frame, replay},
        report::OpenError,
        walk::FrameAt,
    },
    limits,
    types::{GroupId, Index, Loc, Lsn, NodeId, SegmentId, Term, Uuid, Version},
};

const UUID: Uuid = Uuid([0x11; 16]);
const ID: SegmentId = SegmentId(7);
/// Where the frames of these tests stand.
const AT: u64 = 4096;
/// Where the footers stand: behind the frames.
const FOOTER_AT: u64 = 1 << 20;

fn seed() -> Seed {
    Seed::of(UUID)
}

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Journal,
        id: ID,
        uuid: UUID,
        node: NODE,
        base_lsn: Lsn(5),
        previous: Uuid([0x33; 16]),
        previous_crc: 0x0403_0201,
    }
}

fn frame_header() -> FrameHeader {
    FrameHeader {
        kind: FrameKind::Data,
        body_bytes: 128,
        records: 2,
        groups: 1,
        first_lsn: Lsn(9),
        durable_lsn: Lsn(8),
        previous_crc: 1,
        directory_crc: 2,
        map_crc: 3,
        segment: ID,
        edit: EditId { manifest: SegmentId(4), lsn: Lsn(5) },
        crc: 0,
    }
}

fn node() -> NodeFile {
    let owner = Owner { cluster: Uuid([9; 16]), name: 0x55, number: NodeId(3) };
    NodeFile { node: NODE, owner: Some(owner) }
}

fn current() -> CurrentFile {
    CurrentFile { manifest: ID, uuid: UUID, bytes: 8192 }
}

/// Bytes 4 to 8 of every header are the checksum of what follows. Makes it fit again, so that a
/// test gets to what lies behind it.
fn forge(bytes: &mut [u8], initial: u32) {
    if let Some((front, rest)) = bytes.split_at_mut_checked(8) {
        front[4..8].copy_from_slice(&codec::crc(initial, rest).to_le_bytes());
    }
}

type Refused<'a> = &'a dyn Fn(&[u8]) -> Option<FormatError>;

/// Everything with a header of its own: name, bytes, and why other bytes are refused.
fn for_every_header(look: impl Fn(&str, &[u8], u32, Refused<'_>)) {
    let bytes = segment_header().encode();
    look("segment", &bytes, 0, &|bytes| SegmentHeader::decode(bytes).err());
    let bytes = frame_header().encode(seed(), AT);
    look("frame", &bytes, seed().at(AT), &|bytes| FrameHeader::decode(bytes, seed(), AT).err());
    look("NODE", &node().encode(), 0, &|bytes| NodeFile::decode(bytes).err());
    look("CURRENT", &current().encode(), 0, &|bytes| CurrentFile::decode(bytes).err());
    let footer = footer_of(&[(1, b"key")]).0;
    look("footer", &footer, seed().at(FOOTER_AT), &|bytes| {
        SegmentHints::decode(bytes.to_vec(), ID, seed(), FOOTER_AT).err()
    });
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    for_every_header(|name, bytes, _, refused| {
        assert_eq!(refused(bytes), None, "{name}");
        let mut bytes = bytes.to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&bytes).is_some(), "{name}, bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    });
}

/// Sums of numbers that were read from a disk must not overflow, whoever wrote them.
#[test]
fn numbers_that_leave_no_room_are_refused() {
    let last = Lsn(limits::LSN_MAX - 2);
    let frame = FrameHeader { first_lsn: last, durable_lsn: Lsn(8), ..frame_header() };
    assert!(FrameHeader::decode(&frame.encode(seed(), AT), seed(), AT).is_ok());
    let frame = FrameHeader { first_lsn: last.next(), ..frame };
    let refused = FrameHeader::decode(&frame.encode(seed(), AT), seed(), AT);
    assert_eq!(refused, Err(FormatError::Field("first_lsn")));
    let edits = [(limits::SEGMENT_ID_MAX + 1, 1), (1, limits::LSN_MAX + 1), (1, 0), (0, 1)];
    for (manifest, lsn) in edits {
        let edit = EditId { manifest: SegmentId(manifest), lsn: Lsn(lsn) };
        let frame = FrameHeader { edit, ..frame_header() };
        let refused = FrameHeader::decode(&frame.encode(seed(), AT), seed(), AT);
        assert_eq!(refused, Err(FormatError::Field("edit")), "{manifest}, {lsn}");
    }
    let segment = SegmentHeader { base_lsn: Lsn(limits::LSN_MAX + 1), ..segment_header() };
    let refused = SegmentHeader::decode(&segment.encode());
    assert_eq!(refused, Err(FormatError::Field("base_lsn")));
    let manifest = SegmentId(limits::SEGMENT_ID_MAX + 1);
    let refused = CurrentFile::decode(&CurrentFile { manifest, ..current() }.encode());
    assert_eq!(refused, Err(FormatError::Field("manifest")));
    let floor = Change::Floor { next_segment: ID, lsn: Lsn(limits::LSN_MAX + 1) };
    assert_eq!(Change::decode(&floor.encode()), Err(FormatError::Field("floor")));
    let drop = Change::Drop { id: manifest };
    assert_eq!(Change::decode(&drop.encode()), Err(FormatError::Field("id")));
}

#[test]
fn every_header_that_was_cut_is_refused() {
    for_every_header(|name, bytes, _, refused| {
        for len in 0..bytes.len() {
            assert!(refused(&bytes[..len]).is_some(), "{name}, {len} bytes");
        }
    });
}

#[test]
fn what_is_not_ours_is_said_to_be_so() {
    for_every_header(|name, bytes, _, refused| {
        for other in [0, 0xff, b' '] {
            let other = vec![other; bytes.len()];
            assert_eq!(refused(&other), Some(FormatError::NotOurs), "{name}");
        }
    });
}

/// A later program may change everything but magic, checksum and version of what has a version.
/// A frame has none: it stands in a segment that has.
#[test]
fn a_newer_format_is_named_and_not_called_damage() {
    for_every_header(|name, bytes, initial, refused| {
        if name == "frame" {
            return;
        }
        let front = if name == "footer" { 64 } else { bytes.len() };
        let mut newer = bytes.to_vec();
        newer[8] = 9;
        newer[10..front].fill(0xab);
        assert_eq!(refused(&newer), Some(FormatError::Checksum), "{name}");
        forge(&mut newer[..front], initial);
        assert_eq!(refused(&newer), Some(FormatError::Newer { found: 9 }), "{name}");
    });
}

#[test]
fn reserved_bytes_are_zero_and_fields_are_possible() {
    #[track_caller]
    fn check(name: &str, at: usize, byte: u8, field: &'static str) {
        for_every_header(|each, bytes, initial, refused| {
            if each == name {
                let front = if name == "footer" { 64 } else { bytes.len() };
                let mut bytes = bytes.to_vec();
                bytes[at] = byte;
                forge(&mut bytes[..front], initial);
                assert_eq!(refused(&bytes), Some(FormatError::Field(field)), "{name}, {at}");
            }
        });
    }
    check("segment", 8, 0, "format");
    check("segment", 10, b'X', "kind");
    check("segment", 11, 1, "flags");
    check("segment", 76, 1, "reserved");
    check("segment", 127, 1, "reserved");
    check("frame", 8, 1, "body_bytes");
    check("frame", 11, 0x7f, "body_bytes");
    check("frame", 12, 0, "records");
    check("frame", 12, 5, "records");
    check("frame", 16, 0, "first_lsn");
    check("frame", 24, 9, "durable_lsn");
    check("frame", 48, 0, "records");
    check("frame", 50, 0, "kind");
    check("frame", 50, 2, "records");
    check("frame", 51, 1, "reserved");
    check("frame", 52, 0, "edit");
    check("frame", 56, 0, "edit");
    check("frame", 63, 0x80, "edit");
    check("NODE", 10, 1, "reserved");
    check("NODE", 8, 0, "reserved");
    check("NODE", 48, 0, "number");
    check("CURRENT", 20, 1, "reserved");
    check("CURRENT", 48, 1, "reserved");
    check("footer", 8, 0, "segment");
    check("footer", 12, 8, "segment");
    check("footer", 24, 2, "keys");
    check("footer", 32, 1, "bytes");
    check("footer", 44, 1, "reserved");
}

/// Not only improbable: offsets of one segment differ within 32 bits, and a CRC tells any two such
/// inputs apart. So a frame verifies in one place of its segment, and a forged one cannot be made
/// by moving a real one.
#[test]
fn a_frame_verifies_in_its_place_only() {
    let bytes = frame_header().encode(seed(), AT);
    let places = (0..limits::SEGMENT_FILE_BYTES_MAX).step_by(FRAME_ALIGN * 1021);
    for offset in places.filter(|offset| *offset != AT).chain([AT - 64, AT + 64]) {
        let refused = FrameHeader::decode(&bytes, seed(), offset);
        assert_eq!(refused, Err(FormatError::Checksum), "{offset}");
    }
    let other = Seed::of(Uuid([0x12; 16]));
    assert_eq!(FrameHeader::decode(&bytes, other, AT), Err(FormatError::Checksum));
}

fn is_put(group: u8) -> RecordKind {
    if group & 8 == 0 { RecordKind::Put } else { RecordKind::Tombstone }
}

/// A segment with one frame of these (group, key), its footer, and the same hints without it.
fn footer_of(keys: &[(u8, &[u8])]) -> (Vec<u8>, Vec<u8>, SegmentHints) {
    let (edit, mut builder) = (EditId::default(), FrameBuilder::new(Lsn(1), BytesMut::new()));
    for (group, key) in keys {
        let lsn = builder.next_lsn().0;
        let expires_ms = (group & 16 != 0).then_some(lsn);
        let group_id = GroupId(u32::from(*group % 3));
        let whole =
            Record { group: group_id, kind: is_put(*group), expires_ms, ..record(lsn, key, b"") };
        builder.push(&whole).expect("it fits");
    }
    let place =
        Place { segment: ID, seed: seed(), offset: AT, durable_lsn: Lsn(0), previous_crc: 0, edit };
    let built = builder.finish(place);
    let mut bytes = vec![0; AT as usize];
    bytes.extend_from_slice(&built.bytes);
    let frames = [FrameAt { offset: AT, end: bytes.len() as u64, header: built.header }];
    let hints = SegmentHints::of_frames(ID, &bytes, &frames);
    (footer::build(ID, &bytes, &frames).finish(ID, seed(), FOOTER_AT), bytes, hints)
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![collection::vec(0_u8..3, 0..3), collection::vec(any::<u8>(), 0..40)]
}

/// A kind, and where it may come from: nowhere, as a part, or as a head with this section.
fn any_origin() -> impl Strategy<Value = (RecordKind, Option<Option<Vec<u8>>>)> {
    use RecordKind::{Checkpoint, Command, Edit, Hard, Put, Tombstone};
    let section = || collection::vec(any::<u8>(), 0..=limits::ENTRY_SECTION_BYTES_MAX);
    let of_a_key = || prop_oneof![Just(Put), Just(Tombstone)];
    let alone = prop_oneof![of_a_key(), Just(Hard), Just(Checkpoint), Just(Edit)];
    prop_oneof![
        alone.prop_map(|kind| (kind, None)),
        of_a_key().prop_map(|kind| (kind, Some(None))),
        (prop_oneof![of_a_key(), Just(Command)], section())
            .prop_map(|(kind, section)| (kind, Some(Some(section)))),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    let id = (0..=limits::SEGMENT_ID_MAX).prop_map(SegmentId);
    let uuid = any::<[u8; 16]>().prop_map(Uuid);
    let bytes = 4096_u64..1 << 30;
    let lost = collection::vec((0_u64..9, 0_u64..9), 0..3).prop_map(|ranges| {
        ranges.into_iter().map(|(first, more)| (Lsn(first), Lsn(first + more))).collect()
    });
    let footer = proptest::option::of((0_u64..1 << 20, 1_u64..1 << 20));
    let sealed = (1_u64..1 << 40, 0_u64..1 << 20, 4096_u64..1 << 29, any::<u32>(), footer, lost)
        .prop_map(|(base, count, frames_end, last_crc, footer, lost)| Sealed {
            base_lsn: Lsn(base),
            last_lsn: Lsn(base + count - 1),
            frames_end,
            last_crc,
            footer: footer.map(|(gap, bytes)| FooterRef { offset: frames_end + gap, bytes }),
            lost,
        });
    prop_oneof![
        (id.clone(), uuid.clone(), bytes.clone()).prop_map(|(id, uuid, bytes)| Change::Prepare {
            id,
            uuid,
            bytes
        }),
        (id.clone(), bytes.clone(), sealed.clone()).prop_map(|(id, bytes, sealed)| Change::Seal {
            id,
            bytes,
            sealed
        }),
        (id.clone(), uuid, bytes, sealed).prop_map(|(id, uuid, bytes, sealed)| Change::AddData {
            id,
            uuid,
            bytes,
            sealed
        }),
        id.clone().prop_map(|id| Change::Drop { id }),
        any::<u32>().prop_map(|group| Change::AddGroup { group: GroupId(group) }),
        any::<u32>().prop_map(|group| Change::DropGroup { group: GroupId(group) }),
        (id, 0..=limits::LSN_MAX)
            .prop_map(|(next_segment, lsn)| Change::Floor { next_segment, lsn: Lsn(lsn) }),
        (any::<u64>(), any::<[u8; 16]>(), any::<bool>()).prop_map(
            |(node, directory, is_seated)| {
                let peer = Peer { directory: Uuid(directory), is_seated };
                Change::Peer { node: NodeId(node), peer }
            }
        ),
        (any::<u32>(), any::<u64>())
            .prop_map(|(group, at)| { Change::GiveUp { group: GroupId(group), at: Index(at) } }),
        Just(Change::Closed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn records_read_back_and_flipped_bits_are_noticed(
        key in collection::vec(any::<u8>(), 0..300),
        value in collection::vec(any::<u8>(), 0..3000),
        (group, version, term) in any::<(u32, u64, u64)>(),
        expires_ms in any::<Option<u64>>(), bit in any::<prop::sample::Index>(),
        (kind, section) in any_origin(),
    ) {
        let origin = section.as_ref().map_or(Origin::State, |section| match section {
            Some(section) => Origin::Entry(section),
            None => Origin::Part,
        });
        let record = Record {
            group: GroupId(group), kind, version: Version(version), term: Term(term), expires_ms,
            origin, key: &key, value: &value,
        };
        let mut out = BytesMut::new();
        record.encode(&mut out);
        prop_assert!(out.len().is_multiple_of(RECORD_ALIGN));
        let len = record.encoded_bytes();
        prop_assert_eq!(Record::decode(&out), Ok((record, len)));
        for cut in (0..len).step_by(1 + len / 64) {
            prop_assert!(Record::decode(&out[..cut]).is_err());
        }
        let bit = bit.index(len * 8);
        out[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Record::decode(&out).is_err(), "bit {}", bit);
    }

    #[test]
    fn changes_read_back_and_a_snapshot_leads_to_the_state(
        changes in collection::vec(any_change(), 0..40),
    ) {
        let mut state = ManifestState::default();
        for change in &changes {
            let bytes = change.encode();
            prop_assert_eq!(Change::decode(&bytes), Ok(change.clone()));
            for cut in 0..bytes.len() {
                prop_assert!(Change::decode(&bytes[..cut]).is_err());
            }
            let before = state.clone();
            if state.apply(change).is_err() {
                prop_assert_eq!(
                    ManifestState { is_closed: before.is_closed, ..state.clone() },
                    before
                );
            }
        }
        let mut again = ManifestState::default();
        for change in state.snapshot() {
            prop_assert_eq!(again.apply(&change), Ok(()));
        }
        prop_assert_eq!(again, state);
    }

    #[test]
    fn footers_read_back_and_flipped_bits_are_noticed(
        keys in collection::vec((any::<u8>(), any_key()), 1..200),
        bit in any::<prop::sample::Index>(),
    ) {
        let keys: Vec<(u8, &[u8])> = keys.iter().map(|(group, key)| (*group, &key[..])).collect();
        let (mut bytes, segment, hints) = footer_of(&keys);
        let loaded = SegmentHints::decode(bytes.clone(), ID, seed(), FOOTER_AT);
        let loaded = loaded.expect("a footer reads back");
        prop_assert_eq!(&loaded.stats, &hints.stats);
        prop_assert!(loaded.iter().eq(hints.iter()));
        prop_assert_eq!(loaded.iter().count() as u64, loaded.len());
        let sorted: Vec<_> = loaded.iter().map(|hint| (hint.group, hint.key)).collect();
        prop_assert!(sorted.is_sorted_by(|left, right| left < right));
        for hint in loaded.iter() {
            let (record, _) = Record::decode(&segment[hint.loc.offset() as usize..])?;
            let found = (record.group, record.key, record.version, record.kind);
            prop_assert_eq!(found, (hint.group, hint.key, hint.version, hint.kind));
            prop_assert_eq!(record.expires_ms, hint.expires_ms);
            let newest = keys.iter().rposition(|(group, key)| {
                u32::from(group % 3) == hint.group.0 && *key == hint.key
            });
            prop_assert_eq!(newest.map(|index| index as u64 + 1), Some(hint.version.0));
        }
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(SegmentHints::decode(bytes, ID, seed(), FOOTER_AT).is_err());
    }

    /// With a fitting checksum in front of them, so that the fields are looked at: whatever is
    /// accepted is what would be written.
    #[test]
    fn what_is_accepted_is_what_would_be_written(
        mut bytes in collection::vec(prop_oneof![Just(0_u8), Just(1), Just(2), any::<u8>()], 128),
        (kind, sparse) in any::<(u8, bool)>(), at in 8_usize..64,
    ) {
        bytes[0..4].copy_from_slice(&SEGMENT_MAGIC.to_le_bytes());
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        (bytes[10], bytes[11]) = (b"JDM"[usize::from(kind % 3)], 0);
        bytes[76..].fill(0);
        forge(&mut bytes, 0);
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            prop_assert_eq!(&header.encode()[..], &bytes[..]);
        }
        let mut frame = if sparse { frame_header().encode(seed(), AT).to_vec() } else { bytes };
        frame.truncate(FRAME_HEADER_BYTES);
        frame[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        frame[at] = kind;
        forge(&mut frame, seed().at(AT));
        if let Ok(header) = FrameHeader::decode(&frame, seed(), AT) {
            prop_assert_eq!(&header.encode(seed(), AT)[..], &frame[..]);
        }
    }

    #[test]
    fn a_changed_edit_is_refused_or_is_another_edit(
        change in any_change(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = change.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(change) = Change::decode(&bytes) {
            prop_assert_eq!(change.encode(), bytes);
        }
    }

    /// No decoder panics, and none takes memory that its input does not pay for.
    #[test]
    fn decoders_answer_to_noise(
        mut bytes in collection::vec(any::<u8>(), 0..300), forged in any::<bool>(),
    ) {
        if forged && bytes.len() >= 64 {
            bytes[0..4].copy_from_slice(&footer::FOOTER_MAGIC.to_le_bytes());
            bytes[8..16].copy_from_slice(&[1, 0, 0, 0, 7, 0, 0, 0]);
            bytes[44..64].fill(0);
            forge(&mut bytes[..64], seed().at(FOOTER_AT));
        }
        prop_assert!(SegmentHints::decode(bytes.clone(), ID, seed(), FOOTER_AT).is_err());
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
        prop_assert!(FrameHeader::decode(&bytes, seed(), AT).is_err());
        prop_assert!(NodeFile::decode(&bytes).is_err());
        prop_assert!(CurrentFile::decode(&bytes).is_err());
        prop_assert!(Record::decode(&bytes).is_err());
        prop_assert!(records(&bytes).count() <= bytes.len());
        if let Ok(change) = Change::decode(&bytes) {
            prop_assert_eq!(&change.encode(), &bytes);
        }
        let lines = decode_directory(&bytes, codec::crc(0, &bytes));
        prop_assert_eq!(lines.is_ok(), bytes.len().is_multiple_of(DIRECTORY_ENTRY_BYTES));
    }
}

/// The blocks of a large footer each have their own checksum, seeded with their place.
#[test]
fn a_footer_of_many_blocks_reads_back_and_its_blocks_cannot_change_places() {
    let keys: Vec<Vec<u8>> = (0_u32..9000).map(|key| key.to_be_bytes().to_vec()).collect();
    let keys: Vec<(u8, &[u8])> = keys.iter().map(|key| (1, &key[..])).collect();
    let (bytes, _, hints) = footer_of(&keys);
    let header =
        footer::FooterHeader::decode(&bytes, ID, seed(), FOOTER_AT).expect("a whole header");
    assert_eq!((header.blocks, header.keys), (4, 9000));
    let loaded =
        SegmentHints::decode(bytes.clone(), ID, seed(), FOOTER_AT).expect("a whole footer");
    assert!(loaded.iter().eq(hints.iter()));
    for at in (0..bytes.len()).step_by(4099).chain([bytes.len() - 1]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x80;
        assert!(SegmentHints::decode(flipped, ID, seed(), FOOTER_AT).is_err(), "byte {at}");
    }
    // The first two blocks are full of entries of one length, so they are equally long.
    let first = footer::FOOTER_HEADER_BYTES + footer::FOOTER_GROUP_BYTES;
    let len =
        |at: usize| 16 + u32::from_le_bytes([4, 5, 6, 7].map(|byte| bytes[at + byte])) as usize;
    let second = first + len(first);
    assert_eq!(len(first), len(second));
    let mut swapped = bytes.clone();
    swapped[first..second].copy_from_slice(&bytes[second..second + len(second)]);
    swapped[second..second + len(second)].copy_from_slice(&bytes[first..second]);
    let refused = SegmentHints::decode(swapped, ID, seed(), FOOTER_AT);
    assert_eq!(refused, Err(FormatError::Checksum));
}

/// Entries whose checksums are right and which no segment can have had: an index is built on them,
/// and space is counted by them.
#[test]
fn a_footer_that_contradicts_itself_is_refused() {
    let check = |keys: &[(u32, &[u8])], lie: fn(&mut HintRef<'_>), expect| {
        let mut builder = footer::FooterBuilder::default();
        for ((group, key), lsn) in keys.iter().zip(1..) {
            let group = GroupId(*group);
            builder.count(&Record { group, ..record(lsn, key, b"value") }, true);
            let loc = Loc { segment: ID, offset_words: 4160 / 8 * lsn as u32, len: 40 };
            let kind = RecordKind::Put;
            let mut hint =
                HintRef { group, key, version: Version(lsn), kind, expires_ms: None, loc };
            lie(&mut hint);
            builder.push(&hint);
        }
        let bytes = builder.finish(ID, seed(), FOOTER_AT);
        let found = SegmentHints::decode(bytes, ID, seed(), FOOTER_AT).map(|hints| hints.len());
        assert_eq!(found, expect, "{keys:?}");
    };
    let refused = |field| Err(FormatError::Field(field));
    check(&[(1, b"a"), (1, b"b"), (2, b"a")], |_| {}, Ok(3));
    check(&[(1, b"b"), (1, b"a")], |_| {}, refused("key order"));
    check(&[(1, b"a"), (1, b"a")], |_| {}, refused("key order"));
    check(&[(2, b"a"), (1, b"b")], |_| {}, refused("groups"));
    check(&[(1, b"a"), (2, b"a"), (1, b"b")], |_| {}, refused("statistics"));
    check(&[(1, b"a"), (2, b"b")], |hint| hint.group = GroupId(1), refused("version"));
    check(&[(1, b"a")], |hint| hint.version = Version(2), refused("version"));
    check(&[(1, b"a")], |hint| hint.kind = RecordKind::Edit, refused("kind"));
    check(&[(1, b"a")], |hint| hint.loc.offset_words = 512, refused("place"));
    check(&[(1, b"a")], |hint| hint.loc.offset_words = u32::MAX, refused("place"));
    check(&[(1, b"a")], |hint| hint.loc.len = u32::MAX, refused("place"));
    check(&[(1, b"a")], |hint| hint.loc.len = 32, refused("place"));
    check(&[(1, b"a")], |hint| hint.loc.len = 41, refused("statistics"));
}

/// A manifest of three edits, as its file stands on the disk.
fn manifest() -> (Sketch, ManifestState) {
    let sealed = Sealed {
        base_lsn: Lsn(1),
        last_lsn: Lsn(9),
        frames_end: 5000,
        last_crc: 77,
        footer: Some(FooterRef { offset: 5120, bytes: 300 }),
        lost: vec![(Lsn(3), Lsn(4))],
    };
    let edits: [&[Change]; 3] = [
        &[Change::Floor { next_segment: SegmentId(1), lsn: Lsn(0) }],
        &[Change::Prepare { id: SegmentId(1), uuid: UUID, bytes: 8192 }],
        &[
            Change::Seal { id: SegmentId(1), bytes: 8192, sealed },
            Change::AddGroup { group: GroupId(4) },
        ],
    ];
    let mut sketch = Sketch::sized(1, 1, SEGMENT_BYTES / 2);
    let mut state = ManifestState::default();
    let header = SegmentHeader { kind: SegmentKind::Manifest, ..sketch.header() }.encode();
    sketch.bytes[..header.len()].copy_from_slice(&header);
    for changes in edits {
        let offset = sketch.end();
        let built = edit_frame(changes, sketch.next_lsn).finish(Place {
            segment: sketch.id,
            seed: Seed::of(sketch.uuid),
            offset: offset as u64,
            durable_lsn: Lsn(sketch.next_lsn.0 - 1),
            previous_crc: sketch.last_crc,
            edit: EditId::default(),
        });
        let end = offset + built.bytes.len();
        sketch.bytes[offset..end].copy_from_slice(&built.bytes);
        (sketch.last_crc, sketch.next_lsn) = (built.header.crc, built.header.next_lsn());
        let (offset, end) = (offset as u64, end as u64);
        sketch.frames.push(FrameAt { offset, end, header: built.header });
        changes.iter().for_each(|change| state.apply(change).expect("the changes fit"));
    }
    (sketch, state)
}

/// What a manifest says when its bytes are these; `None` when opening is refused.
fn read_manifest(bytes: &[u8], accept_tail_loss: bool) -> Option<ManifestState> {
    let header = SegmentHeader::decode(bytes).ok()?;
    let (frames, torn, _) = match conclude(bytes, &header, accept_tail_loss, "MANIFEST") {
        Ok(concluded) => concluded,
        Err(OpenError::Unreadable { .. } | OpenError::Corrupt { .. }) => return None,
        Err(other) => panic!("{}", other.to_string()),
    };
    assert_eq!(torn, None, "no damage is taken for a torn edit");
    Some(replay(bytes, &frames).expect("what verifies makes sense"))
}

#[test]
fn every_flipped_bit_of_a_manifest_is_noticed_or_changes_nothing() {
    let (sketch, state) = manifest();
    assert_eq!(read_manifest(&sketch.bytes, false), Some(state.clone()));
    let last = sketch.frames[2].offset as usize;
    let mut bytes = sketch.bytes.clone();
    let mut noticed = 0;
    for bit in 0..sketch.end() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        match read_manifest(&bytes, false) {
            Some(read) => assert_eq!(read, state, "bit {bit}"),
            None => {
                noticed += 1;
                // Leave to lose the tail is not leave to lose what an earlier edit said.
                let accepted = read_manifest(&bytes, true);
                assert_eq!(accepted.is_some(), bit / 8 >= last, "bit {bit}");
            }
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    let used: usize =
        sketch.frames.iter().map(|frame| frame.header.layout(frame.offset).map_end).sum();
    assert_eq!(noticed, (128 + used) * 8);
}
