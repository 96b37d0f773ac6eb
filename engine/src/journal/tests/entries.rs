//! Records of a replicated log: their bytes, what of them is refused, and that bytes which were
//! encoded elsewhere make the same frame as records that are encoded into it.

use alloc::{vec, vec::Vec};
use bytes::BytesMut;
use proptest::{collection, prelude::*};

use super::record;
use crate::{
    codec,
    journal::{
        format::*,
        frame::{FrameBuilder, Place, PushError},
    },
    limits,
    types::{GroupId, Lsn, SegmentId, Term, Uuid, Version},
};

fn entry<'a>(kind: RecordKind, origin: Origin<'a>, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    let (group, version, term) = (GroupId(7), Version(0x21), Term(5));
    Record { group, kind, version, term, expires_ms: None, origin, key, value }
}

fn encoded(records: &[Record<'_>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    records.iter().for_each(|record| record.encode(&mut out));
    out.to_vec()
}

/// The bytes of a log outlive programs: these never change.
#[test]
fn the_bytes_of_an_entry_are_these() {
    let put = entry(RecordKind::Put, Origin::Entry(b"\x01\xee"), b"moon", b"one");
    let expected = [
        &[0x35, 0x89, 0xbc, 0x41][..], // crc
        &[3, 0, 0, 0, 4, 0, 1, 2, 7, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0x01, 0xee],
        b"moonone",
        &[0; 6],
    ];
    let expected = expected.concat();
    assert_eq!(encoded(&[put]), expected);
    assert_eq!(Record::decode(&expected), Ok((put, 42)));
    let expires_ms = Some(0x0102_0304_0506_0708);
    let bytes = encoded(&[Record { expires_ms, ..put }]);
    assert_eq!(bytes[11], 3);
    assert_eq!(bytes[32..43], [8, 7, 6, 5, 4, 3, 2, 1, 2, 0x01, 0xee]);
    let part = entry(RecordKind::Tombstone, Origin::Part, b"moon", b"");
    assert_eq!(encoded(&[part])[11], 4);
    let command = entry(RecordKind::Command, Origin::Entry(b""), b"", b"do");
    assert_eq!(encoded(&[command])[10..12], [3, 2]);
    assert_eq!(encoded(&[command])[32..36], [0, b'd', b'o', 0]);
}

#[test]
fn flags_that_do_not_fit_a_kind_are_refused() {
    #[track_caller]
    fn check(kind: u8, flags: u8, accepted: bool) {
        let mut bytes = encoded(&[record(1, b"\x00 key", b"and a value")]);
        (bytes[10], bytes[11]) = (kind, flags);
        let crc = codec::crc(0, &bytes[4..32 + 16]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        let refused = Record::parse(&bytes) == Err(FormatError::Field("flags"));
        assert_eq!(!refused, accepted, "kind {kind}, flags {flags}");
    }
    for kind in [1, 2] {
        [0, 1, 4, 5].into_iter().for_each(|flags| check(kind, flags, true));
        [6, 7, 8, 16, 32, 64, 128].into_iter().for_each(|flags| check(kind, flags, false));
    }
    for kind in [4, 5, 16] {
        check(kind, 0, true);
        [2, 4, 6].into_iter().for_each(|flags| check(kind, flags, false));
    }
    // A command is always an entry. (With flag 2, the key's first byte is a section's length.)
    [0, 1, 4].into_iter().for_each(|flags| check(3, flags, false));
}

fn place() -> Place {
    Place {
        segment: SegmentId(3),
        seed: Seed::of(Uuid([3; 16])),
        offset: 4096,
        durable_lsn: Lsn(0),
        previous_crc: 9,
        edit: EditId::default(),
    }
}

fn builder() -> FrameBuilder {
    FrameBuilder::new(Lsn(1), BytesMut::new())
}

#[test]
fn a_push_that_is_refused_leaves_the_frame_as_it_was() {
    let one = entry(RecordKind::Put, Origin::Entry(b"s"), b"key", b"value");
    let other = Record { group: GroupId(8), ..one };
    let mut frame = builder();
    frame.push(&one).expect("it fits");
    let whole = encoded(&[one, one]);
    let field = |name| PushError::Encoded(FormatError::Field(name));
    let cut = PushError::Encoded(FormatError::Truncated);
    assert_eq!(frame.push_encoded(&[]), Err(cut));
    assert_eq!(frame.push_encoded(&whole[..whole.len() - 1]), Err(cut));
    assert_eq!(frame.push_encoded(&whole[..40]), Err(cut));
    assert_eq!(frame.push_encoded(&encoded(&[one, other])), Err(field("group")));
    let mut padded = whole.clone();
    *padded.last_mut().expect("a byte") = 1;
    assert_eq!(frame.push_encoded(&padded), Err(field("padding")));
    let mut strange = whole;
    strange[11] = 6;
    assert_eq!(frame.push_encoded(&strange), Err(field("flags")));
    let section = vec![0; limits::ENTRY_SECTION_BYTES_MAX + 1];
    let long = Record { origin: Origin::Entry(&section), ..one };
    assert_eq!(frame.push(&long), Err(PushError::SectionTooLong));
    let mut same = builder();
    same.push(&one).expect("it fits");
    assert_eq!(frame.finish(place()).bytes, same.finish(place()).bytes);
}

#[test]
fn terms_and_checkpoints_leave_the_range_of_versions_alone() {
    let mut frame = builder();
    let hard = Record { version: Version(0), term: Term(9), ..hard() };
    frame.push(&hard).expect("it fits");
    let line = |frame: FrameBuilder| {
        let built = frame.finish(place());
        let layout = built.header.layout(4096);
        let directory = &built.bytes[layout.directory_at..layout.map_at];
        decode_directory(directory, built.header.directory_crc).expect("a directory")[0]
    };
    let mut both = builder();
    both.push(&hard).expect("it fits");
    let alone = line(frame);
    assert_eq!((alone.version_min, alone.version_max), (Version(0), Version(0)));
    assert_eq!((alone.records, alone.term), (1, Term(9)));
    both.push(&entry(RecordKind::Put, Origin::Entry(b""), b"k", b"v")).expect("it fits");
    let both = line(both);
    assert_eq!((both.version_min, both.version_max), (Version(0x21), Version(0x21)));
    assert_eq!((both.records, both.term), (2, Term(9)));
}

fn hard() -> Record<'static> {
    entry(RecordKind::Hard, Origin::State, b"", &[1, 0, 0, 0, 0, 0, 0, 0])
}

/// Who wants to write entries on a full disk must be able to; for terms and votes there is room as
/// long as there is for deletions.
#[test]
fn terms_and_checkpoints_may_use_the_reserve() {
    let mut frame = builder();
    frame.push(&hard()).expect("it fits");
    frame.push_encoded(&encoded(&[Record { kind: RecordKind::Checkpoint, ..hard() }])).expect("so");
    frame.push(&entry(RecordKind::Tombstone, Origin::Entry(b""), b"k", b"")).expect("it fits");
    assert!(frame.only_deletes());
    frame.push(&entry(RecordKind::Command, Origin::Entry(b""), b"", b"")).expect("it fits");
    assert!(!frame.only_deletes());
}

fn any_record() -> impl Strategy<Value = (u32, u64, u8, Vec<u8>, Vec<u8>)> {
    let bytes = || collection::vec(any::<u8>(), 0..40);
    (0_u32..3, 1_u64..99, any::<u8>(), bytes(), bytes())
}

proptest! {
    /// What the leader's program encoded makes the same frame everywhere: records, directory, map,
    /// and what the frame says it needs of a footer.
    #[test]
    fn encoded_records_make_the_same_frame(
        runs in collection::vec((any::<bool>(), collection::vec(any_record(), 1..5)), 1..6),
    ) {
        let (mut pushed, mut mixed) = (builder(), builder());
        for (whole, run) in &runs {
            let group = GroupId(run[0].0);
            let records = run.iter().map(|(_, version, kind, key, value)| {
                let (kind, origin) = match kind % 6 {
                    0 => (RecordKind::Put, Origin::Entry(&value[..])),
                    1 => (RecordKind::Tombstone, Origin::Entry(&[])),
                    2 => (RecordKind::Command, Origin::Entry(key)),
                    3 => (RecordKind::Put, Origin::Part),
                    4 => (RecordKind::Hard, Origin::State),
                    _ => (RecordKind::Checkpoint, Origin::State),
                };
                let expires_ms = version.is_multiple_of(3).then_some(*version);
                let (version, term) = (Version(*version), Term(version / 7));
                Record { group, kind, version, term, expires_ms, origin, key, value }
            });
            let records: Vec<Record<'_>> = records.collect();
            for record in &records {
                prop_assert!(pushed.push(record).is_ok());
                if !whole {
                    prop_assert!(mixed.push_encoded(&encoded(&[*record])).is_ok());
                }
            }
            if *whole {
                prop_assert!(mixed.push_encoded(&encoded(&records)).is_ok());
            }
        }
        prop_assert_eq!(pushed.next_lsn(), mixed.next_lsn());
        prop_assert_eq!(pushed.hint_bytes(), mixed.hint_bytes());
        prop_assert_eq!(pushed.only_deletes(), mixed.only_deletes());
        let (pushed, mixed) = (pushed.finish(place()), mixed.finish(place()));
        prop_assert_eq!(pushed.bytes, mixed.bytes);
        prop_assert_eq!(pushed.spots, mixed.spots);
    }
}
