//! RocksDB as an engine of the value plane: it keeps bytes where ours keeps places.
//!
//! The journal makes an edit durable before any engine hears of it, so RocksDB's own log is off:
//! every value would be written and synced twice. What it has not flushed when the power goes is in
//! the journal, and is applied to it again.
//! ```text
//!   0 | group                       → generation, applied
//!   1 | group | generation | key    → version, until when, value        numbers big-endian: in order
//! ```
//! One column family, and with it one order: what a flush has made durable is everything up to some
//! batch and nothing behind it. `applied` is written in the batch of its edits, so after a crash it
//! says truly where the journal has to begin. A snapshot is installed as a new generation beside
//! the old one, batch by batch, and one write of the group's line makes it the group.
//!
//! Invariants: what is read belongs to the generation that the view's snapshot names; an engine
//! whose RocksDB has failed once refuses every later write, as RocksDB itself does.
//!
//! Not here: durability before [`RocksDb::flush`]; giving back the space of expired values, which
//! reads hide but only another write of their key removes; the simulator, which cannot run C++.

use rocksdb::{
    DB, DBIterator, Direction, ErrorKind, IteratorMode, Options, ReadOptions, Snapshot, WriteBatch,
    WriteOptions,
};
use std::{collections::BTreeMap, fmt, num::NonZeroU64, ops::Bound, path::Path, sync::Arc};
use trilith_engine::{
    journal::ReadError,
    runtime::{DiskError, DiskErrorKind},
    types::{GroupId, Version},
    value::{Change, Edit, Engine, Found, Page, Scan, View},
};

/// A snapshot that is installed goes in batches of about so many bytes.
const INGEST_BYTES: usize = 4 << 20;
/// Version and expiry before a value.
const VALUE_HEADER: usize = 16;
/// Mark, group and generation before a key.
const KEY_HEADER: usize = 13;

/// A group's line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    /// Which of the group's keys count.
    generation: u64,
    applied: Version,
}

/// Values in a RocksDB.
pub struct RocksDb {
    database: Arc<DB>,
    groups: BTreeMap<GroupId, Line>,
}

#[expect(clippy::mem_forget, reason = "inside the macro: its guard against a panic half-way")]
mod pinned {
    use super::{Arc, DB, Snapshot};

    self_cell::self_cell! {
        /// A snapshot and the database that it belongs to.
        pub struct Pinned {
            owner: Arc<DB>,
            #[covariant]
            dependent: Snapshot,
        }
    }
}
use pinned::Pinned;

/// A group of a [`RocksDb`] at one point in time.
#[derive(Clone)]
pub struct RocksView {
    group: GroupId,
    line: Line,
    pinned: Arc<Pinned>,
}

impl fmt::Debug for RocksDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksDb").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl fmt::Debug for RocksView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksView({}, {:?})", self.group, self.line)
    }
}

fn refused(operation: &'static str, error: &rocksdb::Error) -> DiskError {
    let kind = match error.kind() {
        ErrorKind::NotFound => DiskErrorKind::NotFound,
        ErrorKind::Busy | ErrorKind::TryAgain => DiskErrorKind::Locked,
        ErrorKind::InvalidArgument | ErrorKind::NotSupported => DiskErrorKind::Invalid,
        // Its words for a full disk are an I/O error with the system's text.
        _ if error.as_ref().contains("No space left") => DiskErrorKind::NoSpace,
        _ => DiskErrorKind::Io,
    };
    DiskError::new(kind, operation, "rocksdb", error.as_ref())
}

fn damaged(what: &str) -> ReadError {
    ReadError::Disk(DiskError::new(DiskErrorKind::Io, "read", "rocksdb", what))
}

fn line_key(group: GroupId) -> [u8; 5] {
    let mut key = [0; 5];
    key[1..].copy_from_slice(&group.0.to_be_bytes());
    key
}

/// Where a key lies. It may be the end of a range that no key reaches, so the generation may be one
/// behind the last.
fn place(group: GroupId, generation: u64, key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(KEY_HEADER + key.len());
    place.push(1);
    place.extend(group.0.to_be_bytes());
    place.extend(generation.to_be_bytes());
    place.extend(key);
    place
}

fn encode(version: Version, expires_ms: Option<NonZeroU64>, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VALUE_HEADER + value.len());
    bytes.extend(version.0.to_be_bytes());
    bytes.extend(expires_ms.map_or(0, NonZeroU64::get).to_be_bytes());
    bytes.extend(value);
    bytes
}

fn two_numbers(bytes: &[u8]) -> Option<([u64; 2], &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    let (second, rest) = rest.split_first_chunk()?;
    Some(([u64::from_be_bytes(*first), u64::from_be_bytes(*second)], rest))
}

/// A value that counts at `now_ms`.
fn decode(bytes: &[u8], now_ms: u64) -> Result<Option<Found>, ReadError> {
    let ([version, expires], value) =
        two_numbers(bytes).ok_or_else(|| damaged("a value without its header"))?;
    let expires_ms = NonZeroU64::new(expires);
    if expires_ms.is_some_and(|expires| expires.get() <= now_ms) {
        return Ok(None);
    }
    Ok(Some(Found { value: value.to_vec(), version: Version(version), expires_ms }))
}

impl RocksDb {
    /// Opens the engine in a directory of its own.
    ///
    /// # Errors
    /// What RocksDB says.
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.increase_parallelism(2);
        options.set_compression_type(rocksdb::DBCompressionType::None);
        let database = DB::open(&options, dir).map_err(|error| refused("open", &error))?;
        let mut groups = BTreeMap::new();
        for entry in database.iterator(IteratorMode::From(&[0], Direction::Forward)) {
            let (key, value) = entry.map_err(|error| refused("open", &error))?;
            let Some(group) = key.strip_prefix(&[0]) else { break };
            let line = group.try_into().ok().zip(two_numbers(&value));
            let Some((group, ([generation, applied], []))) = line else {
                let detail = "a group's line is not of this format";
                return Err(DiskError::new(DiskErrorKind::Invalid, "open", "rocksdb", detail));
            };
            let line = Line { generation, applied: Version(applied) };
            groups.insert(GroupId(u32::from_be_bytes(group)), line);
        }
        Ok(Self { database: Arc::new(database), groups })
    }

    /// Makes everything applied durable here, so that nobody needs the journal for it any more.
    ///
    /// # Errors
    /// What RocksDB says.
    pub fn flush(&self) -> Result<(), DiskError> {
        self.database.flush().map_err(|error| refused("flush", &error))
    }

    fn line(&self, group: GroupId) -> Line {
        self.groups.get(&group).copied().unwrap_or_default()
    }

    fn write(&self, batch: WriteBatch) -> Result<(), DiskError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.database.write_opt(batch, &options).map_err(|error| refused("write", &error))
    }

    /// Writes a batch that ends with the group's line, and takes the line for the group.
    fn write_line(
        &mut self,
        mut batch: WriteBatch,
        group: GroupId,
        line: Line,
    ) -> Result<(), DiskError> {
        let mut bytes = line.generation.to_be_bytes().to_vec();
        bytes.extend(line.applied.0.to_be_bytes());
        batch.put(line_key(group), bytes);
        self.write(batch)?;
        self.groups.insert(group, line);
        Ok(())
    }
}

impl Engine for RocksDb {
    type View = RocksView;

    fn apply<'a>(
        &mut self,
        group: GroupId,
        edits: impl IntoIterator<Item = Edit<'a>>,
    ) -> Result<(), DiskError> {
        let mut line = self.line(group);
        let mut batch = WriteBatch::default();
        let before = line.applied;
        for Edit { key, version, change } in edits {
            if version <= before {
                continue;
            }
            line.applied = version;
            let place = place(group, line.generation, key);
            match change {
                Change::Put { value, expires_ms, .. } => {
                    batch.put(place, encode(version, expires_ms, value));
                }
                Change::Delete => batch.delete(place),
            }
        }
        if batch.is_empty() { Ok(()) } else { self.write_line(batch, group, line) }
    }

    fn view(&self, group: GroupId) -> RocksView {
        let pinned = Pinned::new(Arc::clone(&self.database), |database| database.snapshot());
        RocksView { group, line: self.line(group), pinned: Arc::new(pinned) }
    }

    fn applied(&self, group: GroupId) -> Version {
        self.line(group).applied
    }

    fn ingest<'a>(
        &mut self,
        group: GroupId,
        sorted: impl IntoIterator<Item = Edit<'a>>,
        applied: Version,
    ) -> Result<(), DiskError> {
        let old = self.line(group).generation;
        let new = old + 1;
        let mut batch = WriteBatch::default();
        // An install that failed half-way may have left some behind.
        batch.delete_range(place(group, new, b""), place(group, new + 1, b""));
        for Edit { key, version, change } in sorted {
            if let Change::Put { value, expires_ms, .. } = change {
                batch.put(place(group, new, key), encode(version, expires_ms, value));
            }
            if batch.size_in_bytes() >= INGEST_BYTES {
                self.write(std::mem::take(&mut batch))?;
            }
        }
        batch.delete_range(place(group, 0, b""), place(group, new, b""));
        self.write_line(batch, group, Line { generation: new, applied })
    }

    fn drop_group(&mut self, group: GroupId) -> Result<(), DiskError> {
        let mut batch = WriteBatch::default();
        batch.delete_range(place(group, 0, b""), place(group, u64::MAX, b""));
        batch.delete(line_key(group));
        self.write(batch)?;
        self.groups.remove(&group);
        Ok(())
    }
}

impl RocksView {
    fn place(&self, key: &[u8]) -> Vec<u8> {
        place(self.group, self.line.generation, key)
    }

    /// The entries of the range, by RocksDB's own keys.
    fn entries(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> DBIterator<'_> {
        // The first key behind another is the same with a zero byte.
        let behind = |key: &[u8]| [self.place(key).as_slice(), &[0]].concat();
        let from = match start {
            Bound::Included(key) => self.place(key),
            Bound::Excluded(key) => behind(key),
            Bound::Unbounded => self.place(b""),
        };
        let to = match end {
            Bound::Included(key) => behind(key),
            Bound::Excluded(key) => self.place(key),
            Bound::Unbounded => place(self.group, self.line.generation + 1, b""),
        };
        let mut options = ReadOptions::default();
        let mode = IteratorMode::From(&from, Direction::Forward);
        // Bounds that cross would make it an error.
        options.set_iterate_upper_bound(if to < from { from.clone() } else { to });
        self.pinned.borrow_dependent().iterator_opt(mode, options)
    }
}

impl View for RocksView {
    async fn get(&self, key: &[u8], now_ms: u64) -> Result<Option<Found>, ReadError> {
        let found = self.pinned.borrow_dependent().get_pinned(self.place(key));
        let found = found.map_err(|error| ReadError::Disk(refused("get", &error)))?;
        found.map_or(Ok(None), |bytes| decode(&bytes, now_ms))
    }

    async fn scan(&self, scan: Scan<'_>, now_ms: u64) -> Result<Page, ReadError> {
        let mut page = Page::default();
        let mut bytes = 0;
        for entry in self.entries(scan.start, scan.end) {
            let (key, value) = entry.map_err(|error| ReadError::Disk(refused("scan", &error)))?;
            if page.items.len() >= scan.keys_max.max(1) || bytes >= scan.bytes_max.max(1) {
                page.next = page.items.last().map(|(key, _)| key.clone());
                break;
            }
            let key = key.get(KEY_HEADER..).ok_or_else(|| damaged("a key without its header"))?;
            if let Some(found) = decode(&value, now_ms)? {
                bytes += key.len() + found.value.len();
                page.items.push((key.to_vec(), found));
            }
        }
        Ok(page)
    }

    fn applied(&self) -> Version {
        self.line.applied
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf, process};
    use trilith_engine::{
        embedded::os::{Native, block_on},
        types::{Loc, SegmentId},
        value::contract,
    };

    use super::*;

    const GROUP: GroupId = GroupId(7);

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(env::temp_dir().join(format!("trilith-rocksdb-{name}-{}", process::id())))
        }

        fn open(&self) -> RocksDb {
            fs::create_dir_all(&self.0).expect("scratch can be written");
            RocksDb::open(&self.0.join("values")).expect("it opens")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    fn put<'a>(key: &'a [u8], version: u64) -> Edit<'a> {
        let loc = Loc { segment: SegmentId(1), offset_words: 0, len: 1 };
        let change = Change::Put { value: key, loc, expires_ms: None };
        Edit { key, version: Version(version), change }
    }

    fn get(engine: &RocksDb, key: &[u8]) -> Option<u64> {
        let found = block_on(engine.view(GROUP).get(key, 0)).expect("it can be read");
        found.map(|found| found.version.0)
    }

    #[test]
    fn it_keeps_the_contract_of_engines() {
        let scratch = Scratch::new("contract");
        let engine = scratch.open();
        let rt = Native::new(scratch.0.join("journal"));
        let report = block_on(contract::engine(&rt, |_| engine, |_, _| {}));
        println!("{report}");
        report.assert_kept();
    }

    #[test]
    fn what_was_not_flushed_is_wanted_from_the_journal_again() {
        let scratch = Scratch::new("flush");
        let mut engine = scratch.open();
        engine.apply(GROUP, [put(b"a", 1), put(b"b", 2)]).expect("it writes");
        engine.flush().expect("it flushes");
        engine.apply(GROUP, [put(b"a", 3), put(b"c", 4)]).expect("it writes");
        engine.ingest(GroupId(8), [put(b"z", 5)], Version(6)).expect("it writes");
        // As after a crash of the machine: the files as they are now, under another name.
        let after = Scratch::new("flush-after");
        fs::create_dir_all(after.0.join("values")).expect("scratch can be written");
        for entry in fs::read_dir(scratch.0.join("values")).expect("it is there") {
            let entry = entry.expect("readable");
            let to = after.0.join("values").join(entry.file_name());
            fs::copy(entry.path(), to).expect("scratch can be written");
        }
        let mut again = after.open();
        assert_eq!(again.applied(GROUP), Version(2));
        assert_eq!(again.applied(GroupId(8)), Version(0));
        assert_eq!((get(&again, b"a"), get(&again, b"c")), (Some(1), None));
        again.apply(GROUP, [put(b"b", 2), put(b"a", 3), put(b"c", 4)]).expect("it writes");
        assert_eq!((get(&again, b"a"), get(&again, b"c")), (Some(3), Some(4)));
    }

    #[test]
    fn a_flushed_engine_is_as_it_was() {
        let scratch = Scratch::new("reopened");
        let mut engine = scratch.open();
        engine.apply(GROUP, [put(b"a", 1)]).expect("it writes");
        engine.ingest(GROUP, [put(b"b", 4), put(b"c", 2)], Version(5)).expect("it writes");
        engine.flush().expect("it flushes");
        drop(engine);
        let engine = scratch.open();
        assert_eq!(engine.applied(GROUP), Version(5));
        let found = [b"a", b"b", b"c"].map(|key| get(&engine, key));
        assert_eq!(found, [None, Some(4), Some(2)]);
    }
}
