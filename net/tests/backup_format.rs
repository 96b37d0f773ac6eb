//! The example of `docs/backup.md` is what the code writes, and the code reads it from the page.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use trilith_engine::types::{GroupId, Stamp, Uuid, Version};
use trilith_net::backup::format::{Facts, Line, Manifest, Record, Scanner, Writer};

const PAGE: &str = include_str!("../docs/backup.md");

const FACTS: Facts = Facts {
    backup: Uuid([0xba; 16]),
    group: GroupId(1),
    groups: 1,
    applied: Version(12),
    stamp: Stamp::at_ms(1_790_000_000_000),
};

fn records() -> [Record; 2] {
    let one = |key, value, version, expires_ms| Record {
        key: Bytes::from_static(key),
        value: Bytes::from_static(value),
        version: Version(version),
        expires_ms,
    };
    [one(b"gone", b"soon", 7, Some(1_790_000_060_000)), one(b"hello", b"world", 9, None)]
}

fn group() -> (BytesMut, Line) {
    let mut writer = Writer::new(FACTS);
    records().iter().for_each(|record| writer.push(record).unwrap());
    let mut bytes = BytesMut::from(writer.take());
    let (rest, line) = writer.finish();
    bytes.extend_from_slice(&rest);
    (bytes, line)
}

fn manifest() -> Manifest {
    let (backup, cluster) = (FACTS.backup, Uuid([0xcc; 16]));
    let (began_ms, ended_ms) = (1_790_000_000_500, 1_790_000_001_000);
    Manifest { backup, cluster, began_ms, ended_ms, lines: vec![group().1] }
}

fn example() -> &'static str {
    let (_, rest) = PAGE.split_once("<!-- example -->\n```text\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_page_shows_what_the_code_writes() {
    let mut shown = String::new();
    for (what, bytes) in [("group-1", group().0.freeze()), ("MANIFEST", manifest().encode())] {
        writeln!(shown, "{what}").unwrap();
        for (at, line) in bytes.chunks(16).enumerate() {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(shown, "  {:4}  {}", at * 16, hex.join(" ")).unwrap();
        }
    }
    assert!(shown == example(), "the example of the page should be:\n{shown}");
}

#[test]
fn the_code_reads_what_the_page_shows() {
    let (group, manifest) = example().split_once("MANIFEST").unwrap();
    let read = |text: &str| -> Bytes {
        let lines = text.lines().filter(|line| line.starts_with("  "));
        let words = lines.flat_map(|line| line.split_whitespace().skip(1));
        words.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    let (group, manifest) = (read(group), Manifest::decode(&read(manifest)).unwrap());
    assert_eq!(manifest, self::manifest());
    let mut scanner = Scanner::new(manifest.lines[0]);
    let mut found = Vec::new();
    while let Some((offset, len)) = scanner.wants() {
        let from = offset as usize;
        found.extend(scanner.take(&group.slice(from..from + len)).unwrap());
    }
    assert_eq!(found, records());
}
