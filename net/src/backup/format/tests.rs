//! Every byte of a backup is checked: what was written comes back, and anything else is an error.
//!
//! Not here: the worked example (`net/tests/backup_format.rs`).

use proptest::{collection::btree_map, prelude::*};

use super::*;

const BACKUP: Uuid = Uuid([0xba; 16]);

fn facts(group: u32) -> Facts {
    let (applied, stamp) = (Version(40 + u64::from(group)), Stamp::at_ms(1_000));
    Facts { backup: BACKUP, group: GroupId(group), groups: 2, applied, stamp }
}

fn record(key: &str, value: &[u8], expires_ms: Option<u64>) -> Record {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value));
    Record { key, value, version: Version(7), expires_ms }
}

fn write(facts: Facts, records: &[Record]) -> (Bytes, Line) {
    let mut writer = Writer::new(facts);
    let mut out = BytesMut::new();
    for record in records {
        writer.push(record).expect("keys rise");
        out.extend_from_slice(&writer.take());
    }
    let (rest, line) = writer.finish();
    out.extend_from_slice(&rest);
    assert_eq!(line.bytes, out.len() as u64);
    (out.freeze(), line)
}

fn read(bytes: &Bytes, line: Line) -> Read<Vec<Record>> {
    let mut scanner = Scanner::new(line);
    scanner.check_len(bytes.len() as u64)?;
    let mut all = Vec::new();
    while let Some((offset, len)) = scanner.wants() {
        let (from, to) = (offset as usize, (offset as usize + len).min(bytes.len()));
        all.extend(scanner.take(&bytes.slice(from.min(to)..to))?);
    }
    Ok(all)
}

fn some() -> Vec<Record> {
    vec![
        record("", b"the empty key", None),
        record("a", b"", Some(0)),
        record("b", b"value", Some(1_790_000_000_000)),
    ]
}

fn manifest() -> Manifest {
    let lines = [1, 2].map(|group| write(facts(group), &some()).1).to_vec();
    let cluster = Uuid([0xcc; 16]);
    Manifest { backup: BACKUP, cluster, began_ms: 1, ended_ms: 2, lines }
}

/// Every byte becomes every other one that differs in a bit, and two that differ in more.
fn each_flip(bytes: &Bytes, check: impl Fn(&Bytes, usize)) {
    for at in 0..bytes.len() {
        for mask in [1, 2, 4, 8, 16, 32, 64, 128, 0xff, 0x5a] {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= mask;
            check(&Bytes::from(damaged), at);
        }
    }
}

#[test]
fn a_damaged_byte_is_an_error_wherever_it_is() {
    let (bytes, line) = write(facts(1), &some());
    assert_eq!(read(&bytes, line), Ok(some()));
    each_flip(&bytes, |damaged, at| assert!(read(damaged, line).is_err(), "byte {at}"));
    let bytes = manifest().encode();
    assert_eq!(Manifest::decode(&bytes), Ok(manifest()));
    each_flip(&bytes, |damaged, at| assert!(Manifest::decode(damaged).is_err(), "byte {at}"));
}

#[test]
fn what_is_cut_or_goes_on_is_an_error() {
    let (bytes, line) = write(facts(1), &some());
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes.slice(..len), line), Err(Damage::Short), "{len} bytes");
        let mut scanner = Scanner::new(line);
        let mut ends = 0;
        while let Some((offset, wanted)) = scanner.wants() {
            let (from, to) = (offset as usize, (offset as usize + wanted).min(len));
            if scanner.take(&bytes.slice(from.min(to)..to)).is_err() {
                ends += 1;
                break;
            }
        }
        assert_eq!(ends, 1, "also when nobody asks how long it is: {len} bytes");
    }
    let longer = Bytes::from([&bytes[..], &[0]].concat());
    assert_eq!(read(&longer, line), Err(Damage::Tail));
    let bytes = manifest().encode();
    for len in 0..bytes.len() {
        assert_eq!(Manifest::decode(&bytes[..len]), Err(Damage::Short), "{len} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Manifest::decode(&longer), Err(Damage::Tail));
}

#[test]
fn a_block_of_another_place_is_an_error() {
    let (bytes, line) = write(facts(1), &some());
    let (_, other) = write(facts(2), &some());
    assert_eq!(read(&bytes, Line { facts: other.facts, ..line }), Err(Damage::Head), "its group");
    let facts = Facts { backup: Uuid([0xbb; 16]), ..line.facts };
    assert_eq!(read(&bytes, Line { facts, ..line }), Err(Damage::Head), "its backup");
    let facts = Facts { applied: Version(1), ..line.facts };
    assert_eq!(read(&bytes, Line { facts, ..line }), Err(Damage::Manifest("group")));
    assert!(read(&bytes, Line { records: 2, ..line }).is_err());
    assert!(read(&bytes, Line { crc: line.crc ^ 1, ..line }).is_err());
    // Another file of the same group of the same backup: begun again behind a lost connection.
    let (again, _) = write(line.facts, &[record("a", b"other", None)]);
    assert!(read(&again, Line { bytes: again.len() as u64, ..line }).is_err());
}

#[test]
fn blocks_in_another_order_are_an_error() {
    let large = |key: &str| record(key, &vec![key.as_bytes()[0]; BLOCK_BYTES], None);
    let records = [large("a"), large("b"), large("c")];
    let (bytes, line) = write(facts(1), &records);
    assert_eq!(read(&bytes, line).map(|all| all.len()), Ok(3));
    let block = BLOCK_HEAD_BYTES + RECORD_BYTES - 8 + 1 + BLOCK_BYTES;
    let first = BLOCK_HEAD_BYTES + 10 + FACTS_BYTES;
    let (one, two) = (first..first + block, first + block..first + 2 * block);
    let rest = bytes.slice(two.end..);
    let swapped = [&bytes[..first], &bytes[two], &bytes[one.clone()], &rest].concat();
    assert_eq!(read(&swapped.into(), line), Err(Damage::Head));
    let without = Bytes::from([&bytes[..first], &bytes[one.end..]].concat());
    let line = Line { bytes: without.len() as u64, records: 2, ..line };
    assert_eq!(read(&without, line), Err(Damage::Head));
}

#[test]
fn keys_that_do_not_rise_are_not_written() {
    let mut writer = Writer::new(facts(1));
    assert_eq!(writer.push(&record("b", b"", None)), Ok(()));
    assert_eq!(writer.push(&record("b", b"", None)), Err(Damage::Keys));
    assert_eq!(writer.push(&record("a", b"", None)), Err(Damage::Keys));
    let long = record("c", &vec![0; VALUE_BYTES_MAX_CLUSTER + 1], None);
    assert!(writer.push(&long).is_err());
}

#[test]
fn another_format_is_told_by_its_number() {
    let manifest = manifest().encode();
    let mut body = manifest[BLOCK_HEAD_BYTES..].to_vec();
    body[8] = 9;
    let mut out = BytesMut::new();
    put_block(&mut out, seed(Uuid::default(), GroupId(0), 0), Kind::Manifest, &body);
    assert_eq!(Manifest::decode(&out), Err(Damage::Format(9)));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        all in btree_map(
            prop::collection::vec(any::<u8>(), 0..40),
            (prop::collection::vec(any::<u8>(), 0..3000), any::<u64>(), any::<Option<u64>>()),
            0..300,
        ),
        group in 1..3_u32,
    ) {
        let records: Vec<Record> = all
            .into_iter()
            .map(|(key, (value, version, expires_ms))| Record {
                key: key.into(),
                value: value.into(),
                version: Version(version),
                expires_ms,
            })
            .collect();
        let (bytes, line) = write(facts(group), &records);
        prop_assert_eq!(line.records, records.len() as u64);
        prop_assert_eq!(read(&bytes, line), Ok(records));
    }

    #[test]
    fn arbitrary_bytes_are_no_backup(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Manifest::decode(&bytes).is_err());
        let line = Line { bytes: bytes.len() as u64, ..write(facts(1), &some()).1 };
        prop_assert!(read(&bytes.into(), line).is_err());
    }
}
