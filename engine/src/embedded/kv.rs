//! `KvStore`: a crash-safe map in a directory, for an ordinary Rust program.
//!
//! A handle is cheap to clone and to send between threads; the last one to go closes the store.
//!
//! Not here: how writers share a sync (`shared.rs`), how anything is stored (`lone`).

#![expect(clippy::disallowed_methods, reason = "an ordinary program's threads and files")]

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{num::NonZeroU64, ops::Bound, time::Duration};
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::Mutex,
    thread,
};

use super::{
    error::KvError,
    os::{Native, block_on},
    shared::{Shared, grab},
};
use crate::{
    journal::{
        ReadError,
        seed_log::{Entry, Fault, Pieces, SeedLogError},
    },
    lone::{
        Action, BatchOutcome, Condition, Store, StoreOptions, StoreStats, VerifyReport, Write,
        WriteBatch,
    },
    runtime::{DiskError, DiskErrorKind},
    types::Version,
    value::{IndexView, Scan as Range, View},
};

/// When a write that was answered survives a power loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// At once: an answered write is on the device.
    #[default]
    Immediate,
    /// After so many bytes or milliseconds, whichever comes first. A crash of the process loses
    /// nothing, a power loss at most so much, always from the end.
    Batch {
        /// So many bytes of keys and values.
        bytes: usize,
        /// So many milliseconds.
        millis: u64,
    },
}

/// How a store is opened. Made by [`KvStore::options`].
#[derive(Clone, Copy, Debug, Default)]
pub struct KvOptions {
    durability: Durability,
    store: StoreOptions,
}

impl KvOptions {
    /// When an answered write is durable.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Everything else.
    #[must_use]
    pub const fn store(mut self, store: StoreOptions) -> Self {
        self.store = store;
        self
    }

    /// The longest value, in bytes.
    #[must_use]
    pub const fn value_bytes_max(mut self, bytes: usize) -> Self {
        self.store.value_bytes_max = bytes;
        self
    }

    /// Open although the last write is damaged and may have been acknowledged; it is cut.
    #[must_use]
    pub const fn accept_tail_loss(mut self) -> Self {
        self.store.journal.accept_tail_loss = true;
        self
    }

    /// Open although durable data is damaged; what cannot be read is gone.
    #[must_use]
    pub const fn accept_rot(mut self) -> Self {
        self.store.journal.accept_rot = true;
        self
    }

    /// Opens the store in a directory, making it when there is none.
    ///
    /// # Errors
    /// [`KvError`] says what is in the way and what to do.
    pub fn open(self, path: impl AsRef<Path>) -> Result<KvStore, KvError> {
        let path = path.as_ref();
        let rt = Native::new(path);
        let (store, report) = block_on(Store::open(rt.clone(), self.store))?;
        tracing::info!(
            node = %report.node,
            path = %path.display(),
            keys = store.stats().keys,
            segments_hinted = report.segments_hinted,
            segments_walked = report.segments_walked,
            bytes_read = report.bytes_read,
            clean = report.clean,
            "opened"
        );
        let shared = Arc::new(Shared::new(rt, store, self.durability));
        let background = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("trilith-chores".to_owned())
            .spawn(move || background.background())
            .map_err(|error| io_error("spawn", path, &error))?;
        let owner = Owner { shared, thread: Mutex::new(Some(thread)) };
        Ok(KvStore { owner: Arc::new(owner) })
    }
}

fn io_error(operation: &'static str, path: &Path, error: &std::io::Error) -> KvError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => DiskErrorKind::Denied,
        _ => DiskErrorKind::Io,
    };
    let name = path.display().to_string();
    KvError::Io(DiskError::new(kind, operation, &name, &error.to_string()))
}

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Owner {
    fn close(&self) -> Result<(), KvError> {
        self.shared.close(|| {
            if let Some(thread) = grab(&self.thread).take()
                && thread.join().is_err()
            {
                tracing::error!("the background thread had panicked");
            }
        })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the store could not be closed in order; opening it will recover");
        }
    }
}

/// A crash-safe key-value store in a directory.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("trilith-doc-kv-{}", std::process::id()));
/// use trilith_engine::KvStore;
///
/// let store = KvStore::open(&dir)?;
/// store.set("hello".to_string(), b"world".to_vec())?;
/// assert_eq!(store.get("hello")?, Some(b"world".to_vec()));
/// store.close()?;
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), trilith_engine::KvError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KvStore {
    owner: Arc<Owner>,
}

/// A value with the version of the write that put it.
pub type Versioned = (Vec<u8>, Version);

impl KvStore {
    /// Opens the store in a directory with the defaults: every answered write is durable.
    ///
    /// # Errors
    /// [`KvError`] says what is in the way and what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KvError> {
        Self::options().open(path)
    }

    /// Options to open a store with.
    #[must_use]
    pub fn options() -> KvOptions {
        KvOptions::default()
    }

    fn shared(&self) -> &Shared {
        &self.owner.shared
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// [`KvError`].
    pub fn set(&self, key: String, value: Vec<u8>) -> Result<(), KvError> {
        self.set_bytes(key.into_bytes(), value)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`KvError::CorruptLog`] when the bytes are not those that were written.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        self.get_bytes(key.as_bytes())
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// [`KvError::NotFound`] when it is not there.
    pub fn delete(&self, key: &str) -> Result<(), KvError> {
        self.delete_bytes(key.as_bytes())
    }

    /// [`set`](Self::set) for keys that are no text.
    ///
    /// # Errors
    /// [`KvError`].
    pub fn set_bytes(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<(), KvError> {
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        let version = self.batch(batch)?;
        tracing::debug!(%version, "set");
        Ok(())
    }

    /// [`get`](Self::get) for keys that are no text.
    ///
    /// # Errors
    /// [`KvError::CorruptLog`] when the bytes are not those that were written.
    pub fn get_bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.get_versioned(key)?.map(|(value, _)| value))
    }

    /// The value of a key and its version, to be compared with later.
    ///
    /// # Errors
    /// [`KvError::CorruptLog`] when the bytes are not those that were written.
    pub fn get_versioned(&self, key: &[u8]) -> Result<Option<Versioned>, KvError> {
        let shared = self.shared();
        let Some(pinned) = shared.look(|view| view.pin(key, || shared.now_ms()))? else {
            return Ok(None);
        };
        let loc = pinned.place.loc;
        tracing::debug!(segment = %loc.segment, offset = loc.offset(), "get");
        match block_on(pinned.read(key)) {
            Ok(found) => Ok(Some((found.value, found.version))),
            Err(error) => {
                if !matches!(error, ReadError::Disk(_)) {
                    tracing::warn!(%error, "a record is not what was written");
                }
                Err(error.into())
            }
        }
    }

    /// [`delete`](Self::delete) for keys that are no text.
    ///
    /// # Errors
    /// [`KvError::NotFound`] when it is not there.
    pub fn delete_bytes(&self, key: &[u8]) -> Result<(), KvError> {
        let mut batch = WriteBatch::new();
        batch.delete(key);
        match self.shared().write(batch)? {
            BatchOutcome::Done { missing: 0, version } => {
                tracing::debug!(%version, "delete");
                Ok(())
            }
            BatchOutcome::Done { .. } => Err(KvError::NotFound),
            BatchOutcome::Refused { found, .. } => Err(KvError::Conflict { found }),
        }
    }

    /// Gives a key a value that is gone after some time.
    ///
    /// # Errors
    /// [`KvError`].
    pub fn set_with_ttl(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        ttl: Duration,
    ) -> Result<(), KvError> {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let until = self.shared().now_ms().saturating_add(millis);
        let mut batch = WriteBatch::new();
        batch.put_until(
            key,
            value,
            NonZeroU64::MIN.max(NonZeroU64::new(until).unwrap_or(NonZeroU64::MIN)),
        );
        self.batch(batch).map(drop)
    }

    /// Writes a batch: all of it or nothing, whatever happens. Answers its version.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when a condition in it did not hold.
    pub fn batch(&self, batch: WriteBatch) -> Result<Version, KvError> {
        match self.shared().write(batch)? {
            BatchOutcome::Done { version, .. } => Ok(version),
            BatchOutcome::Refused { found, .. } => Err(KvError::Conflict { found }),
        }
    }

    /// Gives a key a value if a condition holds.
    ///
    /// # Errors
    /// [`KvError::Conflict`] when it did not.
    pub fn set_if(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        condition: Condition,
    ) -> Result<Version, KvError> {
        let mut batch = WriteBatch::new();
        let action = Action::Put { value: value.into(), expires_ms: None };
        batch.push(Write { key: key.into(), action, condition });
        self.batch(batch)
    }

    /// Gives a key a value if it has another one now (`None`: if it is not there). Answers whether
    /// it did.
    ///
    /// # Errors
    /// [`KvError`].
    pub fn compare_and_set(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: impl Into<Vec<u8>>,
    ) -> Result<bool, KvError> {
        let condition = match (self.get_versioned(key)?, expected) {
            (None, None) => Condition::Absent,
            (Some((found, version)), Some(expected)) if found == expected => Condition::Is(version),
            (Some(_), _) | (None, Some(_)) => return Ok(false),
        };
        match self.set_if(key, value, condition) {
            Ok(_) => Ok(true),
            Err(KvError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// [`KvError::Io`]; the store has stopped then.
    pub fn flush(&self) -> Result<(), KvError> {
        self.shared().sync()
    }

    /// How many keys there are. Keys that have expired count until compaction meets them. A closed
    /// store has none.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared().look(IndexView::len).unwrap_or(0)
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compacts everything now; it happens by itself as well. Readers and writers go on meanwhile.
    ///
    /// # Errors
    /// [`KvError`].
    pub fn compact(&self) -> Result<(), KvError> {
        self.shared().with(|store| block_on(store.rotate()))?;
        self.shared().work(crate::lone::Effort::Everything)
    }

    /// The store as it is now; later writes do not reach it.
    ///
    /// # Errors
    /// [`KvError::Closed`].
    pub fn snapshot(&self) -> Result<Snapshot, KvError> {
        let view = self.shared().look(IndexView::clone)?;
        Ok(Snapshot { view, now_ms: self.shared().now_ms() })
    }

    /// The keys of a range and their values, in order, as they are now.
    ///
    /// # Errors
    /// [`KvError::Closed`].
    pub fn scan<'k>(&self, start: Bound<&'k [u8]>, end: Bound<&'k [u8]>) -> Result<Scan, KvError> {
        Ok(self.snapshot()?.scan(start, end))
    }

    /// The keys that begin so and their values, in order, as they are now.
    ///
    /// # Errors
    /// [`KvError::Closed`].
    pub fn prefix(&self, prefix: &[u8]) -> Result<Scan, KvError> {
        Ok(self.snapshot()?.prefix(prefix))
    }

    /// What the store holds and what it costs.
    ///
    /// # Errors
    /// [`KvError::Closed`].
    pub fn stats(&self) -> Result<StoreStats, KvError> {
        self.shared().with(|store| Ok(store.stats()))
    }

    /// Reads every sealed segment from end to end, and every value, and checks them.
    ///
    /// # Errors
    /// [`KvError::Closed`]; damage is in the report.
    pub fn verify(&self) -> Result<VerifyReport, KvError> {
        let verification = self.shared().with(|store| Ok(store.verification()))?;
        Ok(block_on(verification.run(|| {})))
    }

    /// Writes what a log of the first format (`current.log`) holds into this store. The log is
    /// read piece by piece, so it may be larger than memory.
    ///
    /// # Errors
    /// [`KvError::Io`] when it cannot be read, [`KvError::Unusable`] when it is no such log. An
    /// unreadable tail ends the import and is reported.
    pub fn import(&self, log: impl AsRef<Path>) -> Result<ImportReport, KvError> {
        let log = log.as_ref();
        let unread = |error| io_error("read", log, &error);
        let mut file = BufReader::with_capacity(IMPORT_BYTES, File::open(log).map_err(unread)?);
        let (mut pieces, mut batch) = (Pieces::default(), WriteBatch::new());
        let (mut report, mut is_more) = (ImportReport::default(), true);
        while is_more && report.tail.is_none() {
            is_more = feed(&mut pieces, &mut file).map_err(unread)?;
            while let Some(entry) = pieces.next_entry() {
                match entry {
                    Ok(Entry { key, value: Some(value), .. }) => batch.put(key, value),
                    Ok(Entry { key, value: None, .. }) => batch.delete(key),
                    Err(SeedLogError { offset: 0, fault: Fault::NotOurs }) => {
                        let why = "not a log of the first format; name the file called current.log";
                        return Err(KvError::Unusable(format!("{}: {why}", log.display())));
                    }
                    Err(error) => {
                        report.tail = Some(error.to_string());
                        break;
                    }
                };
                report.entries += 1;
                if batch.bytes() > IMPORT_BYTES {
                    self.batch(core::mem::take(&mut batch))?;
                }
            }
        }
        self.batch(batch)?;
        self.flush()?;
        Ok(report)
    }

    /// Closes the store in order, so that opening it reads no more than hints. Later calls on any
    /// handle answer [`KvError::Closed`].
    ///
    /// # Errors
    /// [`KvError::Io`]; what was durable is there all the same.
    pub fn close(&self) -> Result<(), KvError> {
        self.owner.close()
    }
}

/// What an import reads at once, and about what it writes at once.
const IMPORT_BYTES: usize = 256 << 10;

/// Feeds the next piece of a file to a log's reader. Answers whether there was one.
///
/// # Errors
/// The file's.
pub fn feed(pieces: &mut Pieces, file: &mut impl BufRead) -> io::Result<bool> {
    let piece = file.fill_buf()?;
    let len = piece.len();
    match len {
        0 => pieces.end(),
        _ => pieces.push(piece),
    }
    file.consume(len);
    Ok(len > 0)
}

/// What [`KvStore::import`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Entries taken.
    pub entries: u64,
    /// Why reading ended before the end of the file.
    pub tail: Option<String>,
}

/// A store at one point in time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    view: IndexView<Native>,
    now_ms: u64,
}

impl Snapshot {
    /// The value of a key.
    ///
    /// # Errors
    /// [`KvError::CorruptLog`] when the bytes are not those that were written.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(block_on(self.view.get(key, self.now_ms))?.map(|found| found.value))
    }

    /// The keys of a range and their values, in order.
    #[must_use]
    pub fn scan(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Scan {
        let owned = |bound: Bound<&[u8]>| bound.map(<[u8]>::to_vec);
        Scan {
            snapshot: self.clone(),
            start: owned(start),
            end: owned(end),
            page: Vec::new().into_iter(),
            keys: SCAN_KEYS_FIRST,
            is_done: false,
        }
    }

    /// The keys that begin so and their values, in order.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> Scan {
        // The first key behind all that begin so: the last byte that can grow does.
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return self.scan(Bound::Included(prefix), Bound::Excluded(&end));
            }
        }
        self.scan(Bound::Included(prefix), Bound::Unbounded)
    }
}

/// How many keys the first page of a scan has.
const SCAN_KEYS_FIRST: usize = 16;
/// How many keys a page of a scan has at most.
const SCAN_KEYS_MAX: usize = 1024;

/// A walk over keys and values in order; made by [`KvStore::scan`].
#[derive(Debug)]
pub struct Scan {
    snapshot: Snapshot,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    page: alloc::vec::IntoIter<crate::value::Item>,
    keys: usize,
    is_done: bool,
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>), KvError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, found)) = self.page.next() {
                return Some(Ok((key, found.value)));
            }
            if self.is_done {
                return None;
            }
            let range = Range {
                start: self.start.as_ref().map(Vec::as_slice),
                end: self.end.as_ref().map(Vec::as_slice),
                keys_max: self.keys,
                bytes_max: 1 << 20,
            };
            // Each page is twice as long as the last: who takes ten keys has few read for nothing,
            // who takes all has them in large runs.
            self.keys = (self.keys * 2).min(SCAN_KEYS_MAX);
            match block_on(self.snapshot.view.scan(range, self.snapshot.now_ms)) {
                Ok(page) => {
                    self.is_done = page.next.is_none();
                    if let Some(next) = page.next {
                        self.start = Bound::Excluded(next);
                    }
                    self.page = page.items.into_iter();
                }
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error.into()));
                }
            }
        }
    }
}
